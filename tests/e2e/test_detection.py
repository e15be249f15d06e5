"""Nobody applies an incident: the operator finds the fault itself, and finds none where there is none."""

from __future__ import annotations

import time

import pytest

from tests.e2e.checks import WATCHED, Deploy, incidents, uid, watched
from tests.e2e.faults import starts
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import kubectl, wait_for
from tests.harness.stackns import condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_killed(stack: Deploy) -> None:
    """kill -9: told at once, though the kubelet brings it back by itself, unless it is back sooner; nothing is restarted on top."""
    ns = watched(stack, WATCHED | {"interval": "5s", "timeout": "3s", "failures": 3})
    before, count = uid(ns), starts(ns, "postgres-0")
    fault = Fault(ns, "postgres: kill -9", stackns.INCIDENT_TYPE)
    ns.api.exec("postgres-0", "bash", "-c", "pkill -KILL -o postgres", check=False)
    wait_for("the container's new start", lambda: starts(ns, "postgres-0") > count, 60)
    wait_for("a database that is well", ns.healthy, 60)
    back = time.time()
    name = fault.noticed()
    if name:
        status = ns.wait_resolved(name)
        assert condition(status, "Resolved")["reason"] == "Recovered", stackns.brief(status)
    time.sleep(10)
    assert ns.healthy(), (ns.health(), ns.database_problem())
    assert ns.attempts() == []
    assert uid(ns) == before
    if name:
        fault.ended()
    else:
        fault.short("postgres", back)


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
