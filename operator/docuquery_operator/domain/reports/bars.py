"""Horizontal bars as SVG text, each with its name and figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .scales import Axis, figure, finite, value_axis
from .svg import WIDTH, Limit, cut, rule, svg, words

BARS = 24
_LEFT, _RIGHT, _TOP, _ROW = 232, 100, 52, 20
_SPAN = WIDTH - _LEFT - _RIGHT


def bar_plot(
    key: str,
    title: str,
    unit: str,
    bars: Sequence[tuple[str, float | None]],
    limit: Limit | None = None,
    standalone: bool = False,
) -> str:
    """Horizontal bars from zero, each with its name and figure; a bar of None says that there is no data."""
    shown = [(name, finite(value)) for name, value in bars[:BARS]]
    known = [value for _, value in shown if value is not None]
    drawn = limit if limit is not None and finite(limit.value) is not None and known else None
    axis = value_axis([*known, *([drawn.value] if drawn else [])], unit)
    bottom = _TOP + _ROW * len(shown)
    body = [
        *_grid(axis, bottom),
        *(part for n, (name, value) in enumerate(shown) for part in _bar(axis, _TOP + _ROW * n + 10, name, value, unit)),
        rule(_x(axis, 0), _TOP - 4, _x(axis, 0), bottom, "axis"),
        *(_limit(axis, drawn, unit, bottom) if drawn else ()),
    ]
    left_out = [f"{len(bars) - len(shown)} more are in the table."] if len(bars) > len(shown) else []
    told = [f"{name}: {_figure(value, unit)}." for name, value in shown]
    return svg(key, title, " ".join([*left_out, *told]) or "No data.", body, bottom + 26, standalone)


def _figure(value: float | None, unit: str) -> str:
    return "no data" if value is None else figure(value, unit)


def _grid(axis: Axis, bottom: float) -> Iterator[str]:
    for value, told in axis.ticks:
        yield rule(_x(axis, value), _TOP - 4, _x(axis, value), bottom, "grid")
        yield words(_x(axis, value), bottom + 15, told, "middle", "soft")


def _bar(axis: Axis, middle: float, name: str, value: float | None, unit: str) -> Iterator[str]:
    zero = _x(axis, 0)
    end = zero if value is None else _x(axis, value)
    yield words(_LEFT - 6, middle + 4, cut(name, 36), "end")
    if value is not None:
        place = f'x="{min(zero, end):.1f}" y="{middle - 6:.1f}" width="{abs(end - zero):.1f}" height="12"'
        yield f'<rect {place} class="m0" fill="#444"/>'
    yield words(max(zero, end) + 5, middle + 4, _figure(value, unit))


def _limit(axis: Axis, limit: Limit, unit: str, bottom: float) -> Iterator[str]:
    x = _x(axis, limit.value)
    yield rule(x, _TOP - 8, x, bottom, "limit", ' stroke-dasharray="2 2" stroke-width="1.5"')
    told = cut(f"{limit.label}: {figure(limit.value, unit)}", 40)
    yield words(x, _TOP - 12, told, "end" if x > WIDTH / 2 else "start")


def _x(axis: Axis, value: float) -> float:
    return _LEFT + _SPAN * axis.share(value)
