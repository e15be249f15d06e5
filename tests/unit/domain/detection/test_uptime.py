"""Uptime: what counts as down, what as unknown, and what is never written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from docuquery_operator.api.stack import ComponentState, ComponentStatus, ComponentUptime, StackStatus, UptimeDay
from docuquery_operator.domain.detection import uptime

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
UP, DOWN = ComponentState.OPERATIONAL, ComponentState.MAJOR_OUTAGE
HOUR = timedelta(hours=1)


def status(state: ComponentState, name: str = "api") -> ComponentStatus:
    return ComponentStatus(name=name, state=state, since=NOON)


def look(
    before: list[ComponentUptime],
    state: ComponentState,
    now: datetime,
    looked: datetime | None = None,
) -> list[ComponentUptime]:
    """A pass; the one before it was five seconds ago, unless said otherwise."""
    return uptime.counted(before, [status(state)], looked or now - timedelta(seconds=5), now)


def only(days: list[UptimeDay]) -> UptimeDay:
    assert len(days) == 1
    return days[0]


def test_a_new_component_has_no_past() -> None:
    record = look([], UP, NOON)[0]
    assert (record.since, record.until, record.days) == (NOON, NOON, [])
    days = uptime.shown(record, NOON + HOUR)
    assert [d.seconds for d in days[-2:]] == [0, 3600]
    assert days[-2].availability is None
    assert days[-1].availability == 1.0


def test_nothing_is_written_while_nothing_changes() -> None:
    first = look([], UP, NOON)
    for seconds in range(5, 600, 5):
        assert look(first, UP, NOON + timedelta(seconds=seconds)) == first


@pytest.mark.parametrize(
    ("state", "field"),
    [
        (DOWN, "down"),
        (ComponentState.DEGRADED, "partial"),
        (ComponentState.PARTIAL_OUTAGE, "partial"),
        (ComponentState.UNKNOWN, "unknown"),
        (ComponentState.UNDER_MAINTENANCE, "maintenance"),
    ],
)
def test_each_state_counts_as_what_it_is(state: ComponentState, field: str) -> None:
    record = look(look(look([], UP, NOON), state, NOON + HOUR), UP, NOON + 2 * HOUR)[0]
    day = only(record.days)
    counts = {name: getattr(day, name) for name in ("down", "partial", "unknown", "maintenance")}
    assert counts == {name: 3600 if name == field else 0 for name in counts}


def test_an_outage_over_midnight_belongs_to_both_days() -> None:
    late = NOON.replace(hour=23)
    record = look(look(look([], UP, NOON), DOWN, late), UP, late + 3 * HOUR)[0]
    assert [(d.day, d.down) for d in record.days] == [("2026-11-20", 3600), ("2026-11-21", 7200)]


def test_the_day_turns_while_it_is_down() -> None:
    first = look(look([], UP, NOON), DOWN, NOON.replace(hour=23))
    turned = look(first, DOWN, datetime(2026, 11, 21, 0, 0, 3, tzinfo=UTC))
    assert turned != first
    assert [d.down for d in turned[0].days] == [3600, 3]


def test_an_operator_that_was_away_proves_nothing() -> None:
    """The lie to catch: states before and after are Operational, and nobody knows what was between."""
    record = look(look([], UP, NOON), UP, NOON + 5 * HOUR, looked=NOON + 2 * HOUR)[0]
    assert (only(record.days).unknown, only(record.days).down) == (3 * 3600, 0)
    today = uptime.shown(record, NOON + 5 * HOUR)[-1]
    assert (today.seconds, today.measured, today.availability) == (5 * 3600, 2 * 3600, 1.0)


def test_without_a_word_of_the_last_look_all_since_the_mark_is_unknown() -> None:
    before = look([], DOWN, NOON)
    record = uptime.counted(before, [status(UP)], None, NOON + HOUR)[0]
    assert (only(record.days).unknown, only(record.days).down) == (3600, 0)


def test_a_restart_of_seconds_is_no_silence() -> None:
    before = look([], DOWN, NOON)
    later = NOON + HOUR
    assert look(before, DOWN, later, looked=later - uptime.BRIDGED) == before
    assert look(before, DOWN, later, looked=later - uptime.BRIDGED - timedelta(seconds=1)) != before


def test_a_clock_that_is_set_back_counts_nothing_twice() -> None:
    down = look(look([], UP, NOON), DOWN, NOON + HOUR)
    back = look(down, UP, NOON + HOUR / 2)
    assert back[0].until == down[0].until
    assert back[0].days == down[0].days
    again = look(look(back, DOWN, NOON + HOUR), UP, NOON + 2 * HOUR)[0]
    assert only(again.days).down == 3600


def test_a_window_excludes_good_and_bad_time_alike() -> None:
    record = look(look([], UP, NOON), ComponentState.UNDER_MAINTENANCE, NOON + HOUR)
    record = look(record, UP, NOON + 2 * HOUR)
    day = uptime.shown(record[0], NOON + 2 * HOUR)[-1]
    assert (day.maintenance, day.down, day.measured, day.availability) == (3600, 0, 3600, 1.0)


def test_ninety_days_are_kept() -> None:
    record = look([], UP, NOON)
    for day in range(200):
        begin = NOON + timedelta(days=day)
        record = look(look(record, DOWN, begin), UP, begin + timedelta(seconds=day + 1))
    days = record[0].days
    assert len(days) == 90
    assert [d.down for d in days] == list(range(111, 201))
    shown = uptime.shown(record[0], NOON + timedelta(days=199, seconds=300))
    assert [d.down for d in shown] == [d.down for d in days]


def test_the_status_stays_below_its_bound_and_history_that_does_not_fit_is_no_good_history() -> None:
    names = [f"component-{n:02}-{'x' * 50}" for n in range(16)]
    records: list[ComponentUptime] = []
    for day in range(100):
        at = NOON + timedelta(days=day)
        for state in (DOWN, ComponentState.DEGRADED, ComponentState.UNKNOWN, UP):
            at += timedelta(hours=2)
            records = uptime.counted(records, [status(state, n) for n in names], at, at)
    wire = StackStatus(uptime=records).to_wire()
    assert len(json.dumps(wire)) < 48_000
    shown = uptime.shown(records[0], NOON + timedelta(days=99, hours=9))
    assert [d.availability is None for d in shown[:60]] == [True] * 60
    assert all(d.down for d in shown[60:])


def test_availability_of_a_month_weighs_days_by_what_was_measured() -> None:
    days = [uptime.Day(NOON.date(), 86400, down=864), uptime.Day(NOON.date(), 86400, unknown=86400)]
    assert uptime.availability(days) == pytest.approx(0.99)
    assert uptime.availability(days[1:]) is None
