"""A robust trend of daily figures: Theil and Sen's slope with an interval for it. Pure.

Sources: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), for slope and interval;
G. Box and G. Jenkins' (1 + r) / (1 - r) widens it where days resemble the day before, which Sen's variance does not know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

# Below so many samples, over at least so many days, no trend is told.
LEAST_SAMPLES, LEAST_DAYS = 10, 9
# Only the newest: growth of a year ago says little of next month, and all pairs of 400 days would take long.
NEWEST = 90
# Two-sided 90 %.
Z = 1.645
_MOST_ALIKE = 0.9
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Trend:
    """Units a day, its interval of 90 %, the fitted level at the last day, and how far values are off it as a rule."""

    slope: float
    low: float
    high: float
    level: float
    spread: float
    samples: int
    first_day: float
    last_day: float

    def at(self, day: float, slope: float | None = None) -> float:
        """The level on a day, by the slope or another one."""
        return self.level + (self.slope if slope is None else slope) * (day - self.last_day)


def trend_of(points: Points) -> Trend | None:
    """The trend of (day, value), oldest first, of different days; None where there are not enough."""
    used = points[-NEWEST:]
    if len(used) < LEAST_SAMPLES or used[-1][0] - used[0][0] < LEAST_DAYS:
        return None
    slopes = sorted((b - a) / (y - x) for (x, a), (y, b) in combinations(used, 2))
    slope = median(slopes)
    level = median(value - slope * (day - used[-1][0]) for day, value in used)
    off = [value - level - slope * (day - used[-1][0]) for day, value in used]
    low, high = _interval(slopes, [value for _, value in used], off)
    spread = 1.4826 * median(abs(o) for o in off)
    return Trend(slope, low, high, level, spread, len(used), used[0][0], used[-1][0])


def _interval(slopes: Sequence[float], values: Sequence[float], off: Sequence[float]) -> tuple[float, float]:
    reach = Z * math.sqrt(_variance(values) * _widening(off))
    lower = max(0, math.floor((len(slopes) - reach) / 2))
    upper = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return slopes[lower], slopes[upper]


def _variance(values: Sequence[float]) -> float:
    """Of Kendall's S, with ties of values."""
    n = len(values)
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    ties = sum(t * (t - 1) * (2 * t + 5) for t in counts.values())
    return (n * (n - 1) * (2 * n + 5) - ties) / 18


def _widening(off: Sequence[float]) -> float:
    """1 for days that know nothing of each other, more the more they are alike."""
    total = sum(o * o for o in off)
    if total <= 0 or not math.isfinite(total):
        return 1.0
    alike = min(_MOST_ALIKE, max(0.0, sum(a * b for a, b in pairwise(off)) / total))
    return (1 + alike) / (1 - alike)
