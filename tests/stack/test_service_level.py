"""The real api under load: the operator's figures against those of the clients, and against a real Prometheus server."""

from __future__ import annotations

import asyncio
import math
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.adapters.network import SystemNetwork
from docuquery_operator.api.detection import PrometheusServer
from docuquery_operator.api.stack import Stack as Watched
from docuquery_operator.catalogue import prometheus
from docuquery_operator.catalogue.base import ProbeContext, Round
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.domain.traffic.http_metrics import Figures
from docuquery_operator.ports import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.rig import Rig
from tests.stack.conftest import Stack
from tests.stack.services import Process, answers, free_port, http, need, prepared, running, wait_for, wait_up

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
NAMESPACE = "docuquery"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
NOWHERE = "00000000-0000-0000-0000-000000000001"


@dataclass
class Users:
    """Clients that measure themselves; each request comes from another address, so that no limit is met."""

    url: str
    times: list[float] = field(default_factory=list)
    failed: int = 0
    sent: int = 0

    def ask(self, path: str = f"/documents/{NOWHERE}", body: object = None) -> None:
        self.sent += 1
        headers = {"X-Forwarded-For": f"10.{self.sent >> 16}.{(self.sent >> 8) & 255}.{self.sent & 255}"}
        began = time.perf_counter()
        answer = http("GET" if body is None else "POST", self.url + path, body, headers)
        self.times.append(time.perf_counter() - began)
        self.failed += answer.status >= 500

    def exact(self, q: float) -> float:
        return sorted(self.times)[max(0, math.ceil(q * len(self.times)) - 1)]


def bucket(seconds: float) -> tuple[float, float]:
    """The bucket of the api's histogram in which a time lies."""
    return max((b for b in BUCKETS if b < seconds), default=0.0), next((b for b in BUCKETS if seconds <= b), math.inf)


def cluster_of(port: int, *, prometheus_port: int = 0) -> FakeServer:
    """What the API server would say of one api pod on this machine."""
    server = FakeServer(SystemClock())
    meta = {"namespace": NAMESPACE, "name": "api"}
    labels = {"app": "api"}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"spec": {"containers": [{"name": "api"}]}}}
    owner = server.put(DEPLOYMENT, {"metadata": dict(meta), "spec": spec})
    owners = [{"controller": True, "kind": "Deployment", "name": "api", "uid": owner["metadata"]["uid"]}]
    status = {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{}]}
    server.put(POD, {"metadata": {**meta, "name": "api-1", "labels": labels, "ownerReferences": owners}, "status": status})
    # The Service listens on another port than its pods.
    server.put(
        SERVICE, {"metadata": dict(meta), "spec": {"clusterIP": "127.0.0.1", "ports": [{"name": "http", "port": 8000}]}}
    )
    slices = {
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "api"}},
        "ports": [{"name": "http", "port": port}],
    }
    server.put(ENDPOINT_SLICE, {**slices, "endpoints": [{"addresses": ["127.0.0.1"]}]})
    server.put(SERVICE, {"metadata": {**meta, "name": "prometheus"}, "spec": {"clusterIP": "127.0.0.1", "ports": []}})
    return server


class Looks:
    """The probe, asked again and again as a Stack's rounds do."""

    def __init__(self, network: SystemNetwork, port: int, thresholds: dict[str, Any]) -> None:
        api = {
            "type": "Api",
            "workload": {"kind": "Deployment", "name": "api"},
            "endpoint": {"service": "api", "port": 8000},
        }
        simulated = Rig().life.ports
        self.ports = replace(simulated, cluster=FakeCluster(cluster_of(port)), clock=SystemClock(), network=network)
        self.stack = Watched.model_validate(
            {
                "metadata": {"name": "docuquery", "namespace": NAMESPACE, "uid": "u"},
                "spec": {"components": {"api": api}, "detection": {"interval": "500ms"}, "thresholds": thresholds},
            }
        )
        self.memory: dict[object, Any] = {}

    def round(self) -> Round:
        return Round(self.stack, self.ports, 3.0, self.ports.clock.now(), self.memory)

    async def look(self) -> dict[str, Any]:
        context = ProbeContext(self.round(), "api", self.stack.spec.components["api"])
        return await PROBES["serviceLevel"].look(context)

    async def during(self, work: Callable[[], object], at_least: float) -> dict[str, Any]:
        """Look each half second while the work is done in a thread, and a little longer."""
        task = asyncio.create_task(asyncio.to_thread(work))
        end = time.monotonic() + at_least
        while not task.done() or time.monotonic() < end:
            await self.look()
            await asyncio.sleep(0.5)
        await task
        await asyncio.sleep(0.5)
        return await self.look()


@asynccontextmanager
async def looks(stack: Stack, **thresholds: Any) -> AsyncIterator[Looks]:
    async with SystemNetwork() as network:
        yield Looks(network, stack.app.port, {"window": "8s", **thresholds})


