"""One curve of a plot: where its points lie, its gaps, dashes and markers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..maintenance.task_outcome import Series
from .scales import Axis, finite, seconds
from .svg import WIDTH

LEFT, RIGHT, TOP, HEIGHT = 76, 190, 46, 190
BREADTH = WIDTH - LEFT - RIGHT
_DASHES = ("", "7 3", "2 3", "10 3 2 3", "4 2", "12 4")
_DISC = "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0"
_MARKERS = (
    *((_DISC, True), ("m-3-3h6v6h-6z", True), ("m0-4 4 7h-8z", True), ("m0-4.4 4.4 4.4-4.4 4.4-4.4-4.4z", True)),
    *(("m-3-3 6 6m0-6-6 6", False), (_DISC, False)),
)
# Above so many points a curve is drawn by the lowest and highest of each column of so many units.
_EXACT, _COLUMN = 240, 4
Runs = Sequence[Sequence[tuple[float, float]]]


def runs_of(series: Series, across: Axis, up: Axis) -> Runs:
    """Unbroken pieces of a curve in drawing units."""
    points = [(x_of(across, seconds(at)), finite(value)) for at, value in sorted(series.points, key=lambda p: seconds(p[0]))]
    if len(points) > _EXACT:
        points = _columns(points)
    runs: list[list[tuple[float, float]]] = [[]]
    for x, value in points:
        if value is not None:
            runs[-1].append((x, y_of(up, value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _columns(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """The lowest and highest of each column in their order; a column without data stays a gap."""
    columns: dict[int, list[tuple[float, float | None]]] = {}
    for x, value in points:
        columns.setdefault(int(x // _COLUMN), []).append((x, value))
    kept: list[tuple[float, float | None]] = []
    for column in columns.values():
        known = [(value, n) for n, (_, value) in enumerate(column) if value is not None]
        chosen = sorted({min(known)[1], max(known)[1]}) if known else [0]
        kept += [column[n] for n in chosen]
    return kept


def curve(n: int, runs: Runs) -> Iterator[str]:
    """One curve and its markers, by its number."""
    dash = f' stroke-dasharray="{_DASHES[n]}"' if _DASHES[n] else ""
    path = " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs if len(run) > 1)
    if path:
        yield f'<path d="{path}" class="s{n}" fill="none" stroke="#222" stroke-width="1.8"{dash}/>'
    every = [point for run in runs for point in run]
    alone = [run[0] for run in runs if len(run) == 1]
    stride = max(1, len(every) // 9)
    yield markers(n, list(dict.fromkeys([*every[stride // 2 :: stride], *alone[:200], *every[-1:]])))


def markers(n: int, places: Sequence[tuple[float, float]]) -> str:
    """The markers of the curve of this number."""
    if not places:
        return ""
    shape, filled = _MARKERS[n]
    kind = f'class="m{n}" fill="#222"' if filled else f'class="s{n}" fill="none" stroke="#222" stroke-width="1.6"'
    drawn = "".join(f"M{x:.1f} {y:.1f}{shape}" for x, y in places)
    return f'<path {kind} d="{drawn}"/>'


def x_of(across: Axis, value: float) -> float:
    """Where a time lies."""
    return LEFT + BREADTH * across.share(value)


def y_of(up: Axis, value: float) -> float:
    """Where a value lies."""
    return TOP + HEIGHT * (1 - up.share(value))
