"""Copies of log archives in a store, each with a receipt: `<prefix>/<stack>/logs/<component>/<claim>/<folder>/<archive>`.

A copy counts once it was read back and is, byte for byte, what was sent; only then its receipt (`.json`: sizes and hashes)
is written. Killed at any step the next run finds the receipt, or sends the archive again under the same key. How long
copies are kept is the store's own business, such as a lifecycle rule on `logs/`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ...domain.backups.layout import Layout, safe_name
from ...domain.backups.manifest import ObjectEntry, ObjectKind
from ...domain.maintenance.task_requests import LogStore
from ..chunks import CHUNK, once
from ..contracts import DamagedError, MoverError, Report
from ..objects import SetReader, SetWriter
from ..store import Store, prefix_of

FOLDER = "logs"


class LogLayout(Layout):
    """Keys of what belongs to no set."""

    def object(self, set_id: str, name: str) -> str:
        """set_id: the folder of all of them."""
        return f"{self.root}{set_id}/{name}"


@dataclass
class Copies:
    """What was done. proved: archives whose copies were seen whole in the store; sent: bytes of those sent just now."""

    proved: set[Path] = field(default_factory=set)
    sent: int = 0
    new: int = 0
    problems: list[str] = field(default_factory=list)


class Archive:
    """One store of one run."""

    def __init__(self, store: Store, wanted: LogStore, report: Report) -> None:
        self._store, self._wanted, self._report = store, wanted, report
        self._layout = LogLayout(prefix_of(wanted.destination), wanted.stack)

    async def keep(self, archives: Sequence[tuple[str, Path]], copies: Copies) -> None:
        """A copy of each (folder in the store, file). The store's own trouble ends it: the rest is for the next run."""
        try:
            await self._store.check(self._layout.prefix)
            for folder, path in archives:
                await self._one(folder, path, copies)
        except MoverError as problem:
            left = sum(path not in copies.proved for _folder, path in archives)
            copies.problems.append(f"{problem.message}; {left} archives stay on the volume until they are in the store")

    async def _one(self, folder: str, path: Path, copies: Copies) -> None:
        name = self.name_of(folder, path)
        try:
            digest, size = await asyncio.to_thread(_hashed, path)
            if not await self._is_there(name, digest):
                copies.sent += await self._sent(name, path, digest, size)
                copies.new += 1
            copies.proved.add(path)
        except (OSError, ValueError, DamagedError) as problem:
            copies.problems.append(f"{path.name}: {problem}"[:300])

    def name_of(self, folder: str, path: Path) -> str:
        """The archive's name below logs/."""
        return f"{folder}/{safe_name(path.name)}{'.age' if self._wanted.recipients else ''}"

    async def _is_there(self, name: str, digest: str) -> bool:
        """A receipt whose copy is gone, by the store's own rules or otherwise, is taken back."""
        key = self._layout.object(FOLDER, name)
        data = await self._store.get(_receipt(key))
        if data is None:
            return False
        try:
            entry = ObjectEntry.model_validate_json(data)
        except ValidationError:
            raise DamagedError("the receipt of its copy cannot be read; look at it in the store") from None
        if entry.plain_sha256 != digest:
            raise DamagedError("another archive of this name is in the store; it is left there and here")
        found = await self._store.head(key)
        if found is not None and found.size == entry.stored_bytes:
            return True
        await self._store.delete([_receipt(key)])
        return False

    async def _sent(self, name: str, path: Path, digest: str, size: int) -> int:
        layout, wanted = self._layout, self._wanted
        writer = SetWriter(self._store, layout, FOLDER, wanted.recipients, self._report)
        entry = await writer.write(name, ObjectKind.LOG, _read(path), compress=False)
        if (entry.plain_sha256, entry.plain_bytes) != (digest, size):
            raise DamagedError("it was changed while it was copied")
        await SetReader(self._store, layout, FOLDER, None, self._report).check_stored(entry)
        await self._store.put(_receipt(layout.object(FOLDER, name)), once(entry.to_json()))
        return entry.stored_bytes


def _receipt(key: str) -> str:
    return f"{key}.json"


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
