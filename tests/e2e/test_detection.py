"""Nobody applies an incident: the operator finds the fault itself, and finds none where there is none."""

from __future__ import annotations

import time

import pytest

from tests.e2e.checks import Deploy, check_end, check_one_restart, uid
from tests.harness import stackns
from tests.harness.cluster import kubectl, wait_for
from tests.harness.stackns import StackNamespace, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
WATCHED = stackns.DETECTION | {"openIncidents": True}
NAME = "docuquery-database-connection-failure-1"


def test_detected(stack: Deploy) -> None:
    """From fault to proof without a person, in one incident, though the api is down as well."""
    ns = stack(detection=WATCHED)
    before = uid(ns)
    began = time.monotonic()
    ns.freeze()
    wait_for("an incident", lambda: ns.api.get("incidents", NAME), 60)
    print(f"noticed {time.monotonic() - began:.1f} s after the fault")
    assert steps(check_end(ns, NAME, "Healed", "ProcessDown")) == [("restartWorkload", "Healed")]
    check_one_restart(ns, NAME, before)
    time.sleep(10)
    assert incidents(ns) == [NAME]


def test_killed(stack: Deploy) -> None:
    """kill -9: told at once, though the kubelet brings it back by itself; nothing is restarted on top."""
    ns = stack(detection=WATCHED | {"interval": "5s", "timeout": "3s", "failures": 3})
    wait_for("a Stack that is looked at", lambda: _states(ns) == {"Operational"}, 60)
    before, starts = uid(ns), _starts(ns)
    began = time.monotonic()
    ns.api.exec("postgres-0", "bash", "-c", "pkill -KILL -o postgres", check=False)
    seconds = wait_for("an incident, or a fault too short for one", lambda: _told(ns) and time.monotonic() - began, 8, 0.05)
    print(f"told {seconds:.2f} s after the fault: {incidents(ns) or 'ShortFault'}")
    wait_for("the container's new start", lambda: _starts(ns) > starts, 60)
    wait_for("a healthy stack", ns.healthy, 60)
    time.sleep(10)
    assert ns.attempts() == []
    assert uid(ns) == before


def _states(ns: StackNamespace) -> set[str]:
    status = (ns.api.get("stacks", "docuquery") or {}).get("status", {})
    return {c["state"] for c in status.get("components", [])}


def _starts(ns: StackNamespace) -> int:
    status = (ns.database_pod()["status"].get("containerStatuses") or [{}])[0]
    return int(status.get("restartCount", 0))


def _told(ns: StackNamespace) -> bool:
    states = (ns.api.get("stacks", "docuquery") or {}).get("status", {}).get("components", [])
    return bool(incidents(ns)) or any(c.get("shortFaults") for c in states)


def test_harmless(stack: Deploy) -> None:
    """A rollout by a person, a pod that is deleted, a server that holds its breath: none is an incident."""
    ns = stack(detection=WATCHED | {"failures": 3})
    kubectl("-n", ns.name, "rollout", "restart", "statefulset/postgres")
    kubectl("-n", ns.name, "rollout", "status", "statefulset/postgres", "--timeout=90s")
    wait_for("a healthy stack after the rollout", ns.healthy, 60)
    for name in (p["metadata"]["name"] for p in ns.api.list("pods", **{"app.kubernetes.io/name": "api"})):
        ns.api.delete("pods", name)
    wait_for("a healthy stack after a deleted pod", ns.healthy, 60)
    # In one call: on a busy machine the next one may take longer than a fault needs to be one.
    breath = "pkill -STOP -o postgres; sleep 0.5; pkill -CONT -o postgres"
    ns.api.exec("postgres-0", "bash", "-c", breath)
    time.sleep(15)
    assert ns.healthy(), (ns.health(), ns.database_problem())
    assert incidents(ns) == [], [i["spec"]["description"] for i in ns.api.list("incidents")]
    assert ns.attempts() == []


def incidents(ns: StackNamespace) -> list[str]:
    """Names of all that exist."""
    return [i["metadata"]["name"] for i in ns.api.list("incidents")]
