"""/livez, /readyz and /metrics: each tells the truth about this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from .metrics import OperatorMetrics

BEAT_LIMIT = 30.0
CANARY_LIMIT = 90.0
Check = Callable[[], str]


class Health:
    """What is known of the process. A live process may be unready; an away API server never makes it dead."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics
        self._beat = time.monotonic()
        self._canary_sent: float | None = None
        self._canary_seen: float | None = None
        self.readiness: dict[str, Check] = {}

    async def beat(self) -> None:
        """Proves, once a second, that the event loop turns."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            self._metrics.loop_lag.set(max(0.0, now - self._beat - 1.0))
            self._beat = now

    def canary_sent(self) -> None:
        """Our Lease was renewed: the watch must show it soon."""
        now = time.monotonic()
        # After a gap, as when the API server was away, the watch has its time anew.
        if self._canary_sent is None or now - self._canary_sent > CANARY_LIMIT / 3:
            self._canary_seen = now
        self._canary_sent = now

    def canary_seen(self) -> None:
        """The watch has shown our Lease."""
        self._canary_seen = time.monotonic()

    def alive(self) -> str:
        """'' when alive, else why not."""
        now = time.monotonic()
        if now - self._beat > BEAT_LIMIT:
            return f"the event loop has not turned for {now - self._beat:.0f} s"
        sent, seen = self._canary_sent, self._canary_seen
        # Only while renewals get through: an API server that is away is no reason to die.
        if sent is not None and seen is not None and now - sent < CANARY_LIMIT / 3 and sent - seen > CANARY_LIMIT:
            return f"the watch has shown nothing for {now - seen:.0f} s though the API server takes our writes"
        return ""

    def ready(self) -> str:
        """'' when ready, else what is missing."""
        return "; ".join(f"{name}: {why}" for name, check in self.readiness.items() if (why := check()))

    async def serve(self, host: str, port: int) -> tuple[web.AppRunner, int]:
        """Start the server; the runner and the port it listens on."""
        app = web.Application()
        app.router.add_get("/livez", _answer(self.alive))
        app.router.add_get("/readyz", _answer(self.ready))
        app.router.add_get("/metrics", self._show_metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        return runner, int(runner.addresses[0][1])

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(_: web.Request) -> web.StreamResponse:
        why = check()
        return web.Response(status=503 if why else 200, text=why or "ok")

    return handler
