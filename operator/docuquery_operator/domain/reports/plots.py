"""Plots as SVG text: lines with gaps, events, limits, bars. Pure, small, readable without colour and without script.

Each curve has a dash pattern, a marker and its name at its end; colours come from CSS variables of PLOT_STYLE, which the
page holds once, and black on white stands in where there is none. A plot is told again as text in `<desc>`, and as a
table by `twin`. Nothing is drawn where there is no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from ..maintenance.task_outcome import Series, Table
from .bars import bar_plot
from .curves import BREADTH, HEIGHT, LEFT, TOP, curve, markers, runs_of, x_of, y_of
from .scales import Axis, at_second, figure, finite, seconds, short, time_axis, value_axis
from .svg import PLOT_STYLE, Limit, cut, escaped, rule, svg, words

__all__ = ["PLOT_STYLE", "Event", "Limit", "bar_plot", "description", "escaped", "line_plot", "twin"]
CURVES = 6
EVENTS = 12
_LINE = 14
_LIMIT = ' stroke-dasharray="2 2" stroke-width="2"'


@dataclass(frozen=True)
class Event:
    """Something that happened at a time, or from `at` until `until`."""

    at: datetime
    label: str
    until: datetime | None = None


def line_plot(
    key: str,
    title: str,
    series: Sequence[Series],
    events: Sequence[Event] = (),
    limits: Sequence[Limit] = (),
    standalone: bool = False,
) -> str:
    """Curves over time. key: a name that is unique on its page. Curves of another unit than the first are not drawn."""
    unit = _unit(series)
    shown = [s for s in series if s.unit == unit][:CURVES]
    told = sorted(events, key=lambda e: seconds(e.at))[:EVENTS]
    values = [v for s in shown for _, p in s.points if (v := finite(p)) is not None]
    lines = [limit for limit in limits if finite(limit.value) is not None]
    if not values:
        lines = []
    times = [seconds(at) for s in shown for at, _ in s.points]
    times += [seconds(at) for e in told for at in (e.at, e.until) if at is not None]
    across, up = time_axis(times), value_axis([*values, *(limit.value for limit in lines)], unit)
    body = [
        *([] if short(unit) else [words(8, TOP - 12, cut(unit, 24), klass="soft")]),
        *_frame(across, up),
        *_events(told, across),
        *_limits(lines, up),
        *(part for n, s in enumerate(shown) for part in curve(n, runs_of(s, across, up))),
        *_ends(shown, lines, up),
        *([] if values else [words(LEFT + BREADTH / 2, TOP + HEIGHT / 2, "no data", "middle")]),
        *_footer(across, len(series) - len(shown), events, told),
    ]
    height = TOP + HEIGHT + 48 + _LINE * len(told)
    return svg(key, title, description(series, events, limits), body, height, standalone)


def description(series: Sequence[Series], events: Sequence[Event] = (), limits: Sequence[Limit] = ()) -> str:
    """What a plot shows, as a text."""
    told = [_of_curve(s) for s in series]
    told += [f"Limit {limit.label}: {figure(limit.value, _unit(series))}." for limit in limits]
    told += [f"{_moment(e)}: {e.label}." for e in events]
    return " ".join(told) or "No data."


def _of_curve(series: Series) -> str:
    known = [(at, v) for at, p in sorted(series.points, key=lambda p: seconds(p[0])) if (v := finite(p)) is not None]
    gaps = len(series.points) - len(known)
    if not known:
        return f"{series.name}: no data."
    values = [v for _, v in known]
    missing = f", {gaps} without data" if gaps else ""
    return (
        f"{series.name}: {len(known)} points{missing}, from {_utc(known[0][0])} to {_utc(known[-1][0])} UTC, "
        f"lowest {figure(min(values), series.unit)}, highest {figure(max(values), series.unit)}, "
        f"last {figure(values[-1], series.unit)}."
    )


def twin(title: str, series: Sequence[Series]) -> Table:
    """All points of a plot as a table: a row for each time, a column for each curve."""
    by = [{seconds(at): finite(value) for at, value in s.points} for s in series]
    times = sorted({at for points in by for at in points})
    columns = ("time (UTC)", *(f"{s.name} ({s.unit})" if s.unit else s.name for s in series))
    return Table(
        title=title,
        columns=columns,
        rows=tuple((f"{at_second(at):%Y-%m-%d %H:%M:%S}", *(points.get(at) for points in by)) for at in times),
    )


def _frame(across: Axis, up: Axis) -> Iterator[str]:
    bottom = TOP + HEIGHT
    for value, label in up.ticks:
        y = y_of(up, value)
        yield rule(LEFT, y, LEFT + BREADTH, y, "axis" if value == 0 else "grid")
        yield words(LEFT - 6, y + 4, label, "end", "soft")
    for value, label in across.ticks:
        x = x_of(across, value)
        yield rule(x, bottom, x, bottom + 4, "axis")
        yield words(x, bottom + 17, label, "middle", "soft")


def _limits(limits: Sequence[Limit], up: Axis) -> Iterator[str]:
    for limit in limits:
        y = y_of(up, limit.value)
        yield rule(LEFT, y, LEFT + BREADTH, y, "limit", _LIMIT)


def _ends(series: Sequence[Series], limits: Sequence[Limit], up: Axis) -> Iterator[str]:
    """Names at the right of what they name, moved apart where they would cover each other."""
    wanted: list[tuple[float, str, int | None]] = []
    for n, s in enumerate(series):
        known = [v for _, p in sorted(s.points, key=lambda p: seconds(p[0])) if (v := finite(p)) is not None]
        label = f"{cut(s.name, 16)}: {figure(known[-1], short(s.unit))}" if known else f"{cut(s.name, 16)}: no data"
        wanted.append((y_of(up, known[-1]) if known else TOP + HEIGHT, label, n))
    wanted += [
        (y_of(up, limit.value), f"{cut(limit.label, 16)}: {figure(limit.value, short(_unit(series)))}", None)
        for limit in limits
    ]
    wanted.sort(key=lambda w: w[0])
    places = _apart([y for y, _, _ in wanted], TOP, TOP + HEIGHT)
    for (y, label, number), place in zip(wanted, places, strict=True):
        x = LEFT + BREADTH
        yield rule(x + 2, y, x + 12, place, "axis")
        if number is not None:
            yield markers(number, [(x + 18, place)])
        else:
            yield rule(x + 13, place, x + 24, place, "limit", _LIMIT)
        yield words(x + 26, place + 4, label)


def _unit(series: Sequence[Series]) -> str:
    return series[0].unit if series else ""


def _apart(places: Sequence[float], low: float, high: float) -> list[float]:
    """The same in their order, a line's height apart where there is room, within the bounds."""
    gap = min(float(_LINE), (high - low) / max(1, len(places)))
    moved = list(places)
    for n in range(1, len(moved)):
        moved[n] = max(moved[n], moved[n - 1] + gap)
    if moved:
        moved[-1] = min(moved[-1], high)
    for n in range(len(moved) - 2, -1, -1):
        moved[n] = min(moved[n], moved[n + 1] - gap)
    return moved


