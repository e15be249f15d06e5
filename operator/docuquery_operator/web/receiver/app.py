"""The HTTP server: who may send, how much at once, how long an answer may take. What is said is read elsewhere.

Answers (alertmanager notify/util.go): 2xx is done; 5xx is tried again with back-off; every 4xx, 429 too, ends the try until
the next group_interval. So load is shed with 503, and 400 is only for bytes that can never be read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ...ports import ApiError, Clock, Cluster
from ...ports.speaker import Speaker
from .answers import Answers
from .heartbeat import Heartbeats
from .metrics import ReceiverMetrics
from .pagerduty import PagerDuty
from .payload import GarbageError, parse
from .secrets import TOKENS, SecretFiles, is_bearer
from .settings import ReceiverSettings
from .slack import Slack
from .store import AlertStore

BODY_LIMIT, DRAINED = 1024 * 1024, 16 * 1024 * 1024
ANSWER_SECONDS, SLACK_SECONDS = 4.0, 2.5
log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """All that one process needs; `app` is what listens for the outside, `health` what the cluster asks."""

    def __init__(self, settings: ReceiverSettings, cluster: Cluster, clock: Clock, speaker: Speaker) -> None:
        self.metrics = ReceiverMetrics()
        self._settings = settings
        self._secrets = SecretFiles(settings.receiver_secrets)
        heartbeats = Heartbeats(cluster, self.metrics)
        self._store = AlertStore(cluster, clock, self.metrics, heartbeats, settings.watch_namespaces)
        answers = Answers(cluster, settings.watch_namespaces)
        self._slack = Slack(self._secrets, answers, clock, self.metrics, speaker)
        self._pagerduty = PagerDuty(self._secrets, answers, clock, self.metrics)
        self._room = asyncio.Semaphore(settings.receiver_parallel)
        self._waiting = 0

    def app(self) -> web.Application:
        """What the outside reaches."""
        app = web.Application(client_max_size=DRAINED)
        app.router.add_post("/alertmanager", self._guarded("alertmanager", self._alerts, ANSWER_SECONDS))
        named = self._guarded("alertmanager", self._alerts, ANSWER_SECONDS)
        app.router.add_post("/alertmanager/{namespace}/{stack}", named)
        app.router.add_post("/slack/actions", self._guarded("slack", self._slack_actions, SLACK_SECONDS))
        app.router.add_post("/pagerduty", self._guarded("pagerduty", self._pagerduty_event, ANSWER_SECONDS))
        return app

    async def ended(self) -> None:
        """What goes on after an answer, within its few seconds."""
        await self._slack.told()

    def health(self) -> web.Application:
        """What only the cluster asks: /livez, /readyz, /metrics."""
        app = web.Application()
        app.router.add_get("/livez", _fine)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        return app

    def _guarded(self, path: str, handler: Handler, seconds: float) -> Handler:
        """At most so many at once, at most so long; each is counted."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            began = time.monotonic()
            response = await self._admitted(handler, request, seconds)
            self.metrics.request(path, response.status, time.monotonic() - began)
            return response

        return guarded

    async def _admitted(self, handler: Handler, request: web.Request, seconds: float) -> web.StreamResponse:
        if self._waiting >= self._settings.receiver_parallel + self._settings.receiver_waiting:
            return _later("too many requests at once")
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds), self._room:
                return await handler(request)
        except TimeoutError:
            return _later("not stored in time")
        except ApiError as problem:
            log.warning("not stored", extra={"path": request.path, "problem": str(problem)})
            return _later("the API server does not take it now")
        finally:
            self._waiting -= 1

    async def _alerts(self, request: web.Request) -> web.StreamResponse:
        tokens = self._secrets.lines(TOKENS)
        if not tokens:
            return _later("the receiver has no token yet")
        if not is_bearer(request.headers.get("Authorization", ""), tokens):
            return web.Response(status=401, text="a bearer token is needed")
        body, truncated = await _body(request)
        try:
            where = request.match_info
            message = parse(body, truncated, where.get("namespace", ""), where.get("stack", ""))
        except GarbageError as problem:
            self.metrics.alert("garbage")
            return web.Response(status=400, text=str(problem))
        await self._store.store(message)
        return web.Response(text="stored, but the body was cut at 1 MiB" if truncated else "stored")

    async def _slack_actions(self, request: web.Request) -> web.StreamResponse:
        body, truncated = await _body(request)
        return await self._slack.answer(body, request.headers) if not truncated else web.Response(status=400)

    async def _pagerduty_event(self, request: web.Request) -> web.StreamResponse:
        body, truncated = await _body(request)
        return await self._pagerduty.answer(body, request.headers) if not truncated else web.Response(status=400)

    async def _ready(self, _: web.Request) -> web.Response:
        why = "" if self._secrets.lines(TOKENS) else f"the Secret has no '{TOKENS}' of 16 characters or more"
        return web.Response(status=503 if why else 200, text=why or "ok")

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _fine(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _later(why: str) -> web.Response:
    return web.Response(status=503, text=why, headers={"Retry-After": "2"})


async def _body(request: web.Request) -> tuple[bytes, bool]:
    """At most 1 MiB, and whether there was more; some more is read away, so that the sender hears the answer."""
    kept, size = bytearray(), 0
    async for piece in request.content.iter_chunked(64 * 1024):
        size += len(piece)
        kept += piece[: BODY_LIMIT - len(kept)]
        if size > DRAINED:
            break
    return bytes(kept), size > BODY_LIMIT


async def serve(app: web.Application, host: str, port: int, drain: float) -> tuple[web.AppRunner, int]:
    """Listen; the runner and the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])
