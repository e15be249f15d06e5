"""When each resource runs out, as a range of days, and what one step more of it would buy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from ..maintenance.task_outcome import Cell, Finding, Rank, Series, Table
from ..reports.scales import figure
from .measures import Measure
from .trends import LEAST_DAYS, LEAST_SAMPLES, Trend, trend_of

# What is raised by a step of a limit.
STEP = 0.5
CURVE_DAYS = 180
URGENT, SOON = 7, 30
State = Literal["Full", "RunsOut", "MayRunOut", "Steady", "TooFewSamples", "NoLimit", "NotKnown"]


@dataclass(frozen=True)
class Step:
    """One step more: in words, and how much the limit of what is measured grows by it."""

    words: str
    more: float


@dataclass(frozen=True)
class Forecast:
    """One resource. full: the value that counts as full. earliest, likely, latest: days from today; None: never.

    bought: days that one step more gives, least and most.
    """

    measure: Measure
    state: State
    full: float | None = None
    trend: Trend | None = None
    samples: int = 0
    earliest: float | None = None
    likely: float | None = None
    latest: float | None = None
    step: Step | None = None
    bought: tuple[float | None, float | None] = (None, None)


def forecast(measure: Measure, history: Sequence[tuple[date, float]], warn_at: float, pods: int = 0) -> Forecast:
    """Of one resource. history: daily samples, today's last. warn_at: share of the limit, 0 to 1, that counts as full."""
    if measure.value is None:
        return Forecast(measure, "NotKnown", samples=len(history))
    full = measure.limit * warn_at if measure.limit else None
    trend = trend_of([(float(day.toordinal()), value) for day, value in history])
    if full is None:
        return Forecast(measure, "NoLimit", trend=trend, samples=len(history))
    step = _step(measure, warn_at, pods)
    if measure.value >= full:
        bought = _bought(step, trend)
        return Forecast(measure, "Full", full, trend, len(history), 0.0, 0.0, 0.0, step, bought)
    if trend is None:
        return Forecast(measure, "TooFewSamples", full, None, len(history), step=step)
    earliest, likely, latest = (
        _days(full - trend.level - trend.spread, trend.high),
        _days(full - trend.level, trend.slope),
        _days(full - trend.level + trend.spread, trend.low),
    )
    state: State = "Steady" if earliest is None else "RunsOut" if latest is not None else "MayRunOut"
    return Forecast(measure, state, full, trend, len(history), earliest, likely, latest, step, _bought(step, trend))


def _days(room: float, slope: float) -> float | None:
    """Until the room is used up; None: never at this slope."""
    if slope <= 0:
        return None
    days = max(0.0, room / slope)
    return days if math.isfinite(days) else None


def _step(measure: Measure, warn_at: float, pods: int) -> Step:
    assert measure.limit is not None
    if measure.unit == "cores" and pods:
        # Load is spread over one pod more, so that each may take its share of what one can.
        return Step(f"one pod more ({pods} to {pods + 1})", measure.limit * warn_at / pods)
    more = measure.limit * STEP
    return Step(f"{STEP:.0%} more ({figure(measure.limit + more, measure.unit)})", more * warn_at)


def _bought(step: Step, trend: Trend | None) -> tuple[float | None, float | None]:
    if trend is None:
        return None, None
    return _days(step.more, trend.high), _days(step.more, trend.low)


def table(forecasts: Sequence[Forecast], today: date, horizon: int) -> Table:
    """A row a resource, what runs out first above."""
    return Table(
        title="When it runs out",
        columns=(
            *("what", "state", "now", "full at", "growth a day", "growth a day, 90% interval", "earliest", "likely"),
            *("latest", "samples", "one step", "days that a step buys"),
        ),
        rows=tuple(_row(f, today, horizon) for f in sorted(forecasts, key=urgency)),
    )


def _row(f: Forecast, today: date, horizon: int) -> tuple[Cell, ...]:
    unit, trend = f.measure.unit, f.trend
    known = f.state in ("RunsOut", "MayRunOut", "Steady")
    days = tuple(_day(d, today, horizon) if known else None for d in (f.earliest, f.likely, f.latest))
    days = ("now", "now", "now") if f.state == "Full" else days
    return (
        f"{f.measure.component}: {f.measure.what}",
        STATES[f.state],
        figure(f.measure.value, unit) if f.measure.value is not None else None,
        figure(f.full, unit) if f.full is not None else None,
        figure(trend.slope, unit) if trend else None,
        f"{figure(trend.low, unit)} to {figure(trend.high, unit)}" if trend else None,
        *days,
        f.samples,
        f.step.words if f.step else None,
        _range(f.bought) if f.step and trend and trend.high > 0 else None,
    )


