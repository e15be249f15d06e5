"""Service levels: an api's figures over a window against the Stack's thresholds, and the words for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from ...api.common import seconds
from ...api.detection import Threshold, Thresholds
from ..traffic.counters import Quantile
from ..traffic.http_metrics import Figures

# Fewer slow or failed requests than this are single events, whatever share of the requests they are.
MIN_EVENTS = 3
# A level is entered after so many readings in a row that are as bad, and left after so many that are better.
ENTER_AFTER = 2
LEAVE_AFTER = 3


class Level(StrEnum):
    """How far a service is from what was promised; later members are worse."""

    NONE = "none"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """For comparison."""
        return list(Level).index(self)


@dataclass(frozen=True)
class Reading:
    """The figures of one moment. source: who says so, for people. problem: why there are none."""

    figures: Figures | None
    source: str = ""
    problem: str = ""
    min_requests: int = 1


@dataclass(frozen=True)
class Judged:
    """One reading against the thresholds; level None is not known. slow, failing: which figure breaks one of them."""

    level: Level | None
    reasons: tuple[str, ...] = ()
    slow: bool = False
    failing: bool = False


@dataclass(frozen=True)
class Held:
    """The level in force, which has its own quorum. known: whether the newest reading said anything."""

    level: Level = Level.NONE
    since: datetime | None = None
    known: bool = False
    recent: tuple[Level, ...] = field(default=())

    @property
    def now(self) -> Level | None:
        """The level, None while the data do not say."""
        return self.level if self.known and self.since is not None else None


def judge(thresholds: Thresholds, reading: Reading) -> Judged:
    """The worst level that surely holds; NONE only where enough was asked and both figures that there are say so."""
    found = reading.figures
    if found is None or found.requests < reading.min_requests:
        return Judged(None)
    slow, failing = _slowness(thresholds, found, reading.min_requests), _errors(thresholds, found)
    levels = [j.level for j in (slow, failing) if j is not None and j.level is not None]
    if not levels:
        return Judged(None)
    worst = max(levels, key=lambda level: level.rank)
    if worst is Level.NONE and any(j is not None and j.level is None for j in (slow, failing)):
        return Judged(None)
    reasons = tuple(r for j in (slow, failing) if j is not None and j.level is worst for r in j.reasons)
    return Judged(worst, reasons, _breaks(slow), _breaks(failing))


def _breaks(judged: Judged | None) -> bool:
    return judged is not None and judged.level not in (None, Level.NONE)


def held(before: Held, seen: Level | None, now: datetime) -> Held:
    """The next state: worse after two readings in a row, better after three; a reading without data changes nothing."""
    if seen is None:
        return replace(before, known=False)
    recent = (*before.recent, seen)[-max(ENTER_AFTER, LEAVE_AFTER) :]
    level = before.level
    worse = min(recent[-ENTER_AFTER:], key=lambda r: r.rank)
    better = max(recent[-LEAVE_AFTER:], key=lambda r: r.rank)
    if len(recent) >= ENTER_AFTER and worse.rank > level.rank:
        level = worse
    elif len(recent) >= LEAVE_AFTER and better.rank < level.rank:
        level = better
    if before.since is None and level is Level.NONE and len(recent) < ENTER_AFTER and seen is not Level.NONE:
        # The very first reading is bad: whether it stays so is not known yet.
        return Held(level, None, False, recent)
    since = now if before.since is None or level is not before.level else before.since
    return Held(level, since, True, recent)


def _levels(thresholds: Thresholds) -> Sequence[tuple[Level, Threshold]]:
    return (
        (Level.CRITICAL, thresholds.critical),
        (Level.WARNING, thresholds.warning),
        (Level.INFO, thresholds.info),
    )


def _slowness(thresholds: Thresholds, found: Figures, least: int) -> Judged | None:
    """None where times are not measured at all."""
    if not found.buckets:
        return None
    p95 = found.p95
    if p95 is None or found.timed < least:
        return Judged(None)
    for level, threshold in _levels(thresholds):
        limit = seconds(threshold.response_time)
        if _above(p95, limit) and slower(found, limit) >= MIN_EVENTS:
            return Judged(level, (f"p95 {quantile_words(p95)} > {threshold.response_time}",))
    # Its last bound lies below what is asked: how slow they were is not known.
    return Judged(None if p95.at_least else Level.NONE)


def _errors(thresholds: Thresholds, found: Figures) -> Judged | None:
    """None where the metrics tell no status."""
    rate = found.error_rate
    if rate is None or found.failed is None:
        return None
    for level, threshold in _levels(thresholds):
        if rate > percent(threshold.error_rate) and found.failed >= MIN_EVENTS:
            words = f"{share_words(rate)} of {count_words(found.requests)} requests failed > {threshold.error_rate}"
            return Judged(level, (words,))
    return Judged(Level.NONE)


def _above(p95: Quantile, limit: float) -> bool:
    return p95.value > limit or (p95.at_least and p95.value >= limit)


def slower(found: Figures, limit: float) -> float:
    """Requests that took longer; those of the bucket in which the limit lies count as such."""
    return found.timed - max((count for bound, count in found.buckets.items() if bound <= limit), default=0.0)


def percent(text: str) -> float:
    """0.1 for '10%'."""
    return float(text.rstrip("%")) / 100


def quantile_words(q: Quantile | None) -> str:
    """'1.2 s', '850 ms', 'at least 10 s', or 'not known'."""
    if q is None:
        return "not known"
    amount = f"{q.value:.3g} s" if q.value >= 1 else f"{q.value * 1000:.0f} ms"
    return f"at least {amount}" if q.at_least else amount


def share_words(share: float) -> str:
    """'12.5 %'."""
    return f"{share * 100:.3g} %"


def count_words(count: float) -> str:
    """A whole number."""
    return f"{count:.0f}"


def words(thresholds: Thresholds, reading: Reading, judged: Judged, level: Level | None) -> str:
    """One line: the level in force, the figure and its bound, the window, how many requests, and who says so."""
    found = reading.figures
    if found is None:
        return f"not known: {reading.problem or 'no figures'}"[:300]
    if found.requests < reading.min_requests:
        few = f"{count_words(found.requests)} requests in {thresholds.window}, {reading.min_requests} are needed"
        return f"not known: {few} ({reading.source})"[:300]
    rate = "not known" if found.error_rate is None else share_words(found.error_rate)
    facts = ", ".join(judged.reasons) or f"p95 {quantile_words(found.p95)}, error rate {rate}"
    said = {None: "not known yet", Level.NONE: "met"}.get(level, str(level))
    return f"{said}: {facts}; {count_words(found.requests)} requests in {thresholds.window} ({reading.source})"[:300]
