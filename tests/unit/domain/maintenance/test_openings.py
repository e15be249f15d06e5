"""Windows: each opening is opened or missed, once; what is open is so by the schedule, whatever the status says yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.domain.maintenance.openings import WHOLE_STACK, Span, blocking, decide, open_span

CREATED = datetime(2026, 11, 1, 12, tzinfo=UTC)
COMPONENTS = frozenset({"postgres", "api"})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(name: str = "w", created: datetime = CREATED, **spec: Any) -> MaintenanceWindow:
    body = {"stackRef": {"name": "docuquery"}, "schedule": {"cron": "0 3 * * *"}, "duration": "2h", **spec}
    meta = {"name": name, "namespace": "n", "generation": 1, "creationTimestamp": created.isoformat()}
    return MaintenanceWindow.model_validate({"metadata": meta, "spec": body})


def passed(w: MaintenanceWindow, now: datetime) -> MaintenanceWindow:
    """The object after a pass at this instant."""
    return w.model_copy(update={"status": decide(w, COMPONENTS, now).status})


def story(w: MaintenanceWindow, *times: str) -> list[str]:
    """What each pass tells."""
    told = []
    for text in times:
        plan = decide(w, COMPONENTS, at(text))
        told += [f"{text[8:16]} {n.reason}" for n in plan.news]
        w = w.model_copy(update={"status": plan.status})
    return told


def test_a_span_holds_its_begin_and_not_its_end() -> None:
    span = Span(at("2026-11-02T03:00"), at("2026-11-02T05:00"))
    assert [span.contains(at(f"2026-11-02T0{t}")) for t in ("2:59", "3:00", "4:59", "5:00")] == [False, True, True, False]


def test_it_opens_and_closes_and_says_what_comes_next() -> None:
    w = window()
    assert story(w, "2026-11-02T02:59", "2026-11-02T03:00", "2026-11-02T04:00", "2026-11-02T05:00") == [
        "02T03:00 WindowOpened",
        "02T05:00 WindowClosed",
    ]
    before = decide(w, COMPONENTS, at("2026-11-02T02:00"))
    assert [n.day for n in before.status.next] == [2, 3, 4, 5, 6]
    assert (before.status.phase, before.look_again) == ("Scheduled", at("2026-11-02T03:00"))
    during = decide(passed(w, at("2026-11-02T03:00")), COMPONENTS, at("2026-11-02T03:30"))
    assert (during.status.phase, during.look_again) == ("Active", at("2026-11-02T05:00"))
    assert during.news == ()


@pytest.mark.parametrize(
    ("spec", "back", "told"),
    [
        ({}, "2026-11-02T04:30", "WindowOpened"),
        ({"startingDeadline": "30m"}, "2026-11-02T03:29", "WindowOpened"),
        ({"startingDeadline": "30m"}, "2026-11-02T03:31", "WindowMissed"),
        ({}, "2026-11-02T05:00", "WindowMissed"),
        ({}, "2026-11-05T06:00", "WindowMissed"),
    ],
)
def test_after_a_time_away_it_is_opened_or_missed_by_rule(spec: Any, back: str, told: str) -> None:
    w = passed(window(**spec), at("2026-11-01T13:00"))
    plan = decide(w, COMPONENTS, at(back))
    assert [n.reason for n in plan.news] == [told]
    assert not decide(w.model_copy(update={"status": plan.status}), COMPONENTS, at(back)).news, "told twice"
    if told == "WindowMissed":
        days = (at(back) - at("2026-11-01T05:00")).days
        text = plan.status.history[-1].summary
        assert (f"{days - 1} before it" in text) == (days > 1)


def test_one_that_stood_open_while_the_operator_was_away_closes_at_its_end_and_says_so() -> None:
    w = passed(window(), at("2026-11-02T03:00"))
    plan = decide(w, COMPONENTS, at("2026-11-02T09:30"))
    (past,) = plan.status.history
    assert (past.until, past.outcome) == (at("2026-11-02T05:00"), "Completed")
    assert "closed 4h30m late" in past.summary
    assert open_span(w, at("2026-11-02T05:00")) is None, "its effects ended in time all the same"


def test_what_was_over_before_the_object_came_was_never_promised() -> None:
    w = window(created=at("2026-11-02T06:00"))
    plan = decide(w, COMPONENTS, at("2026-11-02T06:00"))
    assert (plan.news, plan.status.history) == ((), [])
    early = window(created=at("2026-11-02T03:30"))
    assert [n.reason for n in decide(early, COMPONENTS, at("2026-11-02T03:31")).news] == ["WindowOpened"]


def test_suspend_closes_what_is_open_and_opens_nothing() -> None:
    w = passed(window(), at("2026-11-02T03:00"))
    stopped = w.model_copy(update={"spec": w.spec.model_copy(update={"suspend": True})})
    plan = decide(stopped, COMPONENTS, at("2026-11-02T03:30"))
    assert (plan.status.history[-1].outcome, plan.status.active, plan.status.next) == ("Aborted", None, [])
    assert open_span(stopped, at("2026-11-02T03:30")) is None
    again = stopped.model_copy(update={"spec": w.spec, "status": plan.status})
    assert not decide(again, COMPONENTS, at("2026-11-02T03:40")).news, "the same window must not open twice"


def test_one_that_is_made_longer_or_shorter_while_it_is_open_follows() -> None:
    w = passed(window(), at("2026-11-02T03:00"))
    for duration, hour in (("3h", 6), ("30m", None)):
        changed = w.model_copy(update={"spec": w.spec.model_copy(update={"duration": duration})})
        status = decide(changed, COMPONENTS, at("2026-11-02T04:00")).status
        assert (status.active.until.hour if status.active else None) == hour


def test_a_schedule_that_comes_to_its_end() -> None:
    w = window(schedule={"at": "2026-11-02T03:00:00Z"})
    assert decide(w, COMPONENTS, at("2026-11-02T02:00")).status.phase == "Scheduled"
    w = passed(passed(w, at("2026-11-02T03:00")), at("2026-11-02T05:00"))
    assert w.status is not None
    assert (w.status.phase, decide(w, COMPONENTS, at("2027-01-01T00:00")).look_again) == ("Completed", None)


@pytest.mark.parametrize(
    ("spec", "components", "reason", "said"),
    [
        ({"timeZone": "Europe/Atlantis"}, COMPONENTS, "InvalidSchedule", "Europe/Berlin"),
        ({}, None, "StackNotFound", "create it"),
        ({"components": ["postgre"]}, COMPONENTS, "ComponentNotFound", "it has api, postgres"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write_instead(spec: Any, components: Any, reason: str, said: str) -> None:
    plan = decide(window(**spec), components, at("2026-11-02T03:00"))
    conditions = {c.type: c for c in plan.status.conditions}
    assert (conditions["Ready"].status, conditions["Stalled"].status) == ("False", "True")
    assert conditions["Stalled"].reason == reason
    assert said in conditions["Stalled"].message


def test_of_overlapping_windows_the_block_wins() -> None:
    block = {"healing": "Block"}
    windows = [
        window("allows"),
        window("db", effects=block, components=["postgres"]),
        window("all", effects=block, schedule={"cron": "0 4 * * *"}),
        window("other", effects=block, stackRef={"name": "another"}),
    ]
    assert blocking(windows, "docuquery", "RedisConnection", at("2026-11-02T03:30")) == {"postgres": "db"}
    assert blocking(windows, "docuquery", "RedisConnection", at("2026-11-02T04:30")) == {
        "postgres": "db",
        WHOLE_STACK: "all",
    }
    assert blocking(windows, "docuquery", "RedisConnection", at("2026-11-02T05:30")) == {WHOLE_STACK: "all"}
    assert blocking(windows, "docuquery", "RedisConnection", at("2026-11-02T06:00")) == {}
