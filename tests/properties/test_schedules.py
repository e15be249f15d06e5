"""Schedules at any instant of any zone: in order, on the wall's time, nothing between two neighbours."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.schedules import Schedule, following, instant, latest, upcoming

ZONES = st.sampled_from(
    [
        "Etc/UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Africa/Casablanca",
        "Asia/Kathmandu",
    ]
)
CRONS = st.sampled_from(
    ["0 2 * * *", "30 2 * * *", "*/20 * * * *", "15 1,3 * * *", "0 0 1 * *", "59 23 * * sun", "30 1 25 10 *"]
)
RULES = st.sampled_from(
    ["FREQ=DAILY", "FREQ=DAILY;INTERVAL=3", "FREQ=HOURLY;INTERVAL=5", "FREQ=WEEKLY;BYDAY=SU", "FREQ=MONTHLY;BYDAY=-1SU"]
)
# Around the days on which clocks are set, and any other.
DAYS = st.one_of(
    st.sampled_from(
        [datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 3, 8), datetime(2026, 11, 1), datetime(2026, 4, 5)]
    ),
    st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1)),
)
MINUTES = st.integers(-36 * 60, 36 * 60)
SCHEDULES = st.one_of(
    st.builds(lambda zone, cron: Schedule(zone, cron=cron), ZONES, CRONS),
    st.builds(lambda zone, rule: Schedule(zone, rrule=rule, start=datetime(2023, 10, 1, 1, 30, tzinfo=UTC)), ZONES, RULES),
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(schedule=SCHEDULES, day=DAYS, minutes=MINUTES)
def test_instants_are_in_order_and_agree_from_both_sides(schedule: Schedule, day: datetime, minutes: int) -> None:
    now = day.replace(tzinfo=UTC, microsecond=0) + timedelta(minutes=minutes)
    found = upcoming(schedule, now, 4)
    assert all(a < b for a, b in zip((now, *found), found, strict=False))
    for before, after in itertools.pairwise(found):
        assert following(schedule, before) == after
        assert following(schedule, after - timedelta(seconds=1)) == after
        assert latest(schedule, after) == after
        assert latest(schedule, after - timedelta(seconds=1)) == before


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(zone=ZONES, day=DAYS, minutes=MINUTES)
def test_the_instant_of_a_time_on_the_wall(zone: str, day: datetime, minutes: int) -> None:
    where = ZoneInfo(zone)
    wall = day.replace(second=0, microsecond=0) + timedelta(minutes=minutes)
    at = instant(wall, where)
    shown = at.astimezone(where).replace(tzinfo=None)
    assert shown >= wall
    # A moment before, the clock showed less: nothing valid lies between.
    just_before = (at - timedelta(seconds=1)).astimezone(where).replace(tzinfo=None)
    assert just_before < wall
    assert instant(wall + timedelta(minutes=1), where) >= at