def _events(events: Sequence[Event], across: Axis) -> Iterator[str]:
    """Numbered lines and bands; what they are stands below the axis."""
    xs = [x_of(across, seconds(e.at)) for e in events]
    raised = [False] * len(xs)
    for n, (before, here) in enumerate(pairwise(xs), start=1):
        raised[n] = here - before < _LINE and not raised[n - 1]
    for n, (event, x) in enumerate(zip(events, xs, strict=True)):
        if event.until is not None:
            end = x_of(across, seconds(event.until))
            yield (
                f'<rect x="{min(x, end):.1f}" y="{TOP}" width="{abs(end - x):.1f}" height="{HEIGHT}" class="band" '
                'fill="#000" fill-opacity="0.13"/>'
            )
            yield rule(end, TOP, end, TOP + HEIGHT, "event", ' stroke-dasharray="3 3"')
        yield rule(x, TOP - 2, x, TOP + HEIGHT, "event", ' stroke-dasharray="3 3" stroke-width="1.4"')
        yield words(x, TOP - (16 if raised[n] else 5), str(n + 1), "middle", extra=' font-weight="600" font-size="11"')


def _footer(across: Axis, hidden: int, events: Sequence[Event], told: Sequence[Event]) -> Iterator[str]:
    bottom = TOP + HEIGHT + 34
    span = f"time (UTC), {_utc(at_second(across.low))} to {_utc(at_second(across.high))}"
    more = [f"{hidden} more curves in the table"] if hidden else []
    more += [f"{len(events) - EVENTS} more events"] if len(events) > EVENTS else []
    yield words(LEFT, bottom, "; ".join([span, *more]), klass="soft")
    for n, event in enumerate(told):
        yield words(LEFT, bottom + _LINE * (n + 1), cut(f"{n + 1}: {_moment(event)} {event.label}", 110))


def _moment(event: Event) -> str:
    until = f" to {_utc(event.until)}" if event.until is not None else ""
    return f"{_utc(event.at)}{until}"


def _utc(at: datetime) -> str:
    return f"{at_second(seconds(at)):%Y-%m-%d %H:%M}"
