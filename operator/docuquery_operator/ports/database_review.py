"""What a review of a database asks for: its own counters since they were reset, its largest tables, its statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from .postgres import DatabaseTarget


@dataclass(frozen=True)
class TableSize:
    """One table. bytes: with its indexes and TOAST; rows, dead: as the server guesses; scans: whole, and by an index."""

    name: str
    bytes: int | None
    rows: int
    dead: int
    whole_scans: int
    index_scans: int


@dataclass(frozen=True)
class Statement:
    """One normalised statement of pg_stat_statements. Times in seconds; hit, read: blocks from memory and from disk."""

    text: str
    calls: int
    total: float
    mean: float
    longest: float
    rows: int
    hit: int
    read: int


@dataclass(frozen=True)
class DatabaseReview:
    """outcome as in DatabaseFacts; None: not known.

    since: when counters were reset. problem: why there are no statements, and what a person may do about it.
    statements_since: when those were reset; seconds: that all statements took.
    """

    outcome: str
    message: str = ""
    role: str = ""
    since: datetime | None = None
    hit: int | None = None
    read: int | None = None
    commits: int | None = None
    rollbacks: int | None = None
    deadlocks: int | None = None
    temporary_bytes: int | None = None
    tables: tuple[TableSize, ...] = ()
    statements: tuple[Statement, ...] | None = None
    statements_since: datetime | None = None
    seconds: float | None = None
    problem: str = ""


class DatabaseReviewer(Protocol):
    """Reads only; never raises for a sick server: the outcome says it."""

    async def review(self, target: DatabaseTarget, statements: int, timeout: float) -> DatabaseReview:
        """The figures, and so many of the statements that took most of the time; `timeout` is for each question."""


class NoReviewer:
    """Where nobody reads."""

    async def review(self, target: DatabaseTarget, statements: int, timeout: float) -> DatabaseReview:
        """Nothing."""
        return DatabaseReview("error", "this process does not read databases")
