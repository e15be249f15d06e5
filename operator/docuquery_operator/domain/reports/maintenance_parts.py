"""Pieces of a report's page: figures, tables, plots with their tables, findings. Everything from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from ..maintenance.task_outcome import Cell, Rank, Series, Table, TaskOutcome
from .plots import bar_plot, escaped, line_plot, twin
from .scales import LARGEST, figure

RANKS: tuple[Rank, ...] = ("Critical", "Warning", "Info")
NO_DATA = '<span class="none">no data</span>'
_MARKS = {"Critical": "■", "Warning": "▲", "Info": "●"}
_UNIT = re.compile(r"\(([^()]{1,20})\)$")
_TEXT = 300
_BARS = range(2, 25)


class Ranked(BaseModel):
    """A finding and the task that it is from."""

    model_config = ConfigDict(frozen=True)

    rank: Rank
    text: str
    task: str


class TaskPart(BaseModel):
    """One task of the report."""

    model_config = ConfigDict(frozen=True)

    type: str
    outcome: TaskOutcome


class Report(BaseModel):
    """All that is told. findings: of all tasks, worst first; cut: what was left out to keep it small, '' when nothing."""

    model_config = ConfigDict(frozen=True)

    title: str
    window: str
    namespace: str
    stack: str
    opened: datetime
    closed: datetime | None
    findings: tuple[Ranked, ...]
    tasks: tuple[TaskPart, ...]
    cut: str = ""


def unit_of(name: str) -> str:
    """'bytes' of 'size (bytes)'; '' where a name has no unit."""
    found = _UNIT.search(name)
    return found[1] if found else ""


def cell(value: Cell, unit: str = "") -> str:
    """A value for people, with the exact one beside it for machines."""
    if value is None:
        return NO_DATA
    if isinstance(value, bool):
        return f'<data value="{str(value).lower()}">{"yes" if value else "no"}</data>'
    if isinstance(value, str):
        return escaped(value, _TEXT)
    return f'<data value="{value!r}">{escaped(figure(float(min(max(value, -LARGEST), LARGEST)), unit))}</data>'


def figures(values: Mapping[str, Cell]) -> str:
    """Single figures by name."""
    if not values:
        return ""
    rows = "".join(f"<div><dt>{escaped(n, _TEXT)}</dt><dd>{cell(v, unit_of(n))}</dd></div>" for n, v in values.items())
    return f'<dl class="figures">{rows}</dl>'


def table(key: str, content: Table) -> str:
    """A table; its region takes the focus, so that it can be scrolled without a mouse."""
    units = [unit_of(c) for c in content.columns]
    numeric = [any(isinstance(r[n], int | float) for r in content.rows) for n in range(len(content.columns))]
    head = "".join(
        f'<th scope="col"{_number(number)}>{escaped(c, _TEXT)}</th>'
        for c, number in zip(content.columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_row(row, units, numeric)}</tr>" for row in content.rows)
    if not content.rows:
        body = f'<tr><td colspan="{max(1, len(content.columns))}">{NO_DATA}</td></tr>'
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{key}"><table><caption id="{key}">'
        f"{escaped(content.title, _TEXT)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Cell], units: Sequence[str], numeric: Sequence[bool]) -> str:
    parts = [cell(value, unit) for value, unit in zip(row, units, strict=True)]
    first = f'<th scope="row">{parts[0]}</th>' if parts else ""
    return first + "".join(f"<td{_number(n)}>{p}</td>" for p, n in zip(parts[1:], numeric[1:], strict=True))


def _number(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def bars(key: str, content: Table) -> str:
    """Bars of the first column of shares, where rows have names."""
    column = next((n for n, c in enumerate(content.columns) if n and unit_of(c) == "%"), None)
    if column is None or len(content.rows) not in _BARS:
        return ""
    values = [(str(row[0]), _share(row[column])) for row in content.rows]
    if all(v is None for _, v in values):
        return ""
    return f"<figure>{bar_plot(key, f'{content.title}: {content.columns[column]}', '%', values)}</figure>"


def _share(value: Cell) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def plots(key: str, series: Sequence[Series]) -> Iterator[str]:
    """One plot for curves of one unit and one name before ': ', each with all its points as a table."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for curve in series:
        group, _, name = curve.name.rpartition(": ")
        groups.setdefault((group, curve.unit), []).append(curve.model_copy(update={"name": name}))
    for n, ((group, _unit), curves) in enumerate(groups.items()):
        title = group or ", ".join(c.name for c in curves[:6])
        drawn = line_plot(f"{key}-p{n}", title, curves)
        shown = f"<details><summary>Figures of {escaped(title)}</summary>{_points(title, curves)}</details>"
        yield f"<figure>{drawn}{shown}</figure>"


def _points(title: str, curves: Sequence[Series]) -> str:
    """Exact numbers, as there may be many."""
    content = twin(title, curves)
    head = "".join(f'<th scope="col">{escaped(c)}</th>' for c in content.columns)
    rows = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{'' if v is None else repr(v)}</td>" for v in row[1:]) + "</tr>"
        for row in content.rows
    )
    return f'<table class="points"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def findings(found: Sequence[Ranked]) -> str:
    """Worst first; rank told by word and shape as well as by colour."""
    if not found:
        return '<p id="no-findings">Nothing was found that a person should know or do.</p>'
    rows = "".join(
        f'<li class="{f.rank.lower()}"><span class="rank"><span aria-hidden="true">{_MARKS[f.rank]}</span> {f.rank}</span> '
        f'<span class="said">{escaped(f.text, 600)}</span> <a href="#task-{escaped(f.task)}">{escaped(f.task)}</a></li>'
        for f in found
    )
    return f'<ol class="findings">{rows}</ol>'


def task(part: TaskPart) -> str:
    """One task from its state to its plots."""
    outcome, name = part.outcome, escaped(part.type)
    evidence = "".join(f"<li>{escaped(line, 600)}</li>" for line in outcome.evidence)
    shown = [
        text
        for n, content in enumerate(outcome.tables)
        for text in (bars(f"{part.type}-b{n}", content), table(f"{part.type}-t{n}", content))
    ]
    return (
        f'<section class="task" id="task-{name}" aria-labelledby="head-{name}"><h3 id="head-{name}">{name} '
        f'<span class="state {outcome.state.lower()}">{outcome.state}</span></h3><p>{escaped(outcome.summary, 600)}</p>'
        f"{f'<ul>{evidence}</ul>' if evidence else ''}{figures(outcome.figures)}"
        f"{''.join(plots(part.type, outcome.series))}{''.join(shown)}</section>"
    )
