"""VACUUM, ANALYZE and REINDEX CONCURRENTLY within a time budget. Killed anywhere, it is safe to begin again."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from pathlib import Path

from ...domain.maintenance.task_outcome import TaskOutcome
from ...domain.maintenance.task_requests import UpkeepRequest
from ...domain.upkeep.databases import Done, State, TableFacts, Upkeep, outcome_of
from ..contracts import MoverError, Report
from . import upkeep_facts
from .session import Login, Session, connect, login, quoted

# Between two tries to get a table's lock: nobody queues behind a try, as it does not wait.
PAUSE = 0.25
# What is left of the budget below this is kept for the figures after.
RESERVE = 5.0
LOCKED = re.compile(r"lock not available|could not obtain lock|lock timeout", re.IGNORECASE)
DENIED = re.compile(r"permission denied|only .* can (vacuum|analyze) it", re.IGNORECASE)
GRANT_17 = (
    "this role may not maintain tables of {{owners}}: GRANT MAINTAIN ON TABLE … TO {user}, or GRANT pg_maintain TO {user}"
)
GRANT = "this role may not vacuum tables of {{owners}}: GRANT {{owners}} TO {user}, as before PostgreSQL 17 only owners may"
HOLDERS = """
select string_agg(format('session %s of %s (%s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), a.state)), ', ')
         as who
  from (select distinct l.pid from pg_locks l where l.relation = $1::regclass and l.granted and l.pid <> pg_backend_pid()
           and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                          'AccessExclusiveLock') limit 3) h join pg_stat_activity a on a.pid = h.pid
"""
INDEX = """
select n.nspname as schema, c.relname as name, pg_relation_size(c.oid) as bytes, i.indrelid::bigint as table_oid
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('i', 'I') and n.nspname = $1 and c.relname = $2
"""
# REINDEX CONCURRENTLY names its copy <index>_ccnew, and the old one for a moment <index>_ccold, with a number if need be.
INVALID = """
select n.nspname as schema, c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace where i.indrelid = $1::oid and not i.indisvalid and n.nspname = $2
"""
COPY = re.compile(r"(.*)_cc(?:new|old)\d*")
# Longer names of indexes are cut so that the ending has room.
CUT_AT = 50


async def upkeep(request: UpkeepRequest, report: Report) -> TaskOutcome:
    """Everything of the request. SIGTERM, a cancellation here, ends it at the next safe point, with what was done."""
    verb = "vacuum" if request.vacuum else "analyze"
    done, end = Upkeep(verb), time.monotonic() + request.budget_seconds
    who = login(request.server, Path(request.secrets_dir))
    left = list(request.reindex)
    try:
        for database in request.databases:
            await _database(request, who, database, done, end, report, left)
    except asyncio.CancelledError:
        # A statement that was cancelled has changed nothing that counts; what was done before stays done.
        done.stopped = "stopped before its end"
    if not done.stopped:
        done.problems += [f"index {name} is in none of the databases" for name in left]
    return outcome_of(done)


async def _database(
    request: UpkeepRequest, who: Login, database: str, done: Upkeep, end: float, report: Report, left: list[str]
) -> None:
    try:
        async with connect(who, database) as session:
            done.grant = (GRANT_17 if session.version >= 170000 else GRANT).format(user=quoted(who.user))
            before = await upkeep_facts.look(session)
            done.before.append(before)
            try:
                await _tables(request, who, before.tables, done, end, report)
                await _reindex(request, session, done, end, report, left)
            finally:
                done.after.append(await asyncio.shield(upkeep_facts.look(session)))
    except MoverError as problem:
        done.problems.append(f"{database}: {problem.message}"[:400])


async def _tables(request: UpkeepRequest, who: Login, tables: object, done: Upkeep, end: float, report: Report) -> None:
    waiting: deque[TableFacts] = deque(tables)  # type: ignore[call-overload]
    total = len(waiting)
    for table in waiting:
        done.tables[table.key] = Done("not reached")

    async def work() -> None:
        while waiting:
            async with connect(who, waiting[0].database) as session:
                await _through(request, session, waiting, total, done, end, report)

    workers = [asyncio.create_task(work()) for _ in range(min(request.parallel, max(1, total)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _through(
    request: UpkeepRequest,
    session: Session,
    waiting: deque[TableFacts],
    total: int,
    done: Upkeep,
    end: float,
    report: Report,
) -> None:
    while waiting:
        table = waiting.popleft()
        if not table.allowed:
            done.tables[table.key] = Done("not allowed")
            continue
        if time.monotonic() > end - RESERVE:
            continue
        report(f"{done.verb} {table.database}/{table.schema}.{table.name}", total - len(waiting), total)
        done.tables[table.key] = await _one(request, session, table, end)


async def _one(request: UpkeepRequest, session: Session, table: TableFacts, end: float) -> Done:
    """One table: tried without waiting until its lock is free or lock_timeout is over."""
    name = f"{quoted(table.schema)}.{quoted(table.name)}"
    statement = f"analyze (skip_locked) {name}"
    if request.vacuum:
        statement = f"vacuum (skip_locked{', analyze' if request.analyze else ''}) {name}"
    patience = time.monotonic() + request.lock_timeout_seconds
    while True:
        said = await _attempt(request, session, statement, end)
        if said is None:
            return Done("done")
        if DENIED.search(said):
            return Done("not allowed")
        if "statement timeout" in said:
            return Done("not reached", "its time was over before it was through")
        if not LOCKED.search(said):
            return Done("failed", said[:300])
        if time.monotonic() >= min(patience, end - RESERVE):
            holder = await session.one(HOLDERS, [name])
            return Done("locked", f"held by {holder['who']}" if holder.get("who") else "")
        await asyncio.sleep(PAUSE)


async def _attempt(request: UpkeepRequest, session: Session, statement: str, end: float) -> str | None:
    """None when it is done; else what the server said."""
    session.warnings.clear()
    await _limits(request, session, end)
    try:
        await session.execute(statement)
    except MoverError as problem:
        return problem.message
    return "; ".join(session.warnings) or None


async def _limits(request: UpkeepRequest, session: Session, end: float) -> None:
    left = max(1, int((end - RESERVE - time.monotonic()) * 1000))
    await session.execute(f"set statement_timeout = {left}")
    await session.execute(f"set lock_timeout = {max(1, int(request.lock_timeout_seconds * 1000))}")


async def _reindex(
    request: UpkeepRequest, session: Session, done: Upkeep, end: float, report: Report, left: list[str]
) -> None:
    for wanted in list(left):
        schema, _, name = wanted.rpartition(".")
        index = await session.one(INDEX, [schema or "public", name])
        if not index:
            continue
        left.remove(wanted)
        if time.monotonic() > end - RESERVE:
            done.reindexed[wanted] = Done("not reached", "its time was over")
            continue
        report(f"reindex {session.database}/{wanted}", 0, 0)
        done.reindexed[wanted] = await _rebuilt(request, session, index, end)


async def _rebuilt(request: UpkeepRequest, session: Session, index: dict[str, object], end: float) -> Done:
    full = f"{quoted(str(index['schema']))}.{quoted(str(index['name']))}"
    dropped = await _leftovers(request, session, index, end)
    said = await _attempt(request, session, f"reindex index concurrently {full}", end)
    if said is not None:
        # What it leaves behind costs writes and serves nobody.
        await _leftovers(request, session, index, time.monotonic() + RESERVE + 30)
        state: State = "locked" if LOCKED.search(said) else "not reached" if "statement timeout" in said else "failed"
        return Done(state, f"not rebuilt: {said[:300]}")
    after = await session.one(INDEX, [index["schema"], index["name"]])
    more = f"; {dropped} left by an earlier try dropped" if dropped else ""
    return Done("done", f"rebuilt, {index['bytes']} → {after.get('bytes')} bytes{more}")


async def _leftovers(request: UpkeepRequest, session: Session, index: dict[str, object], end: float) -> int:
    """Invalid copies that an earlier REINDEX CONCURRENTLY of this very index has left."""
    found = await session.rows(INVALID, [index["table_oid"], index["schema"]])
    gone = 0
    for row in [r for r in found if _is_copy(str(r["name"]), str(index["name"]))]:
        statement = f"drop index concurrently if exists {quoted(row['schema'])}.{quoted(row['name'])}"
        gone += await _attempt(request, session, statement, end) is None
    return gone


def _is_copy(name: str, of: str) -> bool:
    found = COPY.fullmatch(name)
    return found is not None and of.startswith(found[1]) and len(found[1]) >= min(len(of), CUT_AT)
