"""Held connections. A server is asked for nothing but to keep one connection that says nothing, or next to nothing.

PostgreSQL and Redis get a plain TCP connection without a log-in: it takes none of max_connections. A server that speaks HTTP
is asked for headers now and then, for one that serves a connection after the other would wait for a silent one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Mapping

from ..ports import Key, LinkTarget

log = logging.getLogger(__name__)
MOST = 500
CONNECT_SECONDS = 3.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.2, 5.0
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
    """Keeps one connection to one server for as long as it is wanted."""

    def __init__(self, name: str, target: LinkTarget, broken: Callable[[str], None]) -> None:
        self.target = target
        self.broken = broken
        self._name = name
        self._line: _Line | None = None
        self._patience = self._usual
        self._strikes = 0
        self._silence = 0.0
        self.task = asyncio.create_task(self._hold())

    @property
    def _usual(self) -> float:
        return ASK_SECONDS if self.target.http else RENEW_SECONDS

    @property
    def stands(self) -> bool:
        """Whether the connection is open now."""
        return self._line is not None and not self._line.lost.done()

    async def _hold(self) -> None:
        backoff, hung_up = FIRST_BACKOFF, False
        try:
            while True:
                self._line = await self._connected()
                if self._line is None:
                    # Nobody there: it did not hang up on silence, it is gone.
                    hung_up, self._strikes = False, 0
                elif hung_up and self._too_impatient():
                    log.info("a server holds no connection open, it is only polled", extra={"component": self._name})
                    self._line.close()
                    await asyncio.sleep(REST_SECONDS * random.uniform(0.9, 1.1))
                    hung_up, self._patience = False, self._usual
                    continue
                elif await self._broken_after(self._line) >= HELD_SECONDS:
                    backoff, hung_up = FIRST_BACKOFF, True
                    self.broken(self._name)
                    continue
                else:
                    hung_up = self.target.http != ""
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))
                backoff = min(LONGEST_BACKOFF, backoff * 2)
        finally:
            if self._line is not None:
                self._line.close()

    async def _broken_after(self, line: _Line) -> float:
        """Age of the connection when it broke, renewals included."""
        loop, began = asyncio.get_running_loop(), line.began
        while True:
            await asyncio.wait({line.lost}, timeout=self._patience)
            if line.lost.done():
                self._silence = loop.time() - line.quiet_since
                return loop.time() - began
            self._strikes = 0
            if self.target.http:
                line.ask()
            elif (fresh := await self._connected()) is not None:
                line.close()
                self._line = line = fresh

    def _too_impatient(self) -> bool:
        """It hung up though it is there: the next silences are shorter, until that is not worth it."""
        self._strikes += 1
        if self._strikes >= STRIKES:
            self._patience = min(self._patience, 0.7 * self._silence)
        return self._patience < SHORTEST_SECONDS

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
        tasks = {link.task for link in self._links.values()}
        self._links.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def open(self) -> int:
        """Connections that stand now."""
        return sum(link.stands for link in self._links.values())

    def want(self, owner: Key, targets: Mapping[str, LinkTarget], broken: Callable[[str], None]) -> None:
        """What is held already stays, what is not wanted any more is closed; beyond the bound nothing is held."""
        ours = [at for at in self._links if at[0] == owner]
        for at in ours:
            if targets.get(at[1]) != self._links[at].target:
                self._links.pop(at).task.cancel()
        for name, target in targets.items():
            known = self._links.get((owner, name))
            if known is not None:
                known.broken = broken
            elif len(self._links) < self._most:
                self._links[owner, name] = _Link(name, target, broken)
