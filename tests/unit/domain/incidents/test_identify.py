"""A cause that was named stays named while what a person does about it passes through other states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from docuquery_operator.api.common import LocalRef, ObjectMeta
from docuquery_operator.api.detection import Detection
from docuquery_operator.api.incident import Incident, IncidentSpec, IncidentStatus
from docuquery_operator.api.stack import Stack, StackSpec
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.domain.diagnosis.causes import Diagnosis, Verdict
from docuquery_operator.domain.incidents.healing import decide
from docuquery_operator.domain.world import Refusal, Streak, World

RUNBOOK = shipped()["DatabaseConnectionFailure"]
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def seen(cause: str) -> World:
    """Three rounds that agree on this cause."""
    spec = next(c for c in RUNBOOK.causes if c.name == cause)
    streak = Streak(Verdict(True, Diagnosis(spec.name, spec.message, (), "High", spec)), 3, 3, NOW - timedelta(seconds=15))
    stack = Stack(metadata=ObjectMeta(name="s", namespace="n"), spec=StackSpec(components={}, detection=Detection()))
    nothing = Refusal("2-empty-target", "NothingToDo", "nothing to do")
    return World(stack=stack, runbook=RUNBOOK, component="postgres", streak=streak, planner=lambda _spec: nothing)


@pytest.mark.parametrize(
    ("first", "then", "named"),
    [
        ("CrashLoop", "Starting", "CrashLoop"),
        ("DiskFull", "Recovering", "DiskFull"),
        ("Starting", "CrashLoop", "CrashLoop"),
        ("ReadOnly", "ProcessDown", "ProcessDown"),
    ],
)
def test_a_state_on_the_way_takes_no_causes_place(first: str, then: str, named: str) -> None:
    status: IncidentStatus | None = None
    for step, cause in enumerate((first, then)):
        incident = Incident(
            metadata=ObjectMeta(name="i", namespace="n", uid="u", creation_timestamp=NOW),
            spec=IncidentSpec(stack_ref=LocalRef(name="s"), type="DatabaseConnectionFailure"),
            status=status,
        )
        status = decide(incident, seen(cause), NOW + timedelta(seconds=5 * step)).status
    assert status is not None
    assert status.cause is not None
    assert status.cause.name == named
