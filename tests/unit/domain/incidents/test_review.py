"""Working days, what counts as a review, and when who is reminded: once each, frozen, and not at the weekend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from docuquery_operator.api.incident import Incident
from docuquery_operator.api.stack import Stack
from docuquery_operator.domain.incidents import review
from docuquery_operator.domain.incidents.draft import Draft
from docuquery_operator.domain.world import World

BERLIN = ZoneInfo("Europe/Berlin")
# A Thursday.
ENDED = datetime(2026, 11, 26, 14, 0, tzinfo=UTC)
STACK = {
    "metadata": {"name": "docuquery", "namespace": "a"},
    "spec": {
        "components": {},
        "communication": {
            "contacts": {"onCall": ["ana@example.org"]},
            "rotations": [{"group": "onCall", "start": "2026-01-05T09:00:00Z", "timeZone": "Europe/Berlin"}],
        },
    },
}


def incident(spec_review: Any = None, severity: str = "P0", **status: Any) -> Incident:
    return Incident.model_validate(
        {
            "metadata": {"name": "i", "namespace": "a", "uid": "u"},
            "spec": {"stackRef": {"name": "docuquery"}, "type": "T", "review": spec_review},
            "status": {
                "phase": "Resolved",
                "severity": severity,
                "times": {"openedAt": "2026-11-26T13:00:00Z", "resolvedAt": "2026-11-26T14:00:00Z"},
                **status,
            },
        }
    )


def pass_at(found: Incident, now: datetime, follow_ups: Any = None) -> tuple[Incident, list[str], list[datetime]]:
    """One decision: the incident as written, reminders told, and looks asked for."""
    assert found.status is not None
    d = Draft(found, now, found.status)
    w = World(stack=Stack.model_validate(STACK), follow_ups=follow_ups or {})
    review.earlier(d, w)
    review.keep(d, w)
    wire = found.to_wire() | {"status": d.status.to_wire()}
    return Incident.model_validate(wire), d.reminders, d.looks


@pytest.mark.parametrize(
    ("start", "days", "zone", "expected"),
    [
        ("2026-11-26T14:00:00Z", 3, BERLIN, "2026-12-01T08:00:00Z"),  # Thursday: Friday, Monday, Tuesday
        ("2026-11-28T10:00:00Z", 3, BERLIN, "2026-12-02T08:00:00Z"),  # Saturday: Monday is the first
        ("2026-11-26T23:30:00Z", 3, BERLIN, "2026-12-02T08:00:00Z"),  # it is Friday in Berlin already
        ("2026-11-26T23:30:00Z", 3, UTC, "2026-12-01T09:00:00Z"),
        ("2026-03-26T10:00:00Z", 5, BERLIN, "2026-04-02T07:00:00Z"),  # the clocks change between
    ],
)
def test_working_days(start: str, days: int, zone: Any, expected: str) -> None:
    assert review.working_days_after(datetime.fromisoformat(start), days, zone) == datetime.fromisoformat(expected)


def test_reminders_are_frozen_and_told_once_each() -> None:
    found, told, looks = pass_at(incident(), ENDED)
    assert found.status is not None
    assert found.status.review is not None
    due = [r.due_at for r in found.status.review.reminders]
    assert due == [datetime(2026, 12, 1, 8, tzinfo=UTC), datetime(2026, 12, 3, 8, tzinfo=UTC)]
    assert (told, looks) == ([], due)
    assert [(c.type, c.status, c.reason) for c in found.status.conditions] == [("Reviewed", "False", "Needed")]
    found, told, looks = pass_at(found, due[0] - timedelta(seconds=1))
    assert told == []
    found, told, looks = pass_at(found, due[0])
    assert (told, looks) == (["review-3"], due[1:])
    assert pass_at(found, due[0] + timedelta(hours=1))[1] == []
    found, told, looks = pass_at(found, due[1])
    assert (told, looks) == (["review-5"], [])
    assert pass_at(found, due[1] + timedelta(days=30))[1:] == ([], [])


def test_after_a_long_absence_only_the_later_one_is_told() -> None:
    found, _, _ = pass_at(incident(), ENDED)
    found, told, looks = pass_at(found, ENDED + timedelta(days=20))
    assert (told, looks) == (["review-5"], [])
    assert pass_at(found, ENDED + timedelta(days=21))[1] == []


def test_what_was_over_long_before_is_not_asked_for() -> None:
    _, told, looks = pass_at(incident(), ENDED + timedelta(days=20))
    assert (told, looks) == ([], [])


def test_a_written_review_ends_the_reminders() -> None:
    found, _, _ = pass_at(incident(), ENDED)
    written = found.model_copy(update={"spec": incident({"rootCause": "the disk"}).spec})
    found, told, looks = pass_at(written, ENDED + timedelta(days=1))
    assert (told, looks) == ([], [])
    assert found.status is not None
    assert found.status.holds("Reviewed")
    assert pass_at(found, ENDED + timedelta(days=20))[1:] == ([], [])


@pytest.mark.parametrize("said", [None, {}, {"rootCause": " "}, {"lessons": ["x"]}])
def test_without_a_root_cause_it_is_not_written(said: Any) -> None:
    found, _, _ = pass_at(incident(said), ENDED)
    assert found.status is not None
    assert not found.status.holds("Reviewed")


def test_lesser_incidents_are_not_asked_for_a_review() -> None:
    found, told, looks = pass_at(incident(severity="P2"), ENDED)
    assert (found.status and found.status.conditions, told, looks) == ([], [], [])


def test_follow_ups_of_one_day_are_one_reminder_and_never_at_the_weekend() -> None:
    actions = [
        {"title": "a", "owner": "ana", "due": "2026-12-05"},
        {"title": "b", "owner": "ben", "due": "2026-12-05"},
        {"title": "c", "owner": "cem", "due": "2026-12-05", "done": True},
        {"title": "d", "owner": "dan", "due": "2026-02-31"},
        {"title": "e", "owner": "eve"},
    ]
    found, told, looks = pass_at(incident({"rootCause": "x", "actions": actions}, "P2"), ENDED)
    monday = datetime(2026, 12, 7, 8, tzinfo=UTC)
    assert (told, looks) == ([], [monday])
    found, told, _ = pass_at(found, monday)
    assert told == ["due-2026-12-05"]
    assert review.lines_of(found, monday) == ["a (owner ana, due 2026-12-05)", "b (owner ben, due 2026-12-05)"]
    assert pass_at(found, monday + timedelta(days=1))[1] == []


def test_a_follow_up_that_is_done_is_not_reminded_of() -> None:
    action = {"title": "a", "owner": "ana", "due": "2026-12-07"}
    found, _, _ = pass_at(incident({"rootCause": "x", "actions": [action]}), ENDED)
    spec = incident({"rootCause": "x", "actions": [action | {"done": True}]}).spec
    assert pass_at(found.model_copy(update={"spec": spec}), ENDED + timedelta(days=30))[1:] == ([], [])


def test_the_review_of_an_earlier_round_is_none_of_this_one() -> None:
    old = {"rootCause": "the disk"}
    mark = review.digest(incident(old).spec.review)
    found, _, looks = pass_at(incident(old, review={"earlier": mark}), ENDED)
    assert found.status is not None
    assert not found.status.holds("Reviewed")
    assert len(looks) == 2
    new = found.model_copy(update={"spec": incident({"rootCause": "the disk, and no alarm on it"}).spec})
    found, _, _ = pass_at(new, ENDED)
    assert found.status is not None
    assert found.status.holds("Reviewed")


def test_open_follow_ups_are_shown_while_it_lasts_and_say_so_once() -> None:
    cause = {"name": "DiskFull", "since": "2026-11-26T13:01:00Z"}
    lasting = incident(phase="Identified", cause=cause)
    follow_ups = {"DiskFull": tuple(f"old: {n} (owner ana)" for n in range(9)), "Other": ("no",)}
    found, _, _ = pass_at(lasting, ENDED, follow_ups)
    found, _, _ = pass_at(found, ENDED, follow_ups)
    assert found.status is not None
    assert found.status.open_follow_ups == [f"old: {n} (owner ana)" for n in range(5)]
    assert [e.event for e in found.status.timeline] == ["OpenFollowUps"]
    found, _, _ = pass_at(found, ENDED, {})
    assert found.status is not None
    assert found.status.open_follow_ups == []


def test_a_pass_twice_is_a_pass_once() -> None:
    for now in (ENDED, ENDED + timedelta(days=5), ENDED + timedelta(days=20)):
        once, _, _ = pass_at(incident(), now)
        assert pass_at(once, now)[0] == once
