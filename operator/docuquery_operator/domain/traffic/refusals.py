"""How many of an api's requests are refused with 429, from its own counters; and whether its traffic has grown."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .counters import Grown
from .http_metrics import OWN_PATHS, REQUESTS, path_of, status_of
from .metrics_text import countable, samples

REFUSED_ALONE = "rate_limited_total"
NAMES = frozenset({*REQUESTS, REFUSED_ALONE})
# Fewer seconds than this say little.
LEAST_SECONDS = 10.0
QUIET_PERCENT = 1.0
FAINT_PERCENT = 0.5
NOTE_EVERY = timedelta(seconds=20)
NOTES, LEAST_NOTES = 180, 3
LEAST_RATE = 0.1

Totals = Mapping[str, float]


def read(text: str, own_paths: Collection[str] = ()) -> Totals:
    """Totals of one page: requests, refused, and ownRefused, those of health probes; empty when it does not tell both.

    MetricsError when the text cannot be used.
    """
    found = [s for s in samples(text, NAMES) if countable(s.value)]
    family = next((r for r in REQUESTS if any(s.name == r for s in found)), "")
    counted = [s for s in found if s.name == family and status_of(s.labels)]
    if not counted:
        return {}
    own = OWN_PATHS | set(own_paths)
    totals = {"requests": 0.0, "refused": 0.0, "ownRefused": 0.0}
    grouped = False
    for sample in counted:
        status, mine = status_of(sample.labels), path_of(sample.labels) in own
        grouped = grouped or status == "4xx"
        if not mine:
            totals["requests"] += sample.value
        if status == "429":
            totals["ownRefused" if mine else "refused"] += sample.value
    if grouped:
        # Statuses in groups do not tell a 429 from others; a counter of its own does.
        alone = [s.value for s in found if s.name == REFUSED_ALONE]
        if not alone:
            return {}
        totals["refused"] = sum(alone)
    return totals


def figures(grown: Grown[str]) -> dict[str, Any]:
    """What grew in the window; nothing while too little of it was seen."""
    if grown.covered < LEAST_SECONDS or "requests" not in grown.by:
        return {}
    requests, refused = grown.by["requests"], grown.by.get("refused", 0.0)
    return {
        "requests": round(requests),
        "refused": round(refused),
        "refusedPercent": round(100 * refused / requests, 2) if requests else 0.0,
        "healthRefused": round(grown.by.get("ownRefused", 0.0)),
        "perSecond": round(requests / grown.covered, 2),
        "seconds": round(grown.covered),
    }


def suspicious(found: Mapping[str, Any]) -> bool:
    """Whether it is worth to ask who is refused."""
    return bool(found.get("healthRefused")) or found.get("refusedPercent", 0.0) >= FAINT_PERCENT


@dataclass
class Usual:
    """The rate of requests while next to none were refused, noted now and then over an hour."""

    at: datetime | None = None
    notes: list[float] = field(default_factory=list)

    def note(self, now: datetime, found: Mapping[str, Any]) -> None:
        """Take note of a quiet time."""
        if "perSecond" not in found or found["refusedPercent"] >= QUIET_PERCENT:
            return
        if self.at is None or not timedelta(0) <= now - self.at < NOTE_EVERY:
            self.at = now
            self.notes = [*self.notes, found["perSecond"]][-NOTES:]

    def growth(self, found: Mapping[str, Any]) -> dict[str, float]:
        """The usual rate, and how many times that the present one is; nothing while too little is known."""
        if len(self.notes) < LEAST_NOTES or "perSecond" not in found:
            return {}
        usual = statistics.median(self.notes)
        return {"usualPerSecond": round(usual, 2), "growth": round(found["perSecond"] / max(usual, LEAST_RATE), 2)}
