"""What a task gets, around the simulated world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.tasks.base import TaskContext
from docuquery_operator.controllers.task_targets import TaskTargets
from docuquery_operator.ports import STACK, DatabaseReviewer
from tests.fakes.rig import NAMESPACE, Rig

ATTEMPT = "t-20261129T030000Z-00000000"


def context(
    rig: Rig,
    task: dict[str, Any],
    components: Sequence[str] = (),
    stopping: Callable[[], str] = lambda: "",
    reviewer: DatabaseReviewer | None = None,
) -> TaskContext:
    """A window with this one task, open now."""
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    spec = {
        "stackRef": {"name": "docuquery"},
        "components": list(components),
        "schedule": {"at": "2026-11-29T03:00:00Z"},
        "duration": "1h",
        "tasks": [task],
    }
    metadata = {"name": "w", "namespace": NAMESPACE, "uid": "u-1"}
    window = MaintenanceWindow.model_validate({"metadata": metadata, "spec": spec})
    life = rig.life
    return TaskContext(
        ports=replace(life.ports, reviewer=reviewer) if reviewer else life.ports,
        stack=stack,
        window=window,
        task=window.spec.tasks[0],
        attempt_id=ATTEMPT,
        since=rig.clock.now(),
        timeout=60.0,
        health=lambda: life.prober.health(stack),
        targets=TaskTargets(life.ports, stack, ATTEMPT),
        stopping=stopping,
    )
