"""What a maintenance task found: the same figures for the status, the report's page and its JSON. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Cell = str | int | float | bool | None
Rank = Literal["Critical", "Warning", "Info"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(_Value):
    """Rows of figures. columns: names with units, such as 'dead rows' or 'size (bytes)'; rows: as long as columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = ()


class Series(_Value):
    """One curve, oldest point first. unit: such as 's', '%' or 'bytes'; a value of None is a gap: no data, not zero."""

    name: str
    unit: str
    points: tuple[tuple[datetime, float | None], ...] = ()


class Finding(_Value):
    """Something that a person should know or do, worst first in a report."""

    rank: Rank
    text: Annotated[str, Field(max_length=512)]


class TaskOutcome(_Value):
    """The end of one task. evidence: lines for the status, figures before and after; figures: single ones by name."""

    state: Literal["Succeeded", "Failed", "Skipped", "Aborted"]
    summary: Annotated[str, Field(max_length=512)]
    evidence: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=12)] = ()
    figures: Mapping[str, Cell] = {}
    tables: tuple[Table, ...] = ()
    series: tuple[Series, ...] = ()
    findings: tuple[Finding, ...] = ()
