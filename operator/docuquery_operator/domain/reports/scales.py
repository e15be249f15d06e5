"""Axes and figures of plots and reports: round steps, UTC times, numbers with their unit. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(1, 2, 5, 10, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY),
)
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 600, 1200, 6000, 12000, 24000)
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# Beyond these a drawing means nothing; the table still tells the value.
LARGEST, SMALLEST = 1e100, 1e-12


def finite(value: float | None) -> float | None:
    """The value, or None for what is no number: no data, not zero."""
    return value if value is not None and math.isfinite(value) else None


def seconds(at: datetime) -> float:
    """Unix time; a time without a zone is taken for UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (aware - EPOCH).total_seconds()


def at_second(value: float) -> datetime:
    """The time in UTC, within what a calendar has."""
    return EPOCH + timedelta(seconds=min(max(value, seconds(_FIRST)), seconds(_LAST) - 1))


def figure(value: float, unit: str = "") -> str:
    """A number for people: four digits, thousands apart, its unit behind it; bytes in KiB and up."""
    if not math.isfinite(value):
        return "no data"
    if unit == "bytes":
        power = _byte_power(value)
        return f"{_digits(value / 1024**power)} {_BYTES[power]}"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{_digits(value * 1000)} ms"
    gap = "" if unit == "%" else " "
    return f"{_digits(value)}{gap}{unit}" if unit else _digits(value)


def short(unit: str) -> str:
    """The unit where it fits beside each figure of a plot; '' for a longer one, which is told once."""
    return unit if unit in ("%", "s", "bytes") else ""


def _byte_power(value: float) -> int:
    size = abs(value)
    return next((p for p in range(len(_BYTES) - 1) if size < 1024 ** (p + 1)), len(_BYTES) - 1)


def _digits(value: float) -> str:
    size = abs(value)
    if size != 0 and (size >= 1e9 or size < 1e-3):
        return f"{value:.3g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


@dataclass(frozen=True)
class Axis:
    """Where values lie: from `low` to `high`, with ticks and their labels."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def value_axis(values: Sequence[float], unit: str, about: int = 5) -> Axis:
    """An axis of numbers; zero is always on it, so that heights may be compared."""
    drawn = [min(LARGEST, max(-LARGEST, v)) for v in values]
    low, high = min([0.0, *drawn]), max([0.0, *drawn])
    if high - low < SMALLEST:
        high = low + 1.0
    scale = float(1024 ** _byte_power(max(-low, high))) if unit == "bytes" else 1.0
    step = nice_step((high - low) / scale, about) * scale
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, tuple((n * step, figure(n * step, short(unit))) for n in range(first, last + 1)))


def nice_step(span: float, about: int) -> float:
    """1, 2 or 5 times a power of ten, so that there are at most so many steps."""
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10, 20) if m * power >= rough * (1 - 1e-9))


def time_axis(times: Sequence[float], about: int = 6) -> Axis:
    """An axis of Unix times with UTC labels at round minutes, hours, days, months."""
    low, high = (min(times), max(times)) if times else (0.0, _HOUR)
    if high - low < 1:
        low, high = low - 30, high + 30
    step = next((s for s in _STEPS if (high - low) / s <= about), None)
    if step is None:
        return Axis(low, high, tuple(_months(low, high, about)))
    first = math.ceil(low / step)
    ticks = [n * step for n in range(first, math.floor(high / step) + 1)]
    return Axis(low, high, tuple((float(t), _label(at_second(t), step, n == 0)) for n, t in enumerate(ticks)))


def _label(at: datetime, step: float, first: bool) -> str:
    if step >= _DAY:
        return at.strftime("%m-%d")
    clock = at.strftime("%H:%M:%S" if step < _MINUTE else "%H:%M")
    return f"{at:%m-%d} {clock}" if step >= _HOUR and (first or at.hour == 0) else clock


def _months(low: float, high: float, about: int) -> list[tuple[float, str]]:
    begin, end = at_second(low), at_second(high)
    first, last = begin.year * 12 + begin.month - 1, end.year * 12 + end.month - 1
    step = next(s for s in _MONTH_STEPS if (last - first) / s <= about)
    found = []
    for month in range(first + -first % step, last + 1, step):
        if 12 <= month < 12 * 10000:
            at = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
            if low <= seconds(at) <= high:
                found.append((seconds(at), f"{at.year:04d}-{at.month:02d}" if step % 12 else f"{at.year:04d}"))
    return found
