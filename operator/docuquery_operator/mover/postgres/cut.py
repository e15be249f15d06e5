"""The cut: one snapshot that our own session and pg_dump share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from ...domain.backups.request import PostgresRequest
from ..contracts import MoverError
from . import facts
from .session import Login, Session, connect

TRIES = 3
NOW = "select clock_timestamp() as at"


@dataclass(frozen=True)
class Cut:
    """A database whose tables are held against DDL, in a snapshot; it ends with the session."""

    session: Session
    snapshot: str
    at: datetime
    tables: list[facts.Table]
    left_out: list[facts.Table]
    # Names in excludeTables that are no table.
    unknown: list[str]

    @property
    def database(self) -> str:
        """Its name."""
        return self.session.database


@asynccontextmanager
async def cut(who: Login, database: str, request: PostgresRequest) -> AsyncIterator[Cut]:
    """Take the snapshot of one database.

    The tables are locked before anybody counts or dumps them, since TRUNCATE and ALTER show through snapshots.
    """
    async with AsyncExitStack() as stack:
        for left in reversed(range(TRIES)):
            try:
                taken = await stack.enter_async_context(_taken(who, database, request))
                break
            except MoverError as problem:
                if problem.reason != "TableVanished" or not left:
                    raise
        yield taken


@asynccontextmanager
async def _taken(who: Login, database: str, request: PostgresRequest) -> AsyncIterator[Cut]:
    async with connect(who, database) as session:
        await session.execute("begin isolation level repeatable read, read only")
        at = (await session.one(NOW))["at"]
        known = await facts.held_tables(session, request.lock_timeout_seconds)
        left_out, unknown = await facts.excluded(session, known, request.exclude_tables)
        snapshot = (await session.one("select pg_export_snapshot() as name"))["name"]
        yield Cut(session, snapshot, at, known, left_out, unknown)
