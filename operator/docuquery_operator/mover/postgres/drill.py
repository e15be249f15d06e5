"""The proof: restore a set into a server of its own, in this pod, and compare it with the manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from ...api.backup_job import SqlAssertion
from ...domain.backups.manifest import Check, DatabaseFacts, Manifest, PostgresPart
from ..contracts import DamagedError, MoverError, ObjectReader, Report, silent
from .compare import Answer, Copy, compare, timed
from .creation import creation, plain_creation
from .fill import Dump, fill
from .process import Kit, ToolError
from .session import Login, Session, connect, quoted
from .throwaway import SUPERUSER, throwaway
from .tools import Tools, chosen, installed, spelt
from .words import lacking, shortened

ROOM = 1.2
ASSERTION_SECONDS = 60
# Each takes maintenance_work_mem of the server.
INDEX_JOBS = 2
HASHERS = 2
# The test server's own trouble says nothing of the set.
NOT_THE_SET = ("DiskFull", "ConnectionLost", "Unreachable", "ServerNotReady")
AVAILABLE = "select name from pg_available_extensions"


async def drill(
    part: PostgresPart,
    reader: ObjectReader,
    manifest: Manifest,
    scratch: Path,
    assertions: Sequence[SqlAssertion],
    report: Report = silent,
) -> list[Check]:
    """All checks of PostgreSQL's part, named `postgres/<database>/…` and `assertion/<name>`.

    The seconds of `postgres/server` and of each `…/restore` together are the recovery time. A store that cannot be read, or
    a server that does not start, is a MoverError and no verdict.
    """
    try:
        tools = chosen(await installed("postgres"), part.server_version, part.client_version)
    except MoverError as problem:
        return [Check(name="postgres/server", ok=None, detail=problem.message)]
    if lack := _lack_of_room(part, scratch):
        return [Check(name="postgres/server", ok=None, detail=lack)]
    began = time.monotonic()
    async with throwaway(scratch, tools) as who:
        await _roles(who, part)
        started = f"PostgreSQL {spelt(tools.version)} in this pod"
        checks = [Check(name="postgres/server", ok=True, detail=started, seconds=time.monotonic() - began)]
        for database in part.databases:
            dump = Dump(database, manifest, reader, scratch, report, index_jobs=INDEX_JOBS)
            checks += await _Drill(part, dump, who, tools, assertions).run()
    known = {database.name for database in part.databases}
    for left in assertions:
        if left.database not in known:
            text = f"the set has no database {left.database}"
            checks.append(Check(name=f"assertion/{left.name}", ok=None, detail=text))
    return checks


def _lack_of_room(part: PostgresPart, scratch: Path) -> str:
    need = int(ROOM * sum(database.bytes for database in part.databases))
    place = scratch if scratch.is_dir() else scratch.parent
    free = shutil.disk_usage(place).free
    return f"a drill needs {need} bytes in {scratch}, and {free} are free" if free < need else ""


async def _roles(who: Login, part: PostgresPart) -> None:
    """Owners and those with rights, without a way to log in: else rights could not be restored and compared."""
    named = {role for database in part.databases for role in (*database.roles, database.owner)} - {SUPERUSER}
    async with connect(who, "template1") as session:
        for role in sorted(named):
            # Roles of the server's own, such as pg_monitor, are there already.
            if not role.startswith("pg_"):
                # Some things, such as event triggers, may only be owned by a superuser.
                await session.execute(f"create role {quoted(role)} superuser")


class _Drill:
    """One database."""

    def __init__(self, part: PostgresPart, dump: Dump, who: Login, tools: Tools, assertions: Sequence[SqlAssertion]) -> None:
        self._part, self._dump, self._who, self._tools = part, dump, who, tools
        self._facts = dump.facts
        self._kit = Kit(who)
        self._assertions = [one for one in assertions if one.database == dump.facts.name]

    async def run(self) -> list[Check]:
        """Restore, then everything that can be asked of the copy."""
        restored = await timed(f"{self._dump.step}/restore", self._restore)
        if restored.ok is not True:
            return [restored]
        async with connect(self._who, self._facts.name) as session:
            # Nobody else works here: the larger tables are read by the session and a process beside it.
            await session.execute(f"set max_parallel_workers_per_gather = {HASHERS - 1}")
            copy = Copy(self._part, self._facts, session, self._kit, self._tools)
            checks = await compare(copy, lambda: timed(f"{copy.step}/amcheck", self._amcheck))
        for one in self._assertions:
            checks.append(await timed(f"assertion/{one.name}", lambda asked=one: self._assert(asked)))  # type: ignore[misc]
        return [restored, *checks]

    async def _restore(self) -> Answer:
        async with connect(self._who, "template1") as session:
            have = {row["name"] for row in await session.rows(AVAILABLE)}
            if missing := sorted(self._facts.extensions.keys() - have):
                return None, f"the drill's server lacks the extension {', '.join(missing)}"
            note = await create(session, self._facts, self._facts.name)
        try:
            await fill(self._dump, self._kit, self._tools, self._facts.name)
        except ToolError as problem:
            unfit = lacking(problem.said) or problem.reason in NOT_THE_SET
            return (None if unfit else False), problem.message
        except DamagedError as problem:
            return False, problem.message
        return True, note or "restored"

    async def _amcheck(self) -> Answer:
        """Each index against its table, and both for their structure."""
        program = self._tools.find("pg_amcheck")
        if program is None:
            return None, "pg_amcheck is not in this image"
        command = [program, "--no-password", "--install-missing", "--heapallindexed", "--parent-check"]
        if self._tools.major >= 17:
            command.append("--checkunique")
        code, said = await self._kit.ended([*command, f"--database={self._facts.name}"], "pg_amcheck")
        if code == 0:
            return True, "tables and indexes are sound"
        # 2: something was found; anything else: it could not look.
        return (False if code == 2 else None), shortened(said) or f"exit code {code}"

    async def _assert(self, asked: SqlAssertion) -> Answer:
        async with connect(self._who, self._facts.name) as session:
            try:
                value = await answer(session, asked.query)
            except MoverError as problem:
                return False, problem.message
        if value == asked.expect:
            return True, f"{shortened(asked.expect, 100)}"
        return False, f"gives {shortened(repr(value), 100)} instead of {shortened(repr(asked.expect), 100)}"


async def answer(session: Session, query: str) -> str | None:
    """The one value of a SELECT as text; the session can only read, and only for so long. MoverError when it has not one."""
    await session.execute(f"set statement_timeout = '{ASSERTION_SECONDS}s'")
    await session.execute('set search_path = "$user", public')
    await session.execute("begin read only")
    values = []
    async for row in session.stream(f"select ({query.strip().rstrip(';')}\n)::text"):
        values.append(row)
    await session.execute("rollback")
    found: str | None = values[0][0]
    return found


async def create(session: Session, facts: DatabaseFacts, name: str) -> str:
    """An empty database of the original's form; a note when the server at hand has not its locale."""
    if name == "postgres":
        await session.execute("drop database if exists postgres")
    try:
        await session.execute(creation(facts, name))
        return ""
    except MoverError as problem:
        if not lacking(problem.message):
            raise
    await session.execute(plain_creation(facts, name))
    return f"restored with locale C, as this server has not {facts.collate}"
