"""A proxy that loses a client at its n-th change of the server, before or after it is done."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, web

# These change nothing, though they are POSTs.
READS = re.compile(r"/points(/(count|query|scroll))?$")


class Killing:
    """Counts changes; at `at`, and from then on, nobody gets an answer any more."""

    def __init__(self, upstream: str, at: int | None = None, done: bool = False) -> None:
        """done: the change that is lost has come true."""
        self.upstream = upstream
        self.at = at
        self.done = done
        self.changes: list[str] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass it on, or hang up."""
        change = request.method != "GET" and not (request.method == "POST" and READS.search(request.path))
        if change:
            self.changes.append(f"{request.method} {request.path}")
        number = len(self.changes)
        dying = self.at is not None and number >= self.at
        if dying and not (self.done and number == self.at and change):
            return self._hang_up(request)
        body = await request.read()
        headers = {name: request.headers[name] for name in ("Content-Type", "api-key") if name in request.headers}
        async with (
            ClientSession(timeout=ClientTimeout(total=60)) as session,
            session.request(request.method, self.upstream + request.raw_path, data=body or None, headers=headers) as answer,
        ):
            content = await answer.read()
        if dying:
            return self._hang_up(request)
        kept = {name: answer.headers[name] for name in ("Content-Type", "Date") if name in answer.headers}
        return web.Response(status=answer.status, body=content, headers=kept)

    @staticmethod
    def _hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


@asynccontextmanager
async def killing(upstream: str, at: int | None = None, done: bool = False) -> AsyncIterator[Killing]:
    """One that listens."""
    proxy = Killing(upstream, at, done)
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{rest:.*}", proxy.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.port = runner.addresses[0][1]
    try:
        yield proxy
    finally:
        await runner.cleanup()
