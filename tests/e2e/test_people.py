"""What people do while the operator heals: they pause it, approve a step, delete the incident, or lose its leader."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.checks import Deploy, check_end, check_left_alone, check_one_restart, uid
from tests.harness import release
from tests.harness.cluster import kubectl, wait_for
from tests.harness.stackns import StackNamespace, condition, decisions, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_paused(stack: Deploy) -> None:
    """One field stops every action, with its reason, and nothing is lost when it is taken back."""
    ns = stack()
    before = uid(ns)
    ns.api.patch("stacks", "docuquery", {"spec": {"paused": True, "pauseReason": "storage work until noon"}})
    ns.freeze()
    ns.open("while-paused")
    status = ns.wait_incident("while-paused", "it says that it is paused", lambda s: holds(s, "HealBlocked", "Paused"))
    assert "storage work until noon" in condition(status, "HealBlocked")["message"]
    assert decisions(status) == ["Paused"]
    time.sleep(5)
    check_left_alone(ns, "while-paused", before)
    ns.api.patch("stacks", "docuquery", {"spec": {"paused": False, "pauseReason": None}})
    assert steps(check_end(ns, "while-paused", "Healed", "ProcessDown")) == [("restartWorkload", "Healed")]
    check_one_restart(ns, "while-paused", before)


def test_approval(stack: Deploy) -> None:
    """A step that needs a person begins only when exactly this plan was approved."""
    ns = stack()
    before = uid(ns)
    ns.freeze()
    ns.open("asked", mode="Approve")
    status = ns.wait_incident("asked", "approval is asked for", lambda s: holds(s, "NeedsApproval"))
    waiting = next(s for s in status["steps"] if s["state"] == "AwaitingApproval")
    assert waiting["planDigest"] in condition(status, "NeedsApproval")["message"]
    approve(ns, "asked", waiting["name"], "000000000000")
    time.sleep(5)
    check_left_alone(ns, "asked", before)
    approve(ns, "asked", waiting["name"], waiting["planDigest"])
    status = check_end(ns, "asked", "Healed", "ProcessDown")
    assert [(s["name"], s["state"], s["approvalBy"]) for s in status["steps"]] == [("restartWorkload", "Healed", myself())]
    check_one_restart(ns, "asked", before)


def test_deleted_in_the_middle(stack: Deploy) -> None:
    """Without an incident nothing is done; what was begun is no obstacle to the next one."""
    ns = stack()
    ns.freeze()
    ns.open("short-lived")
    wait_for("the attempt in the ledger", ns.attempts, 60)
    ns.api.delete("incidents", "short-lived")
    wait_for("its end", lambda: ns.api.get("incidents", "short-lived") is None, 10)
    attempts = ns.attempts()
    time.sleep(8)
    assert ns.attempts() == attempts, "something was done for an incident that is gone"
    ordered = len(ns.restarts_ordered())
    assert ordered <= 1
    ns.open("second")
    status = ns.wait_resolved("second", 240)
    assert ns.healthy(), (ns.health(), ns.database_problem())
    assert condition(status, "Resolved")["reason"] in ("Healed", "Recovered")
    assert len(ns.restarts_ordered()) <= ordered + 1


def test_leader_killed(stack: Deploy) -> None:
    """The pod that leads is gone the moment the restart is ordered: the other one ends the story, with the same restart."""
    ns = stack()
    before = uid(ns)
    ns.freeze()
    ns.open("orphaned")
    wait_for("a restart that was ordered", ns.restarts_ordered, 60, 0.05)
    old = release.leader()
    kubectl("-n", release.NAMESPACE, "delete", "pod", old, "--grace-period=0", "--force", "--wait=false")
    began = time.monotonic()
    wait_for("another leader", lambda: release.leader() not in ("", old), 40)
    print(f"another replica led {time.monotonic() - began:.1f} s after the leader's end")
    status = check_end(ns, "orphaned", "Healed", "ProcessDown")
    assert steps(status) == [("restartWorkload", "Healed")]
    check_one_restart(ns, "orphaned", before)


def approve(ns: StackNamespace, incident: str, step: str, digest: str) -> None:
    """As a person would, with kubectl patch; the admission policies take no other name than the user's own."""
    answer: dict[str, Any] = {"step": step, "planDigest": digest, "by": myself(), "decision": "Approve"}
    ns.api.patch("incidents", incident, {"spec": {"approvals": [answer]}})


def myself() -> str:
    """The user that these tests are to the API server."""
    return kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
