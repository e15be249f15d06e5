"""Shard snapshots as tar streams: whether one is whole, and how it comes to disk without its zeros."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

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
