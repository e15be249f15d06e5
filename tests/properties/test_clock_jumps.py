"""Clocks that jump by seconds, hours and days (B15) while windows open and close: none runs twice, none that is to come is lost."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.domain.maintenance.openings import decide, open_span
from docuquery_operator.domain.schedules import instants_between, schedule_of
from tests.properties.test_maintenance import BEGIN, window

JUMPS = st.sampled_from([-86400, -3600, -2, 0, 0, 0, 2, 3600, 86400])
PACE = timedelta(minutes=17)


def passed(w: MaintenanceWindow, now: datetime, opened: Counter[datetime]) -> MaintenanceWindow:
    """One pass; what it opened is counted."""
    plan = decide(w, frozenset(), now)
    if any(n.reason == "WindowOpened" for n in plan.news):
        assert plan.status.active is not None
        opened[plan.status.active.since] += 1
    return w.model_copy(update={"status": plan.status})


@settings(deadline=None, max_examples=12, derandomize=True, database=None)
@given(
    st.lists(st.tuples(JUMPS, st.integers(1, 15)), min_size=1, max_size=8),
    st.sampled_from(["0 3 * * *", "0 */6 * * *"]),
    st.sampled_from(["30m", "2h"]),
)
def test_none_runs_twice_and_none_that_is_to_come_is_lost(jumps: list[tuple[int, int]], cron: str, length: str) -> None:
    """A jump, then some passes, again and again; then the clock is right for two days."""
    w, true, opened = window(cron, "Etc/UTC", length, None), BEGIN, Counter[datetime]()
    for jump, passes in jumps:
        for _ in range(passes):
            true += PACE
            w = passed(w, true + timedelta(seconds=jump), opened)
    right = true
    while true < right + timedelta(days=2):
        true += PACE
        w = passed(w, true, opened)
    assert max(opened.values(), default=0) <= 1, f"twice: {opened}"
    due = instants_between(schedule_of(w.spec.schedule, "Etc/UTC"), right + timedelta(days=1), true, 100)
    lost = [d for d in due if d not in opened]
    assert not lost, f"a jump of at most a day may not reach further: {lost}"


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1)])
def test_what_was_missed_only_by_a_clock_that_was_ahead_is_still_to_come(ahead: timedelta) -> None:
    """The known case: the clock is wrong for a minute, and right again."""
    w, opened = window("0 3 * * *", "Etc/UTC", "30m", None), Counter[datetime]()
    before = BEGIN + timedelta(hours=2, minutes=40)
    w = passed(w, before, opened)
    w = passed(w, before + ahead, opened)
    assert w.status is not None
    assert [p.outcome for p in w.status.history] == ["Missed"]
    w = passed(w, before + timedelta(minutes=1), opened)
    assert w.status is not None
    assert w.status.history == [], "it is not missed, it is to come"
    w = passed(w, BEGIN + timedelta(hours=3), opened)
    assert list(opened) == [BEGIN + timedelta(hours=3)]


def test_a_step_of_ntp_as_a_window_opens_does_not_close_it() -> None:
    w, opened = window("0 3 * * *", "Etc/UTC", "30m", None), Counter[datetime]()
    at = BEGIN + timedelta(hours=3)
    w = passed(passed(w, at - timedelta(hours=1), opened), at + timedelta(seconds=1), opened)
    for step in (-2, -30, 0):
        now = at + timedelta(seconds=step)
        assert open_span(w, now) is not None
        w = passed(w, now, opened)
    assert opened == {at: 1}


def test_one_that_ran_while_the_clock_was_ahead_does_not_run_again() -> None:
    w, opened = window("0 3 * * *", "Etc/UTC", "30m", None), Counter[datetime]()
    ahead = timedelta(hours=1)
    now = BEGIN + timedelta(hours=1, minutes=50)
    while now < BEGIN + timedelta(hours=2, minutes=45):
        w, now = passed(w, now + ahead, opened), now + timedelta(minutes=5)
    while now < BEGIN + timedelta(hours=5):
        w, now = passed(w, now, opened), now + timedelta(minutes=5)
    assert opened == {datetime(2026, 10, 20, 3, tzinfo=UTC): 1}
