"""Tasks of a window: one after the other, each begun once, ended once, and stopped where the window's end asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.api.maintenance_window import (
    ActiveWindow,
    MaintenanceWindow,
    MaintenanceWindowStatus,
    PastWindow,
    TaskType,
)
from docuquery_operator.domain.backups.occupied import TASK_STORES, in_the_way, occupants
from docuquery_operator.domain.maintenance import tasks
from docuquery_operator.domain.maintenance.task_outcome import Series, Table, TaskOutcome
from docuquery_operator.domain.maintenance.tasks import At, TaskFacts, TasksPlan, TasksWorld
from docuquery_operator.domain.reports.kept import LARGEST, NOBODY, key_of, outcomes, released, text_of

OPENED = datetime(2026, 11, 29, 3, tzinfo=UTC)
ALL = frozenset(TaskType)
FINE = TaskOutcome(state="Succeeded", summary="done", evidence=("before: 1", "after: 0"))


def window(*types: str, is_open: bool = True, **spec: Any) -> MaintenanceWindow:
    body = {"stackRef": {"name": "s"}, "schedule": {"cron": "0 3 * * *"}, "duration": "2h", **spec}
    body["tasks"] = [{"type": t, "timeout": "10m", **({"rotateLogs": {"path": "/l"}} if t == "RotateLogs" else {})} for t in
                     types]  # fmt: skip
    made = MaintenanceWindow.model_validate({"metadata": {"name": "w", "namespace": "n", "uid": "u1"}, "spec": body})
    active = ActiveWindow(since=OPENED, until=OPENED + timedelta(hours=2)) if is_open else None
    status = MaintenanceWindowStatus(active=active, tasks=tasks.fresh(made, OPENED))
    return made.model_copy(update={"status": status})


def closed(w: MaintenanceWindow, until: datetime, **spec: Any) -> MaintenanceWindow:
    assert w.status is not None
    past = PastWindow(since=OPENED, until=until, outcome="Completed")
    status = w.status.model_copy(update={"active": None, "history": [past]})
    return w.model_copy(update={"status": status, "spec": w.spec.model_copy(update=spec)})


def step(
    w: MaintenanceWindow, minutes: float, facts: TaskFacts | None = None, hold: str = "", served: Any = ALL
) -> tuple[MaintenanceWindow, TasksPlan]:
    assert w.status is not None
    nxt = tasks.unfinished(w.status)
    world = TasksWorld(served, facts or TaskFacts(), nxt.attempt_id or "" if nxt else "", hold)
    plan = tasks.decide(w, w.status, world, OPENED + timedelta(minutes=minutes))
    return w.model_copy(update={"status": plan.status}), plan


def states(w: MaintenanceWindow) -> list[str]:
    return [r.state for r in (w.status or MaintenanceWindowStatus()).tasks]


def test_one_after_the_other_and_each_under_an_id_of_its_own() -> None:
    w = window("HealthCheck", "ErrorRate")
    w, plan = step(w, 0)
    assert states(w) == ["Running", "Pending"]
    assert plan.begin is not None
    first = plan.begin.attempt_id
    w, plan = step(w, 1, TaskFacts(At.RUNNING, None, "halfway"))
    assert (plan.begin, w.status.tasks[0].summary) == (None, "halfway")  # type: ignore[union-attr]
    w, plan = step(w, 2, TaskFacts(At.ENDED, FINE))
    assert (states(w), plan.begin) == (["Succeeded", "Pending"], None)
    assert w.status.tasks[0].evidence == ["before: 1", "after: 0"]  # type: ignore[union-attr]
    w, plan = step(w, 2)
    assert states(w) == ["Succeeded", "Running"]
    assert plan.begin is not None
    assert plan.begin.attempt_id not in (None, first)
    w, plan = step(w, 3, TaskFacts(At.ENDED, TaskOutcome(state="Failed", summary="no log")))
    assert states(w) == ["Succeeded", "Failed"]
    assert [(n.type, n.reason) for n in plan.news] == [("Warning", "TaskFailed")]
    w, plan = step(w, 4)
    assert (plan.begin, plan.look_again) == (None, None)


def test_a_pass_that_is_repeated_changes_nothing() -> None:
    w, _ = step(window("HealthCheck"), 0)
    again, plan = step(w, 0.01, TaskFacts(At.RUNNING))
    assert (again.status, plan.begin, plan.news) == (w.status, None, ())


def test_a_task_that_nobody_knows_of_is_begun_again_under_its_id() -> None:
    w, plan = step(window("HealthCheck"), 0)
    again, second = step(w, 1)
    assert again.status == w.status
    assert plan.begin == second.begin


def test_what_stands_in_the_way_is_waited_for_even_after_the_intent() -> None:
    w, plan = step(window("VacuumDatabase"), 0, hold="BackupJob nightly saves the data; it waits")
    assert (states(w), plan.begin) == (["Pending"], None)
    w, _ = step(w, 1)
    assert states(w) == ["Running"]
    w, plan = step(w, 1.1, hold="RestoreJob back replaces the data; it waits")
    assert (states(w), plan.begin) == (["Pending"], None)
    assert w.status.tasks[0].started_at is None  # type: ignore[union-attr]
    w, _ = step(w, 1.2, TaskFacts(At.ABSENT))
    w, plan = step(w, 1.3, TaskFacts(At.RUNNING), hold="")
    assert (states(w), plan.begin) == (["Running"], None)


def test_nothing_begins_before_what_stands_in_its_way_was_read() -> None:
    w = window("VacuumDatabase")
    plan = tasks.decide(w, w.status, TasksWorld(ALL), OPENED)  # type: ignore[arg-type]
    assert (plan.begin, plan.look_again) == (None, OPENED)


def test_what_is_not_served_is_skipped_and_the_condition_names_it_until_it_is() -> None:
    w = window("HealthCheck", "CapacityPlan")
    w, plan = step(w, 0, served=frozenset({TaskType.HEALTH_CHECK}))
    w, _ = step(w, 1, TaskFacts(At.ENDED, FINE), served=frozenset({TaskType.HEALTH_CHECK}))
    w, plan = step(w, 1, served=frozenset({TaskType.HEALTH_CHECK}))
    assert states(w) == ["Succeeded", "Skipped"]
    told = {c.type: (c.status, c.reason, c.message) for c in plan.status.conditions}
    assert told["TasksServed"][:2] == ("False", "NotServed")
    assert told["TasksServed"][2].startswith("CapacityPlan:")
    w, plan = step(w, 2)
    assert [c.type for c in plan.status.conditions] == []


@pytest.mark.parametrize(
    ("spec", "stopped"),
    [({}, False), ({"overrun": "Abort"}, True), ({"suspend": True}, True), ({"overrun": "Extend"}, False)],
)
def test_at_the_end_no_task_begins_and_the_one_at_work_ends_or_is_stopped(spec: dict[str, Any], stopped: bool) -> None:
    w, _ = step(window("VacuumDatabase", "AnalyzeTables"), 0)
    w, plan = step(closed(w, OPENED + timedelta(minutes=3), **spec), 3.1, TaskFacts(At.RUNNING))
    assert (plan.stop is not None, states(w)) == (stopped, ["Running", "Pending"])
    w, plan = step(w, 4, TaskFacts(At.ENDED, TaskOutcome(state="Failed", summary="ended early")))
    assert states(w) == ["Aborted" if stopped else "Failed", "Pending"]
    w, plan = step(w, 4)
    assert (states(w)[1], plan.begin) == ("Skipped", None)
    assert w.status.history[0].report == "w-20261129t030000z-report"  # type: ignore[union-attr]


def test_a_task_whose_time_is_up_is_stopped_and_given_up_after_a_while() -> None:
    w, _ = step(window("VacuumDatabase"), 0)
    w, plan = step(w, 10.1, TaskFacts(At.RUNNING))
    assert (states(w), plan.stop is not None) == (["Running"], True)
    w, plan = step(w, 12.1, TaskFacts(At.RUNNING))
    assert (states(w), plan.stop is not None) == (["Failed"], True)
    assert "longer than its timeout of 10m" in w.status.tasks[0].summary  # type: ignore[union-attr]


def test_a_task_that_was_taken_out_of_the_spec_neither_begins_nor_goes_on() -> None:
    w, _ = step(window("HealthCheck", "ErrorRate"), 0)
    w = w.model_copy(update={"spec": w.spec.model_copy(update={"tasks": []})})
    w, plan = step(w, 1, TaskFacts(At.RUNNING))
    assert plan.stop is not None
    w, _ = step(w, 2)
    w, plan = step(w, 2)
    assert (states(w), plan.begin) == (["Aborted", "Skipped"], None)


def test_a_report_that_the_history_names_no_longer_is_let_go() -> None:
    w = closed(window("HealthCheck"), OPENED + timedelta(hours=2))
    old = PastWindow(since=OPENED - timedelta(days=1), until=OPENED, outcome="Completed", report="w-old-report")
    before = w.model_copy(update={"status": w.status.model_copy(update={"history": [old]})})  # type: ignore[union-attr]
    assert w.status is not None
    assert tasks.decide(before, w.status, TasksWorld(ALL), OPENED).drop == ("w-old-report",)
    assert tasks.decide(w, w.status, TasksWorld(ALL), OPENED).drop == ()
    assert released("x")["metadata"]["ownerReferences"][0]["uid"] == NOBODY


def test_the_status_of_eleven_talkative_tasks_stays_small() -> None:
    w = window(*[t.value for t in TaskType])
    loud = TaskOutcome(state="Succeeded", summary="s" * 512, evidence=("e" * 512,) * 12)
    for minute in range(0, 60):
        w, _ = step(w, minute / 10, TaskFacts(At.ENDED, loud) if tasks.running(w.status) else None)
    assert set(states(w)) == {"Succeeded"}
    assert w.status is not None
    assert len(json.dumps(w.status.to_wire()).encode()) < 48 * 1024


def test_an_outcome_is_kept_whole_while_it_is_small_and_cut_with_a_word_when_not() -> None:
    rows = tuple((f"table {n}", n, 0.5) for n in range(5_000))
    points = tuple((OPENED + timedelta(minutes=n), float(n)) for n in range(5_000))
    large = TaskOutcome(
        state="Succeeded",
        summary="s",
        tables=(Table(title="t", columns=("a", "b", "c"), rows=rows),),
        series=(Series(name="x", unit="s", points=points),),
    )
    text = text_of(large)
    assert len(text.encode()) <= LARGEST
    kept = outcomes({key_of(TaskType.HEALTH_CHECK): text, key_of(TaskType.ERROR_RATE): FINE.model_dump_json(), "x": "y"})
    assert list(kept) == [TaskType.HEALTH_CHECK, TaskType.ERROR_RATE]
    assert kept[TaskType.ERROR_RATE] == FINE
    assert "left out" in kept[TaskType.HEALTH_CHECK].findings[-1].text
    assert kept[TaskType.HEALTH_CHECK].series[0].points[-1] == points[-1]


def test_a_task_at_work_on_a_store_keeps_others_from_it_and_others_not() -> None:
    w, _ = step(window("VacuumDatabase"), 0)
    assert w.status is not None
    wire = {"metadata": {"name": "w"}, "spec": w.spec.to_wire(), "status": w.status.to_wire()}
    found = occupants("s", [], [], [wire])
    assert [(str(o), o.stores) for o in found] == [
        ("MaintenanceWindow w maintains the data of the same Stack", frozenset({"postgres"}))
    ]
    assert in_the_way("Backup", "b", found) is not None
    assert in_the_way("Backup", "b", found, frozenset({"qdrant"})) is None
    assert in_the_way("Maintenance", "w", found) is None
    assert occupants("other", [], [], [wire]) == []
    assert set(TASK_STORES) <= {t.value for t in TaskType}


def _worlds() -> Iterator[TaskFacts]:
    yield TaskFacts()
    yield TaskFacts(At.RUNNING, None, "at it")
    yield TaskFacts(At.ENDED, FINE)
    yield TaskFacts(At.ENDED, TaskOutcome(state="Failed", summary="no"))


@given(st.lists(st.tuples(st.sampled_from(list(_worlds())), st.booleans(), st.booleans(), st.floats(0, 5)), max_size=40))
def test_whatever_is_seen_at_most_one_task_is_at_work_and_what_has_ended_stays_so(script: list[Any]) -> None:
    w, minute, ended = window("HealthCheck", "VacuumDatabase", "ErrorRate"), 0.0, dict[str, str]()
    for facts, held, close, wait in script:
        minute += wait
        if close and w.status is not None and w.status.active is not None and minute > 30:
            w = closed(w, OPENED + timedelta(minutes=minute), overrun="Abort")
        w, plan = step(w, minute, facts, "busy" if held else "")
        now = {r.type.value: r.state for r in w.status.tasks}  # type: ignore[union-attr]
        assert sum(s == "Running" for s in now.values()) <= 1
        assert all(now[t] == s for t, s in ended.items())
        ended |= {t: s for t, s in now.items() if s not in tasks.UNFINISHED}
        if plan.begin is not None:
            assert now[plan.begin.type.value] == "Running"
