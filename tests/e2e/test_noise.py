"""Ten minutes of what is no fault: nothing is opened and nothing done, by an operator that looks all the while."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import background
from tests.e2e.checks import Deploy, incidents, states
from tests.e2e.faults import process, qdrant_signal
from tests.e2e.table import Fault
from tests.e2e.test_thresholds import ask
from tests.e2e.test_vector import ask as ask_qdrant
from tests.e2e.test_vector import faults, fill
from tests.harness import stackns
from tests.harness.cluster import kubectl, request, wait_for
from tests.harness.stackns import StackNamespace, condition, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1100)]
# As the shipped Stack has it.
DETECTION = {"interval": "5s", "timeout": "3s", "failures": 3, "recoveries": 3, "openIncidents": True}
NOISE_SECONDS = 600
# Shorter than any two rounds need, and longer than a probe waits: one probe is lost, at most two.
BREATH_SECONDS = 4
# A search may take a second before it is slow.
BELOW_MS = 400
SERVERS = (("redis-0", "redis-server"), ("qdrant-0", "qdrant_double"))
FINE = "/documents/00000000-0000-0000-0000-000000000001"


def test_noise(stack: Deploy) -> None:
    ns = stack(detection=DETECTION, qdrant=True)
    background.deploy_worker(ns)
    fill(ns)
    wait_for("a Stack that is seen well", lambda: set(states(ns).values()) == {"Operational"}, 60)
    with users(ns) as answers:
        noise(ns)
    assert answers.count(200) + answers.count(404) > 0.9 * len(answers) > 200, "this was more than noise"
    assert_looks(ns)
    assert condition(ns.api.read("stacks", "docuquery")["status"], "StormBrake").get("status") != "True"
    # Of what nobody has rolled out: that has three minutes of grace.
    fault = Fault(ns, "qdrant: SIGSTOP, after ten minutes of noise", "VectorStorePerformance")
    qdrant_signal(ns, signal.SIGSTOP)
    status = ns.wait_resolved(fault.opened(90), 180)
    assert (status["cause"]["name"], steps(status)) == ("Unresponsive", [("restartWorkload", "Healed")]), stackns.brief(
        status
    )
    time.sleep(10)
    fault.ended()


def noise(ns: StackNamespace) -> None:
    """Each kind in its turn, until the time is over; after each the stack must come back, and nothing may be opened or done."""
    kinds: tuple[Callable[[StackNamespace], None], ...] = (
        lost_probes, rollout_of_api, slow_minute, evictions, scaling, rollout_of_store, snapshot,
    )  # fmt: skip
    began, done = time.monotonic(), []
    while time.monotonic() - began < NOISE_SECONDS or len(done) < len(kinds):
        kind = kinds[len(done) % len(kinds)]
        kind(ns)
        done.append(kind.__name__)
        wait_for(f"a stack that is well after {kind.__name__}", ns.healthy, 90, 0.5)
        time.sleep(10)
        opened = [i["spec"]["description"] for i in ns.api.list("incidents")]
        assert (incidents(ns), opened) == ([], []), f"after {done}"
    assert [a for c in ("api", "worker", "postgres", "redis", "qdrant") for a in ns.attempts(c)] == []
    print(f"{time.monotonic() - began:.0f} s of noise: {', '.join(done)}")


def lost_probes(ns: StackNamespace) -> None:
    """Each store holds its breath, one after the other."""
    for pod, program in SERVERS:
        server = process(ns, pod, program)
        os.kill(server, signal.SIGSTOP)
        time.sleep(BREATH_SECONDS)
        os.kill(server, signal.SIGCONT)
        time.sleep(BREATH_SECONDS)
    ns.api.exec("postgres-0", "bash", "-c", f"pkill -STOP -o postgres; sleep {BREATH_SECONDS}; pkill -CONT -o postgres")


def rollout_of_api(ns: StackNamespace) -> None:
    """A new version by somebody else, of what keeps no data."""
    restart(ns, "deployment/api", "deployment/worker")


def rollout_of_store(ns: StackNamespace) -> None:
    """By somebody else: the store is away for a moment, and all that rests on it."""
    restart(ns, "statefulset/redis")
    # Whoever does both at once is told of a storm, rightly.
    wait_for("a Redis that is seen well", lambda: states(ns)["redis"] == "Operational", 60)
    time.sleep(15)
    wait_for("a Redis that is seen well", lambda: states(ns)["redis"] == "Operational", 60)
    restart(ns, "statefulset/postgres")


def restart(ns: StackNamespace, *workloads: str) -> None:
    """As a person does."""
    kubectl("-n", ns.name, "rollout", "restart", *workloads)
    for workload in workloads:
        kubectl("-n", ns.name, "rollout", "status", workload, "--timeout=120s")


def slow_minute(ns: StackNamespace) -> None:
    """Searches take longer than they did, and less than is too long."""
    faults(ns, query=BELOW_MS)
    time.sleep(60)
    faults(ns)


def evictions(ns: StackNamespace) -> None:
    """As a node is drained: api, worker and the vector store."""
    for name in ("api", "worker", "qdrant"):
        for pod in ns.api.list("pods", **{"app.kubernetes.io/name": name}):
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod["metadata"]["name"]}}
            request("POST", ns.api.path("pods", pod["metadata"]["name"], "eviction"), body)
        kind = "statefulset" if name == "qdrant" else "deployment"
        kubectl("-n", ns.name, "rollout", "status", f"{kind}/{name}", "--timeout=120s")


def scaling(ns: StackNamespace) -> None:
    """Out and in again, by a person."""
    for replicas in (2, 1):
        for name in ("api", "worker"):
            kubectl("-n", ns.name, "scale", f"deployment/{name}", f"--replicas={replicas}")
        for name in ("api", "worker"):
            kubectl("-n", ns.name, "rollout", "status", f"deployment/{name}", "--timeout=120s")
        time.sleep(5)


def snapshot(ns: StackNamespace) -> None:
    """A collection is yellow for 20 s, as a snapshot of it is made."""
    faults(ns, snapshot=20_000)
    made: list[int] = []
    thread = threading.Thread(target=lambda: made.append(ask_qdrant(ns, "POST", "/collections/library/snapshots").status))
    thread.start()
    wait_for("a yellow collection", lambda: colour(ns) == "yellow", 10)
    thread.join(60)
    assert (made, colour(ns)) == ([200], "green")
    faults(ns)


def colour(ns: StackNamespace) -> str:
    """Of the collection."""
    return str(ask_qdrant(ns, "GET", "/collections/library").json()["result"]["status"])


@contextlib.contextmanager
def users(ns: StackNamespace) -> Iterator[list[int]]:
    """Two requests a second all the while, each of another client; their answers."""
    stop, answers = threading.Event(), list[int]()

    def keep() -> None:
        while not stop.wait(0.5):
            answers.append(ask(ns, FINE, len(answers)))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def assert_looks(ns: StackNamespace) -> None:
    """The detector was awake: the api's own log has its probes of the last half minute, one each round."""
    time.sleep(30)
    lines = kubectl("-n", ns.name, "logs", "deployment/api", "--since=30s").splitlines()
    asked = [json.loads(line) for line in lines if line.startswith("{") and '"/health"' in line]
    # The kubelet asks as well, and a connection that is held open asks for headers.
    seen = [a for a in asked if a.get("method") == "GET" and "kube-probe" not in str(a.get("userAgent"))]
    assert len(seen) >= 5, f"the api was probed {len(seen)} times in 30 s: {asked}"
