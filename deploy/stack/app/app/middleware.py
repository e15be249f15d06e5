"""What happens to every request: the limit, the figures, and one line of JSON."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.ratelimit import EXEMPT_PATHS, Proxies, RateLimiter, Verdict


class RequestMiddleware:
    """Limits, counts, times and logs."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter, metrics: Metrics, proxies: Proxies) -> None:
        """Stand in front of `app`."""
        self._proxies = proxies
        self._app = app
        self._limiter = limiter
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, send, self._proxies)
        self._metrics.in_progress.inc()
        try:
            await self._answer(exchange, receive)
        finally:
            self._metrics.in_progress.dec()
            self._metrics.observe(scope["method"], exchange.route, exchange.status, exchange.seconds)
            exchange.log()

    async def _answer(self, exchange: "Exchange", receive: Receive) -> None:
        verdict = Verdict(allowed=True)
        if exchange.scope["path"] not in EXEMPT_PATHS:
            verdict = await self._limiter.check(exchange.client, time.time())
        if verdict.allowed:
            await self._app(exchange.scope, receive, exchange.send)
        else:
            if verdict.blocked:
                exchange.event = "denied"
                self._metrics.denied.inc()
            await refusal(verdict)(exchange.scope, receive, exchange.send)


def refusal(verdict: Verdict) -> JSONResponse:
    """403 for a blocked client, 429 with the seconds to wait for a fast one."""
    if verdict.blocked:
        text = "requests from this address are refused for a time, because there were far too many of them"
        return JSONResponse({"detail": text, "reason": "blocked"}, 403)
    wait = str(verdict.retry_after)
    body = {"detail": f"too many requests, try again in {wait} s", "reason": "rate_limit"}
    return JSONResponse(body, 429, headers={"Retry-After": wait})


class Exchange:
    """One request and what is known about its answer."""

    def __init__(self, scope: Scope, send: Send, proxies: Proxies) -> None:
        """Start the clock."""
        self.scope = scope
        self.event = "request"
        self.status = 500
        self._send = send
        self._started = time.perf_counter()
        self._headers = Headers(scope=scope)
        peer = scope.get("client")
        self.client = proxies.client(",".join(self._headers.getlist("x-forwarded-for")), peer[0] if peer else None)

    async def send(self, message: Message) -> None:
        """Pass the answer on and remember its status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    @property
    def seconds(self) -> float:
        """Time since the request came."""
        return time.perf_counter() - self._started

    @property
    def route(self) -> str:
        """The route's template: paths as they come would be labels without bound."""
        path = getattr(self.scope.get("route"), "path", None)
        return path or (self.scope["path"] if self.status in {403, 429} and self._known() else "unmatched")

    def _known(self) -> bool:
        return self.scope["path"] in {"/documents", "/documents/batch", "/query", "/info"}

    def log(self) -> None:
        """Write the access log line."""
        line: dict[str, Any] = {
            "ts": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": "rate_limit" if self.status == 429 else self.event,
            "client": self.client,
            "user": self._headers.get("x-user-id", "")[:64] or None,
            "method": self.scope["method"],
            "path": self.scope["path"][:256],
            "status": self.status,
            "durationMs": round(self.seconds * 1000, 1),
            "userAgent": self._headers.get("user-agent", "")[:200] or None,
        }
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
        sys.stdout.flush()
