"""Documents against points, by their ids. What does not fit into memory lies in a file of the scratch volume."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Literal

from ..domain.backups.report import ReconcileReport

SHOWN = 20
BATCH = 5000
LONGEST_ID = 128

Side = Literal["missing", "orphans"]
_QUERIES = {
    "missing": "FROM documents WHERE id NOT IN (SELECT id FROM points)",
    "orphans": "FROM points WHERE id NOT IN (SELECT id FROM documents)",
}


class Comparison:
    """Both sides, once they have been read."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def report(self, action: str = "Report") -> ReconcileReport:
        """Counts and the first ids of either side, in the order of text."""
        return ReconcileReport(
            missing=self._count("missing"),
            orphans=self._count("orphans"),
            missing_ids=self._first("missing"),
            orphan_ids=self._first("orphans"),
            action=action,
        )

    async def ids(self, side: Side) -> AsyncIterator[str]:
        """All ids of one side, in the order of text."""
        after = ""
        while True:
            page = await asyncio.to_thread(self._page, side, after, BATCH)
            for each in page:
                yield each
            if len(page) < BATCH:
                return
            after = page[-1]

    def _count(self, side: Side) -> int:
        return int(self._database.execute(f"SELECT count(*) {_QUERIES[side]}").fetchone()[0])

    def _first(self, side: Side) -> list[str]:
        return [each[:LONGEST_ID] for each in self._page(side, "", SHOWN)]

    def _page(self, side: Side, after: str, limit: int) -> list[str]:
        query = f"SELECT id {_QUERIES[side]} AND id > ? ORDER BY id LIMIT ?"
        return [str(row[0]) for row in self._database.execute(query, (after, limit))]


@asynccontextmanager
async def compared(
    points: AsyncIterator[str], documents: AsyncIterator[str], scratch: Path | None
) -> AsyncIterator[Comparison]:
    """Read the points first and the documents after them, both to their ends.

    So a document that is added meanwhile is not in the points at most, and never makes its point an orphan that is deleted.
    scratch: folder for the file, which is removed; None: memory, about 150 bytes for an id.
    """
    file = None if scratch is None else scratch / f"reconcile-{uuid.uuid4().hex}.sqlite"
    with closing(sqlite3.connect(file or ":memory:", check_same_thread=False)) as database:
        try:
            # A file that nobody opens again needs no journal.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768", "temp_store = FILE"):
                database.execute(f"PRAGMA {pragma}")
            for table, ids in (("points", points), ("documents", documents)):
                database.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY) WITHOUT ROWID")
                await _filled(database, table, ids)
            yield Comparison(database)
        finally:
            if file is not None:
                file.unlink(missing_ok=True)


async def _filled(database: sqlite3.Connection, table: str, ids: AsyncIterator[str]) -> None:
    batch: list[str] = []
    async for each in ids:
        batch.append(normal(each))
        if len(batch) >= BATCH:
            await asyncio.to_thread(_insert, database, table, batch)
            batch = []
    await asyncio.to_thread(_insert, database, table, batch)


def _insert(database: sqlite3.Connection, table: str, ids: Sequence[str]) -> None:
    with database:
        database.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", [(each,) for each in sorted(ids)])


def normal(value: str) -> str:
    """One form for an id: numbers without leading zeros, UUIDs in small letters with hyphens."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return str(int(text)) if len(text) < 21 else text
    if len(text) in {32, 36}:
        try:
            return str(uuid.UUID(text))
        except ValueError:
            return text
    return text
