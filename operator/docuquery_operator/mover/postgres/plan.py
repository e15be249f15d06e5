"""What a restore would do to a server: what comes back, what would be lost, what is in the way. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...domain.backups.manifest import DatabaseFacts, PostgresPart, TableFacts
from ...domain.backups.request import PostgresRequest
from ..contracts import MoverError
from . import facts as reading
from .preconditions import ready
from .session import Login, Session, connect, login
from .state import MAINTENANCE, Standing, look, names

SHOWN = 6
# Larger tables are estimated, or compared by their number of rows only.
COUNT_LIMIT = 4 << 30
HASH_LIMIT = 256 << 20
ESTIMATE = "select greatest(reltuples, 0)::bigint as rows from pg_class where oid = $1::oid"


@dataclass(frozen=True)
class DatabasePlan:
    """One database. fixed: what the plan's digest depends on; `in_the_way`: what has to be done before."""

    database: str
    bytes: int
    lines: list[str]
    fixed: dict[str, Any]
    in_the_way: list[str] = field(default_factory=list)


async def plan(
    part: PostgresPart, wanted: Sequence[DatabaseFacts], request: PostgresRequest, secrets: Path, restore_id: str
) -> list[DatabasePlan]:
    """One plan a database."""
    who = login(request.server, secrets)
    async with connect(who, MAINTENANCE) as session:
        server = await session.one(reading.SERVER)
        return [await _plan(session, who, part, facts, server, restore_id) for facts in wanted]


async def _plan(
    session: Session, who: Login, part: PostgresPart, facts: DatabaseFacts, server: dict[str, Any], restore_id: str
) -> DatabasePlan:
    stands = await look(session, names(facts.name, restore_id))
    in_the_way: list[str] = []
    absent: tuple[str, ...] = ()
    try:
        absent = await ready(session, part, facts)
    except MoverError as problem:
        in_the_way.append(problem.message)
    rows = sum(table.rows for table in facts.tables)
    lines = [f"{facts.name}: {rows} rows in {len(facts.tables)} tables come back as of {part.cut_at:%Y-%m-%d %H:%M:%S} UTC"]
    lines += await _lost(who, facts, stands)
    lines.append(
        f"{facts.name}: needs about {facts.bytes} bytes more on the server's volume; PostgreSQL does not tell what is free"
    )
    if part.server_version // 10000 != session.version // 10000:
        lines.append(f"{facts.name}: from PostgreSQL {part.server_version // 10000} to {session.version // 10000}")
    if absent:
        lines.append(f"{facts.name}: without the extension {', '.join(absent)}, which a superuser has to create afterwards")
    lines += [f"{facts.name}: in the way: {problem}" for problem in in_the_way]
    fixed = {
        "database": facts.name,
        "liveExists": stands.live.exists,
        "server": server["identifier"],
        "serverVersion": session.version,
        "absent": list(absent),
        "inTheWay": in_the_way,
    }
    return DatabasePlan(facts.name, facts.bytes, lines, fixed, in_the_way)


async def _lost(who: Login, facts: DatabaseFacts, stands: Standing) -> list[str]:
    if not stands.live.exists:
        return [f"{facts.name}: there is no live database of this name, so nothing is lost, and there is no way back"]
    kept = f"{facts.name}: what is live is kept as {stands.names.previous} until it is dropped"
    if stands.live.state == "live":
        return [f"{facts.name}: what is live is this restore's copy already"]
    try:
        async with connect(who, facts.name) as live:
            different = await _differences(live, facts)
    except MoverError as problem:
        return [kept, f"{facts.name}: the live data could not be compared: {problem.message}"]
    if not different:
        return [kept, f"{facts.name}: the live data are equal to those of the set"]
    more = [f"{facts.name}: and {len(different) - SHOWN} more tables differ"] if len(different) > SHOWN else []
    # Equal numbers of rows, or fewer, say nothing of what is new: it is not in the set all the same.
    more.append(
        f"{facts.name}: what was written after the set was cut is in {stands.names.previous} alone, and goes with it"
    )
    return [kept, *(f"{facts.name}: {line}" for line in different[:SHOWN]), *more]


async def _differences(live: Session, facts: DatabaseFacts) -> list[str]:
    recorded = {(table.schema_name, table.name): table for table in facts.tables}
    lines = []
    for table in await reading.tables(live):
        if table.parent:
            continue
        then = recorded.pop((table.schema, table.name), None)
        line = await _difference(live, table, then)
        if line:
            lines.append(line)
    large = (reading.LARGE_OBJECTS[0], reading.LARGE_OBJECTS[1])
    return lines + [f"{'.'.join(key)} comes back, it is not live" for key in recorded if key != large]


async def _difference(live: Session, table: reading.Table, then: TableFacts | None) -> str:
    about = ""
    if table.bytes > COUNT_LIMIT:
        rows, content, about = (await live.one(ESTIMATE, [table.oid]))["rows"], "", "about "
    else:
        hashed = then is not None and bool(then.content) and table.bytes <= HASH_LIMIT
        now = await reading.table_facts(live, table, hashed)
        rows, content = now.rows, now.content
    if then is None:
        return f"{table.shown} with {about}{rows} rows is not in the set and would be gone"
    if not then.data:
        return f"{table.shown}: the set has none of its rows, {about}{rows} would be gone" if rows else ""
    if rows != then.rows:
        lost = f", at least {rows - then.rows} would be lost" if rows > then.rows else ""
        return f"{table.shown} has {about}{rows} rows live and {then.rows} in the set{lost}"
    return f"{table.shown} has {rows} rows in both, with other content" if content and content != then.content else ""
