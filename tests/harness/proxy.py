"""A proxy between operator and API server that knows every write, can end the operator right before or after one, and can
make the API server look sick.

It speaks plain HTTP, on loopback unless told otherwise, and brings the administrator's identity itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

from tests.harness.cluster import Access

WRITES = ("POST", "PATCH", "PUT", "DELETE")
DROPPED = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "authorization")
LEADER = "leases/docuquery-operator"


@dataclass(frozen=True)
class KillPoint:
    """One write, named by what it writes and how often that was written before, and the side of it."""

    write: str
    when: Literal["before", "after"]

    def __str__(self) -> str:
        return f"{self.when} {self.write}"


@dataclass(frozen=True)
class Outage:
    """How the API server is sick: it answers with this status, or with silence (0), on all paths or on the kinds' alone."""

    status: int
    only: str = ""

    def touches(self, path: str) -> bool:
        """Whether a request meets it."""
        return self.only in path

    async def answer(self) -> web.Response:
        """What a client gets."""
        if self.status == 0:
            await asyncio.sleep(3600)
        return web.json_response({"kind": "Status", "message": "sick on purpose", "code": self.status}, status=self.status)


class FaultProxy:
    """Runs in a thread of its own, so that a test may block as it likes."""

    def __init__(self, access: Access, victim: Callable[[], int], bearer: str = "", host: str = "127.0.0.1") -> None:
        self._access, self._victim, self._host = access, victim, host
        self._identity = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._outage: Outage | None = None
        self._streams: set[asyncio.Transport] = set()
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._seen: Counter[str] = Counter()
        self._point: KillPoint | None = None
        self.port = 0
        self.writes: list[str] = []
        self.killed = threading.Event()

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    def stop(self) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(15)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def arm(self, point: KillPoint | None) -> None:
        """Number the writes from one again; the operator dies at the point, once."""
        self._seen, self._point, self.writes = Counter(), point, []
        self.killed.clear()

    def disarm(self) -> None:
        """The operator dies at no point any more; writes are numbered on."""
        self._point = None

    def sicken(self, outage: Outage | None) -> None:
        """From now on the API server behaves so; None: as it is. Open watches that the outage touches break."""
        self._loop.call_soon_threadsafe(self._sicken, outage)

    def _sicken(self, outage: Outage | None) -> None:
        self._outage = outage
        if outage is not None:
            for transport in self._streams:
                transport.abort()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        named = {"name": "proxy"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [named | {"cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "contexts": [named | {"context": {"cluster": "proxy", "user": "proxy"}}],
            "users": [named | {"user": {"token": "the-proxy-brings-its-own"}}],
        }
        path.write_text(json.dumps(config))
        return path

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._access.tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        # Watches of dead operators hang on their upstream side until they are cancelled.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        # TLS connections need turns of the loop to end; aiohttp does not wait for them.
        await asyncio.sleep(0.25)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests += 1
        if self._outage is not None and self._outage.touches(request.path):
            return await self._outage.answer()
        write = self._number(request, body)
        if write and self._dies_at(KillPoint(write, "before")):
            return self._cut(request)
        assert self._session is not None
        url = URL(self._access.server + request.raw_path, encoded=True)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in DROPPED} | self._identity
        async with self._session.request(request.method, url, data=body or None, headers=headers) as upstream:
            if "watch" in request.query:
                return await self._stream(request, upstream)
            answer = await upstream.read()
            if write and self._dies_at(KillPoint(write, "after")):
                return self._cut(request)
            kind = upstream.headers.get("Content-Type", "application/json")
            return web.Response(status=upstream.status, body=answer, headers={"Content-Type": kind})

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if request.transport is not None:
            self._streams.add(request.transport)
        try:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
        except (aiohttp.ClientError, ConnectionError):
            pass  # either side has gone; the other learns it by the end of the stream
        finally:
            self._streams = {t for t in self._streams if not t.is_closing()}
        return response

    def _number(self, request: web.Request, body: bytes) -> str:
        """Name of the write, '' for what is none: reading, dry runs, Events, and the leader's renewals."""
        what = written(request.method, request.path, body)
        if not what:
            return ""
        self._seen[what] += 1
        name = f"{what} #{self._seen[what]}"
        self.writes.append(name)
        return name

    def _dies_at(self, point: KillPoint) -> bool:
        if point != self._point or self.killed.is_set():
            return False
        os.kill(self._victim(), signal.SIGKILL)
        self.killed.set()
        return True

    def _cut(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)


def written(method: str, path: str, body: bytes) -> str:
    """What a request writes, without the namespace; '' when it writes nothing that counts."""
    what = path.rpartition("/namespaces/")[2].partition("/")[2] or path
    if method not in WRITES or what.startswith("events") or what.startswith(LEADER):
        return ""
    if what == "leases" and b'"docuquery-operator"' in body:
        return ""
    return "" if b'"dryRun"' in body else f"{method} {what}"
