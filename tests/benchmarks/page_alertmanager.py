"""B12's second peer: Debian's Alertmanager with the same storm, troubles and kills, as far as it goes: it knows no escalation.

One group an incident, after 1 s, tried again for at least 5 s; whoever sends the alerts sends all of them again each 10 s, firing and
ended ones, as Prometheus does each minute. What Alertmanager has told it writes to its disk at an end in order, and each 15 minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.harness.operator import HostOperator
from tests.stack.services import free_port

from . import page_rounds
from .figures import footprint
from .page_rounds import Storm, at_share
from .report import Row, short

AGAIN, BATCH = 10.0, 64
# From the end of the incidents on; what has not come by then is lost.
WITHIN = 40.0


@dataclass
class Receivers:
    """The chat answers every second request with 429, the pager is slow, the webhook is well."""

    got: Counter[tuple[str, str]] = field(default_factory=Counter)
    at: dict[tuple[str, str], float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    async def hook(self, request: web.Request) -> web.Response:
        body, now = await request.json(), time.time()
        self.requests["webhook"] += 1
        for alert in body["alerts"]:
            key = alert["labels"]["incident"], alert["status"]
            self.got[key] += 1
            self.at.setdefault(key, now)
        return web.Response()

    async def chat(self, request: web.Request) -> web.Response:
        self.requests["slack"] += 1
        busy = self.requests["slack"] % 2
        return web.Response(status=429, headers={"Retry-After": "2"}) if busy else web.Response(text="ok")

    async def pager(self, request: web.Request) -> web.Response:
        self.requests["pagerduty"] += 1
        await asyncio.sleep(1.0)
        return web.json_response({"status": "success", "message": "x", "dedup_key": "x"}, status=202)


async def measure(folder: Path, incidents: int, kills: Sequence[float]) -> Storm:
    """One storm."""
    sinks = Receivers()
    alerts: dict[str, dict[str, Any]] = {}
    async with (
        _serving(sinks) as base,
        _alertmanager(folder, base) as (alertmanager, url),
        aiohttp.ClientSession() as session,
    ):
        began = time.monotonic()
        created = await _story(alertmanager, session, url, alerts, incidents, kills, began)
        deadline = time.monotonic() + WITHIN
        sender = asyncio.create_task(_sender(session, url, alerts))
        while _lost(created, sinks) and time.monotonic() < deadline:
            await asyncio.sleep(1.0)
        sender.cancel()
        # As long as an Alertmanager without memory would take to tell all of it again.
        await asyncio.sleep(3.0)
        seconds, rss = time.monotonic() - began, footprint(alertmanager.pid).rss
    first = sorted(sinks.at[n, "firing"] - since for n, since in created.items() if (n, "firing") in sinks.at)
    return Storm(
        incidents=incidents, kills=len(kills), first=first, late=[], steps=first, lost=_lost(created, sinks),
        twice=sum(n - 1 for n in sinks.got.values()), most=max(sinks.got.values(), default=0), wrong=[],
        requests=dict(sinks.requests), writes=0, rss=rss, unfinished=0, seconds=seconds,
    )  # fmt: skip


def _lost(created: dict[str, float], sinks: Receivers) -> list[str]:
    return [f"{n} {s}" for n in sorted(created) for s in ("firing", "resolved") if (n, s) not in sinks.at]


async def _story(
    alertmanager: HostOperator,
    session: aiohttp.ClientSession,
    url: str,
    alerts: dict[str, dict[str, Any]],
    incidents: int,
    kills: Sequence[float],
    began: float,
) -> dict[str, float]:
    """Opened within five seconds, ended at the same time as those of the other storms; killed meanwhile."""
    created: dict[str, float] = {}
    killer = asyncio.create_task(_kill(alertmanager, kills, began))
    sender = asyncio.create_task(_sender(session, url, alerts))
    for index in range(incidents):
        await page_rounds.wait(began + page_rounds.STORM_SECONDS * index / incidents)
        name = f"storm-{index:04d}"
        created[name] = time.time()
        labels = {"alertname": "Incident", "incident": name, "severity": "P0"}
        alerts[name] = {"labels": labels, "startsAt": _now(), "annotations": {"summary": f"{name} has begun"}}
        await _post(session, url, [alerts[name]])
    await page_rounds.wait(began + page_rounds.RESOLVED_AT)
    await killer
    sender.cancel()
    for alert in alerts.values():
        alert["endsAt"] = _now()
    await _post(session, url, list(alerts.values()))
    return created


async def _sender(session: aiohttp.ClientSession, url: str, alerts: dict[str, dict[str, Any]]) -> None:
    """All of them again and again."""
    while True:
        await asyncio.sleep(AGAIN)
        await _post(session, url, list(alerts.values()))


async def _post(session: aiohttp.ClientSession, url: str, alerts: Sequence[dict[str, Any]]) -> None:
    for begin in range(0, len(alerts), BATCH):
        # Away after a kill: they are sent again.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(f"{url}/api/v2/alerts", json=alerts[begin : begin + BATCH]):
                pass


async def _kill(alertmanager: HostOperator, kills: Sequence[float], began: float) -> None:
    for at in kills:
        await page_rounds.wait(began + at)
        await asyncio.to_thread(alertmanager.kill)
        alertmanager.start()


@contextlib.asynccontextmanager
async def _serving(sinks: Receivers) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", sinks.hook)
    app.router.add_post("/chat", sinks.chat)
    app.router.add_post("/v2/enqueue", sinks.pager)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _alertmanager(folder: Path, base: str) -> AsyncIterator[tuple[HostOperator, str]]:
    hooks = [{"url": u, "send_resolved": True} for u in (f"{base}/hook", "http://127.0.0.1:1/dead")]
    chat = {"api_url": f"{base}/chat", "channel": "#x", "send_resolved": True}
    pager = {"url": f"{base}/v2/enqueue", "routing_key": "R" * 32, "send_resolved": True}
    receiver = {"name": "all", "webhook_configs": hooks, "slack_configs": [chat], "pagerduty_configs": [pager]}
    route = {
        "receiver": "all",
        "group_by": ["incident"],
        "group_wait": "1s",
        "group_interval": "5s",
        "repeat_interval": "4h",
    }
    file = folder / "page-alertmanager.yml"
    file.write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}), encoding="utf-8")
    port = free_port()
    command = [
        "prometheus-alertmanager", f"--config.file={file}", f"--storage.path={folder / 'page-alertmanager'}",
        "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    process = HostOperator({}, folder / "page-alertmanager.log", command)
    process.start()
    try:
        await asyncio.sleep(3.0)
        assert process.alive(), process.tail()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(process.kill)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def rows(ours: Storm, theirs: Storm) -> list[Row]:
    """For build/bench.json. Ours is counted with all of its messages, theirs with the begin and the end of each incident."""

    def row(id_: str, what: str, mine: float, other: float, unit: str) -> Row:
        ratio = short(mine / other) if other else None
        return Row(f"page-alertmanager-{id_}", what, short(mine), short(other), None, ratio, "", None, unit, 1, {})

    return [
        row("lost", "the same beside Alertmanager: messages lost", len(ours.lost), len(theirs.lost), "messages"),
        row("most", "how often one message came at most", ours.most, theirs.most, "times"),
        row("twice", "messages that came once more", ours.twice, theirs.twice, "messages"),
        row("first-p50", "begin to the first page, median", at_share(ours.first, 0.5), at_share(theirs.first, 0.5), "s"),
        row("first-p95", "begin to the first page, 95th percentile", at_share(ours.first, 0.95), at_share(theirs.first, 0.95), "s"),
        row("pager", "events to the pager", ours.requests["pagerduty"], theirs.requests.get("pagerduty", 0), "requests"),
        row("rss", "RSS after the storm", ours.rss, theirs.rss, "MiB"),
    ]  # fmt: skip
