"""PostgreSQL into a set: a dump and exact facts of the same snapshot, streamed without a local copy."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ...domain.backups.layout import safe_name
from ...domain.backups.manifest import DatabaseFacts, ObjectKind, PostgresPart, SequenceFacts, Skipped
from ...domain.backups.request import PostgresRequest
from ..chunks import CHUNK, closing, counted, once
from ..contracts import MoverError, ObjectWriter, Report
from . import facts
from .contents import HEAD, in_memory, sequences_in
from .cut import NOW, Cut, cut
from .process import Kit, beside
from .session import Login, connect, login, quoted
from .tools import Tools, client
from .words import shortened

GLOBALS = "postgres/globals.sql"
SUBSCRIPTIONS = """
select count(*) as n from pg_subscription where subdbid = (select oid from pg_database where datname = current_database())
"""


async def back_up(
    request: PostgresRequest, secrets: Path, writer: ObjectWriter, report: Report, scratch: Path = Path("/scratch")
) -> PostgresPart:
    """Save all databases of the request. scratch is used only by the directory format (jobs > 1)."""
    if not request.databases:
        raise MoverError("NoDatabase", "name at least one database in include.postgres.databases", retry=False)
    who = login(request.server, secrets)
    async with connect(who, request.databases[0]) as session:
        server = await session.one(facts.SERVER)
        tools = await client(server["version"])
        work = _Work(request, who, tools, writer, report, scratch)
        saved, cuts = await work.databases()
        globals_object = await work.globals() if request.globals else ""
        finished = (await session.one(NOW))["at"]
    return PostgresPart(
        system_identifier=server["identifier"],
        server_version=server["version"],
        client_version=tools.version,
        cut_at=min(cuts),
        finished_at=finished,
        databases=saved,
        globals_object=globals_object,
        skipped=work.skipped,
        warnings=work.warnings,
    )


class _Work:
    """One backup of one server."""

    def __init__(
        self, request: PostgresRequest, who: Login, tools: Tools, writer: ObjectWriter, report: Report, scratch: Path
    ) -> None:
        self._request, self._who, self._tools, self._writer = request, who, tools, writer
        self._report, self._scratch = report, scratch
        self._kit = Kit(who)
        self.skipped: list[Skipped] = []
        self.warnings: list[str] = []

    async def databases(self) -> tuple[list[DatabaseFacts], list[datetime]]:
        """All snapshots first, so that they are near together; then one database after the other."""
        async with AsyncExitStack() as stack:
            names = dict.fromkeys(self._request.databases)
            cuts = [await stack.enter_async_context(cut(self._who, name, self._request)) for name in names]
            return [await self._database(taken) for taken in cuts], [taken.at for taken in cuts]

    async def _database(self, taken: Cut) -> DatabaseFacts:
        dump = self._directory(taken) if self._request.jobs > 1 else self._custom(taken)
        found, (objects, sequences) = await beside(self._facts(taken), dump)
        form = "directory" if self._request.jobs > 1 else "custom"
        return DatabaseFacts(**found, objects=objects, sequences=sequences, dump_format=form)

    async def globals(self) -> str:
        """Roles and tablespaces without passwords; '' when they cannot be had, and why is in `skipped`."""
        name = "pg_dumpall of the globals"
        command = [self._tools.path("pg_dumpall"), "--globals-only", "--no-role-passwords", "--no-password"]
        try:
            data = await self._kit.output([*command, f"--database={self._request.databases[0]}"], name)
        except MoverError as problem:
            self.skipped.append(Skipped(what="postgres/globals", reason=problem.message))
            return ""
        entry = await self._writer.write(GLOBALS, ObjectKind.POSTGRES_GLOBALS, once(data))
        return entry.name

    async def _facts(self, taken: Cut) -> dict[str, Any]:
        """All that is read by the session of the snapshot."""
        session = taken.session
        database = await session.one(facts.DATABASE)
        schema = await facts.schema_digest(self._kit, self._tools, taken.database, taken.snapshot)
        limit = self._request.hash_limit_bytes
        tables = await facts.all_table_facts(session, taken.tables, taken.left_out, lambda table: table.bytes <= limit)
        await self._note_gaps(taken, [table.shown for table in taken.tables if table.bytes > limit])
        form = database["form"]
        return {
            "name": taken.database,
            "owner": database["owner"],
            "encoding": database["encoding"],
            "collate": database["collate"],
            "ctype": database["ctype"],
            "locale_provider": form.get("datlocprovider") or "c",
            "locale": form.get("datlocale") or form.get("daticulocale") or "",
            "bytes": database["bytes"],
            "comment": database["comment"],
            "schema_sha256": schema,
            "extensions": await facts.extensions(session),
            "settings": await facts.settings(session),
            "acl": await facts.rights(session),
            "roles": [row["name"] for row in await session.rows(facts.ROLES)],
            "tables": tables,
        }

    async def _note_gaps(self, taken: Cut, unhashed: list[str]) -> None:
        """Say what the set does not hold."""
        where = f"postgres/{taken.database}"
        self._skip(where, unhashed, f"larger than {self._request.hash_limit_bytes} bytes: rows counted, content not hashed")
        self._skip(where, [table.shown for table in taken.left_out], "rows left out by excludeTables")
        foreign = [f"{r['schema']}.{r['name']}" for r in await taken.session.rows(facts.FOREIGN)]
        self._skip(where, foreign, "a foreign table: its rows are on another server")
        self.warnings += [f"{where}: excludeTables names {name}, which is no table" for name in taken.unknown]
        if (await taken.session.one(SUBSCRIPTIONS))["n"]:
            self._skip(where, ["subscriptions"], "a copy must not begin to pull data; create them by hand")

    def _skip(self, where: str, names: list[str], reason: str) -> None:
        self.skipped += [Skipped(what=f"{where}/{name}", reason=reason) for name in names]

    def _dump(self, taken: Cut) -> list[str]:
        milliseconds = max(1, int(self._request.lock_timeout_seconds * 1000))
        return [
            self._tools.path("pg_dump"),
            "--no-password",
            # Ours has a checksum, runs on another core, and is smaller.
            "--compress=0",
            "--no-subscriptions",
            f"--snapshot={taken.snapshot}",
            f"--lock-wait-timeout={milliseconds}",
            *(f"--exclude-table-data={_pattern(table)}" for table in taken.left_out),
            f"--dbname={taken.database}",
        ]

    async def _custom(self, taken: Cut) -> tuple[list[str], list[SequenceFacts]]:
        """One stream from pg_dump to the store."""
        step, name = _step(taken), f"pg_dump of database {taken.database}"
        size = (await taken_size(self._who, taken.database))["bytes"]
        head = bytearray()
        source = self._kit.stream([*self._dump(taken), "--format=custom"], name, self._warn(taken))
        tapped = counted(_tapped(source, head), lambda done: self._report(step, done, size))
        async with aclosing(source):
            entry = await self._writer.write(f"{step}.dump", ObjectKind.POSTGRES_DUMP, tapped)
        with in_memory(bytes(head)) as number:
            return [entry.name], await self._sequences(taken, f"/proc/self/fd/{number}", (number,), len(head) == HEAD)

    async def _directory(self, taken: Cut) -> tuple[list[str], list[SequenceFacts]]:
        """Parallel dump into scratch; then one object for each file."""
        step, name = _step(taken), f"pg_dump of database {taken.database}"
        with _folder(self._scratch) as made:
            target = made / "dump"
            form = ["--format=directory", f"--jobs={self._request.jobs}", f"--file={target}"]
            async for _ in self._kit.stream([*self._dump(taken), *form], name, self._warn(taken)):
                pass
            sequences = await self._sequences(taken, str(target))
            files = sorted(target.iterdir())
            total, done, names = sum(file.stat().st_size for file in files), 0, []
            for file in files:
                self._report(step, done, total)
                done += file.stat().st_size
                entry = await self._writer.write(f"{step}/{file.name}", ObjectKind.POSTGRES_DIRECTORY, read(file))
                names.append(entry.name)
                file.unlink()
            return names, sequences

    async def _sequences(
        self, taken: Cut, dump: str, descriptors: tuple[int, ...] = (), cut_off: bool = False
    ) -> list[SequenceFacts]:
        try:
            return await sequences_in(self._tools, dump, descriptors)
        except MoverError:
            if not cut_off:
                raise
            self._skip(f"postgres/{taken.database}", ["sequences"], "the dump's contents are too long: values not recorded")
            return []

    def _warn(self, taken: Cut) -> Any:
        return lambda said: self.warnings.append(f"postgres/{taken.database}: pg_dump said: {shortened(said)}")


async def taken_size(who: Login, database: str) -> dict[str, Any]:
    """Bytes of a database, in a session of its own: that of the snapshot is counting."""
    async with connect(who, database) as session:
        return await session.one("select pg_database_size(current_database()) as bytes")


def _step(taken: Cut) -> str:
    return f"postgres/{safe_name(taken.database)}"


def _pattern(table: facts.Table) -> str:
    """Quoted, a pattern of pg_dump is a plain name."""
    return f"{quoted(table.schema)}.{quoted(table.name)}"


async def _tapped(source: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async with closing(source):
        async for chunk in source:
            if len(head) < HEAD:
                head += chunk[: HEAD - len(head)]
            yield chunk


async def read(file: Path) -> AsyncIterator[bytes]:
    """A file in chunks."""
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


@contextmanager
def _folder(scratch: Path) -> Iterator[Path]:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix="dump-", dir=scratch)
    except OSError as problem:
        text = f"jobs > 1 dumps into {scratch} first, which cannot be written: {problem}"
        raise MoverError("NoScratch", text, retry=False) from problem
    with made as folder:
        yield Path(folder)
