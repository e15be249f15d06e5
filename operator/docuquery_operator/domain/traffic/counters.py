"""Counters of several processes over a window of time: what grew, however they begin anew, come, go and fall silent.

Differences of totals, as Prometheus' increase() but without its extrapolation; a series that a known process did not have
before has begun at zero, so that the first failure is counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Scrape(Generic[K]):
    """Totals of one process.

    process: differs once the process was started anew. layout: which totals these are; totals of two layouts cannot be
    compared, those of '' are empty. began: when the process was started, where that is known.
    """

    totals: Mapping[K, float]
    process: str = ""
    layout: str = ""
    began: datetime | None = None


@dataclass(frozen=True)
class Grown(Generic[K]):
    """What grew in a window.

    covered: seconds of it that were seen; newest: the last scrape; sources: how many were seen; mixed: sources that are left
    out because their counters fall again and again, as where several processes answer at one address.
    """

    by: Mapping[K, float]
    covered: float = 0.0
    newest: datetime | None = None
    sources: int = 0
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Growth(Generic[K]):
    source: str
    since: datetime
    until: datetime
    by: Mapping[K, float]
    fell: bool


# A process that is started anew inside its container falls once; more than that is no counter.
FALLS_ALLOWED = 2


class Window(Generic[K]):
    """Remembers the last totals of each source (a pod), and what grew between two scrapes. It reads no clock."""

    def __init__(self, length: timedelta) -> None:
        self.length = length
        self._last: dict[str, tuple[datetime, Scrape[K]]] = {}
        self._grown: list[_Growth[K]] = []
        self._round: datetime | None = None

    def add(self, at: datetime, scrapes: Mapping[str, Scrape[K]], present: Collection[str] | None = None) -> None:
        """One round at this time: scrapes that answered by source; present: also those that exist but did not answer."""
        if self._round is not None and at <= self._round:
            # The clock was set back: what is known cannot be put in order with what comes.
            self._last, self._grown = {}, []
        for source, scrape in scrapes.items():
            self._one(at, source, scrape)
        known = set(scrapes) | set(present or ())
        self._last = {s: v for s, v in self._last.items() if s in known or at - v[0] < self.length}
        self._grown = [g for g in self._grown if at - g.until < self.length]
        self._round = at

    def over(self, now: datetime) -> Grown[K]:
        """What grew in the window that ends now."""
        start = now - self.length
        near = [g for g in self._grown if g.since + (g.until - g.since) / 2 >= start and g.until <= now]
        falls = Counter(g.source for g in near if g.fell)
        mixed = {source for source, times in falls.items() if times > FALLS_ALLOWED}
        seen = [g for g in near if g.source not in mixed]
        # What did not grow is known as well: an empty bucket of a histogram is a bound.
        total = {key: 0.0 for _, scrape in self._last.values() for key in scrape.totals} if seen else {}
        for growth in seen:
            for key, value in growth.by.items():
                total[key] = total.get(key, 0.0) + value
        newest = max((g.until for g in seen), default=None)
        return Grown(total, _covered(seen, start), newest, len({g.source for g in seen}), tuple(sorted(mixed)))

    def _one(self, at: datetime, source: str, scrape: Scrape[K]) -> None:
        known = self._last.get(source)
        base = self._base(at, known, scrape)
        totals: Mapping[K, float] = scrape.totals
        if known is not None and base is known[1]:
            # A series that is left out once has not begun anew.
            totals = {**known[1].totals, **scrape.totals}
        self._last[source] = (at, Scrape(totals, scrape.process, scrape.layout, scrape.began))
        if base is None:
            return
        since = self._since(at, known, scrape)
        grown = {key: increase(base.totals.get(key), value) for key, value in scrape.totals.items()}
        fell = any(value < base.totals.get(key, 0.0) for key, value in scrape.totals.items())
        self._grown.append(_Growth(source, since, at, {k: v for k, v in grown.items() if v > 0}, fell))

    def _base(self, at: datetime, known: tuple[datetime, Scrape[K]] | None, scrape: Scrape[K]) -> Scrape[K] | None:
        """What the totals are compared with; None when nobody knows since when they have grown."""
        empty: Scrape[K] = Scrape({})
        if known is None:
            young = scrape.began is not None and self._round is not None and self._round < scrape.began <= at
            return empty if young else None
        before = known[1]
        if before.process != scrape.process:
            return empty
        return before if before.layout in ("", scrape.layout) else None

    def _since(self, at: datetime, known: tuple[datetime, Scrape[K]] | None, scrape: Scrape[K]) -> datetime:
        if known is not None:
            return known[0]
        return scrape.began if scrape.began is not None and scrape.began <= at else at


def increase(before: float | None, after: float) -> float:
    """How much a counter grew; one that fell has begun anew. A counter that was not there began at zero."""
    if not (math.isfinite(after) and after >= 0):
        return 0.0
    if before is None or not math.isfinite(before) or after < before:
        return after
    return after - before


def _covered(seen: Collection[_Growth[K]], start: datetime) -> float:
    total, reached = timedelta(0), start
    for growth in sorted(seen, key=lambda g: g.since):
        begin = max(growth.since, reached)
        if growth.until > begin:
            total += growth.until - begin
            reached = growth.until
    return total.total_seconds()


@dataclass(frozen=True)
class Quantile:
    """A quantile read from a histogram. at_least: it lies in the last bucket, and only its lower bound is known."""

    value: float
    at_least: bool = False


def quantile(q: float, buckets: Mapping[float, float]) -> Quantile | None:
    """As histogram_quantile() of Prometheus: cumulative counts by upper bound, linear within a bucket; None without data."""
    bounds = sorted(b for b in buckets if b > -math.inf)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return None
    counts, highest = [], 0.0
    for bound in bounds:
        # Two processes with other bounds, as in a rollout, add up to counts that fall here and there.
        highest = max(highest, buckets[bound])
        counts.append(highest)
    if highest <= 0 or not math.isfinite(highest):
        return None
    rank = q * highest
    at = next(i for i, count in enumerate(counts) if count >= rank)
    if at == len(bounds) - 1:
        return Quantile(bounds[-2], at_least=True)
    upper = bounds[at]
    lower = bounds[at - 1] if at else min(0.0, upper)
    below = counts[at - 1] if at else 0.0
    inside = counts[at] - below
    share = (rank - below) / inside if inside > 0 else 1.0
    return Quantile(lower + (upper - lower) * share)
