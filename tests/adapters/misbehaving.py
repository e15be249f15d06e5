"""Loopback servers that do one wrong thing each, and the pieces of wire formats that they need."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
TLS_ALERT = bytes.fromhex("150303000202 28")
CHUNK = b"x" * 65536


@dataclass
class Peer:
    """A listening server."""

    port: int
    connections: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def serving(behaviour: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Serve one behaviour on a free port; at the end cut every connection."""
    peer = Peer(0)
    writers: list[Writer] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task
        peer.tasks.add(task)
        peer.connections += 1
        writers.append(writer)
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await behaviour(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in peer.tasks:
            task.cancel()
        await asyncio.gather(*peer.tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def open_sockets() -> set[str]:
    """This process's sockets."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith("socket:"):
                found.add(target)
    return found


async def settled(ask: Callable[[], bool], seconds: float = 2.0) -> bool:
    """Whether it becomes true soon; a closed transport needs a turn of the loop."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not ask():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


# What any server may do.


async def silent(_: Reader, __: Writer) -> None:
    """Accept and say nothing, ever."""
    await asyncio.sleep(60)


async def closes(_: Reader, __: Writer) -> None:
    """Close at once."""


async def resets(_: Reader, writer: Writer) -> None:
    """RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def says(data: bytes, then: Behaviour = closes) -> Behaviour:
    """Send bytes without listening, then do something else."""

    async def behaviour(reader: Reader, writer: Writer) -> None:
        writer.write(data)
        await writer.drain()
        await then(reader, writer)

    return behaviour


def answers(data: bytes, then: Behaviour = closes) -> Behaviour:
    """Wait for a first packet of the client, send bytes, then do something else."""

    async def behaviour(reader: Reader, writer: Writer) -> None:
        await reader.read(4096)
        await says(data, then)(reader, writer)

    return behaviour


def drips(data: bytes, pause: float = 0.1) -> Behaviour:
    """One byte at a time, slower than anybody waits for all of it."""

    async def behaviour(_: Reader, writer: Writer) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    return behaviour


def endless(data: bytes) -> Behaviour:
    """The same bytes for ever, as fast as the client takes them."""

    async def behaviour(_: Reader, writer: Writer) -> None:
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)

    return behaviour


# PostgreSQL's protocol, version 3.


async def startup(reader: Reader, writer: Writer) -> None:
    """Refuse encryption, as most servers in a cluster do, and read who it is."""
    while True:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        if code not in (SSL_REQUEST, GSS_REQUEST):
            return
        writer.write(b"N")
        await writer.drain()


def packet(kind: bytes, body: bytes) -> bytes:
    """One message."""
    return kind + struct.pack("!i", len(body) + 4) + body


def pg_error(state: str, message: bytes, severity: bytes = b"FATAL") -> bytes:
    """An ErrorResponse."""
    fields = (b"S" + severity, b"V" + severity, b"C" + state.encode(), b"M" + message)
    return packet(b"E", b"".join(f + b"\0" for f in fields) + b"\0")


AUTH_OK = packet(b"R", struct.pack("!i", 0))
READY = packet(b"Z", b"I")
PARAMETERS = b"".join(
    packet(b"S", k + b"\0" + v + b"\0")
    for k, v in ((b"server_version", b"16.4"), (b"client_encoding", b"UTF8"), (b"integer_datetimes", b"on"))
)
WELCOME = AUTH_OK + PARAMETERS + packet(b"K", struct.pack("!ii", 1, 2)) + READY
INT4, TEXT = 23, 25


def row_description(*columns: tuple[bytes, int]) -> bytes:
    """Names and types of columns."""
    body = struct.pack("!h", len(columns))
    for name, oid in columns:
        body += name + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0)
    return packet(b"T", body)


def row(*values: bytes | None) -> bytes:
    """One row in text format."""
    body = struct.pack("!h", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return packet(b"D", body)


DONE = packet(b"C", b"SELECT 1\0") + READY


def after_startup(data: bytes, then: Behaviour = closes) -> Behaviour:
    """Answer the startup message."""

    async def behaviour(reader: Reader, writer: Writer) -> None:
        await startup(reader, writer)
        await says(data, then)(reader, writer)

    return behaviour


def on_query(data: bytes, then: Behaviour | None = None) -> Behaviour:
    """Let the client in and answer every query alike, or only the first one and then do something else."""

    async def behaviour(reader: Reader, writer: Writer) -> None:
        await after_startup(WELCOME, answers(data, then or repeat))(reader, writer)

    async def repeat(reader: Reader, writer: Writer) -> None:
        while await reader.read(65536):
            writer.write(data)
            await writer.drain()

    return behaviour


# HTTP.


def http_answer(status: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    """A whole answer."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: " + str(len(body)).encode(), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
