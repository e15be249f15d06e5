"""B12, a paging storm: many Incidents in five seconds, one channel dead, one slow, one that answers 429; the operator is killed in it.

The webhook's receiver is well and holds each request to its signature; what it has got is compared with what every incident is owed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.fakes.sinks import KEY, ROUTING, Sinks, certificate
from tests.harness.apiserver import ApiServer
from tests.harness.operator import HostOperator, settings

from .api import GROUP, JSON, Client, parallel
from .figures import footprint
from .report import Row, short

COMPONENTS = {
    "api": ("Api", "ApiUnavailable", 8000),
    "postgres": ("PostgreSQL", "DatabaseConnectionFailure", 5432),
    "redis": ("Redis", "RedisConnection", 6379),
    "qdrant": ("Qdrant", "VectorStorePerformance", 6333),
    "worker": ("CeleryWorker", "BackgroundTaskFailure", 0),
}
STORM_SECONDS = 5.0
LEAD_AFTER = 25.0
ACKNOWLEDGED_AT = 15.0
RESOLVED_AT = 50.0
WITHIN = 240.0
PATH: Sequence[JSON] = ({"to": "onCall", "after": "0s"}, {"to": "teamLead", "after": f"{LEAD_AFTER:.0f}s"})


@dataclass(frozen=True)
class Storm:
    """What came of one storm. late: seconds after a step was due by the Incident's own clock; steps: by its creation."""

    incidents: int
    kills: int
    first: Sequence[float]
    late: Sequence[float]
    steps: Sequence[float]
    lost: Sequence[str]
    twice: int
    most: int
    wrong: Sequence[str]
    requests: dict[str, int]
    writes: int
    rss: float
    unfinished: int
    seconds: float


Arrivals = dict[tuple[str, str, str], float]


@dataclass
class World:
    """A namespace, and when which incident was opened in it."""

    client: Client
    namespace: str
    created: dict[str, float] = field(default_factory=dict)

    def path(self, plural: str, name: str = "") -> str:
        base = f"{GROUP}/namespaces/{self.namespace}/{plural}"
        return f"{base}/{name}" if name else base

    async def incidents(self) -> list[JSON]:
        async with self.client.session.get(self.path("incidents")) as answer:
            return list((await answer.json())["items"])


async def storm(
    server: ApiServer, client: Client, namespace: str, folder: Path, incidents: int = 500, kills: Sequence[float] = (3.0,)
) -> Storm:
    """One storm in a namespace of its own; kills: seconds after its begin at which the process is ended by SIGKILL."""
    context, ca = certificate(folder)
    world = World(client, namespace)
    async with Sinks(context) as sinks:
        trouble(sinks)
        await prepare(world, sinks, ca)
        environ = settings(server.kubeconfig, namespace, namespace) | {"DOCUQUERY_NOTIFY_ALLOW": "127.0.0.0/8,::1/128"}
        async with _running(HostOperator(environ, folder / f"{namespace}.log")) as operator:
            before = await client.requests()
            began = time.monotonic()
            await story(world, operator, incidents, kills, began)
            found = await _settled(world)
            seconds = time.monotonic() - began
            rss = footprint(operator.pid).rss
        after = await client.requests()
    return judge(world, sinks, found, len(kills), written(before, after), rss, seconds)


def trouble(sinks: Sinks) -> None:
    """The chat answers every second request with 429, the pager is slow."""
    sinks.slack.answer = lambda n: (429, {"Retry-After": "2"}) if n % 2 else (0, {})
    sinks.pagerduty.slow = 1.0


