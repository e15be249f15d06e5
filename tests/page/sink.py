"""Statuspage.io's API as its documentation says, which refuses what that would refuse and keeps what it was told."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

JSON = dict[str, Any]
KEY, PAGE = "key-marker-77f1", "page1"
STATUS = ("investigating", "identified", "monitoring", "resolved")
PLANNED = ("scheduled", "in_progress", "verifying", "completed")
STATES = ("operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance")
FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str) and 0 < len(v) <= 255,
    "status": lambda v: v in STATUS + PLANNED,
    "impact_override": lambda v: v in ("none", "minor", "major", "critical", "maintenance"),
    "body": lambda v: isinstance(v, str) and 0 < len(v) <= 25_000,
    "component_ids": lambda v: isinstance(v, list) and all(isinstance(i, str) for i in v),
    "scheduled_for": lambda v: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", v) is not None,
    "scheduled_until": lambda v: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", v) is not None,
    "scheduled_auto_in_progress": lambda v: isinstance(v, bool),
    "scheduled_auto_completed": lambda v: isinstance(v, bool),
    "deliver_notifications": lambda v: isinstance(v, bool),
    "metadata": lambda v: isinstance(v, dict) and len(json.dumps(v)) < 4096,
}


class Sink:
    """fault: is asked before each request is looked at: '' go on, 'before' or 'after' cut the line, a number is the answer."""

    def __init__(self) -> None:
        self.incidents: dict[str, JSON] = {}
        self.updates: dict[str, list[JSON]] = {}
        self.components: dict[str, str] = {"c-db": "operational", "c-api": "operational"}
        self.wrong: list[str] = []
        self.calls: list[str] = []
        self.times: list[float] = []
        self.fault: Callable[[int], str] = lambda _: ""
        self.page_size = 100
        self.url = ""
        self._ids = itertools.count(1)

    def by_ours(self) -> Counter[str]:
        return Counter(i["metadata"]["docuquery"]["id"] for i in self.incidents.values())

    def told(self) -> list[tuple[str, str]]:
        """Our id and the update's, of each update that was ever published."""
        said = [u["metadata"]["docuquery"] for updates in self.updates.values() for u in updates if "metadata" in u]
        return [(ours["id"], ours["update"]) for ours in said]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.match_info['rest']}")
        self.times.append(time.monotonic())
        fault = self.fault(len(self.calls))
        if fault == "before":
            return self._cut(request)
        if fault.isdecimal():
            return web.json_response({"error": "x"}, status=int(fault), headers={"Retry-After": "3"})
        found = await self._do(request)
        return self._cut(request) if fault == "after" else found

    def _cut(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _do(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"OAuth {KEY}":
            return web.json_response({"error": "Could not authenticate"}, status=401)
        rest, method = request.match_info["rest"], request.method
        if (method, rest) == ("GET", "components"):
            return web.json_response([{"id": k, "status": v} for k, v in self.components.items()])
        if (method, rest) == ("GET", "incidents"):
            limit = min(self.page_size, int(request.query.get("limit", 100)))
            begin = (int(request.query.get("page", 1)) - 1) * limit
            newest = list(reversed(self.incidents.values()))
            return web.json_response(newest[begin : begin + limit])
        kind, _, id_ = rest.partition("/")
        body = await request.json() if request.can_read_body else {}
        if kind == "components" and method == "PATCH" and id_ in self.components:
            return self._component(id_, body)
        if kind == "incidents" and (method == "POST" or id_ in self.incidents):
            return self._incident(method, id_, body.get("incident"))
        return web.json_response({"error": "not found"}, status=404)

    def _component(self, id_: str, body: JSON) -> web.Response:
        if set(body) != {"component"} or body["component"].get("status") not in STATES:
            return self._wrong(f"component {body}")
        self.components[id_] = body["component"]["status"]
        return web.json_response({"id": id_, **body["component"]})

    def _incident(self, method: str, id_: str, incident: Any) -> web.Response:
        if method == "DELETE":
            return web.json_response(self.incidents.pop(id_))
        if not isinstance(incident, dict):
            return self._wrong("no incident{}")
        bad = [k for k, v in incident.items() if k not in FIELDS or not FIELDS[k](v)]
        bad += [f"{i} is no component" for i in incident.get("component_ids", []) if i not in self.components]
        planned = "scheduled_for" in incident or (id_ in self.incidents and "scheduled_for" in self.incidents[id_])
        if incident.get("status") not in (PLANNED if planned else STATUS):
            bad.append("status")
        if method == "POST":
            bad += [k for k in ("name", "status", "metadata") if k not in incident]
            id_ = f"i{next(self._ids)}"
        if bad:
            return self._wrong(f"{method} {bad}")
        self.incidents[id_] = {**self.incidents.get(id_, {}), **incident, "id": id_}
        self.updates.setdefault(id_, []).append(incident)
        return web.json_response(self.incidents[id_], status=201 if method == "POST" else 200)

    def _wrong(self, text: str) -> web.Response:
        self.wrong.append(text)
        return web.json_response({"error": [text]}, status=422)


@asynccontextmanager
async def running_sink() -> AsyncIterator[Sink]:
    sink = Sink()
    app = web.Application()
    app.router.add_route("*", f"/v1/pages/{PAGE}/{{rest:.*}}", sink.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sink.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield sink
    finally:
        await runner.cleanup()


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)
