"""Theil and Sen's trend against its definition, lines with outliers, and the share of intervals that hold the truth."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.upkeep import trends
from docuquery_operator.domain.upkeep.trends import LEAST_DAYS, LEAST_SAMPLES, NEWEST, Z, trend_of

VALUES = st.lists(st.integers(-(10**9), 10**9).map(float), min_size=LEAST_SAMPLES, max_size=40)


def days(values, gaps=()):
    return [(float(738_000 + n + sum(g <= n for g in gaps)), v) for n, v in enumerate(values)]


def middle(numbers):
    ordered, half = sorted(numbers), len(numbers) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def signs(points, slope):
    """Kendall's S of what is left when a slope is taken out."""
    left = [v - slope * d for d, v in points]
    return sum((left[j] > left[i]) - (left[j] < left[i]) for i in range(len(left)) for j in range(i + 1, len(left)))


@settings(max_examples=60)
@given(VALUES, st.sets(st.integers(0, 40), max_size=5))
def test_the_slope_is_the_median_of_all_pairs(values, gaps):
    points = days(values, gaps)
    found = trend_of(points)
    pairs = [(b - a) / (y - x) for n, (x, a) in enumerate(points) for y, b in points[n + 1 :]]
    assert found.slope == pytest.approx(middle(pairs))
    assert found.low <= found.slope <= found.high


@settings(max_examples=60)
@given(VALUES)
def test_the_interval_holds_the_slopes_that_kendalls_test_does_not_refuse(values):
    points = days(values)
    pairs = sorted((b - a) / (y - x) for n, (x, a) in enumerate(points) for y, b in points[n + 1 :])
    assume(len(set(pairs)) == len(pairs) and len(set(values)) == len(values))
    low, high = trends._interval(pairs, values, [])
    n = len(points)
    reach = Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    inside = [s for s in pairs if low < s < high]
    # At a slope of a pair that pair is a tie: S is off by one.
    assert all(abs(signs(points, s)) <= reach + 3 for s in inside[:: max(1, len(inside) // 5)])
    step = (high - low) * 1e-6 + 1e-9
    if low > pairs[0]:
        assert signs(points, low - step) >= reach - 3
    if high < pairs[-1]:
        assert signs(points, high + step) <= -reach + 3


@given(st.floats(-1e6, 1e6), st.floats(-1e9, 1e9), st.integers(LEAST_SAMPLES, 60))
def test_a_line_is_found_exactly(slope, start, count):
    found = trend_of([(738_000.0 + n, start + slope * n) for n in range(count)])
    size = abs(start) + abs(slope) * count + 1
    assert found.slope == pytest.approx(slope, abs=size * 1e-9)
    assert found.level == pytest.approx(start + slope * (count - 1), abs=size * 1e-7)
    assert found.at(found.last_day + 10) == pytest.approx(start + slope * (count + 9), abs=size * 1e-7)


@settings(max_examples=60)
@given(st.data())
def test_a_fifth_of_nonsense_does_not_move_it(data):
    count = data.draw(st.integers(20, 50))
    spoiled = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 5))
    values = [1000.0 + 3 * n for n in range(count)]
    for n in spoiled:
        values[n] = data.draw(st.floats(-1e9, 1e9))
    assert trend_of(days(values)).slope == pytest.approx(3, abs=1e-6)


@pytest.mark.parametrize(("alike", "least", "most"), [(0.0, 0.84, 0.97), (0.5, 0.80, 0.97)])
def test_nine_of_ten_intervals_hold_the_true_slope(alike, least, most):
    chance, hits, rounds = random.Random(20261129), 0, 250
    for _ in range(rounds):
        noise, values = 0.0, []
        for n in range(40):
            noise = alike * noise + chance.gauss(0, 50)
            values.append(10_000 + 4.0 * n + noise)
        found = trend_of(days(values))
        hits += found.low <= 4.0 <= found.high
    assert least <= hits / rounds <= most


@given(st.lists(st.floats(-1e9, 1e9), max_size=LEAST_SAMPLES - 1))
def test_too_few_samples_have_no_trend(values):
    assert trend_of(days(values)) is None


def test_many_samples_of_a_few_days_have_no_trend_and_old_ones_do_not_count():
    assert trend_of([(738_000 + n * (LEAST_DAYS - 1) / 50, float(n)) for n in range(51)]) is None
    turned = [1000.0 - n for n in range(200)] + [800.0 + 5 * n for n in range(NEWEST)]
    assert trend_of(days(turned)).slope == pytest.approx(5)
