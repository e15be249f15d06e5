"""The api itself hangs, and nobody applies an incident."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from tests.e2e.checks import WATCHED, Deploy, watched
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import JSON, kubectl
from tests.harness.stackns import StackNamespace, condition, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAME = "docuquery-api-unavailable-1"
TYPE = "ApiUnavailable"


def test_api_frozen(stack: Deploy) -> None:
    """It accepts connections and answers nobody: restarted once, in one incident, and what it rests on is left alone."""
    ns = watched(stack, WATCHED)
    kubectl("apply", "-n", ns.name, "-f", "-", text=yaml.safe_dump(stackns.runbook(name="api-unavailable")))
    before = ns.database_pod()["metadata"]["uid"]
    frozen = pods(ns)
    fault = Fault(ns, "api: SIGSTOP", TYPE)
    for pod in frozen:
        for process in processes(pod):
            os.kill(process, signal.SIGSTOP)
    fault.opened()
    status = ns.wait_resolved(NAME, 240)
    assert ns.healthy(), ns.health()
    assert condition(status, "Resolved")["reason"] == "Healed", stackns.brief(status)
    assert (status["cause"]["name"], status["severity"]) == ("ProcessDown", "P0"), stackns.brief(status)
    assert steps(status) == [("restartWorkload", "Healed")]
    assert ns.attempts("api") == [a for a in ns.attempts("api") if a["id"] == status["steps"][0]["attemptId"]] != []
    assert not {p["metadata"]["uid"] for p in frozen} & {p["metadata"]["uid"] for p in pods(ns)}
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    assert ns.database_pod()["metadata"]["uid"] == before
    fault.ended()


def pods(ns: StackNamespace) -> list[JSON]:
    """Those of the api that are not on their way out."""
    found = ns.api.list("pods")
    label = "app.kubernetes.io/name"
    mine = [p for p in found if p["metadata"]["labels"].get(label) == "api" and "deletionTimestamp" not in p["metadata"]]
    assert mine
    return mine


def processes(pod: JSON) -> list[int]:
    """Ids of the container's processes on this machine, which no signal from inside the pod reaches."""
    container = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    found = []
    for directory in Path("/proc").iterdir():
        try:
            if container in (directory / "cgroup").read_text():
                found.append(int(directory.name))
        except (OSError, ValueError):
            continue
    assert found, f"no process of {pod['metadata']['name']} is found on this machine"
    return found
