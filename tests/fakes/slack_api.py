"""Slack's Web API as far as a bot needs it: messages by channel and time, threads, updates, and its refusals with 200."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.sinks import checked_slack

TOKEN, CHANNEL = "xoxb-0000-test", "C0123ABCD"


@dataclass
class SlackApi:
    """Use as a context manager. refuse: an error for a method, '' for none; status: another HTTP status."""

    context: ssl.SSLContext
    refuse: Callable[[str], str] = lambda _method: ""
    status: Callable[[str], int] = lambda _method: 200
    messages: dict[str, Any] = field(default_factory=dict)
    replies: list[Any] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> SlackApi:
        app = web.Application()
        app.router.add_post("/api/{method}", self._call)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.context).start()
        self.url = f"https://localhost:{self._runner.addresses[0][1]}/api/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def secret(self, ca: str, **more: str) -> dict[str, str]:
        return {"token": TOKEN, "channel": CHANNEL, "api": self.url, "ca.crt": ca, **more}

    def buttons(self, ts: str) -> list[str]:
        """What can be pressed at a message."""
        blocks = self.messages[ts]["blocks"]
        return [e["action_id"] for b in blocks if b["type"] == "actions" for e in b["elements"]]

    async def _call(self, request: web.Request) -> web.Response:
        method, body = request.match_info["method"], await request.json()
        self.calls.append(method)
        status, error = self.status(method), self.refuse(method)
        if status != 200:
            return web.Response(status=status, headers={"Retry-After": "7"})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            error = "invalid_auth"
        self.wrong += checked_slack(body)
        if error:
            return web.json_response({"ok": False, "error": error})
        if method == "chat.update":
            if body["ts"] not in self.messages:
                return web.json_response({"ok": False, "error": "message_not_found"})
            self.messages[body["ts"]] = body
            return web.json_response({"ok": True, "channel": body["channel"], "ts": body["ts"]})
        if body.get("thread_ts") and body["thread_ts"] not in self.messages:
            return web.json_response({"ok": False, "error": "thread_not_found"})
        ts = f"1764331200.{len(self.calls):06d}"
        if body.get("thread_ts"):
            self.replies.append(body)
        else:
            self.messages[ts] = body
        # As the real one, it gives the whole message back.
        return web.json_response({"message": body, "ok": True, "channel": CHANNEL, "ts": ts})
