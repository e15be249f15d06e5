"""The report of one opening of a MaintenanceWindow: what its tasks found, worst first, as JSON and as a page. Pure.

Both come from one `Report`, which is cut to size before either is made, so that their figures are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from ..maintenance.task_outcome import Cell, Finding, Rank, Series, Table, TaskOutcome
from ..redaction import redact
from .maintenance_page import page
from .maintenance_parts import RANKS, Ranked, Report, TaskPart
from .scales import finite, seconds

# Of the page. With the outcomes beside it, it must fit into the 1 MiB of a ConfigMap.
LARGEST = 190_000
# Points of a curve and rows of a table, tried in this order until the page is small enough.
SIZES = ((400, 200), (200, 100), (100, 50), (50, 25), (25, 12), (10, 5), (2, 1), (0, 0))
PAGE_KEY, JSON_KEY = "report.html", "report.json"
CELL = 300


def report_of(
    about: Mapping[str, str], opened: datetime, closed: datetime | None, outcomes: Mapping[str, TaskOutcome]
) -> Report:
    """The report of one opening.

    about: title ('' for none), window, namespace, stack. closed: None while the window is open. outcomes: by type of task.
    """
    tasks = tuple(TaskPart(type=name, outcome=_clean(outcome)) for name, outcome in outcomes.items())
    whole = Report(
        title=_text(about.get("title", "")) or f"Maintenance report of {about['stack']}",
        window=about["window"],
        namespace=about["namespace"],
        stack=about["stack"],
        opened=opened,
        closed=closed,
        findings=tuple(_ranked(tasks)),
        tasks=tasks,
    )
    for points, rows in SIZES:
        smaller = _cut(whole, points, rows)
        # The page is never smaller than its figures, and they are made sooner.
        if len(json_of(smaller)) <= LARGEST and len(html_of(smaller).encode()) <= LARGEST:
            return smaller
    return _cut(whole, 0, 0)


def json_of(report: Report) -> str:
    """The figures for machines."""
    return report.model_dump_json()


def html_of(report: Report) -> str:
    """The page for people: no script, nothing from elsewhere."""
    return page(report)


def files_of(report: Report) -> dict[str, str]:
    """Both, under the keys of the ConfigMap."""
    return {PAGE_KEY: html_of(report), JSON_KEY: json_of(report)}


def _ranked(tasks: Sequence[TaskPart]) -> Iterator[Ranked]:
    """Worst first; of one rank in the order of the tasks. A task that failed is a finding by itself."""
    found = [Ranked(rank=f.rank, text=f.text, task=t.type) for t in tasks for f in _of_task(t.outcome)]
    yield from sorted(found, key=lambda f: RANKS.index(f.rank))


def _of_task(outcome: TaskOutcome) -> Iterator[Finding]:
    if outcome.state in ("Failed", "Aborted"):
        rank: Rank = "Critical" if outcome.state == "Failed" else "Warning"
        yield Finding(rank=rank, text=f"{outcome.state}: {outcome.summary}"[:512])
    yield from outcome.findings


def _clean(outcome: TaskOutcome) -> TaskOutcome:
    """Without secrets, and without what JSON has no word for."""
    return TaskOutcome(
        state=outcome.state,
        summary=_text(outcome.summary, 512),
        evidence=tuple(_text(line, 512) for line in outcome.evidence),
        figures={_text(name): _cell(value) for name, value in outcome.figures.items()},
        tables=tuple(_clean_table(t) for t in outcome.tables),
        series=tuple(_clean_series(s) for s in outcome.series),
        findings=tuple(Finding(rank=f.rank, text=_text(f.text, 512)) for f in outcome.findings),
    )


def _clean_table(table: Table) -> Table:
    rows = tuple(tuple(_cell(c) for c in row[: len(table.columns)]) for row in table.rows)
    whole = tuple((*row, *[None] * (len(table.columns) - len(row))) for row in rows)
    return Table(title=_text(table.title), columns=tuple(_text(c) for c in table.columns), rows=whole)


def _clean_series(series: Series) -> Series:
    points = {seconds(at): (at, finite(value)) for at, value in series.points}
    return Series(name=_text(series.name), unit=series.unit, points=tuple(points[at] for at in sorted(points)))


def _cell(value: Cell) -> Cell:
    if isinstance(value, str):
        return _text(value)
    return finite(value) if isinstance(value, float) else value


def _text(text: str, most: int = CELL) -> str:
    flat = " ".join(redact(text).encode("utf-8", "replace").decode().split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def _cut(report: Report, points: int, rows: int) -> Report:
    tasks = tuple(t.model_copy(update={"outcome": _cut_outcome(t.outcome, points, rows)}) for t in report.tasks)
    findings = report.findings[: max(rows, 40)]
    smaller = report.model_copy(update={"tasks": tasks, "findings": findings})
    return smaller.model_copy(update={"cut": _said(report, smaller)})


def _said(whole: Report, smaller: Report) -> str:
    """What was left out, in words."""

    def left_out(count: Callable[[Report], int]) -> int:
        return count(whole) - count(smaller)

    gone = {
        "points of curves": left_out(lambda r: sum(len(s.points) for t in r.tasks for s in t.outcome.series)),
        "rows of tables": left_out(lambda r: sum(len(x.rows) for t in r.tasks for x in t.outcome.tables)),
        "findings of the lowest ranks": left_out(lambda r: len(r.findings)),
    }
    return ", ".join(f"{n} {what}" for what, n in gone.items() if n)


def _cut_outcome(outcome: TaskOutcome, points: int, rows: int) -> TaskOutcome:
    return outcome.model_copy(
        update={
            "series": tuple(thinned(s, points) for s in outcome.series) if points else (),
            "tables": tuple(t.model_copy(update={"rows": t.rows[:rows]}) for t in outcome.tables),
            "findings": outcome.findings[:40],
        }
    )


def thinned(series: Series, most: int) -> Series:
    """At most so many points: of each stretch of time the lowest and the highest, and a gap where there is nothing else."""
    if len(series.points) <= most:
        return series
    groups = max(1, most // 2)
    size = -(-len(series.points) // groups)
    kept = []
    for start in range(0, len(series.points), size):
        group = series.points[start : start + size]
        known = sorted((value, n) for n, (_, value) in enumerate(group) if value is not None)
        kept += [group[n] for n in sorted({known[0][1], known[-1][1]})] if known else [group[0]]
    return series.model_copy(update={"points": tuple(kept)})
