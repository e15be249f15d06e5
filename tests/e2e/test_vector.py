"""Faults of the vector store, and nobody who applies an incident: what the operator does is held against requests of our own.

Run them side by side: pytest tests/e2e/test_vector.py -n 2
"""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.e2e.checks import Deploy, asks_for_a_person, incidents, watched
from tests.e2e.faults import qdrant_signal, starts
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, holds, steps
from tests.stack.services import Answer, http

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TYPE = "VectorStorePerformance"
NAME = "docuquery-vector-store-performance-1"
# A search may take its time: slow is something else than silent, and is told from the third one on.
WATCHED = stackns.DETECTION | {"openIncidents": True, "timeout": "4s", "failures": 3}
SLOW_MS = 1800


def test_qdrant_frozen(stack: Deploy) -> None:
    """It listens and answers nobody: restarted once, in one incident, though the api feels it as well."""
    ns = watched(stack, WATCHED | {"timeout": "1s"}, qdrant=True)
    before = uids(ns)
    fault = Fault(ns, "qdrant: SIGSTOP", TYPE)
    qdrant_signal(ns, signal.SIGSTOP)
    fault.opened()
    status = ended(ns, "Healed", "Unresponsive")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert ns.restarts_ordered("qdrant") == [status["steps"][0]["attemptId"]]
    evidence = [part for name, part in ns.report(NAME).items() if name.startswith("evidence-")]
    assert ["qdrant_state" in json.loads(part) for part in evidence] == [True]
    after = uids(ns)
    assert after.pop("qdrant-0") != before.pop("qdrant-0")
    assert after == before
    time.sleep(5)
    fault.ended()


def test_qdrant_killed(stack: Deploy) -> None:
    """kill -9: the kubelet starts it anew at once, so rightly nothing is done; the points are still there."""
    ns = filled(stack, failures=2)
    before = uids(ns)
    fault = Fault(ns, "qdrant: kill -9", TYPE)
    qdrant_signal(ns, signal.SIGKILL)
    wait_for("a new container", lambda: starts(ns, "qdrant-0") == 1 or None, 60)
    wait_for("a Qdrant that is well", lambda: problem(ns) == "" or None, 60)
    back = time.time()
    name = fault.noticed()
    if name:
        status = ns.wait_resolved(name, 120)
        assert condition(status, "Resolved")["reason"] == "Recovered", stackns.brief(status)
        assert steps(status) in ([], [("waitForRecovery", "Healed")])
    time.sleep(10)
    assert uids(ns) == before
    assert (ns.restarts_ordered("qdrant"), ns.attempts("qdrant")) == ([], [])
    assert points(ns) == 3000
    if name:
        fault.ended()
    else:
        fault.short("qdrant", back)


def test_qdrant_slow(stack: Deploy) -> None:
    """The index was switched off for an upload and never on again: it is, and what proves it is how long a search takes."""
    ns = filled(stack)
    before = uids(ns)
    fault = Fault(ns, "qdrant: slow, the index was left switched off", TYPE)
    faults(ns, unindexed=SLOW_MS, optimize=3000)
    assert took(ns) > SLOW_MS / 1000
    fault.opened()
    status = ended(ns, "Healed", "SlowSearch")
    assert steps(status) == [("optimizeCollections", "Healed")]
    (plan,) = status["steps"][0]["plan"]["collections"]
    assert (plan["name"], plan["before"]) == ("library", {"indexing_threshold": 0})
    info = ask(ns, "GET", "/collections/library").json()["result"]
    assert info["config"]["optimizer_config"]["indexing_threshold"] == plan["after"]["indexing_threshold"] > 0
    assert info["indexed_vectors_count"] == 3000
    assert took(ns) < 1
    assert (uids(ns), ns.restarts_ordered("qdrant"), incidents(ns)) == (before, [], [NAME])
    assert [(a["action"], a["outcome"]) for a in ns.attempts("qdrant")] == [("optimizeCollections", "Healed")]
    fault.ended()