async def test_a_slow_database_makes_the_api_slow_and_the_figures_say_how_slow(stack: Stack) -> None:
    users = Users(stack.app.url)

    def work() -> None:
        for _ in range(60):
            users.ask()
        with ThreadPoolExecutor(4) as pool, stack.postgres.admin("docuquery_ai") as lock:
            lock.autocommit = False
            lock.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
            waiting = [pool.submit(users.ask) for _ in range(4)]
            time.sleep(1.4)
            lock.rollback()
            for one in waiting:
                one.result()

    async with looks(stack) as looking:
        await looking.look()
        found = await looking.during(work, 6)
    assert (found["source"], found["requests"], found["failed"]) == ("pods", len(users.times), 0)
    lower, upper = bucket(users.exact(0.95))
    # The client's clock also counts the way there and back.
    assert bucket(lower)[0] * 1000 <= found["p95Ms"] <= upper * 1000, (found, users.exact(0.95))
    assert 1000 <= found["p95Ms"] <= 2000
    assert (found["level"], found["slow"], found["failing"]) == ("info", True, False)
    assert (found["slowPath"], found["slowPathPercent"] > 90) == ("/documents/{document_id}", True)
    assert found["queueLength"] >= 0


async def test_failures_of_one_path_are_counted_one_by_one(stack: Stack) -> None:
    users = Users(stack.app.url)

    def work() -> None:
        for _ in range(50):
            users.ask()
        stack.qdrant.process.stop()
        try:
            for number in range(10):
                users.ask("/query", {"text": f"zebra {number}", "top": 1})
                http("GET", f"{stack.app.url}/health")
        finally:
            stack.qdrant.start()

    async with looks(stack, window="20s", minRequests=10) as looking:
        await looking.look()
        found = await looking.during(work, 11)
    assert users.failed == 10
    assert (found["requests"], found["failed"], found["errorPercent"]) == (60, 10, pytest.approx(100 / 6))
    assert (found["level"], found["failing"], found["failingPath"]) == ("critical", True, "/query")
    assert found["failingPathPercent"] == 100
    wait_for("a healthy stack again", lambda: stack.app.health().json()["status"] == "healthy", 20)


async def test_an_idle_api_is_unknown(stack: Stack) -> None:
    async with looks(stack, window="4s") as looking:
        found = await looking.during(lambda: None, 5)
    assert "level" not in found
    assert "0 requests in 4s, 20 are needed" in found["summary"]


@pytest.fixture
def prometheus_server(stack: Stack, folder: pathlib.Path) -> Iterator[int]:
    """A real one that scrapes the api each second; its port."""
    port, home = free_port(), prepared(folder / "prometheus")
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: api, static_configs: [{{targets: ['127.0.0.1:{stack.app.port}'], labels: {{service: 'the \"api\"'}}}}]}}\n"
    )
    command = [
        *(need("prometheus", "prometheus"), f"--config.file={home}/prometheus.yml"),
        *(f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    process = Process(command, home / "log", cwd=home)
    with running(process):
        wait_up(process, lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 30)
        yield port


async def test_prometheus_says_the_same(stack: Stack, prometheus_server: int) -> None:
    """The same question to a Prometheus server and to the pods: equal within the histogram's resolution."""
    users = Users(stack.app.url)
    labels = {"service": 'the "api"'}

    def work() -> None:
        end = time.monotonic() + 14
        while time.monotonic() < end:
            users.ask()
            time.sleep(0.02)

    async with looks(stack, window="10s") as pods:
        server = {"service": "prometheus", "port": prometheus_server, "labels": labels}
        asked = Looks(pods.ports.network, stack.app.port, {"window": "10s", "prometheus": server})  # type: ignore[arg-type]
        ours = await pods.during(work, 14)
        theirs = await asked.look()
        model = PrometheusServer.model_validate(server)
        raw = await prometheus.figures(asked.round(), model, 10.0, [])
        nobody = await prometheus.figures(asked.round(), model.model_copy(update={"labels": {"service": "other"}}), 10.0, [])
        odd = await prometheus.figures(
            asked.round(), model.model_copy(update={"labels": {"service": '"} or vector(1) #'}}), 10.0, []
        )
    assert (ours["source"], theirs["source"]) == ("pods", "prometheus")
    assert theirs["requests"] == pytest.approx(ours["requests"], rel=0.25)
    assert ours["failed"] == theirs["failed"] == 0
    for q in ("p50Ms", "p95Ms"):
        mine, other = bucket(ours[q] / 1000), bucket(theirs[q] / 1000)
        assert max(mine[0], other[0]) <= min(mine[1], other[1]), (q, ours, theirs)
    assert isinstance(raw, Figures)
    assert [p.path for p in raw.paths] == ["/documents/{document_id}"], "probes and scrapes are no requests of users"
    for empty in (nobody, odd):
        assert isinstance(empty, str)
        assert "knows no requests" in empty
    query = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{path=~"/documents.*"}[10s])))'
    answer = http("GET", f"http://127.0.0.1:{prometheus_server}/api/v1/query?query={prometheus.quote(query)}").json()
    own = float(answer["data"]["result"][0]["value"][1])
    assert raw.p95 is not None
    assert bucket(own) == bucket(raw.p95.value) or own == pytest.approx(raw.p95.value, rel=0.3)


async def test_a_prometheus_that_is_away_gives_way_to_the_pods(stack: Stack) -> None:
    users = Users(stack.app.url)

    def work() -> None:
        for _ in range(40):
            users.ask()
            time.sleep(0.05)

    server = {"service": "prometheus", "port": free_port(), "labels": {"job": "api"}}
    async with looks(stack, window="4s", prometheus=server) as looking:
        await looking.look()
        found = await looking.during(work, 3)
    assert found["source"] == "pods"
    assert "Prometheus server prometheus: " in found["summary"]
