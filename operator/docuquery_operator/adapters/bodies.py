"""Bodies of answers, never more of them than is wanted: who sends them is not trusted."""

from __future__ import annotations

import aiohttp


async def start_of(stream: aiohttp.StreamReader, limit: int) -> bytes:
    """The first so many bytes, or all of it; one read() gives only what has come so far."""
    body = bytearray()
    while len(body) < limit and (piece := await stream.read(limit - len(body))):
        body += piece
    return bytes(body)


async def whole(stream: aiohttp.StreamReader, limit: int) -> bytes | None:
    """All of it, None when it is longer."""
    body = await start_of(stream, limit + 1)
    return body if len(body) <= limit else None
