"""Faults of the database with nobody who applies an incident; what the operator says is held against what a client sees.

Run them side by side: pytest tests/e2e/test_scenarios.py -n 3
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.checks import (
    WATCHED,
    Deploy,
    asks_for_a_person,
    caused_by,
    check_end,
    check_left_alone,
    check_one_restart,
    check_untouched,
    uid,
    watched,
)
from tests.e2e.faults import (
    alive,
    leaked_sessions,
    mend_volume,
    no_database_for_the_api,
    out_of_memory,
    shorten,
    take_back_settings,
    waiting,
)
from tests.e2e.table import Fault
from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import decisions, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# The api gives its own look at the database two seconds; a probe of it must wait for longer.
PATIENT = WATCHED | {"timeout": "3s"}
# Longer than Kubernetes takes to say what has become of a container that ended.
SLOWER = WATCHED | {"interval": "3s", "failures": 3}
TYPE = stackns.INCIDENT_TYPE


def test_process_down(stack: Deploy) -> None:
    """From fault to proof without a person, in one incident, though the api is down as well."""
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: SIGSTOP", TYPE)
    ns.freeze()
    assert ns.database_problem() != ""
    name = fault.opened()
    assert "api" in ns.api.read("incidents", name)["spec"]["description"].partition("Only its symptoms")[2]
    status = check_end(ns, name, "Healed", "ProcessDown")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert decisions(status) == []
    check_one_restart(ns, name, before)
    evidence = [part for part in ns.report(name) if part.startswith("evidence-")]
    assert evidence, "what a restart destroys was not kept"
    assert "StepStarted" in ns.api.events(name)
    time.sleep(10)
    fault.ended()


def test_crash_loop(stack: Deploy) -> None:
    """A setting that PostgreSQL cannot start with: a restart cannot help, and must not be repeated."""
    ns = watched(stack, SLOWER, edit=lambda runbook: shorten(runbook, "CrashLoop", "restartWorkload", "20s"))
    before = uid(ns)
    fault = Fault(ns, "postgres: a setting it cannot start with", TYPE)
    ns.psql("alter system set ssl = on")
    ns.api.exec("postgres-0", "pkill", "-INT", "-o", "postgres", check=False)
    wait_for("a crash loop", lambda: waiting(ns) == "CrashLoopBackOff", 90)
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("RemedyUsedUp"), 120)
    assert status["cause"]["name"] == "CrashLoop"
    assert steps(status) == [("restartWorkload", "NotHealed")]
    assert ns.database_problem() != ""
    assert [a["outcome"] for a in ns.attempts()] == ["NotHealed"]
    time.sleep(10)
    assert len(ns.restarts_ordered()) == 1, "it was restarted again, though that had not helped"
    assert uid(ns) != before
    mend_volume(ns)
    check_end(ns, name, "Recovered", "CrashLoop")
    assert len(ns.restarts_ordered()) == 1
    fault.ended()


def test_oom_killed(stack: Deploy) -> None:
    """The kernel itself kills the server at its memory limit; Kubernetes starts it again, the operator must not."""
    ns = watched(stack, SLOWER | {"interval": "2s"})
    before = uid(ns)
    fault = Fault(ns, "postgres: killed for its memory, again and again", TYPE)
    out_of_memory(ns, 1)
    # Kubernetes waits ten seconds and more before it starts a container again that was killed twice.
    out_of_memory(ns, 2)
    name = fault.opened()
    ns.wait_incident(name, "OOMKilled", caused_by("OOMKilled"), 30)
    status = check_end(ns, name, "Recovered", "OOMKilled")
    assert steps(status) == [("proposeMemory", "Skipped"), ("waitForRecovery", "Healed")]
    assert "from 384Mi to 576Mi" in status["steps"][0]["summary"]
    check_left_alone(ns, name, before)
    fault.ended()


def test_too_many_connections(stack: Deploy) -> None:
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: connections leaked until none is left", TYPE)
    with leaked_sessions(ns) as sessions:
        status = check_end(ns, fault.opened(), "Healed", "TooManyConnections")
        assert steps(status) == [("terminateIdleSessions", "Healed")]
        planned = len(status["steps"][0]["plan"]["sessions"])
        assert 1 <= planned <= 25
        assert sum(not alive(s) for s in sessions) == planned, "more or fewer were ended than planned"
    check_untouched(ns, before)
    assert ns.api.read("deployments", "api")["metadata"]["generation"] == 1
    assert [(a["action"], a["outcome"]) for a in ns.attempts()] == [("terminateIdleSessions", "Healed")]
    fault.ended()


def test_auth_failed(stack: Deploy) -> None:
    """A changed password: the right answer is to touch nothing and to say it."""
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: the role's password is changed", TYPE)
    ns.psql("alter role docuquery password 'changed-by-somebody'")
    assert "password authentication failed" in ns.database_problem()
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("AuthFailed"))
    assert status["cause"]["name"] == "AuthFailed"
    time.sleep(5)
    check_left_alone(ns, name, before)
    ns.psql("alter role docuquery password 'local-only-app'")
    assert steps(check_end(ns, name, "Recovered", "AuthFailed")) == []
    check_left_alone(ns, name, before)
    fault.ended()


def test_network_policy(stack: Deploy) -> None:
    """Only the api is kept out: the operator itself reaches the database, and must believe the api all the same."""
    ns = watched(stack, PATIENT)
    before = uid(ns)
    fault = Fault(ns, "postgres: a NetworkPolicy keeps the api out", TYPE)
    ns.api.create("networkpolicies", no_database_for_the_api())
    wait_for("the policy to bite", lambda: (ns.health() or {}).get("status") == "unhealthy", 30)
    assert ns.database_problem() == ""
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("NetworkBlocked"))
    assert any("no-database" in line for line in status["cause"]["evidence"]), "the policy is not named"
    time.sleep(5)
    check_left_alone(ns, name, before)
    ns.api.delete("networkpolicies", "no-database")
    assert steps(check_end(ns, name, "Recovered", "NetworkBlocked")) == []
    check_left_alone(ns, name, before)
    fault.ended()


def test_service_without_endpoints(stack: Deploy) -> None:
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: the Service selects nobody", TYPE)
    ns.api.patch("services", "postgres", {"spec": {"selector": {"app.kubernetes.io/name": "somebody-else"}}})
    wait_for("nobody behind the Service", lambda: ns.database_problem() != "", 30)
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("NetworkBlocked"))
    assert any("selector matches none" in line for line in status["cause"]["evidence"])
    time.sleep(5)
    check_left_alone(ns, name, before)
    ns.api.patch("services", "postgres", {"spec": {"selector": {"app.kubernetes.io/name": "postgres"}}})
    assert steps(check_end(ns, name, "Recovered", "NetworkBlocked")) == []
    check_left_alone(ns, name, before)
    fault.ended()


def test_read_only(stack: Deploy) -> None:
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: made read-only", TYPE)
    ns.psql("alter system set default_transaction_read_only = on")
    ns.psql("select pg_reload_conf()")
    wait_for("a read-only server", lambda: "read-only" in ns.database_problem(), 30)
    name = fault.opened()
    ns.wait_incident(name, "ReadOnly", caused_by("ReadOnly"))
    time.sleep(5)
    check_left_alone(ns, name, before)
    take_back_settings(ns)
    status = check_end(ns, name, "Recovered", "ReadOnly")
    assert steps(status) == [("waitForRecovery", "Healed")]
    check_left_alone(ns, name, before)
    fault.ended()


def test_disk_full(stack: Deploy) -> None:
    """A restart of a server without disk ends in a crash loop: the operator must only propose a bigger volume."""
    ns = watched(stack)
    before = uid(ns)
    fault = Fault(ns, "postgres: the volume is full", TYPE)
    fill = "/var/lib/postgresql/data/fill"
    ns.api.exec("postgres-0", "dd", "if=/dev/zero", f"of={fill}", "bs=64k", check=False)
    wait_for("a full disk", lambda: (ns.health() or {}).get("status") == "unhealthy", 60)
    name = fault.opened()
    status = ns.wait_incident(name, "a person is asked for", asks_for_a_person("DiskFull"), 90)
    assert steps(status) == [("proposeVolume", "Skipped")]
    assert "data-postgres-0 from 192Mi to 384Mi" in status["steps"][0]["summary"]
    time.sleep(5)
    check_left_alone(ns, name, before)
    ns.api.exec("postgres-0", "rm", fill)
    check_end(ns, name, "Recovered", "DiskFull")
    check_left_alone(ns, name, before)
    fault.ended()
