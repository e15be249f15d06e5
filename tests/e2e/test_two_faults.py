"""Two faults at once, and nobody there: an incident and a cause for each, and nothing is done where something below both is likely."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e import background
from tests.e2e.checks import WATCHED, Deploy, incidents, watched
from tests.e2e.faults import process, qdrant_signal
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, decisions, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
STORES = ("redis-0", "qdrant-0", "postgres-0")


def test_two_stores(stack: Deploy) -> None:
    """Redis and Qdrant hang at the same moment: both causes are named, and the storm brake restarts neither."""
    ns = watched(stack, WATCHED | {"timeout": "2s", "failures": 3}, qdrant=True)
    before = uids(ns)
    servers = process(ns, "redis-0", "redis-server"), process(ns, "qdrant-0", "qdrant_double")
    redis = Fault(ns, "redis: SIGSTOP, at once with qdrant", "RedisConnection")
    qdrant = Fault(ns, "qdrant: SIGSTOP, at once with redis", "VectorStorePerformance")
    background.signals(servers, signal.SIGSTOP)
    for fault, cause in ((redis, "ProcessDown"), (qdrant, "Unresponsive")):
        name = fault.opened()
        status = ns.wait_incident(name, "a person is called", lambda s: holds(s, "NeedsHuman", "StormBrake"))
        assert (status["cause"]["name"], decisions(status)[-1]) == (cause, "StormBrake"), stackns.brief(status)
    time.sleep(10)
    check_left_alone(ns, before)
    background.signals(servers, signal.SIGCONT)
    for fault in (redis, qdrant):
        status = ns.wait_resolved(fault.name)
        assert condition(status, "Resolved")["reason"] == "Recovered", stackns.brief(status)
    wait_for("an api that is well", ns.healthy, 30)
    time.sleep(8)
    check_left_alone(ns, before)
    redis.ended(qdrant.name)
    qdrant.ended(redis.name)


def check_left_alone(ns: StackNamespace, before: dict[str, str]) -> None:
    """Nothing was restarted, and nothing was ordered."""
    assert uids(ns) == before
    assert (ns.attempts("redis"), ns.attempts("qdrant"), ns.attempts()) == ([], [], [])
    assert all(s.get("attemptId") is None for n in incidents(ns) for s in ns.incident(n).get("steps") or [])


def test_two_faults(stack: Deploy) -> None:
    """Qdrant hangs, and so does a worker that does not rest on it: each is restarted once, for its own cause."""
    ns = stack(detection=WATCHED, qdrant=True)
    background.deploy_worker(ns)
    assert background.works(ns)
    before = uids(ns)
    qdrant = Fault(ns, "qdrant: SIGSTOP, at once with a worker", "VectorStorePerformance")
    worker = Fault(ns, "worker: SIGSTOP, at once with qdrant", "BackgroundTaskFailure")
    background.send_signal(ns, signal.SIGSTOP)
    qdrant_signal(ns, signal.SIGSTOP)
    for fault, cause in ((qdrant, "Unresponsive"), (worker, "WorkerFrozen")):
        status = ns.wait_resolved(fault.opened(), 180)
        assert condition(status, "Resolved")["reason"] == "Healed", stackns.brief(status)
        assert (status["cause"]["name"], steps(status)) == (cause, [("restartWorkload", "Healed")]), stackns.brief(status)
    assert background.works(ns)
    assert len(ns.restarts_ordered("qdrant")) == len(background.restarts_ordered(ns)) == 1
    assert {n: u for n, u in uids(ns).items() if n != "qdrant-0"} == {n: u for n, u in before.items() if n != "qdrant-0"}
    wait_for("an api that is well", ns.healthy, 30)
    time.sleep(8)
    qdrant.ended(worker.name)
    worker.ended(qdrant.name)


def uids(ns: StackNamespace) -> dict[str, str]:
    """Identity of each pod of the stores."""
    return {name: ns.api.read("pods", name)["metadata"]["uid"] for name in STORES}