def written(before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> int:
    """Writes to Incidents between two looks at the API server's own counters."""
    return sum(after[k] - before[k] for k in after if k[0] in ("POST", "PATCH") and k[1].startswith("incidents"))


async def prepare(world: World, sinks: Sinks, ca: str, path: Sequence[JSON] = PATH) -> None:
    """Secrets and Stack: the channels lead to the sinks, the one of mail to nobody."""
    secrets = {
        "hook": {"url": sinks.webhook.url, "key": KEY, "ca.crt": ca},
        "chat": {"url": sinks.slack.url, "ca.crt": ca},
        "pages": {"url": sinks.pagerduty.url, "routingKey": ROUTING, "ca.crt": ca},
        "mail": {"host": "localhost", "port": "1", "from": "op@example.org", "tls": "none"},
        "postgres": {"username": "nobody", "password": "nothing"},
    }
    core = f"/api/v1/namespaces/{world.namespace}"
    await world.client.write("POST", "/api/v1/namespaces", "namespaces", {"metadata": {"name": world.namespace}})
    for name, data in secrets.items():
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        await world.client.write("POST", f"{core}/secrets", "secrets", {"metadata": {"name": name}, "data": encoded})
    await world.client.write("POST", world.path("stacks"), "stacks", _stack(path))


def _stack(path: Sequence[JSON]) -> JSON:
    components: JSON = {}
    for name, (kind, _, port) in COMPONENTS.items():
        workload = {"kind": "Deployment" if name in ("api", "worker") else "StatefulSet", "name": name}
        components[name] = {"type": kind, "workload": workload}
        components[name] |= {"endpoint": {"service": name, "port": port}} if port else {"celery": {"app": "a"}}
    components["postgres"] |= {"database": "d", "credentials": {"secretName": "postgres"}}
    components["worker"]["dependsOn"] = ["redis"]
    channels = {"webhook": "hook", "slack": "chat", "pagerduty": "pages", "email": "mail"}
    talk = {
        "contacts": {"onCall": ["ana@example.org"], "teamLead": ["lead@example.org"], "stakeholders": ["all@example.org"]},
        "channels": {channel: {"secretRef": {"secretName": secret}} for channel, secret in channels.items()},
        "routes": {"P0": list(channels)},
        "escalation": list(path),
    }
    spec = {"components": components, "healing": {"mode": "Off"}, "detection": {"interval": "30s"}, "communication": talk}
    return {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Stack", "metadata": {"name": "docuquery"}, "spec": spec}


@contextlib.asynccontextmanager
async def _running(operator: HostOperator) -> AsyncIterator[HostOperator]:
    operator.start()
    try:
        await asyncio.to_thread(operator.wait_for_line, "leading")
        await asyncio.sleep(2.0)
        yield operator
    finally:
        await asyncio.to_thread(operator.kill)


async def story(world: World, operator: HostOperator, incidents: int, kills: Sequence[float], began: float) -> None:
    """Opened within five seconds; the odd ones are taken, late; all are resolved in the end; killed meanwhile."""
    names = [f"storm-{n:04d}" for n in range(incidents)]
    killer = asyncio.create_task(_kill(operator, kills, began))

    async def open_one(index: int, name: str) -> None:
        await asyncio.sleep(max(0.0, began + STORM_SECONDS * index / incidents - time.monotonic()))
        await open_incident(world, name, index)

    await parallel([lambda i=i, n=n: open_one(i, n) for i, n in enumerate(names)], 16)  # type: ignore[misc]
    await wait(began + ACKNOWLEDGED_AT)
    taken = [n for n in names if int(n[-4:]) % 2]
    await parallel([lambda n=n: patch(world, n, {"acknowledged": {"by": "ana"}}) for n in taken])  # type: ignore[misc]
    await wait(began + RESOLVED_AT)
    await killer
    await parallel([lambda n=n: patch(world, n, {"resolved": {"by": "ana"}}) for n in names])  # type: ignore[misc]


async def open_incident(world: World, name: str, index: int) -> None:
    """One of the storm, on the next of the five components."""
    component = list(COMPONENTS)[index % len(COMPONENTS)]
    spec = {"stackRef": {"name": "docuquery"}, "type": COMPONENTS[component][1], "severity": "P0", "component": component}
    body = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Incident", "metadata": {"name": name}, "spec": spec}
    world.created[name] = time.time()
    await world.client.write("POST", world.path("incidents"), "incidents", body)


async def _kill(operator: HostOperator, kills: Sequence[float], began: float) -> None:
    for at in kills:
        await wait(began + at)
        await asyncio.to_thread(operator.kill)
        operator.start()


async def wait(moment: float) -> None:
    """Until this moment of the monotonic clock."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def patch(world: World, name: str, spec: JSON) -> None:
    """What a person writes."""
    await world.client.write("PATCH", world.path("incidents", name), "incidents", {"spec": spec})


async def _settled(world: World) -> list[JSON]:
    """Until all of the storm are over and nothing is left to be sent, but by the dead channel."""
    deadline = time.monotonic() + WITHIN
    while True:
        found = [i for i in await world.incidents() if i["metadata"]["name"] in world.created]
        if not any(_open(i) for i in found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1.0)


def _open(incident: JSON) -> bool:
    status = incident.get("status") or {}
    notes = [n for n in status.get("notifications") or [] if n["channel"] != "email"]
    return status.get("phase") != "Resolved" or any(n["state"] in ("Due", "Failed") for n in notes)


def arrived(world: World, sinks: Sinks) -> tuple[Counter[str], Arrivals]:
    """How often each message came, and when first what came."""
    got: Counter[str] = Counter()
    at: Arrivals = {}
    for body, when in zip(sinks.webhook.taken, sinks.webhook.times, strict=True):
        if body["incident"] in world.created:
            got[body["key"]] += 1
            at.setdefault((body["incident"], body["what"], body["to"]), when)
    return got, at


def missing(world: World, at: Arrivals) -> list[str]:
    """What is owed and has not come."""
    return [
        f"{name} {what} {to}" for name in sorted(world.created) for what, to in _owed(name) if (name, what, to) not in at
    ]


def judge(world: World, sinks: Sinks, found: Sequence[JSON], kills: int, writes: int, rss: float, seconds: float) -> Storm:
    """The verdict, by what the webhook's receiver has got."""
    got, at = arrived(world, sinks)
    lost = missing(world, at)
    late = [
        at[i["metadata"]["name"], "Step", e["to"]] - _time(e["dueAt"])
        for i in found
        for e in (i.get("status") or {}).get("escalation") or []
        if (i["metadata"]["name"], "Step", e["to"]) in at
    ]
    after = {step["to"]: float(step["after"][:-1]) for step in PATH}
    steps = [when - world.created[n] - after[to] for (n, what, to), when in at.items() if what == "Step" and to in after]
    first = [at[n, "Step", "onCall"] - since for n, since in world.created.items() if (n, "Step", "onCall") in at]
    return Storm(
        incidents=len(world.created),
        kills=kills,
        first=sorted(first),
        late=sorted(late),
        steps=sorted(steps),
        lost=lost,
        twice=sum(n - 1 for n in got.values()),
        most=max(got.values(), default=0),
        wrong=[*sinks.webhook.wrong, *sinks.slack.wrong, *sinks.pagerduty.wrong],
        requests={n: getattr(sinks, n).requests for n in ("webhook", "slack", "pagerduty")},
        writes=writes,
        rss=rss,
        unfinished=sum(_open(i) for i in found),
        seconds=seconds,
    )


def _owed(name: str) -> list[tuple[str, str]]:
    """What has to have come for an incident: the first call and the end; the team lead unless somebody had it."""
    lead = [] if int(name[-4:]) % 2 else [("Step", "teamLead")]
    return [("Step", "onCall"), *lead, ("Resolved", "onCall")]


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def at_share(values: Sequence[float], share: float) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


async def measure(server: ApiServer, folder: Path, incidents: int, kills: Sequence[float]) -> Storm:
    """One storm on this API server."""
    async with Client(server) as client:
        return await storm(server, client, "pages", folder, incidents, kills)


def rows(seen: Storm, naive: Storm) -> list[Row]:
    """For build/bench.json. naive: the same storm with pages straight from kopf's handlers."""

    def row(
        id_: str,
        what: str,
        figure: Callable[[Storm], float],
        unit: str,
        goal: str = "",
        met: bool | None = None,
        peer: bool = True,
    ) -> Row:
        ours, theirs = figure(seen), figure(naive) if peer else None
        ratio = short(ours / theirs) if theirs else None
        return Row(id_, what, short(ours), None if theirs is None else short(theirs), None, ratio, goal, met, unit, 1, {})

    def share(of: Callable[[Storm], Sequence[float]], part: float) -> Callable[[Storm], float]:
        return lambda storm: at_share(of(storm), part)

    name, kills = f"{seen.incidents} incidents in 5 s, {seen.kills} kills", seen.kills
    in_time = at_share(seen.late, 0.95) <= 5
    return [
        row("page-lost", f"messages lost of a storm: {name}", lambda s: len(s.lost), "messages", "== 0", not seen.lost),
        row("page-most", "how often one message came at most", lambda s: s.most, "times", f"<= {1 + kills}", seen.most <= 1 + kills),
        row("page-twice", "messages that came once more; all of ours were on their way at a kill", lambda s: s.twice, "messages"),
        row("page-first-p50", "creation to the first page, median", share(lambda s: s.first, 0.5), "s"),
        row("page-first-p95", "creation to the first page, 95th percentile", share(lambda s: s.first, 0.95), "s"),
        row("page-step-p95", "steps, after creation and their time, 95th percentile", share(lambda s: s.steps, 0.95), "s"),
        row("page-step-max", "steps, after creation and their time, the latest", share(lambda s: s.steps, 1.0), "s"),
        row("page-late-p95", "due to sent, 95th percentile", share(lambda s: s.late, 0.95), "s", "<= 5", in_time, peer=False),
        row("page-late-max", "due to sent, the latest", share(lambda s: s.late, 1.0), "s", peer=False),
        row("page-chat-requests", "requests to the chat, half of them answered by 429", lambda s: s.requests["slack"], "requests"),
        row("page-pager-requests", "events to the pager, ends included", lambda s: s.requests["pagerduty"], "requests"),
        row("page-writes", "writes to Incidents for each incident of the storm", lambda s: s.writes / max(1, s.incidents), "writes"),
        row("page-rss", "RSS after the storm", lambda s: s.rss, "MiB"),
    ]  # fmt: skip


def summary(seen: Storm) -> dict[str, Any]:
    """For people."""
    return {
        "lost": len(seen.lost), "twice": seen.twice, "most": seen.most, "first p95": at_share(seen.first, 0.95),
        "late p95": at_share(seen.late, 0.95), "late max": at_share(seen.late, 1.0), "requests": seen.requests,
        "writes": seen.writes, "rss": seen.rss, "unfinished": seen.unfinished, "seconds": seen.seconds, "wrong": seen.wrong[:3],
    }  # fmt: skip
