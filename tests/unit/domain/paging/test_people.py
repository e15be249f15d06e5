"""Who is told: weekly turns, stand-ins, and hours in which nobody is woken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import Severity
from docuquery_operator.api.communication import Communication, QuietHours
from docuquery_operator.domain.paging import people

BERLIN = "Europe/Berlin"


def talk(**fields: Any) -> Communication:
    return Communication.model_validate({"contacts": {"onCall": ["ana", "ben", "cem"]}, **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_without_a_rotation_everybody_of_the_group_is_told() -> None:
    assert people.contacts(talk(), "onCall", at("2026-11-25T12:00Z")) == ("ana", "ben", "cem")
    assert people.contacts(talk(), "cto", at("2026-11-25T12:00Z")) == ()


@pytest.mark.parametrize(
    ("when", "who"),
    [
        ("2026-10-19T09:00+02:00", "ana"),
        ("2026-10-26T08:59:59+01:00", "ana"),
        ("2026-10-26T09:00+01:00", "ben"),
        ("2026-11-02T09:00+01:00", "cem"),
        ("2026-11-09T09:00+01:00", "ana"),
        ("2026-10-12T08:59+02:00", "ben"),
        ("2026-10-18T08:59+02:00", "cem"),
    ],
)
def test_the_handover_stays_at_its_hour_when_the_clocks_change(when: str, who: str) -> None:
    rotation = [{"group": "onCall", "start": "2026-10-19T09:00:00+02:00", "timeZone": BERLIN}]
    assert people.contacts(talk(rotations=rotation), "onCall", at(when)) == (who,)


def test_a_stand_in_is_told_instead_and_only_meanwhile() -> None:
    found = talk(
        overrides=[
            {"group": "onCall", "contact": "dan", "from": "2026-11-25T00:00:00Z", "until": "2026-11-26T00:00:00Z"},
            {"group": "onCall", "contact": "eve", "from": "2026-11-25T06:00:00Z", "until": "2026-11-25T07:00:00Z"},
        ]
    )
    assert people.contacts(found, "onCall", at("2026-11-25T00:00Z")) == ("dan",)
    assert people.contacts(found, "onCall", at("2026-11-25T06:30Z")) == ("eve",)
    assert len(people.contacts(found, "onCall", at("2026-11-26T00:00Z"))) == 3


def test_a_zone_that_nobody_knows_keeps_nobody_from_being_told() -> None:
    rotation = [{"group": "onCall", "start": "2026-10-19T09:00:00Z", "timeZone": "Mars/Olympus"}]
    assert people.contacts(talk(rotations=rotation), "onCall", at("2026-10-20T09:00Z")) == ("ana",)


def quiet(start: str = "22:00", end: str = "07:00", zone: str = BERLIN) -> QuietHours:
    return QuietHours.model_validate({"from": start, "until": end, "timeZone": zone})


@pytest.mark.parametrize(
    ("start", "wait", "due"),
    [
        ("2026-11-25T12:00+01:00", 30, "2026-11-25T12:30+01:00"),
        ("2026-11-25T21:45+01:00", 30, "2026-11-26T07:15+01:00"),
        ("2026-11-25T23:00+01:00", 0, "2026-11-26T07:00+01:00"),
        ("2026-11-26T06:59+01:00", 30, "2026-11-26T07:30+01:00"),
        ("2026-11-25T21:30+01:00", 30, "2026-11-26T07:00+01:00"),
        # The night in which the clocks go forward, and the one in which they go back.
        ("2027-03-27T23:00+01:00", 30, "2027-03-28T07:30+02:00"),
        ("2026-10-24T23:00+02:00", 30, "2026-10-25T07:30+01:00"),
        # Longer than one day, and every night is left out: 10 h until 22:00, then 14 of the next day's 15 h.
        ("2026-11-25T12:00+01:00", 24 * 60, "2026-11-26T21:00+01:00"),
    ],
)
def test_the_clock_of_minor_incidents_stands_still_in_quiet_hours(start: str, wait: int, due: str) -> None:
    found = people.awake_after(quiet(), Severity.P2, at(start), timedelta(minutes=wait))
    assert found == at(due)


@pytest.mark.parametrize("severity", [Severity.P0, Severity.P1])
def test_a_critical_incident_knows_no_quiet_hours(severity: Severity) -> None:
    start = at("2026-11-25T23:00+01:00")
    assert people.awake_after(quiet(), severity, start, timedelta(0)) == start


def test_quiet_hours_at_noon_end_on_the_same_day() -> None:
    found = people.awake_after(
        quiet("12:00", "13:00", "Etc/UTC"), Severity.P3, at("2026-11-25T12:30Z"), timedelta(minutes=5)
    )
    assert found == at("2026-11-25T13:05Z")
