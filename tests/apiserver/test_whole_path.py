"""A P0 that nobody answers, told by the real process to real receivers, with the times of the Stack scaled down: the whole path
to the CTO, each step once; then acknowledged, expired, resolved and reviewed. The report is kept in build/.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import page_rounds
from tests.benchmarks.api import JSON, Client
from tests.fakes.sinks import Sinks, certificate
from tests.harness.apiserver import CHECKOUT, ApiServer
from tests.harness.operator import HostOperator, settings

pytestmark = pytest.mark.timeout(240)
NAMESPACE, INCIDENT = "whole-path", "nobody-answers"
GROUPS = ["onCall", "teamLead", "engineeringManager", "cto"]
AFTER = [0, 4, 8, 12]
# Generous on a busy machine.
LATE = 3.5
MARKER = "marker-5d1f0c7e"
TALK: JSON = {
    "contacts": {g: [f"{g.lower()}@example.org"] for g in [*GROUPS, "stakeholders"]},
    "routes": {"P0": ["slack", "pagerduty", "webhook", "apprise"]},
    "escalation": [{"to": g, "after": f"{a}s"} for g, a in zip(GROUPS, AFTER, strict=True)],
    "responseTimes": {"P0": "6s"},
    "ackExpiry": {"P0": "4s"},
    "updates": {"team": "3s", "stakeholders": "10s"},
}
REVIEW: JSON = {
    "rootCause": "The disk of the database was full, and nothing had warned of it.",
    "lessons": ["Warn at 80 % of the disk.", "Somebody has to have the telephone with him."],
    "actions": [
        {"title": "Alarm on disk usage", "owner": "ana@example.org", "due": "2099-12-11"},
        {"title": "Second person on call", "owner": "lead@example.org", "done": True},
    ],
}


def test_the_whole_path(server: ApiServer, tmp_path: Path) -> None:
    status, sinks, report, shown = asyncio.run(_story(server, tmp_path))
    _each_step_once_and_in_time(status, sinks)
    _by_apprise_too(status, sinks)
    assert MARKER not in shown + (tmp_path / "operator.log").read_text()
    events = [e["event"] for e in status["timeline"]]
    wanted = ["Opened", "ResponseTimeBreached", "Acknowledged", "AcknowledgementExpired", "Resolved", "Reviewed"]
    assert [e for e in events if e in wanted] == wanted
    assert next(c["status"] for c in status["conditions"] if c["type"] == "Reviewed") == "True"
    assert status["deadlines"]["response"] == "Breached"
    assert "Root cause: The disk of the database was full" in report["report.md"]
    assert "not answered in time" in report["report.html"]
    assert report["report.html"].count("<svg") == 2
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    (build / "whole-path-report.md").write_text(report["report.md"])
    (build / "whole-path-report.html").write_text(report["report.html"])


def _each_step_once_and_in_time(status: JSON, sinks: Sinks) -> None:
    told = Counter((b["what"], b["to"]) for b in sinks.webhook.taken)
    steps = [b["to"] for b in sinks.webhook.taken if b["what"] == "Step"]
    assert steps == GROUPS, told
    for what in ("Acknowledged", "AckExpired", "Resolved"):
        assert sum(n for (w, _), n in told.items() if w == what) == 1, (what, told)
    sent = Counter(n["what"] for n in status["notifications"] if n["state"] == "Sent")
    assert (sent["TeamUpdate"], sent["StakeholderUpdate"]) == (1, 1), sent
    alerts = Counter((b["event_action"], b["dedup_key"].partition("/")[2]) for b in sinks.pagerduty.taken)
    for group in ("", "teamLead", "engineeringManager", "cto"):
        assert alerts["resolve", group] == 1, alerts
    assert [*sinks.webhook.wrong, *sinks.slack.wrong, *sinks.pagerduty.wrong] == []
    due = {e["to"]: datetime.fromisoformat(e["dueAt"]).timestamp() for e in status["escalation"]}
    for body, at in zip(sinks.webhook.taken, sinks.webhook.times, strict=True):
        if body["what"] == "Step":
            assert -0.1 <= at - due[body["to"]] <= LATE, (body["to"], at - due[body["to"]])


def _by_apprise_too(status: JSON, sinks: Sinks) -> None:
    """Each message once and under its own key, in the order of the steps, and the end as a success."""
    sent = [n for n in status["notifications"] if n["channel"] == "apprise"]
    assert {n["state"] for n in sent} == {"Sent"}
    assert len({b["key"] for b in sinks.apprise.taken}) == len(sinks.apprise.taken) == len(sent)
    assert [b["key"].split("/")[-2] for b in sinks.apprise.taken if "/P0/" in b["key"]] == GROUPS
    assert [b["type"] for b in sinks.apprise.taken if "/resolved/" in b["key"]] == ["success"]
    assert sinks.apprise.wrong == []


async def _story(server: ApiServer, folder: Path) -> tuple[JSON, Sinks, dict[str, str], str]:
    context, ca = certificate(folder)
    async with Client(server) as client, Sinks(context) as sinks:
        world = page_rounds.World(client, NAMESPACE)
        await page_rounds.prepare(world, sinks, ca)
        stack: JSON = {"spec": {"communication": TALK, "detection": {"interval": "1s", "timeout": "1s"}}}
        stack["spec"]["communication"]["channels"] = {"email": None, "apprise": {"secretRef": {"secretName": "others"}}}
        await _secret(world, {"urls": f"{sinks.apprise.url}{MARKER}?+Idempotency-Key={{key}}&:key={{key}}", "ca.crt": ca})
        await client.write("PATCH", world.path("stacks", "docuquery"), "stacks", stack)
        async with _operator(server, folder) as operator:
            await page_rounds.open_incident(world, INCIDENT, 1)
            await _until(world, operator, lambda s: _told(s) == GROUPS)
            await page_rounds.patch(world, INCIDENT, {"acknowledged": {"by": "cto@example.org"}})
            await _until(world, operator, lambda s: (s.get("acknowledgement") or {}).get("expired"))
            await asyncio.sleep(2.0)
            await page_rounds.patch(
                world, INCIDENT, {"resolved": {"by": "cto@example.org", "note": "the disk has room again"}}
            )
            await _until(world, operator, lambda s: s.get("report") and not _left(s))
            await page_rounds.patch(world, INCIDENT, {"review": REVIEW})
            status = await _until(world, operator, lambda s: (s.get("report") or {}).get("review"))
            return status, sinks, await _report(world), await _shown(world)


async def _secret(world: page_rounds.World, data: dict[str, str]) -> None:
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    path = f"/api/v1/namespaces/{world.namespace}/secrets"
    await world.client.write("POST", path, "secrets", {"metadata": {"name": "others"}, "data": encoded})


@contextlib.asynccontextmanager
async def _operator(server: ApiServer, folder: Path) -> AsyncIterator[HostOperator]:
    environ = settings(server.kubeconfig, NAMESPACE, NAMESPACE) | {
        "DOCUQUERY_NOTIFY_ALLOW": "127.0.0.0/8,::1/128",
        "RES_OPTIONS": "timeout:1 attempts:1",
    }
    operator = HostOperator(environ, folder / "operator.log")
    operator.start()
    try:
        await asyncio.to_thread(operator.wait_for_line, '"leading"', 60)
        # Looks from before the incident, for the plots.
        await asyncio.sleep(4.0)
        yield operator
        assert await asyncio.to_thread(operator.stop) == 0
    finally:
        operator.kill()


def _told(status: JSON) -> list[str]:
    return [e["to"] for e in status.get("escalation") or [] if e.get("sentAt")]


def _left(status: JSON) -> bool:
    return any(n["state"] in ("Due", "Failed") for n in status.get("notifications") or [])


async def _until(world: page_rounds.World, operator: HostOperator, done: Any, seconds: float = 45.0) -> JSON:
    deadline = time.monotonic() + seconds
    while True:
        async with world.client.session.get(world.path("incidents", INCIDENT)) as answer:
            status: JSON = (await answer.json()).get("status") or {}
        if done(status):
            return status
        assert time.monotonic() < deadline, (status, operator.tail())
        await asyncio.sleep(0.2)


async def _shown(world: page_rounds.World) -> str:
    """Everything of the namespace that others than the readers of Secrets may see."""
    core = f"/api/v1/namespaces/{world.namespace}"
    texts = []
    for path in (world.path("incidents"), world.path("stacks"), f"{core}/events", f"{core}/configmaps"):
        async with world.client.session.get(path) as answer:
            texts.append(await answer.text())
    return "".join(texts)


async def _report(world: page_rounds.World) -> dict[str, str]:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/{INCIDENT}-report"
    async with world.client.session.get(path) as answer:
        return dict((await answer.json())["data"])
