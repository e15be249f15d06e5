"""Daily samples of a Stack: a few numbers a day, kept small in one ConfigMap. Pure.

As JSON: the days, and of each key one value a day, null where there was none. A key nobody has measured for a year goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ..names import label_of

DAYS, KEYS, NAME, LARGEST = 400, 48, 100, 1e100
KEY = "samples.json"


@dataclass(frozen=True)
class Samples:
    """By day, oldest first: values by key."""

    days: Mapping[date, Mapping[str, float]] = field(default_factory=dict)

    def with_day(self, day: date, values: Mapping[str, float]) -> Samples:
        """The same with this day. What was measured first counts: a day has one hour; what was missing is added."""
        fit = {k: _short(v) for k, v in values.items() if len(k) <= NAME and abs(v) < LARGEST}
        merged = {**self.days, day: {**fit, **self.days.get(day, {})}}
        first = max(merged) - timedelta(days=DAYS - 1)
        kept = {d: dict(v) for d, v in sorted(merged.items()) if d >= first}
        newest: dict[str, date] = {}
        for d, v in kept.items():
            newest |= dict.fromkeys(v, d)
        most = set(sorted(newest, key=lambda k: (-newest[k].toordinal(), k))[:KEYS])
        return Samples({d: {k: x for k, x in v.items() if k in most} for d, v in kept.items()})

    def of(self, key: str) -> list[tuple[date, float]]:
        """One key, only the days that have it."""
        return [(d, v[key]) for d, v in sorted(self.days.items()) if key in v]


def _short(value: float) -> float:
    """Six digits are enough for a trend."""
    return float(f"{value:.6g}")


def name_of(stack: str) -> str:
    """The ConfigMap."""
    return f"{label_of(stack)}-daily-samples"


def text_of(samples: Samples) -> str:
    """As it is kept."""
    days = sorted(samples.days)
    keys = sorted({k for v in samples.days.values() for k in v})
    values = {k: [_plain(samples.days[d].get(k)) for d in days] for k in keys}
    return json.dumps({"days": [d.isoformat() for d in days], "values": values}, separators=(",", ":"))


def _plain(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) and abs(value) < 1e15 else value


def read(text: str | None) -> Samples:
    """What was kept. What cannot be read is no samples: a person may have edited it."""
    try:
        found: Any = json.loads(text or "{}")
        days = [date.fromisoformat(d) for d in found.get("days", [])]
        series = {str(k): list(v) for k, v in found.get("values", {}).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Samples()
    rows: dict[date, dict[str, float]] = {d: {} for d in days}
    for key, values in series.items():
        for day, value in zip(days, values, strict=False):
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
                rows[day][key] = float(value)
    return Samples({d: rows[d] for d in sorted(rows)[-DAYS:]})