STATES: Mapping[State, str] = {
    "Full": "full",
    "RunsOut": "runs out",
    "MayRunOut": "may run out",
    "Steady": "does not grow",
    "TooFewSamples": "not enough data",
    "NoLimit": "no limit known",
    "NotKnown": "not known",
}


def _day(days: float | None, today: date, horizon: int) -> str:
    if days is None:
        return "never, as it looks"
    return f"after {today + timedelta(days=horizon)}" if days > horizon else str(today + timedelta(days=math.floor(days)))


def _range(days: tuple[float | None, float | None]) -> str:
    low, high = days
    if low is None:
        return "it does not grow"
    if high is None:
        return f"{low:.0f} or more"
    return f"{low:.0f} to {high:.0f}" if round(low) != round(high) else f"{low:.0f}"


def urgency(f: Forecast) -> tuple[float, float, str]:
    """What runs out first."""
    never = math.inf
    return (
        f.likely if f.likely is not None else never,
        f.earliest if f.earliest is not None else never,
        f.measure.key,
    )


def findings(forecasts: Sequence[Forecast], today: date, horizon: int) -> list[Finding]:
    """What runs out within the horizon, and of what too little is known."""
    return [*_running_out(forecasts, today, horizon), *_too_little(forecasts)]


def _running_out(forecasts: Sequence[Forecast], today: date, horizon: int) -> Iterator[Finding]:
    for f in sorted(forecasts, key=urgency):
        name, step = f"{f.measure.component}: {f.measure.what}", f.step
        if f.earliest is None or f.earliest > horizon or step is None or f.full is None:
            continue
        buys = (
            f"; {step.words} would buy {_range(f.bought)} days" if f.trend and f.trend.high > 0 else f"; next: {step.words}"
        )
        full = figure(f.full, f.measure.unit)
        if f.state == "Full":
            yield Finding(rank="Critical", text=f"{name} has passed {full}: raise {f.measure.limit_name}{buys}"[:512])
            continue
        span = f"{_day(f.earliest, today, horizon)} and {_day(f.latest, today, horizon)}"
        likely = f", likely {_day(f.likely, today, horizon)}" if f.likely is not None else ""
        verb = "runs out" if f.state == "RunsOut" else "may run out"
        yield Finding(rank=_rank(f), text=f"{name} {verb} (passes {full}) between {span}{likely}{buys}"[:512])


def _rank(f: Forecast) -> Rank:
    if f.likely is not None and f.likely <= URGENT:
        return "Critical"
    return "Warning" if f.likely is not None and f.likely <= SOON else "Info"


def _too_little(forecasts: Sequence[Forecast]) -> Iterator[Finding]:
    few = [f"{f.measure.component}: {f.measure.what} ({f.samples})" for f in forecasts if f.state == "TooFewSamples"]
    if few:
        need = f"{LEAST_SAMPLES} daily samples over {LEAST_DAYS} days are needed"
        yield Finding(rank="Info", text=f"not enough data for a trend: {need}; there are for {', '.join(few)}"[:512])
    for f in forecasts:
        if f.state == "NotKnown":
            yield Finding(rank="Info", text=f"not known: {f.measure.component}: {f.measure.what}: {f.measure.problem}"[:512])


def series(f: Forecast, history: Sequence[tuple[date, float]], horizon: int) -> Iterator[Series]:
    """Curves of one resource: samples (a gap where a day has none), the trend with its bounds, and what counts as full."""
    name, unit = f"{f.measure.component}: {f.measure.what}", f.measure.unit
    by = dict(history)
    last = max(by)
    first = max(min(by), last - timedelta(days=CURVE_DAYS - 1))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    yield Series(name=f"{name}: measured", unit=unit, points=tuple((_noon(d), by.get(d)) for d in days))
    end = last + timedelta(days=horizon)
    if f.trend is not None:
        start = date.fromordinal(int(f.trend.first_day))
        yield _line(f"{name}: trend", unit, f.trend, f.trend.slope, (max(start, first), end))
        yield _line(f"{name}: at most", unit, f.trend, f.trend.high, (last, end))
        yield _line(f"{name}: at least", unit, f.trend, f.trend.low, (last, end))
    if f.full is not None:
        yield Series(name=f"{name}: counts as full", unit=unit, points=((_noon(first), f.full), (_noon(end), f.full)))


def _line(name: str, unit: str, trend: Trend, slope: float, days: tuple[date, date]) -> Series:
    return Series(name=name, unit=unit, points=tuple((_noon(d), trend.at(d.toordinal(), slope)) for d in days))


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)
