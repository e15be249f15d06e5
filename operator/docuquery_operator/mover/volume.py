"""A store in a folder: a mounted volume. What is visible is whole and on the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar

from .contracts import MoverError
from .store import DOCUMENT_LIMIT, MissingError, Stored

READ = 4 << 20
# Hidden names: a file that is being written; the claim to a name where the file system has no links.
PART, CLAIM = ".part", ".claim"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

T = TypeVar("T")


class Volume:
    """See store.Store. Each write: `.part`, fsync, rename, fsync of the folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder

    @property
    def where(self) -> str:
        """For people."""
        return f"volume {self._root}"

    async def check(self, prefix: str) -> None:
        """The folder is there and can be written."""
        if not self._root.is_dir():
            need = "mount the volume there, or correct destination.volume"
            raise MoverError("BucketMissing", f"{self.where} does not exist; {need}", retry=False)
        await self._run("write to", lambda: self._touched(self._folder(prefix)))

    async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
        """See store.Store."""
        path = self._path(key)
        part = _hidden(path, secrets.token_hex(4), PART)
        handle = await self._run("write", lambda: _open_new(part))
        total = 0
        try:
            async for chunk in stream:
                total += len(chunk)
                await self._run("write", _writing(handle, chunk))
            await self._run("write", lambda: _finished(handle, part, path))
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            part.unlink(missing_ok=True)
            raise
        return total

    async def create(self, key: str, data: bytes) -> bool:
        """See store.Store."""
        return await self._run("write", lambda: _created(self._path(key), data))

    async def get(self, key: str, limit: int = DOCUMENT_LIMIT) -> bytes | None:
        """See store.Store."""
        found = await self.head(key)
        if found is not None and found.size > limit:
            raise MoverError("Damaged", f"{key} has {found.size} bytes, more than {limit}", retry=False)
        return await self._run("read", self._path(key).read_bytes) if found else None

    async def head(self, key: str) -> Stored | None:
        """See store.Store."""
        path = self._path(key)
        return await self._run("read", lambda: _seen(key, path))

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """See store.Store."""
        path = self._path(key)
        if not path.is_file():
            raise MissingError(key, self.where)
        file = self._opened(path)
        with file:
            while chunk := await self._run("read", lambda: file.read(READ)):
                yield chunk

    def _opened(self, path: Path) -> FileIO:
        """At once: a file opened in a thread would be lost when the wait for it is cancelled."""
        try:
            return path.open("rb", buffering=0)
        except OSError as error:
            raise _explained(error, self.where, "read") from error

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See store.Store."""
        for found in await self._run("list", lambda: list(self._walked(prefix))):
            yield found

    def _walked(self, prefix: str) -> Iterator[Stored]:
        for folder, _folders, names in os.walk(self._folder(prefix), onerror=_unless_absent):
            for name in sorted(names):
                path = Path(folder) / name
                seen = None if _is_hidden(name) else _seen(str(path.relative_to(self._root)), path)
                if seen is not None:
                    yield seen

    async def delete(self, keys: Iterable[str]) -> None:
        """And the folders that this leaves empty."""
        for key in keys:
            await self._run("delete", partial(self._removed, self._path(key)))

    def _removed(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        _hidden(path, "", CLAIM).unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self._root:
                return
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                _sync(folder)
                return

    async def sweep(self, prefix: str, before: datetime | None = None) -> int:
        """See store.Store."""
        return await self._run("delete", lambda: self._swept(prefix, before))

    def _swept(self, prefix: str, before: datetime | None) -> int:
        left = [
            Path(folder) / name
            for folder, _folders, names in os.walk(self._folder(prefix), onerror=_unless_absent)
            for name in names
            if _is_hidden(name)
        ]
        left = [path for path in left if before is None or _is_old(path, before)]
        for path in left:
            self._removed(path)
        return len(left)

    async def room(self) -> int | None:
        """See store.Store."""
        return await self._run("look at", lambda: shutil.disk_usage(self._root).free)

    async def clock(self) -> datetime | None:
        """By the time that the file system gives a new file."""
        return await self._run("write to", lambda: self._touched(self._root))

    def _touched(self, folder: Path) -> datetime:
        while not folder.is_dir():
            folder = folder.parent
        path = _hidden(folder / "clock", secrets.token_hex(4), PART)
        path.touch()
        try:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
        finally:
            path.unlink(missing_ok=True)

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix.rstrip("/")) if prefix.strip("/") else self._root

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or _is_hidden(part) or "\0" in part for part in parts):
            raise MoverError("StoreError", f"{key!r} is no key of an object", retry=False)
        return self._root.joinpath(*parts)

    async def _run(self, doing: str, work: Callable[[], T]) -> T:
        """In a thread. When cancelled it waits for the end: the caller then closes what the thread works on."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
        except OSError as error:
            raise _explained(error, self.where, doing) from error


def _hidden(path: Path, mark: str, end: str) -> Path:
    return path.with_name(f".{path.name}{'.' if mark else ''}{mark}{end}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name.endswith((PART, CLAIM))


def _open_new(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


def _writing(handle: int, chunk: bytes) -> Callable[[], None]:
    return lambda: _write_all(handle, chunk)


def _write_all(handle: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _finished(handle: int, part: Path, path: Path) -> None:
    os.fsync(handle)
    os.close(handle)
    part.replace(path)
    _sync_up(path.parent)


def _created(path: Path, data: bytes) -> bool:
    part = _hidden(path, secrets.token_hex(4), PART)
    handle = _open_new(part)
    try:
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        made = _linked(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_up(path.parent)
    return made


def _linked(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claimed(part, path)
    return True


def _claimed(part: Path, path: Path) -> bool:
    """Without links: who makes the claim may rename; after a crash in between the name stays taken."""
    try:
        os.close(_open_new(_hidden(path, "", CLAIM)))
    except FileExistsError:
        return False
    if path.exists():
        return False
    part.replace(path)
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_up(folder: Path) -> None:
    """The folder, and those above it that may be new."""
    for above in [folder, *list(folder.parents)[:4]]:
        with suppress(PermissionError):
            _sync(above)


def _seen(key: str, path: Path) -> Stored | None:
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stored(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)) if path.is_file() else None


def _is_old(path: Path, before: datetime) -> bool:
    """A claim is never old: it guards a name for good."""
    seen = _seen(path.name, path)
    return seen is not None and seen.modified < before and path.name.endswith(PART)


def _unless_absent(error: OSError) -> None:
    """A folder that cannot be read is no empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _explained(error: OSError, where: str, doing: str) -> MoverError:
    text = f"{error.strerror or error} ({error.filename or ''})"
    if error.errno in _FULL:
        return MoverError("StoreFull", f"{where} is full; enlarge it, or keep fewer sets: {text}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        need = "the volume must be writable for user 65532, or for the group of fsGroup"
        return MoverError("AccessDenied", f"{where} refused to {doing}; {need}: {text}", retry=False)
    return MoverError("StoreError", f"{where} failed to {doing}: {text}")
