"""Limits a contact (rail 33), and what may be put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.paging.sending import LIMITS, Pace

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("channel", list(LIMITS))
@settings(max_examples=60, deadline=None)
@given(waits=st.lists(st.floats(0, 400), max_size=80))
def test_never_more_than_the_limit_and_never_held_for_ever(channel: str, waits: list[float]) -> None:
    limit = LIMITS[channel]
    pace, now, sent = Pace(limit), NOW, []
    for wait in waits:
        now += timedelta(seconds=wait)
        free = pace.free_at(now)
        assert free - now <= limit.per
        if free <= now:
            pace.went(now)
            sent.append(now)
    for i, at in enumerate(sent):
        assert len([t for t in sent[: i + 1] if at - t < limit.per]) <= limit.count
        assert i == 0 or at - sent[i - 1] >= limit.spacing


def test_the_limits_of_the_rail() -> None:
    """Rail 33: voice 3 in 15 minutes, chat one a second."""
    assert (LIMITS["phone"].count, LIMITS["phone"].per) == (3, timedelta(minutes=15))
    assert LIMITS["slack"].spacing == timedelta(seconds=1)


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    pace = Pace(LIMITS["phone"])
    for _ in range(3):
        pace.went(NOW)
    assert pace.free_at(NOW) == NOW + timedelta(minutes=15)
    assert pace.free_at(NOW - timedelta(hours=5)) == NOW - timedelta(hours=5)
