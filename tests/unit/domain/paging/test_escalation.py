"""The clock of the escalation: due times, what stops a step, acknowledgements that expire, deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import Severity, delta
from docuquery_operator.api.communication import Communication
from docuquery_operator.api.incident import Acknowledged, EscalationEntry
from docuquery_operator.domain.paging import escalation

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def dues(path: list[EscalationEntry]) -> list[tuple[str, float, str]]:
    return [(e.to, (e.due_at - START).total_seconds() / 60, e.unless) for e in path]


def test_the_path_of_the_source_runbook() -> None:
    """Source: "Escalation Path". Whoever has taken it stops the team lead, not the manager."""
    full = [
        ("onCall", 0, "Acknowledged"),
        ("teamLead", 30, "Acknowledged"),
        ("engineeringManager", 120, "Resolved"),
        ("cto", 240, "Resolved"),
    ]
    for severity in (Severity.P0, Severity.P1):
        assert dues(escalation.path(severity, Communication(), START)) == full
    for severity in (Severity.P2, Severity.P3):
        assert dues(escalation.path(severity, Communication(), START)) == full[:2]


def test_the_stack_may_say_otherwise() -> None:
    steps = [{"to": "cto", "after": "10m", "unless": "Acknowledged"}, {"to": "onCall", "after": "1m", "unless": "Resolved"}]
    found = escalation.path(Severity.P0, Communication.model_validate({"escalation": steps}), START)
    assert dues(found) == [("onCall", 1, "Resolved"), ("cto", 10, "Acknowledged")]


def tell(path: list[EscalationEntry], minutes: float, acknowledged: bool = False) -> tuple[list[EscalationEntry], str]:
    found, told = escalation.next_step(path, acknowledged, after(minutes))
    return found, told.to if told else ""


def test_each_step_is_told_once_and_at_its_time() -> None:
    path = escalation.path(Severity.P0, Communication(), START)
    told = []
    for minute in range(0, 300, 5):
        path, who = tell(path, minute)
        told += [(minute, who)] if who else []
    assert told == [(0, "onCall"), (30, "teamLead"), (120, "engineeringManager"), (240, "cto")]


def test_after_hours_of_downtime_only_the_highest_step_is_told() -> None:
    path, who = tell(escalation.path(Severity.P0, Communication(), START), 150)
    assert who == "engineeringManager"
    assert [e.superseded for e in path] == [True, True, False, False]
    assert tell(path, 200)[1] == ""
    assert tell(path, 240)[1] == "cto"


def test_an_acknowledgement_holds_back_the_team_lead_until_it_expires() -> None:
    path, _ = tell(escalation.path(Severity.P0, Communication(), START), 0)
    assert tell(path, 40, acknowledged=True) == (path, "")
    assert escalation.next_due(path, True, after(40)) == after(120)
    assert tell(path, 41, acknowledged=False)[1] == "teamLead"


def test_the_manager_is_told_although_somebody_has_it() -> None:
    path, _ = tell(escalation.path(Severity.P0, Communication(), START), 0)
    path, who = tell(path, 121, acknowledged=True)
    assert who == "engineeringManager"
    # Whoever stands below needs no call any more.
    assert tell(path, 122, acknowledged=False)[1] == ""


def test_a_raised_severity_tells_the_first_again_and_puts_nothing_off() -> None:
    talk = Communication()
    path, _ = tell(escalation.path(Severity.P2, talk, START), 0)
    path = escalation.raised(path, Severity.P0, talk, after(20))
    assert dues(path) == [
        ("onCall", 20, "Acknowledged"),
        ("teamLead", 30, "Acknowledged"),
        ("engineeringManager", 140, "Resolved"),
        ("cto", 260, "Resolved"),
    ]
    assert path[0].ordered_at is None
    late, _ = tell(escalation.path(Severity.P2, talk, START), 31)
    assert [e.ordered_at for e in escalation.raised(late, Severity.P1, talk, after(40))][:2] == [None, after(31)]


@pytest.mark.parametrize(("severity", "holds"), [("P0", "30m"), ("P1", "1h"), ("P2", "8h"), ("P3", "72h")])
def test_an_acknowledgement_holds_for_as_long_as_its_severity_says(severity: str, holds: str) -> None:
    ack = escalation.taken(None, Acknowledged(by="ana"), Severity(severity), Communication(), START, after(3))
    assert (ack.by, ack.at, ack.until) == ("ana", after(3), after(3) + delta(holds))


def taken(before: Any, now: float, **said: Any) -> Any:
    return escalation.taken(before, Acknowledged.model_validate(said), Severity.P0, Communication(), START, after(now))


def test_an_acknowledgement_that_is_known_is_not_begun_anew() -> None:
    first = taken(None, 3, by="ana")
    assert taken(first, 20, by="ana") is first
    expired = first.model_copy(update={"expired": True})
    assert taken(expired, 60, by="ana") is expired
    again = taken(expired, 60, by="ana", at=after(59))
    assert (again.at, again.expired) == (after(59), False)
    assert taken(again, 61, by="ana", at=after(59)) is again
    assert taken(again, 61, by="ben").by == "ben"


def test_a_time_in_the_future_or_before_the_incident_is_not_believed_and_does_not_begin_anew_each_pass() -> None:
    ahead = taken(None, 3, by="ana", at=after(9999))
    assert ahead.at == after(3)
    assert taken(ahead, 20, by="ana", at=after(9999)) is ahead
    assert taken(None, 3, by="ana", at=after(-600)).at == START


def test_deadlines_warn_at_half_and_at_four_fifths_and_are_breached_once() -> None:
    due = escalation.deadlines(Severity.P0, Communication(), START)
    seen = []
    for second in range(0, 1200, 10):
        due, news = escalation.response(due, START, None, START + timedelta(seconds=second))
        seen += [(second, item) for item in news]
    assert seen == [(450, "50"), (720, "80"), (910, "Breached")]


def test_quiet_hours_move_the_deadline_of_a_minor_incident_too() -> None:
    talk = Communication.model_validate({"quietHours": {"from": "12:00", "until": "20:00"}})
    assert escalation.deadlines(Severity.P2, talk, START).respond_by == datetime(2026, 11, 26, 0, 0, tzinfo=UTC)
    assert escalation.deadlines(Severity.P0, talk, START).respond_by == after(15)
    assert dues(escalation.path(Severity.P2, talk, START)) == [
        ("onCall", 480, "Acknowledged"),
        ("teamLead", 510, "Acknowledged"),
    ]
