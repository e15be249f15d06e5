"""The real api with its real limit under real traffic: what the operator's probes read of it, and which cause that is.

Only the Kubernetes API is a fake here. Pages of metrics, counters in Redis and the lines of the log are the api's own; the log is
read from its output. The operator's clock runs five times as fast, so that a minute of it is seen in twelve seconds.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import redis

from docuquery_operator.adapters.network import SystemNetwork
from docuquery_operator.adapters.redis_keys import ScannedKeys
from docuquery_operator.api.stack import Stack as StackObject
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.controllers.prober import Observation, StackProber
from docuquery_operator.domain.diagnosis.parameters import resolve
from docuquery_operator.ports import DEPLOYMENT, POD, SERVICE, STACK, STATEFUL_SET, Ports
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.rig import Rig
from tests.stack.conftest import Stack, settings
from tests.stack.services import Application, prepared, running

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
RUNBOOK = shipped()["RateLimitSpike"]
PARAMETERS = resolve(RUNBOOK, None)
NAMESPACE = "docuquery"
# Ten in four seconds: thirty clients above it are traffic that one busy core still serves.
LIMIT, WINDOW = 10, 4
SPEED = 5.0
ABUSER = "203.0.113.77"


@pytest.fixture(scope="module")
def limited(stack: Stack, folder: pathlib.Path) -> Iterator[Application]:
    """The api with a limit that is soon reached."""
    own = settings(stack.postgres, stack.redis, stack.qdrant)
    env = {**own, "RATE_LIMIT_REQUESTS": str(LIMIT), "RATE_LIMIT_WINDOW": str(WINDOW)}
    app = Application(prepared(folder / "limited"), env)
    # The counters of other tests' clients live on for their windows.
    with redis.Redis(port=stack.redis.port) as client:
        client.flushall()
    with running(app):
        yield app


class FastClock:
    """Real time, but faster."""

    def __init__(self) -> None:
        self._began, self._at = time.monotonic(), datetime.now(UTC)

    def now(self) -> datetime:
        return self._at + timedelta(seconds=SPEED * (time.monotonic() - self._began))


class OwnLog(FakeCluster):
    """The log of the one pod is what the process has written."""

    def __init__(self, server: FakeServer, log: pathlib.Path) -> None:
        super().__init__(server)
        self._log, self._from = log, log.stat().st_size

    async def log_stream(
        self, namespace: str, pod: str, container: str, since: datetime, limit: int
    ) -> AsyncGenerator[bytes, None]:
        data = self._log.read_bytes()[self._from :]
        start = f"{since:%Y-%m-%dT%H:%M:%S}".encode()
        taken = 0
        for number, line in enumerate(data.splitlines()[: data.count(b"\n")]):
            stamp = line[7:30] + b"%06dZ" % number if line.startswith(b'{"ts":"') else b""
            if stamp[:19] >= start and taken < limit:
                piece = stamp + b" " + line + b"\n"
                taken += len(piece)
                yield piece


@dataclass
class Watched:
    """The operator's eyes on the api, and traffic for it."""

    app: Application
    prober: StackProber
    stack: StackObject
    session: aiohttp.ClientSession
    seen: Observation | None = None

    async def look(self, seconds: float, until: str = "") -> Observation:
        """Rounds of probes for so long, or until this cause has been named in three of them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.seen = await self.prober.diagnose(self.stack, RUNBOOK, "shipped", "api", PARAMETERS)
            if until and self.seen.streak.cause_name == until and self.seen.streak.cause_rounds >= 3:
                break
            await asyncio.sleep(0.25)
        assert self.seen is not None
        return self.seen

    async def ask(self, client: str, agent: str, path: str = "/info") -> int:
        """One request as the proxy passes it on."""
        headers = {"X-Forwarded-For": client, "User-Agent": agent}
        async with self.session.get(self.app.url + path, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def steady(self, client: str, every: float, agent: str = "docuquery-client/2.3") -> None:
        """Asks at its own pace, whatever the answer."""
        while True:
            await self.ask(client, agent)
            await asyncio.sleep(every)

    async def impatient(self, client: str, every: float, agent: str) -> None:
        """Wants something now and then, and asks for it again at once while it is refused."""
        while True:
            if await self.ask(client, agent) == 429:
                await asyncio.sleep(0.05)
            else:
                await asyncio.sleep(every)


@asynccontextmanager
async def watched(app: Application, stack: Stack) -> AsyncIterator[Watched]:
    """A Stack whose api is this process."""
    server = FakeServer(ManualClock())
    _objects(server, app, stack)
    rig = Rig()
    async with SystemNetwork() as network, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        cluster = OwnLog(server, app.process.log)
        ports: Ports = replace(rig.life.ports, cluster=cluster, clock=FastClock(), network=network, redis_keys=ScannedKeys())
        body = server.find(STACK, NAMESPACE, "docuquery")
        yield Watched(app, StackProber(ports), StackObject.model_validate(body), session)


def _objects(server: FakeServer, app: Application, stack: Stack) -> None:
    meta: dict[str, Any] = {"namespace": NAMESPACE}
    labels = {"app": "api"}
    for kind, name in ((DEPLOYMENT, "api"), (STATEFUL_SET, "redis")):
        server.put(
            kind, {"metadata": {**meta, "name": name}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}}}
        )
    owner = server.find(DEPLOYMENT, NAMESPACE, "api")
    assert owner
    env = [{"name": "RATE_LIMIT_REQUESTS", "value": str(LIMIT)}, {"name": "RATE_LIMIT_WINDOW", "value": str(WINDOW)}]
    server.put(POD, {
        "metadata": {**meta, "name": "api-1", "labels": labels,
                     "ownerReferences": [{"controller": True, "uid": owner["metadata"]["uid"]}]},
        "spec": {"containers": [{"name": "api", "env": env}]},
        "status": {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                   "containerStatuses": [{"name": "api", "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}}}]},
    })  # fmt: skip
    components: dict[str, Any] = {
        "api": {"type": "Api", "workload": {"kind": "Deployment", "name": "api"}, "dependsOn": ["redis"],
                "endpoint": {"service": "api", "port": app.port}, "rateLimit": {"keyPattern": "*rate_limit*"}},
        "redis": {"type": "Redis", "workload": {"kind": "StatefulSet", "name": "redis"},
                  "endpoint": {"service": "redis", "port": stack.redis.port}},
    }  # fmt: skip
    for name, port in (("api", app.port), ("redis", stack.redis.port)):
        server.put(
            SERVICE, {"metadata": {**meta, "name": name}, "spec": {"clusterIP": "127.0.0.1", "ports": [{"port": port}]}}
        )
    spec = {"components": components, "detection": {"interval": "5s", "timeout": "3s"}}
    server.put(STACK, {"metadata": {**meta, "name": "docuquery"}, "spec": spec})


@asynccontextmanager
async def going(*traffic: Any) -> AsyncIterator[None]:
    """Traffic in the background."""
    tasks = [asyncio.create_task(t) for t in traffic]
    try:
        yield
        assert not any(t.done() for t in tasks), "traffic ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def named(seen: Observation) -> str:
    """The cause, after the findings are shown for whoever reads a failure."""
    print(json.dumps({k: v.get("summary") for k, v in seen.findings.items()}, indent=1))
    assert seen.streak.verdict.symptom is True
    return seen.streak.cause_name


async def test_one_abuser_among_many_is_named_by_its_address(limited: Application, stack: Stack) -> None:
    async with watched(limited, stack) as it:
        crowd = [it.steady(f"198.51.100.{n}", 0.5) for n in range(15)]
        async with going(*crowd):
            quiet = await it.look(5)
        assert quiet.streak.verdict.symptom is False
        assert "clients" not in quiet.findings["traffic"]
        crowd = [it.steady(f"198.51.100.{n}", 0.5) for n in range(15)]
        async with going(*crowd, it.steady(ABUSER, 0.01)):
            seen = await it.look(25, "OneAbuser")
        assert named(seen) == "OneAbuser"
        traffic = seen.findings["traffic"]
        assert traffic["topRefused"] == ABUSER
        assert traffic["topRefusedPercent"] > 95
        assert traffic["clients"][0]["client"] == ABUSER
        limits, keys = seen.findings["limits"], seen.findings["keys"]
        assert (limits["requests"], limits["window"]) == (LIMIT, WINDOW)
        assert keys["keys"] > 0
        assert keys["clients"][0]["client"] == ABUSER
        assert keys["clients"][0]["count"] > LIMIT


async def test_growth_of_many_clients_is_no_abuse(limited: Application, stack: Stack) -> None:
    async with watched(limited, stack) as it:
        async with going(*(it.steady(f"198.51.100.{n}", 0.6) for n in range(12))):
            usual = await it.look(16)
        assert usual.streak.verdict.symptom is False
        assert "usualPerSecond" in usual.findings["refusals"]
        # Three times as many, each a little above its limit.
        async with going(*(it.steady(f"198.51.100.{n}", 0.28) for n in range(30))):
            seen = await it.look(30, "OrganicGrowth")
        assert named(seen) == "OrganicGrowth"
        assert seen.findings["traffic"]["refusedClients"] >= 20


async def test_a_storm_of_retries_is_named_by_its_version(limited: Application, stack: Stack) -> None:
    async with watched(limited, stack) as it:
        good = [it.steady(f"198.51.100.{n}", 0.5, "docuquery-client/2.3") for n in range(8)]
        async with going(*good):
            await it.look(4)
        good = [it.steady(f"198.51.100.{n}", 0.5, "docuquery-client/2.3") for n in range(8)]
        storm = [it.impatient(f"198.51.100.{n}", 0.02, "docuquery-client/2.4") for n in range(100, 115)]
        async with going(*good, *storm):
            seen = await it.look(25, "RetryStorm")
        assert named(seen) == "RetryStorm"
        assert seen.findings["traffic"]["retryAgent"] == "docuquery-client/2.4"
        assert seen.findings["traffic"]["retryClients"] >= 10
