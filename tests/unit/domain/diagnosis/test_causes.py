"""The shipped runbook: which findings name which cause, and what that cause forbids."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis.causes import judge

RUNBOOK = shipped()["DatabaseConnectionFailure"]
FINE: dict[str, dict[str, Any]] = {
    "ready": {"ok": True, "outcome": "ok", "write": "ok", "direct": ""},
    "connections": {"exhausted": False, "used": 3, "limit": 33},
    "locks": {"waiting": 0, "storm": False},
    "recovery": {"starting": False, "inRecovery": False, "readOnly": False},
    "disk": {"full": False},
    "workload": {"exists": True, "ready": 1, "wanted": 1, "pods": 1, "terminating": 0, "crashLoop": False, "oomKilled": False,
                 "starting": False, "justReady": False, "nodeLost": False, "unschedulable": "", "reason": "", "state": "running"},
    "network": {"broken": False, "endpoints": 1},
    "api": {"reachable": True, "database": "up"},
}  # fmt: skip
DOWN = {"ok": False, "outcome": "refused", "direct": "refused"}
SILENT = {"ok": False, "outcome": "timeout", "direct": "timeout"}
STARTING = {"ok": False, "outcome": "starting", "direct": "starting"}


def api(error: str) -> dict[str, Any]:
    """What the api says when its own connection fails."""
    return {"database": "down", "databaseError": error}


CASES: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("WorkloadMissing", {"ready": DOWN, "workload": {"exists": False}}),
    ("NodeNotReady", {"ready": SILENT, "workload": {"nodeLost": True}}),
    ("DiskFull", {"ready": {"ok": False, "write": "disk_full"}, "disk": {"full": True}}),
    ("DiskFull", {"api": api("disk_full")}),
    ("DiskFull", {"ready": DOWN, "disk": {"full": True}, "workload": {"crashLoop": True}}),
    ("AuthFailed", {"ready": {"ok": False, "outcome": "auth", "direct": "auth"}}),
    ("AuthFailed", {"api": api("auth")}),
    ("TLSFailed", {"ready": {"ok": False, "outcome": "tls", "direct": "tls"}}),
    ("TLSFailed", {"api": api("tls")}),
    ("DatabaseMissing", {"ready": {"ok": False, "outcome": "missing_database", "direct": "missing_database"}}),
    ("DatabaseMissing", {"api": api("missing_database")}),
    ("TooManyConnections", {"connections": {"exhausted": True}}),
    ("TooManyConnections", {"api": api("too_many_connections")}),
    ("TooManyConnections", {"ready": {"ok": False, "outcome": "too_many_connections"}, "connections": {"exhausted": True}}),
    ("LockStorm", {"locks": {"storm": True, "waiting": 9}}),
    ("OOMKilled", {"ready": DOWN, "workload": {"oomKilled": True, "crashLoop": True}}),
    ("Recovering", {"ready": STARTING, "recovery": {"starting": True}}),
    ("ReadOnly", {"recovery": {"readOnly": True}}),
    ("ReadOnly", {"api": api("read_only")}),
    ("NetworkBlocked", {"network": {"broken": True}, "api": api("timeout")}),
    ("NetworkBlocked", {"ready": {"ok": False, "outcome": "refused", "direct": "ok"}}),
    ("Starting", {"ready": {"ok": False, "outcome": "refused", "direct": "ok"}, "workload": {"justReady": True}}),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}, "workload": {"justReady": True}}),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}}),
    ("Starting", {"ready": DOWN, "workload": {"terminating": 1}}),
    ("Starting", {"ready": DOWN, "workload": {"ready": 0, "starting": True}}),
    ("Starting", {"ready": {"ok": False, "outcome": "no_address", "direct": "ok"}, "workload": {"ready": 0}}),
    ("Starting", {"ready": DOWN, "workload": {"reason": "ContainerCreating"}}),
    ("Unschedulable", {"ready": DOWN, "workload": {"unschedulable": "0/1 nodes are available"}}),
    ("ScaledToZero", {"ready": DOWN, "workload": {"wanted": 0, "pods": 0}}),
    ("CrashLoop", {"ready": DOWN, "workload": {"crashLoop": True}}),
    ("ProcessDown", {"ready": DOWN}),
    ("ProcessDown", {"ready": SILENT}),
    ("ProcessDown", {"ready": SILENT, "workload": {"justReady": True}}),
    ("ProcessDown", {"ready": SILENT, "workload": {"ready": 0}}),
    ("ProcessDown", {"ready": SILENT, "api": {"database": "down"}}),
    ("OperatorCutOff", {"ready": SILENT, "api": {"database": "up"}}),
    ("ConnectionRefused", {"ready": DOWN, "api": {"database": "up"}}),
    ("Recovering", {"ready": STARTING, "recovery": {"starting": True}, "workload": {"oomKilled": True, "ready": 0}}),
    ("Unknown", {"ready": {"ok": False, "outcome": "error", "direct": "error"}}),
    ("Unknown", {"api": api("other")}),
]
MAY_RESTART_THE_DATABASE = {"OOMKilled", "CrashLoop", "ProcessDown"}


def findings(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All is well but for the changes; where the database does not answer, the api says so too, unless it is changed."""
    down = "ready" in changes and not changes["ready"]["ok"] and "api" not in changes
    fine = {**FINE, "api": {**FINE["api"], "database": "down"}} if down else FINE
    return {name: {**usual, **changes.get(name, {})} for name, usual in fine.items()}


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_findings_name_the_cause(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    verdict = judge(RUNBOOK, findings(changes), {})
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


def test_every_cause_has_a_case() -> None:
    assert {c.name for c in RUNBOOK.causes} == {cause for cause, _ in CASES}


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_only_causes_that_a_restart_can_cure_have_one(cause: Any) -> None:
    actions = {s.action for s in cause.remediate}
    assert ("restartWorkload" in actions) == (cause.name in MAY_RESTART_THE_DATABASE)
    assert not actions & set(cause.forbid)
    assert cause.human or cause.remediate


def test_no_fault_no_symptom() -> None:
    assert judge(RUNBOOK, FINE, {}).symptom is False


def test_no_data_is_neither_good_nor_bad() -> None:
    assert judge(RUNBOOK, {**FINE, "ready": {"summary": "the probe gave no answer"}}, {}).symptom is None


def test_an_api_that_answers_nobody_is_no_proof_that_clients_reach_the_database() -> None:
    assert judge(RUNBOOK, {**FINE, "api": {"reachable": False}}, {}).symptom is None
    assert judge(RUNBOOK, {**FINE, "api": {"reachable": True}}, {}).symptom is False
    without = {name: finding for name, finding in FINE.items() if name != "api"}
    assert judge(RUNBOOK, without, {}).symptom is False


def test_a_cause_that_could_not_be_ruled_out_lowers_the_confidence() -> None:
    seen = findings({"ready": DOWN}) | {"disk": {"summary": "could not be read"}}
    diagnosis = judge(RUNBOOK, seen, {}).diagnosis
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.confidence) == ("ProcessDown", "Medium")
    assert "DiskFull" in diagnosis.evidence[0]
    assert diagnosis.would_worsen("restartWorkload") == "DiskFull"
    assert diagnosis.would_worsen("waitForRecovery") == ""


def test_the_shipped_runbook_is_sound() -> None:
    assert problem_of(RUNBOOK) is None