def test_qdrant_slow_in_vain(stack: Deploy) -> None:
    """Searches are slow for another reason: what was changed is put back, and a person is asked."""
    ns = filled(stack, verify=stackns.VERIFY | {"within": "20s"})
    before = uids(ns)
    fault = Fault(ns, "qdrant: slow for another reason", TYPE)
    faults(ns, query=SLOW_MS)
    fault.opened()
    status = ns.wait_incident(NAME, "a person is asked for", asks_for_a_person("RemedyUsedUp"), 240)
    assert steps(status) == [("optimizeCollections", "NotHealed"), ("proposeScaling", "Skipped")]
    assert status["steps"][0]["undo"] == "Done"
    assert "no data move to it" in status["steps"][1]["summary"]
    settings = ask(ns, "GET", "/collections/library").json()["result"]["config"]["optimizer_config"]
    assert settings["indexing_threshold"] == 0
    assert (uids(ns), ns.restarts_ordered("qdrant")) == (before, [])
    faults(ns)
    status = ended(ns, "Recovered", "SlowSearch")
    assert len(steps(status)) == 2
    fault.ended()


def filled(stack: Deploy, failures: int = 3, **options: Any) -> StackNamespace:
    """A stack with points, watched when the upload is over: two cores may be busy with it for a while."""
    ns = watched(stack, WATCHED | {"openIncidents": False, "failures": failures}, qdrant=True, **options)
    fill(ns)
    assert took(ns) < 1
    ns.api.patch("stacks", "docuquery", {"spec": {"detection": {"openIncidents": True}}})
    return ns


def ask(ns: StackNamespace, method: str, path: str, body: Any = None) -> Answer:
    """A request of our own through the Service."""
    host = ns.api.read("services", "qdrant")["spec"]["clusterIP"]
    return http(method, f"http://{host}:6333{path}", body)


def fill(ns: StackNamespace) -> None:
    """3000 points in a collection of our own that is not indexed."""
    body = {"vectors": {"size": 64, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 0}}
    assert ask(ns, "PUT", "/collections/library", body).status == 200
    made = [{"id": n, "vector": [((n * 31 + i * 7) % 97) / 97 for i in range(64)]} for n in range(3000)]
    assert ask(ns, "PUT", "/collections/library/points?wait=true", {"points": made}).status == 200


def points(ns: StackNamespace) -> int:
    """How many there are."""
    return int(ask(ns, "POST", "/collections/library/points/count", {"exact": True}).json()["result"]["count"])


def faults(ns: StackNamespace, **milliseconds: int) -> None:
    """Make searches slow, or well again."""
    assert ask(ns, "PUT", "/double/faults", milliseconds).status == 200


def took(ns: StackNamespace) -> float:
    """Seconds that a search of our own takes."""
    began = time.monotonic()
    answer = ask(ns, "POST", "/collections/library/points/query", {"query": [0.5] * 64, "limit": 3})
    assert len(answer.json()["result"]["points"]) == 3
    return time.monotonic() - began


def problem(ns: StackNamespace) -> str:
    """'' when the api's own collection can be counted now."""
    try:
        answer = ask(ns, "POST", "/collections/documents/points/count", {"exact": True})
    except (OSError, AssertionError) as failure:
        return str(failure) or type(failure).__name__
    return "" if answer.status == 200 else f"HTTP {answer.status}"


def uids(ns: StackNamespace) -> dict[str, str]:
    """Identity of each pod of the stores."""
    return {name: ns.api.read("pods", name)["metadata"]["uid"] for name in ("redis-0", "postgres-0", "qdrant-0")}


def ended(ns: StackNamespace, reason: str, cause: str) -> dict[str, Any]:
    """Resolved for this reason, and true: requests of our own are answered, the api is well, and the report tells the story."""
    status = ns.wait_resolved(NAME, 240)
    assert problem(ns) == ""
    wait_for("an api that is well", lambda: ns.healthy() or None, 30)
    assert condition(status, "Resolved")["reason"] == reason, stackns.brief(status)
    assert status["cause"]["name"] == cause, stackns.brief(status)
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    wait_for("the report", lambda: ns.incident(NAME).get("report"), 15)
    assert f"**{cause}**" in ns.report(NAME)["report.md"]
    return ns.incident(NAME)
