"""Users that wait or get errors: one Incident of the right severity, and none for what is within bounds."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import pytest
import yaml

from tests.e2e.checks import WATCHED, Deploy, watched
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import kubectl, wait_for
from tests.harness.stackns import StackNamespace, holds

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAME = "docuquery-service-level-breach-1"
THRESHOLDS = {"spec": {"thresholds": {"window": "20s", "minRequests": 10}}}
FINE = "/documents/00000000-0000-0000-0000-000000000001"
# The overlay has no vector store, and the api answers 501.
FAILS = "/query"


def ask(ns: StackNamespace, path: str, number: int) -> int:
    """One request of a user; each comes from another address, so that no limit is met."""
    host = ns.api.read("services", "api")["spec"]["clusterIP"] if number % 50 == 0 else ask.__dict__["host"]
    ask.__dict__["host"] = host
    body = json.dumps({"text": "zebra", "top": 1}).encode() if path == FAILS else None
    headers = {"X-Forwarded-For": f"10.9.{number >> 8}.{number & 255}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{host}:8000{path}", body, headers), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
    except OSError:
        # On a busy machine a pod that is not ready for a moment leaves the Service without an endpoint.
        return 0


def traffic(ns: StackNamespace, seconds: float, failing: int) -> None:
    """Requests for so long; `failing` of each hundred fail."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        status = ask(ns, FAILS if number % 100 < failing else FINE, number)
        assert status in (0, 404, 501), status
        number += 1
        time.sleep(0.05)


def begun(stack: Deploy) -> StackNamespace:
    ns = watched(stack, WATCHED)
    kubectl("-n", ns.name, "apply", "-f", "-", text=yaml.safe_dump(stackns.runbook(name="service-level-breach")))
    kubectl("-n", ns.name, "patch", "stacks.ops.docuquery.ai", "docuquery", "--type=merge", "-p", json.dumps(THRESHOLDS))
    return ns


def level(ns: StackNamespace, status: str) -> bool:
    found = ns.api.read("stacks", "docuquery").get("status") or {}
    return stackns.condition(found, "ServiceLevelMet").get("status") == status


def test_users_get_errors(stack: Deploy) -> None:
    """A service that answers each probe and fails its users opens one P1, and nothing is restarted."""
    ns = begun(stack)
    fault = Fault(ns, "api: users get errors, probes do not", "ServiceLevelBreach")
    traffic(ns, 30, failing=50)
    fault.opened(20)
    assert "requests failed >" in ns.api.read("incidents", NAME)["spec"]["description"]
    traffic(ns, 10, failing=50)
    assert [i["metadata"]["name"] for i in ns.api.list("incidents")] == [NAME]
    assert ns.api.read("incidents", NAME)["spec"]["severity"] == "P1"
    assert level(ns, "False")
    assert (ns.attempts(), ns.attempts("api")) == ([], [])
    assert not holds(ns.incident(NAME), "Resolved")
    traffic(ns, 40, failing=0)
    wait_for("figures within bounds", lambda: level(ns, "True"), 20)
    status = ns.wait_resolved(NAME, 60)
    assert status["cause"]["name"] == "ErrorsOfOnePath", stackns.brief(status)
    assert (ns.attempts(), ns.attempts("api")) == ([], [])
    fault.ended()


def test_users_are_served(stack: Deploy) -> None:
    """Enough requests, and no more failures than a service may have."""
    ns = begun(stack)
    traffic(ns, 45, failing=0)
    assert level(ns, "True")
    assert ns.api.list("incidents") == []
