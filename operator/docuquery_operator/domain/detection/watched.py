"""What was seen of a component over the last hours, in little memory: two rings of equal spans, each span with its worst.

What was not seen is missing: after a restart, or while nobody looked, there is no span, and a plot has a gap there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..maintenance.task_outcome import Series

# Half an hour of five seconds, and eight hours of minutes.
FINE, COARSE = (5.0, 360), (60.0, 480)
# A span more or less comes of rounds that are not on the beat.
GAP_SPANS = 3.5


@dataclass(frozen=True)
class Sample:
    """One span. ok: the share of looks that found it well, None where none could say; seconds: the longest look."""

    at: datetime
    ok: float | None
    seconds: float


@dataclass
class _Spans:
    """A ring of spans of one width."""

    width: float
    kept: int
    at: array[float] = field(default_factory=lambda: array("d"))
    well: array[float] = field(default_factory=lambda: array("f"))
    looks: array[int] = field(default_factory=lambda: array("H"))
    longest: array[float] = field(default_factory=lambda: array("f"))

    def add(self, moment: float, ok: bool | None, seconds: float) -> None:
        start = moment // self.width * self.width
        while self.at and self.at[-1] > start:
            # The clock was set back: what is later now has not been yet.
            self._drop(-1)
        if not self.at or self.at[-1] != start:
            self._begin(start)
        if ok is not None and self.looks[-1] < 60_000:
            self.looks[-1] += 1
            self.well[-1] += ok
        self.longest[-1] = max(self.longest[-1], seconds)

    def _begin(self, start: float) -> None:
        if len(self.at) >= self.kept:
            self._drop(0)
        self.at.append(start)
        self.well.append(0)
        self.looks.append(0)
        self.longest.append(0)

    def _drop(self, index: int) -> None:
        for column in (self.at, self.well, self.looks, self.longest):
            column.pop(index)

    def since(self, moment: float, until: float) -> Iterator[Sample]:
        for at, well, looks, longest in zip(self.at, self.well, self.looks, self.longest, strict=True):
            if moment - self.width <= at <= until:
                yield Sample(datetime.fromtimestamp(at, UTC), well / looks if looks else None, round(longest, 4))


@dataclass
class Ring:
    """Of one component."""

    fine: _Spans = field(default_factory=lambda: _Spans(*FINE))
    coarse: _Spans = field(default_factory=lambda: _Spans(*COARSE))

    def add(self, at: datetime, ok: bool | None, seconds: float) -> None:
        """One look."""
        for spans in (self.fine, self.coarse):
            spans.add(at.timestamp(), ok, seconds)

    def between(self, since: datetime, until: datetime) -> tuple[float, list[Sample]]:
        """Width of a span in seconds, and the spans: fine ones where they reach back far enough."""
        first, last = since.timestamp(), until.timestamp()
        fits = last - first <= self.fine.width * self.fine.kept
        spans = self.fine if fits else self.coarse
        return spans.width, list(spans.since(first, last))


def as_json(component: str, width: float, samples: Sequence[Sample]) -> dict[str, Any]:
    """For samples.json of the report."""
    rows = [[round(s.at.timestamp(), 3), None if s.ok is None else round(s.ok, 3), round(s.seconds, 4)] for s in samples]
    return {"component": component, "spanSeconds": width, "columns": ["at", "wellShare", "longestSeconds"], "rows": rows}


def series(found: Mapping[str, Any], since: datetime, until: datetime) -> tuple[Series, Series]:
    """Health in percent and answer times, from samples.json; missing spans are gaps, also at both ends."""
    width = float(found["spanSeconds"])
    well: list[tuple[datetime, float | None]] = []
    took: list[tuple[datetime, float | None]] = []
    before: datetime | None = None
    for at, ok, seconds in found["rows"]:
        moment = datetime.fromtimestamp(at, UTC)
        if before is not None and (moment - before).total_seconds() > GAP_SPANS * width:
            well.append((before + timedelta(seconds=width), None))
            took.append((before + timedelta(seconds=width), None))
        well.append((moment, None if ok is None else 100.0 * ok))
        took.append((moment, seconds))
        before = moment
    for line in (well, took):
        if not line or line[0][0] - since > timedelta(seconds=GAP_SPANS * width):
            line.insert(0, (since, None))
        if until - line[-1][0] > timedelta(seconds=GAP_SPANS * width):
            line.append((until, None))
    name = str(found["component"])
    return Series(name=f"{name} well", unit="%", points=tuple(well)), Series(name=name, unit="s", points=tuple(took))
