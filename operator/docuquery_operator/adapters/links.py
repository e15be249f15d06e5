"""Held connections. A server is asked for nothing but to keep one connection that says nothing, or next to nothing.

PostgreSQL and Redis get a plain TCP connection without a log-in: it takes none of max_connections. A server that speaks HTTP
is asked for headers now and then, for one that serves a connection after the other would wait for a silent one.

A broken connection is made anew only when it is wanted again, which is when a round of probes has found the server well:
PostgreSQL does not end before a client that has come while it shuts down has said who it is, or after a minute.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping

from ..ports import Key, LinkTarget

log = logging.getLogger(__name__)
MOST = 500
CONNECT_SECONDS = 3.0
# Younger than this at its end it was never held: the server shows everybody the door.
HELD_SECONDS = 0.1
# Before servers give up on silence: PostgreSQL's authentication_timeout is 60 s, uvicorn and actix wait 5 s for a request.
RENEW_SECONDS, ASK_SECONDS = 45.0, 4.0
# A server that hangs up on silence sooner is given less of it, down to this; then it is left alone for a while.
SHORTEST_SECONDS = 1.0
STRIKES = 2
REST_SECONDS = 600.0
MOST_BYTES = 64 * 1024
# A peer whose machine is gone sends nothing more: the kernel finds out within some 15 s.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 3), (socket.TCP_KEEPCNT, 3))


class _Line(asyncio.Protocol):
    """One connection: whether it still stands; what comes through it is thrown away."""

    def __init__(self, target: LinkTarget) -> None:
        self._target = target
        self._transport: asyncio.WriteTransport | None = None
        self._got = 0
        loop = asyncio.get_running_loop()
        self.began = self.quiet_since = loop.time()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.ask()

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        if self._got > MOST_BYTES:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def ask(self) -> None:
        """Say something, where silence would be taken amiss."""
        self._got, self.quiet_since = 0, asyncio.get_running_loop().time()
        if self._target.http and self._transport is not None:
            host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
            path = "/" + self._target.http.removeprefix("/")
            lines = (f"HEAD {path} HTTP/1.1", f"Host: {host}:{self._target.port}", "User-Agent: docuquery-operator", "", "")
            self._transport.write("\r\n".join(lines).encode())

    def close(self) -> None:
        """At once."""
        if self._transport is not None:
            self._transport.abort()


class _Link:
    """One connection to one server. When it is broken it stays so until it is wanted again."""

    def __init__(self, name: str, target: LinkTarget, broken: Callable[[str], None]) -> None:
        self.target = target
        self.broken = broken
        self._name = name
        self._line: _Line | None = None
        self._patience = self._usual
        self._strikes = 0
        self._rests_until = 0.0
        self.task: asyncio.Task[None] | None = None

    @property
    def _usual(self) -> float:
        return ASK_SECONDS if self.target.http else RENEW_SECONDS

    @property
    def stands(self) -> bool:
        """Whether the connection is open now."""
        return self._line is not None and not self._line.lost.done()

    def want(self) -> None:
        """Connect, where that is not done yet."""
        if (self.task is None or self.task.done()) and asyncio.get_running_loop().time() >= self._rests_until:
            self.task = asyncio.create_task(self._hold())

    def let_go(self) -> asyncio.Task[None] | None:
        """Close it; the task that is to end with it."""
        if self.task is not None:
            self.task.cancel()
        return self.task

    async def _hold(self) -> None:
        try:
            self._line = await self._connected()
            if self._line is not None:
                await self._until_broken(self._line)
        finally:
            if self._line is not None:
                self._line.close()

    async def _until_broken(self, line: _Line) -> None:
        loop, began = asyncio.get_running_loop(), line.began
        while True:
            await asyncio.wait({line.lost}, timeout=self._patience)
            if line.lost.done():
                break
            self._strikes = 0
            if self.target.http:
                line.ask()
            elif (fresh := await self._connected()) is not None:
                line.close()
                self._line = line = fresh
        held = loop.time() - began >= HELD_SECONDS
        if held or self.target.http:
            self._hung_up(loop.time(), loop.time() - line.quiet_since)
        if held:
            self.broken(self._name)

    def _hung_up(self, now: float, silence: float) -> None:
        """Again and again: the next silences are shorter, until that is not worth it."""
        self._strikes += 1
        if self._strikes >= STRIKES:
            self._patience = min(self._patience, 0.7 * silence)
        if self._patience < SHORTEST_SECONDS:
            log.info("a server holds no connection open, it is only polled", extra={"component": self._name})
            self._rests_until, self._patience = now + REST_SECONDS, self._usual

    async def _connected(self) -> _Line | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, line = await loop.create_connection(lambda: _Line(self.target), self.target.host, self.target.port)
        except (OSError, ValueError, OverflowError):
            return None
        return line


class HeldLinks:
    """ports.Links."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._links: dict[tuple[Key, str], _Link] = {}

    async def __aenter__(self) -> HeldLinks:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for link in self._links.values() if (task := link.let_go()) is not None]
        self._links.clear()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def open(self) -> int:
        """Connections that stand now."""
        return sum(link.stands for link in self._links.values())

    def want(self, owner: Key, targets: Mapping[str, LinkTarget], broken: Callable[[str], None]) -> None:
        """What is held already stays, what is not wanted any more is closed; beyond the bound nothing is held."""
        for at in [at for at in self._links if at[0] == owner and targets.get(at[1]) != self._links[at].target]:
            self._links.pop(at).let_go()
        for name, target in targets.items():
            known = self._links.get((owner, name))
            if known is None:
                if len(self._links) >= self._most:
                    continue
                known = self._links[owner, name] = _Link(name, target, broken)
            known.broken = broken
            known.want()
