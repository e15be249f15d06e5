"""A task's outcome travels as JSON from a Job to the operator and must arrive as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from docuquery_operator.domain.maintenance.task_outcome import Finding, Series, Table, TaskOutcome

AT = datetime(2026, 11, 29, 3, tzinfo=UTC)


def test_an_outcome_survives_the_way_through_json():
    outcome = TaskOutcome(
        state="Succeeded",
        summary="2 tables vacuumed",
        evidence=("documents: 9000 dead rows before, 0 after",),
        figures={"dead rows": 0, "ratio": 0.5, "complete": True, "unknown": None},
        tables=(Table(title="tables", columns=("table", "dead rows"), rows=(("documents", 0), ("chunks", None))),),
        series=(Series(name="latency", unit="s", points=((AT, 0.25), (AT, None))),),
        findings=(Finding(rank="Warning", text="an index is not used"),),
    )
    assert TaskOutcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_what_does_not_fit_into_a_status_is_refused_where_it_is_made():
    with pytest.raises(ValidationError):
        TaskOutcome(state="Succeeded", summary="x" * 513)
    with pytest.raises(ValidationError):
        TaskOutcome(state="Succeeded", summary="", evidence=("line",) * 13)
