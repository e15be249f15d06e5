"""Instants of schedules: a clock on the wall, days on which it is set, rules that end or never come."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from docuquery_operator.api.schedule import RecurringSchedule, WindowSchedule
from docuquery_operator.domain.schedules import (
    Schedule,
    ScheduleError,
    following,
    instants_between,
    latest,
    schedule_of,
    upcoming,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(schedule: Schedule, after: str, count: int = 5) -> list[str]:
    return [f"{found:%Y-%m-%d %H:%M}" for found in upcoming(schedule, at(after), count)]


def cron(text: str, zone: str = "Europe/Berlin") -> Schedule:
    return schedule_of(RecurringSchedule(cron=text), zone)


def rule(text: str, start: str, zone: str = "Europe/Berlin") -> Schedule:
    return schedule_of(RecurringSchedule(rrule=text, start=at(start)), zone)


def test_a_time_of_day_keeps_its_place_on_the_wall() -> None:
    assert shown(cron("0 2 * * *"), "2026-03-27T00:00", 4) == [
        "2026-03-27 01:00",
        "2026-03-28 01:00",
        # 02:00 does not exist on this day; the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        "2026-03-29 01:00",
        "2026-03-30 00:00",
    ]


def test_a_skipped_time_starts_at_the_next_valid_instant() -> None:
    assert shown(cron("30 2 * * *"), "2026-03-28T12:00", 2) == ["2026-03-29 01:00", "2026-03-30 00:30"]


def test_many_times_in_a_skipped_hour_are_one() -> None:
    found = shown(cron("*/15 * * * *"), "2026-03-29T00:40", 4)
    assert found == ["2026-03-29 00:45", "2026-03-29 01:00", "2026-03-29 01:15", "2026-03-29 01:30"]


def test_a_doubled_hour_runs_once_the_first_time() -> None:
    assert shown(cron("30 2 * * *"), "2026-10-24T12:00", 2) == ["2026-10-25 00:30", "2026-10-26 01:30"]
    assert shown(cron("*/30 * * * *"), "2026-10-25T00:10", 3) == ["2026-10-25 00:30", "2026-10-25 02:00", "2026-10-25 02:30"]


@pytest.mark.parametrize("minute", range(0, 180, 7))
def test_nothing_is_lost_or_doubled_wherever_one_begins_in_the_doubled_hour(minute: int) -> None:
    schedule = cron("30 2 * * *")
    begin = at("2026-10-25T00:00").timestamp() + 60 * minute
    found = following(schedule, datetime.fromtimestamp(begin, UTC))
    assert found == (at("2026-10-25T00:30") if minute < 30 else at("2026-10-26T01:30"))


def test_zones_whose_clocks_are_set_by_half_an_hour_or_by_a_day() -> None:
    assert shown(cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T00:00", 1) == ["2026-10-03 15:30"]
    # Samoa had no 30 December 2011: what was due on it ran as the next day began.
    assert shown(cron("0 12 30 12 *", "Pacific/Apia"), "2011-12-29T00:00", 1) == ["2011-12-30 10:00"]


def test_the_last_instant_is_found_from_behind() -> None:
    schedule = cron("30 2 * * *")
    assert latest(schedule, at("2026-03-29T01:00")) == at("2026-03-29T01:00")
    assert latest(schedule, at("2026-03-29T00:59")) == at("2026-03-28T01:30")
    assert latest(schedule, at("2026-10-25T01:45")) == at("2026-10-25T00:30")


def test_rules_of_rfc_5545() -> None:
    third_tuesday = rule("FREQ=MONTHLY;BYDAY=3TU", "2026-01-01T02:00")
    assert shown(third_tuesday, "2026-03-01T00:00", 2) == ["2026-03-17 02:00", "2026-04-21 01:00"]
    assert latest(third_tuesday, at("2026-04-01T00:00")) == at("2026-03-17T02:00")
    every_other_day = rule("FREQ=DAILY;INTERVAL=2", "2020-01-01T01:00")
    assert shown(every_other_day, "2026-06-01T12:00", 2) == ["2026-06-02 00:00", "2026-06-04 00:00"]
    weeks = rule("FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,TH", "2020-01-06T01:00", "Etc/UTC")
    # 2026-06-01 comes 334 weeks after the start; the rhythm is three.
    assert shown(weeks, "2026-06-01T12:00", 3) == ["2026-06-15 01:00", "2026-06-18 01:00", "2026-07-06 01:00"]


def test_a_rule_ends_by_count_or_until() -> None:
    counted = rule("FREQ=DAILY;COUNT=2", "2026-01-01T01:00", "Etc/UTC")
    assert shown(counted, "2025-01-01T00:00") == ["2026-01-01 01:00", "2026-01-02 01:00"]
    assert shown(counted, "2026-02-01T00:00") == []
    assert latest(counted, at("2027-01-01T00:00")) == at("2026-01-02T01:00")
    ended = rule("FREQ=DAILY;UNTIL=20260102T010000Z", "2026-01-01T01:00", "America/New_York")
    assert shown(ended, "2025-01-01T00:00") == ["2026-01-01 01:00", "2026-01-02 01:00"]


def test_one_instant() -> None:
    once = schedule_of(WindowSchedule(at=at("2026-05-01T00:00")), "Etc/UTC")
    assert shown(once, "2026-04-01T00:00") == ["2026-05-01 00:00"]
    assert shown(once, "2026-05-01T00:00") == []
    assert latest(once, at("2026-04-01T00:00")) is None


def test_instants_between_are_bounded() -> None:
    schedule = cron("0 * * * *", "Etc/UTC")
    assert len(instants_between(schedule, at("2026-01-01T00:00"), at("2026-01-01T05:00"), 100)) == 5
    assert len(instants_between(schedule, at("2026-01-01T00:00"), at("2026-02-01T05:00"), 10)) == 10


@pytest.mark.parametrize("text", ["99 * * * *", "0 3 * * 5L", "0 25 * * *"])
def test_a_wrong_cron_says_what_to_write(text: str) -> None:
    with pytest.raises(ScheduleError, match=r"write five fields such as '0 2 \* \* \*'"):
        cron(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FREQ=MONTHLY;BYDAY=XX", "write a rule such as"),
        ("FREQ=DAILY;INTERVAL=many", "write a rule such as"),
        ("FREQ=HOURLY;BYMONTH=2", "use FREQ=DAILY with BYHOUR"),
        ("FREQ=DAILY;NONSENSE=1", "write a rule such as"),
    ],
)
def test_a_wrong_rule_says_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        rule(text, "2026-01-01T00:00")


def test_an_unknown_zone_says_what_to_write() -> None:
    with pytest.raises(ScheduleError, match="write an IANA name such as Europe/Berlin"):
        cron("0 2 * * *", "Mars/Olympus_Mons")


@pytest.mark.parametrize("text", ["FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=YEARLY;BYMONTH=4,6;BYMONTHDAY=-31"])
def test_a_rule_that_never_comes_says_so(text: str) -> None:
    with pytest.raises(ScheduleError, match="names a day that none of its months has"):
        rule(text, "2020-01-01T00:00")


def test_a_rule_that_comes_seldom_is_found() -> None:
    leap = rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2020-01-01T00:00", "Etc/UTC")
    assert shown(leap, "2026-01-01T00:00", 1) == ["2028-02-29 00:00"]


def test_a_cron_that_never_comes_has_no_instants() -> None:
    assert shown(cron("0 0 30 2 *"), "2026-01-01T00:00") == []
    assert latest(cron("0 0 30 2 *"), at("2026-01-01T00:00")) is None
