"""A window whose tasks are not done at its end: it warns, is extended once, or stops them; its effects follow."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import MaintenanceWindow, TaskResult
from docuquery_operator.domain.maintenance.openings import decide, open_span
from tests.unit.domain.maintenance.test_openings import COMPONENTS, at, passed, window

TASK = [{"type": "AnalyzeTables"}]


def working(w: MaintenanceWindow, state: str = "Running") -> MaintenanceWindow:
    assert w.status is not None
    tasks = [TaskResult(type="AnalyzeTables", state=state)]  # type: ignore[arg-type]
    return w.model_copy(update={"status": w.status.model_copy(update={"tasks": tasks})})


def opened(**spec: Any) -> MaintenanceWindow:
    return working(passed(window(tasks=TASK, **spec), at("2026-11-02T03:00")))


def test_warn_ends_in_time_and_says_what_is_still_at_work() -> None:
    w = opened()
    assert open_span(w, at("2026-11-02T05:00")) is None
    plan = decide(w, COMPONENTS, at("2026-11-02T05:00"))
    assert next((n.reason, n.message) for n in plan.news) == (
        "WindowOverrun",
        "AnalyzeTables is still at work and ends by itself",
    )
    assert plan.status.history[-1].outcome == "Completed"


def test_abort_ends_in_time_and_counts_as_aborted() -> None:
    plan = decide(opened(overrun="Abort"), COMPONENTS, at("2026-11-02T05:00"))
    assert (plan.status.active, plan.status.history[-1].outcome) == (None, "Aborted")
    idle = working(opened(overrun="Abort"), "Succeeded")
    assert decide(idle, COMPONENTS, at("2026-11-02T05:00")).status.history[-1].outcome == "Completed"


@pytest.mark.parametrize(("longest", "until"), [(None, "2026-11-02T06:00"), ("20m", "2026-11-02T05:20")])
def test_extend_stays_open_once_and_no_longer_than_said(longest: str | None, until: str) -> None:
    w = opened(overrun="Extend", **({"maxExtension": longest} if longest else {}))
    plan = decide(w, COMPONENTS, at("2026-11-02T05:00"))
    assert plan.status.active is not None
    assert (plan.status.active.until, [n.reason for n in plan.news]) == (at(until), ["WindowExtended"])
    w = w.model_copy(update={"status": plan.status})
    assert open_span(w, at("2026-11-02T05:19")) is not None
    assert not decide(w, COMPONENTS, at("2026-11-02T05:19")).news, "told twice"
    plan = decide(w, COMPONENTS, at(until))
    assert plan.status.active is None, "a second extension"
    assert [n.reason for n in plan.news] == ["WindowOverrun", "WindowClosed"]


def test_an_extended_window_ends_as_its_tasks_do() -> None:
    w = opened(overrun="Extend")
    w = w.model_copy(update={"status": decide(w, COMPONENTS, at("2026-11-02T05:00")).status})
    w = working(w, "Succeeded")
    assert open_span(w, at("2026-11-02T05:10")) is None
    (past,) = decide(w, COMPONENTS, at("2026-11-02T05:10")).status.history
    assert (past.until, past.outcome) == (at("2026-11-02T05:10"), "Completed")
    assert "open 10m0s longer, for its tasks" in past.summary


def test_an_operator_that_was_away_at_the_end_extends_when_it_is_back() -> None:
    w = opened(overrun="Extend")
    assert open_span(w, at("2026-11-02T05:30")) is not None, "effects must not flap while nobody has written it yet"
    assert [n.reason for n in decide(w, COMPONENTS, at("2026-11-02T05:30")).news] == ["WindowExtended"]
    assert open_span(w, at("2026-11-02T06:00")) is None


def test_a_window_that_is_made_longer_is_not_extended() -> None:
    w = opened(overrun="Extend")
    longer = w.model_copy(update={"spec": w.spec.model_copy(update={"duration": "3h"})})
    assert not decide(longer, COMPONENTS, at("2026-11-02T05:30")).news
