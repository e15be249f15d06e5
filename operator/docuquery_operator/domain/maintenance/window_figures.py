"""Figures of a MaintenanceWindow for metrics, from its status alone: right again at once after a restart. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ...api.common import delta
from ...api.maintenance_window import MaintenanceWindow, MaintenanceWindowStatus
from .tasks import UNFINISHED, running


@dataclass(frozen=True)
class TaskFigures:
    """failures: times in a row; succeeded: when it last did, None while it never has."""

    failures: int = 0
    succeeded: datetime | None = None


@dataclass(frozen=True)
class WindowFigures:
    """tasks: those of the spec, by type. overrun: since when it, or a task of it, is at work beyond its planned end."""

    open: bool = False
    overrun: datetime | None = None
    tasks: Mapping[str, TaskFigures] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskEnd:
    """A task that has just ended. seconds: from its beginning; None where it never began."""

    type: str
    outcome: str
    seconds: float | None


def figures_of(window: MaintenanceWindow, status: MaintenanceWindowStatus, now: datetime) -> WindowFigures:
    """What it has to show now."""
    known = {result.type: result for result in status.tasks}
    tasks = {}
    for task in window.spec.tasks:
        result = known.get(task.type)
        tasks[task.type.value] = TaskFigures(result.failures or 0, result.last_succeeded_at) if result else TaskFigures()
    return WindowFigures(status.active is not None, _overrun(window, status, now), tasks)


def _overrun(window: MaintenanceWindow, status: MaintenanceWindowStatus, now: datetime) -> datetime | None:
    if status.active is not None:
        end = status.active.since + delta(window.spec.duration)
        return end if now > end else None
    return status.history[-1].until if status.history and running(status) is not None else None


def ended(before: MaintenanceWindowStatus | None, after: MaintenanceWindowStatus) -> list[TaskEnd]:
    """Tasks whose end this pass has written."""
    known = {r.attempt_id for r in before.tasks if r.state not in UNFINISHED} if before else set()
    return [
        TaskEnd(
            r.type.value,
            r.state,
            (r.finished_at - r.started_at).total_seconds() if r.started_at and r.finished_at else None,
        )
        for r in after.tasks
        if r.state not in UNFINISHED and r.attempt_id not in known
    ]
