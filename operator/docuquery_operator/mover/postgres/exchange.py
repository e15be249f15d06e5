"""The exchange of names between a live database and its restored copy, and the way back.

All of it is one transaction: there is no moment at which a kill leaves the application without its database. RENAME holds a
lock that keeps new sessions waiting while the old ones are ended, so that the live database never has to be closed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ...domain.backups.request import PostgresRequest
from ..contracts import MoverError
from .session import Login, Session, connect, login, quoted
from .state import MAINTENANCE, Names, Standing, exclusive, look, marked, names

TRIES = 4
SESSIONS = "select pid from pg_stat_activity where datname = any($1::text[]) and pid <> pg_backend_pid()"
HOLDERS = """
select coalesce(usename, backend_type) as who, count(*) as n from pg_stat_activity where datname = any($1::text[]) group by 1
union all
select 'prepared transaction ' || gid, 1 from pg_prepared_xacts where database = any($1::text[])
"""


async def swap(request: PostgresRequest, secrets: Path, database: str, restore_id: str) -> str:
    """Let the checked copy become the live database; what that was is kept, closed. Says what was done."""
    who, of = login(request.server, secrets), names(database, restore_id)
    async with exclusive(who, database) as session:
        stands = await look(session, of)
        if stands.live.state == "live":
            return f"{database} is the restored one already{'' if stands.previous.exists else ', nothing is kept of before'}"
        _ready(stands)
        statements = [
            f"alter database {quoted(of.copy)} rename to {quoted(of.live)}",
            f"alter database {quoted(of.live)} allow_connections true",
            marked(of, of.live, stands.copy.comment, "live", stands.copy.set_id),
        ]
        if not stands.live.exists:
            await _exchanged(session, who, of, statements)
            return f"{database} is the restored one; there was none before, so nothing is kept and there is no way back"
        statements = [
            f"alter database {quoted(of.live)} rename to {quoted(of.previous)}",
            # What is the way back must not change.
            f"alter database {quoted(of.previous)} allow_connections false",
            *statements,
        ]
        await _exchanged(session, who, of, statements)
        return f"{database} is the restored one; what it was is kept as {of.previous}, closed"


async def existing(request: PostgresRequest, secrets: Path, databases: Sequence[str]) -> list[str]:
    """Those of them that the server has."""
    async with connect(login(request.server, secrets), MAINTENANCE) as session:
        rows = await session.rows(
            "select datname as name from pg_database where datname = any($1::text[])", [list(databases)]
        )
        return sorted(row["name"] for row in rows)


async def begun(request: PostgresRequest, secrets: Path, databases: Sequence[str], restore_id: str) -> bool:
    """Whether one of these databases has been exchanged already."""
    async with connect(login(request.server, secrets), MAINTENANCE) as session:
        for database in databases:
            stands = await look(session, names(database, restore_id))
            if stands.live.state == "live" or stands.previous.exists:
                return True
    return False


def _ready(stands: Standing) -> None:
    of = stands.names
    if not stands.copy.exists:
        raise MoverError("NoCopy", f"there is no {of.copy}: the restore has to be run first", retry=False)
    if stands.copy.state != "checked":
        raise MoverError("NotChecked", f"{of.copy} is not restored and checked to the end, so it does not go live")
    if stands.previous.exists:
        text = (
            f"{of.previous} exists although {of.live} is not the restored one: somebody has changed names; see to it by hand"
        )
        raise MoverError("Unclear", text, retry=False)


async def rollback(request: PostgresRequest, secrets: Path, database: str, restore_id: str) -> str:
    """Put back what was live before; the restored copy keeps its own name again. Says what was done."""
    who, of = login(request.server, secrets), names(database, restore_id)
    async with exclusive(who, database) as session:
        stands = await look(session, of)
        if not stands.previous.exists:
            if stands.live.exists and stands.live.state != "live":
                return f"{database} is what it was before"
            text = f"there is no {of.previous}: nothing is kept of what {database} was, so there is no way back"
            raise MoverError("NoPrevious", text, retry=False)
        statements = [
            f"alter database {quoted(of.previous)} rename to {quoted(of.live)}",
            f"alter database {quoted(of.live)} allow_connections true",
        ]
        if stands.live.exists:
            if stands.live.state != "live":
                raise MoverError("Unclear", f"{of.live} is not the restored one; see to it by hand", retry=False)
            if stands.copy.exists:
                raise MoverError("Unclear", f"{of.copy} exists beside {of.previous}; see to it by hand", retry=False)
            statements = [
                f"alter database {quoted(of.live)} rename to {quoted(of.copy)}",
                marked(of, of.copy, stands.live.comment, "checked", stands.live.set_id),
                *statements,
            ]
        await _exchanged(session, who, of, statements)
        return f"{database} is what it was before; the restored one is kept as {of.copy}"


async def drop_previous(request: PostgresRequest, secrets: Path, database: str, restore_id: str) -> str:
    """Drop what this restore has kept: what was live before, and a copy that is not live. Says what was done."""
    who, of = login(request.server, secrets), names(database, restore_id)
    async with exclusive(who, database) as session:
        stands = await look(session, of)
        if stands.previous.exists and stands.live.state != "live":
            text = f"{of.live} is not the restored one, so {of.previous} may be the only copy of the data and stays"
            raise MoverError("Unclear", text, retry=False)
        if stands.copy.exists and not stands.live.exists:
            text = f"there is no {of.live}, so {of.copy} may be the only copy of the data and stays"
            raise MoverError("Unclear", text, retry=False)
        dropped = [name for name, seen in ((of.previous, stands.previous), (of.copy, stands.copy)) if seen.exists]
        for name in dropped:
            await drop(session, of, name)
        return f"dropped {', '.join(dropped)}" if dropped else "nothing was kept"


async def drop(session: Session, of: Names, name: str) -> None:
    """Drop a database of this restore; any other name is refused."""
    if name not in (of.copy, of.previous) or of.restore_id not in name:
        raise ValueError(f"{name} is none of this restore's")
    await session.execute(f"drop database if exists {quoted(name)} with (force)")


async def _exchanged(session: Session, who: Login, of: Names, statements: Sequence[str]) -> None:
    """Run them as one transaction while sessions are ended; either all of it is done or nothing."""
    await session.execute("set lock_timeout = '15s'")
    for left in reversed(range(TRIES)):
        try:
            async with _ending(who, of), session.transaction():
                for statement in statements:
                    await session.execute(statement)
            return
        except MoverError as problem:
            if problem.reason not in ("InUse", "LockTimeout"):
                raise
            if not left:
                holders = await session.rows(HOLDERS, [[of.live, of.copy, of.previous]])
                listed = ", ".join(f"{row['n']} of {row['who']}" for row in holders)
                raise MoverError("InUse", f"{problem.message} Sessions: {listed}") from problem


@asynccontextmanager
async def _ending(who: Login, of: Names) -> AsyncIterator[None]:
    """End sessions of the three databases all the while: they come again until RENAME holds its lock."""
    async with connect(who, MAINTENANCE) as session:
        task = asyncio.create_task(_end(session, of))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, MoverError):
                await task


async def _end(session: Session, of: Names) -> None:
    while True:
        for row in await session.rows(SESSIONS, [[of.live, of.copy, of.previous]]):
            # A session that we may not end does not protect the others.
            with suppress(MoverError):
                await session.execute("select pg_terminate_backend($1::int)", [row["pid"]])
        await asyncio.sleep(0.05)
