"""pg_restore of a set's dump into an empty database, as a stream or, in parallel, from scratch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...domain.backups.manifest import DatabaseFacts, Manifest, ObjectEntry
from ..chunks import CHUNK, closing, counted
from ..contracts import MoverError, ObjectReader, Report
from . import contents
from .process import Kit, ToolError
from .tools import Tools

# A transaction locks each object that it makes; the drill's server has room for those of so many entries of a dump.
ENTRIES_AT_ONCE = 2000


@dataclass(frozen=True)
class Dump:
    """A database in a set. index_jobs: how many indexes and keys are built at once after a stream has ended."""

    facts: DatabaseFacts
    manifest: Manifest
    reader: ObjectReader
    scratch: Path
    report: Report
    jobs: int = 1
    index_jobs: int = 1

    @property
    def step(self) -> str:
        """Name for people."""
        return f"postgres/{self.facts.name}"

    def entries(self) -> list[ObjectEntry]:
        """Its objects; MoverError when the manifest names one that it does not have."""
        try:
            return [self.manifest.entry(name) for name in self.facts.objects]
        except KeyError as problem:
            text = f"the manifest has no object {problem} of database {self.facts.name}"
            raise MoverError("Damaged", text, retry=False) from None

    @property
    def bytes(self) -> int:
        """Plain bytes of all."""
        return sum(entry.plain_bytes for entry in self.entries())


async def fill(dump: Dump, kit: Kit, tools: Tools, database: str, absent: Collection[str] = ()) -> None:
    """Restore into `database`, which is empty; the first error ends it. absent: extensions to do without."""
    command = [tools.path("pg_restore"), "--exit-on-error", "--no-password", "--no-subscriptions", f"--dbname={database}"]
    name = f"pg_restore of database {dump.facts.name}"
    entries = dump.entries()
    if dump.facts.dump_format == "custom" and dump.index_jobs > 1 and not absent:
        await _staged(dump, kit, tools, command, name, entries[0])
        return
    if dump.facts.dump_format == "custom" and dump.jobs <= 1:
        await _streamed(dump, kit, tools, command, name, entries[0], absent)
        return
    with _folder(dump) as folder:
        source = await _fetched(dump, folder, entries)
        with ExitStack() as stack:
            extra: list[str] = []
            descriptors: tuple[int, ...] = ()
            if absent:
                lines = contents.without_extensions(await contents.listed(tools, str(source)), absent)
                number = stack.enter_context(contents.in_memory(contents.as_list(lines)))
                extra, descriptors = [f"--use-list=/proc/self/fd/{number}"], (number,)
            parallel = [f"--jobs={max(1, dump.jobs)}"] if dump.jobs > 1 else []
            await kit.output([*command, *parallel, *extra, str(source)], name, descriptors=descriptors)


async def _streamed(
    dump: Dump, kit: Kit, tools: Tools, command: list[str], name: str, entry: ObjectEntry, absent: Collection[str]
) -> None:
    with ExitStack() as stack:
        descriptors: tuple[int, ...] = ()
        if absent:
            head = await _head(dump.reader, entry)
            memory = stack.enter_context(contents.in_memory(head))
            lines = await contents.listed(tools, f"/proc/self/fd/{memory}", (memory,))
            wanted = contents.as_list(contents.without_extensions(lines, absent))
            descriptors = (stack.enter_context(contents.in_memory(wanted)),)
            command = [*command, f"--use-list=/proc/self/fd/{descriptors[0]}"]
        source = counted(dump.reader.read(entry), lambda done: dump.report(dump.step, done, entry.plain_bytes))
        await kit.feed(command, name, source, descriptors)


async def _staged(dump: Dump, kit: Kit, tools: Tools, command: list[str], name: str, entry: ObjectEntry) -> None:
    """Rows as the stream comes; then keys and indexes, which need no more than the dump's head, several at once."""
    source = counted(dump.reader.read(entry), lambda done: dump.report(dump.step, done, entry.plain_bytes))
    async with closing(source):
        with contents.in_memory(await _first(source)) as memory:
            path = f"/proc/self/fd/{memory}"
            try:
                lines = await contents.listed(tools, path, (memory,))
            except ToolError:
                # Longer than that, or damaged: pg_restore itself will say.
                await kit.feed(command, name, _again(memory, source))
                return
            rows = [*command, "--section=pre-data", "--section=data"]
            # Rows of a table that the same transaction has made need no log.
            if len(lines) <= ENTRIES_AT_ONCE and not any(" BLOB" in line for line in lines):
                rows.append("--single-transaction")
            await kit.feed(rows, name, _again(memory, source))
            rest = [*command, "--section=post-data", f"--jobs={dump.index_jobs}", path]
            await kit.output(rest, name, descriptors=(memory,))


async def _again(memory: int, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    at = 0
    while chunk := os.pread(memory, CHUNK, at):
        at += len(chunk)
        yield chunk
    async for chunk in source:
        yield chunk


async def _head(reader: ObjectReader, entry: ObjectEntry) -> bytes:
    # Readers are generators, which hold a connection until they are closed.
    async with closing(reader.read(entry)) as source:
        return await _first(source)


async def _first(source: AsyncIterator[bytes]) -> bytes:
    head = bytearray()
    async for chunk in source:
        head += chunk
        if len(head) >= contents.HEAD:
            break
    return bytes(head)


async def _fetched(dump: Dump, folder: Path, entries: list[ObjectEntry]) -> Path:
    total, done = dump.bytes, 0
    for entry in entries:
        # The last part of a name that we have given; nobody else's path.
        file = folder / Path(entry.name).name
        with file.open("wb") as target:
            async for chunk in dump.reader.read(entry):
                target.write(chunk)
                done += len(chunk)
                dump.report(dump.step, done, total)
    return folder if dump.facts.dump_format == "directory" else folder / Path(entries[0].name).name


@contextmanager
def _folder(dump: Dump) -> Iterator[Path]:
    free = shutil.disk_usage(dump.scratch).free
    if free < dump.bytes:
        room = f"{dump.bytes} bytes in {dump.scratch}, and {free} are free"
        text = f"a parallel restore needs {room}: use jobs: 1, or a larger volume"
        raise MoverError("DiskFull", text, retry=False)
    with tempfile.TemporaryDirectory(prefix="restore-", dir=dump.scratch) as made:
        yield Path(made)
