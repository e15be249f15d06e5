"""Shard snapshots as tar streams: whether one is whole, and how it comes to disk without its zeros."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ..chunks import CHUNK

BLOCK = 512
HOLE = 4096
NOTHING = bytes(HOLE)


class Ending:
    """Follows the headers of a tar as it passes by, to see whether it has its end.

    Its last bytes alone prove nothing: a snapshot is full of zeros, and cut within them it ends with zeros too.
    """

    def __init__(self) -> None:
        self.total = 0
        self._header = bytearray()
        self._skip = 0
        self._more = False
        self._data = 0
        self._zeros = 0

    @property
    def whole(self) -> bool:
        """Two blocks of zeros where a header would be."""
        return self._zeros >= 2

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        self.total += len(chunk)
        view = memoryview(chunk)
        while view and not self.whole:
            if self._skip:
                step = min(self._skip, len(view))
                self._skip -= step
            else:
                step = min(BLOCK - len(self._header), len(view))
                self._header += view[:step]
                if len(self._header) == BLOCK:
                    self._block(bytes(self._header))
                    self._header.clear()
            view = view[step:]

    def _block(self, block: bytes) -> None:
        if self._more:
            # The map of a sparse file goes on for as long as its blocks say so.
            self._more = bool(block[504])
            self._skip = 0 if self._more else self._data
        elif not any(block):
            self._zeros += 1
        else:
            self._zeros = 0
            self._data = -(-_number(block[124:136]) // BLOCK) * BLOCK
            self._more = block[156:157] == b"S" and bool(block[482])
            self._skip = 0 if self._more else self._data


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 88) - 1)
    digits = field.strip(b"\0 ")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        # What is no number is no header: nothing after it will look like an end.
        return 1 << 60


async def spool(stream: AsyncIterator[bytes], target: Path) -> int:
    """Write the stream, leaving holes where it is zero; bytes. Snapshots are full of preallocated zeros."""
    with target.open("wb") as file:
        total = 0
        async for chunk in stream:
            total += len(chunk)
            await asyncio.to_thread(sparse_write, file, chunk)
        file.truncate(total)
    return total


def sparse_write(file: BinaryIO, chunk: bytes) -> None:
    """Write, but seek over pages of zeros."""
    view = memoryview(chunk)
    for start in range(0, len(view), HOLE):
        page = view[start : start + HOLE]
        if page != NOTHING[: len(page)]:
            file.write(page)
        else:
            file.seek(len(page), 1)


def unpack_shard(archive: Path, target: Path) -> None:
    """Lay a shard out as the engine opens it: segments unpacked, without the server's log, holes where it is zero.

    ValueError when the archive is not a whole shard. The engine's own way would write gigabytes of zeros.
    """
    _demand_end(archive)
    segments = 0
    with tarfile.open(archive) as outer:
        for member in outer:
            parts = PurePosixPath(member.name).parts
            if parts[:1] == ("wal",) or not member.isreg():
                continue
            if len(parts) == 2 and parts[0] == "segments" and parts[1].endswith(".tar"):
                _segment(_opened(outer, member), target / "segments" / _safe(parts[1].removesuffix(".tar")))
                segments += 1
            else:
                _copy(_opened(outer, member), member.size, target.joinpath(*map(_safe, parts)))
    if not segments:
        raise ValueError("the archive holds no segment of a shard")


def _segment(archive: BinaryIO, target: Path) -> None:
    with tarfile.open(fileobj=archive) as inner:
        for member in inner:
            parts = PurePosixPath(member.name).parts
            if member.isdir():
                continue
            if parts[:2] != ("snapshot", "files") or not member.isreg():
                raise ValueError(f"segment {target.name} holds {member.name[:100]!r}, which this version does not know")
            _copy(_opened(inner, member), member.size, target.joinpath(*map(_safe, parts[2:])))


def _demand_end(archive: Path) -> None:
    ending = Ending()
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            ending.feed(chunk)
    if not ending.whole:
        raise ValueError(f"the archive of {ending.total} bytes does not end as a tar does")


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name[:100]!r} is no file")
    return cast(BinaryIO, file)


def _copy(source: BinaryIO, size: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            sparse_write(file, chunk)
        file.truncate(size)


def _safe(part: str) -> str:
    if part in {"", "/", ".", ".."} or "/" in part or "\0" in part:
        raise ValueError(f"the archive holds a path with {part!r}")
    return part
