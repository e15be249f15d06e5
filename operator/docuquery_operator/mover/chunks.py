"""Small helpers for streams of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

CHUNK = 1 << 20


@asynccontextmanager
async def closing(stream: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The stream, closed at the end of the block: one that is left half read would go on until it is collected."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def counted(stream: AsyncIterator[bytes], seen: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The same stream; `seen` hears the bytes so far after each chunk."""
    total = 0
    async with closing(stream):
        async for chunk in stream:
            total += len(chunk)
            seen(total)
            yield chunk


async def whole(stream: AsyncIterator[bytes], limit: int) -> bytes:
    """All of it; ValueError above the limit."""
    parts: list[bytes] = []
    total = 0
    async for chunk in stream:
        total += len(chunk)
        if total > limit:
            raise ValueError(f"more than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def once(data: bytes) -> AsyncIterator[bytes]:
    """A stream of bytes that are here already."""
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
