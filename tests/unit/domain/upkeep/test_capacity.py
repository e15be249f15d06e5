"""When a resource runs out: as a range, with no false comfort where too little is known."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.domain.upkeep import capacity
from docuquery_operator.domain.upkeep.capacity import forecast
from docuquery_operator.domain.upkeep.measures import Measure

TODAY = date(2026, 11, 29)
GI = 2.0**30


def measure(value: float | None, limit: float | None = 100 * GI, unit: str = "bytes") -> Measure:
    return Measure(
        "postgres/bytes", "postgres", "database", unit, value, limit, "the claim", "" if value is not None else "refused"
    )


def grown(count: int, a_day: float, last: float, noise: float = 0.0) -> list[tuple[date, float]]:
    chance = random.Random(7)
    return [(TODAY - timedelta(days=n), last - a_day * n + chance.gauss(0, noise)) for n in reversed(range(count))]


def test_the_day_is_told_as_a_range_and_a_step_in_days():
    history = grown(60, GI, 50 * GI, 0.5 * GI)
    found = forecast(measure(50 * GI), history, 0.8)
    assert found.state == "RunsOut"
    assert found.full == 80 * GI
    assert found.earliest < 30 < found.latest
    assert found.earliest < found.likely - 0.3
    assert found.likely + 0.3 < found.latest
    assert found.likely == pytest.approx(30, abs=3)
    assert found.latest - found.earliest < 12
    assert found.bought[0] <= 40 <= found.bought[1]
    (told,) = capacity.findings([found], TODAY, 90)
    assert told.rank == "Warning"
    assert "runs out (passes 80 GiB) between 2026-12-2" in told.text
    assert "50% more (150 GiB) would buy" in told.text


def test_more_noise_is_a_wider_range():
    calm, wild = (forecast(measure(50 * GI), grown(60, GI, 50 * GI, n * GI), 0.8) for n in (0.2, 4))
    assert wild.latest is None or wild.latest - wild.earliest > 3 * (calm.latest - calm.earliest)


def test_what_is_too_little_is_said():
    found = forecast(measure(50 * GI), grown(9, GI, 50 * GI), 0.8)
    assert (found.state, found.earliest, found.likely, found.latest) == ("TooFewSamples", None, None, None)
    (told,) = capacity.findings([found], TODAY, 90)
    assert told.text == (
        "not enough data for a trend: 10 daily samples over 9 days are needed; there are for postgres: database (9)"
    )
    assert capacity.table([found], TODAY, 90).rows[0][1] == "not enough data"
    assert capacity.table([found], TODAY, 90).rows[0][6:9] == (None, None, None)


def test_what_does_not_grow_does_not_run_out():
    found = forecast(measure(50 * GI), grown(60, -GI / 10, 50 * GI, GI / 50), 0.8)
    assert found.state == "Steady"
    assert capacity.findings([found], TODAY, 90) == []
    assert capacity.table([found], TODAY, 90).rows[0][6:9] == ("never, as it looks",) * 3


def test_what_may_stand_still_may_run_out_or_never():
    found = forecast(measure(50 * GI), grown(40, GI / 50, 50 * GI, 3 * GI), 0.8)
    assert found.state == "MayRunOut"
    assert found.latest is None
    assert "never, as it looks" in capacity.table([found], TODAY, 9999).rows[0]


def test_what_is_full_is_full_also_without_a_trend():
    found = forecast(measure(81 * GI), grown(3, GI, 81 * GI), 0.8)
    (told,) = capacity.findings([found], TODAY, 90)
    assert (found.state, told.rank) == ("Full", "Critical")
    assert capacity.table([found], TODAY, 90).rows[0][6:9] == ("now", "now", "now")
    assert "next: 50% more (150 GiB)" in told.text


def test_no_limit_and_no_value_are_no_zero():
    assert forecast(measure(1.0, None), grown(60, GI, 50 * GI), 0.8).state == "NoLimit"
    gone = forecast(measure(None), grown(60, GI, 50 * GI), 0.8)
    assert gone.state == "NotKnown"
    assert "not known: postgres: database: refused" in capacity.findings([gone], TODAY, 90)[0].text
    assert capacity.table([gone], TODAY, 90).rows[0][2] is None


def test_one_pod_more_shares_the_load():
    history = grown(40, 0.01, 0.5)
    found = forecast(measure(0.5, 1.0, "cores"), history, 0.8, pods=4)
    assert found.step.words == "one pod more (4 to 5)"
    # Load of 4 pods grows by 0.04 cores a day; the fifth takes 0.8 of a core.
    assert found.bought[0] == pytest.approx(20, rel=0.01)


def test_beyond_the_horizon_no_day_is_named():
    found = forecast(measure(10 * GI), grown(60, GI / 100, 10 * GI), 0.8)
    assert capacity.table([found], TODAY, 30).rows[0][6:9] == ("after 2026-12-29",) * 3
    assert capacity.findings([found], TODAY, 30) == []


def test_curves_have_a_gap_where_a_day_has_no_sample():
    history = [p for p in grown(40, GI, 50 * GI) if p[0] != TODAY - timedelta(days=5)]
    found = forecast(measure(50 * GI), history, 0.8)
    curves = {s.name.rpartition(": ")[2]: s for s in capacity.series(found, history, 90)}
    assert set(curves) == {"measured", "trend", "at most", "at least", "counts as full"}
    measured = dict(curves["measured"].points)
    assert [at.date() for at, v in measured.items() if v is None] == [TODAY - timedelta(days=5)]
    assert curves["trend"].points[-1][0].date() == TODAY + timedelta(days=90)
    assert curves["trend"].points[-1][1] == pytest.approx(140 * GI)


@given(
    st.lists(st.floats(0, 1e15), min_size=1, max_size=40),
    st.floats(1, 1e15) | st.none(),
    st.floats(0.01, 1),
    st.integers(0, 9),
    st.sampled_from(["bytes", "cores"]),
)
def test_any_history_gives_an_ordered_range_and_texts_that_fit(values, limit, warn_at, pods, unit):
    history = [(TODAY - timedelta(days=len(values) - 1 - n), v) for n, v in enumerate(values)]
    found = forecast(measure(values[-1], limit, unit), history, warn_at, pods)
    known = [d for d in (found.earliest, found.likely, found.latest) if d is not None]
    assert known == sorted(known)
    assert all(d >= 0 for d in known)
    assert len(capacity.table([found], TODAY, 90).rows[0]) == 12
    capacity.findings([found], TODAY, 90)
    assert len(list(capacity.series(found, history, 90))) <= 5
