"""The shipped runbook of Redis: which findings name which cause, and what that cause forbids."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis.causes import judge

RUNBOOK = shipped()["RedisConnection"]
FINE: dict[str, dict[str, Any]] = {
    "ready": {"ok": True, "outcome": "ok", "direct": "", "server": "ok", "role": "master"},
    "connections": {"used": 5, "max": 64, "usedPercent": 7.8, "exhausted": False},
    "memory": {"oom": False, "limitBytes": 2**26},
    "persistence": {"loading": False, "misconf": False, "rdbError": False, "aofError": False},
    "workload": {"exists": True, "ready": 1, "wanted": 1, "pods": 1, "terminating": 0, "crashLoop": False, "oomKilled": False,
                 "starting": False, "justReady": False, "nodeLost": False, "unschedulable": "", "reason": "", "state": "running"},
    "network": {"broken": False, "endpoints": 1},
    "aside": {"state": "none", "keys": 0, "liveKeys": 7},
    "api": {"reachable": True, "redis": "up"},
}  # fmt: skip
DOWN = {"ok": False, "outcome": "refused", "direct": "refused", "server": ""}
SILENT = {"ok": False, "outcome": "timeout", "direct": "timeout", "server": ""}


def says(word: str) -> dict[str, Any]:
    """The server answers, and this is what it says."""
    return {"ok": False, "outcome": word, "server": word}


def behind(word: str) -> dict[str, Any]:
    """Its pod is not ready, so only the pod's own address says it."""
    return {"ok": False, "outcome": "refused", "direct": word, "server": word}


def api(error: str) -> dict[str, Any]:
    """What the api says when its own use of Redis fails."""
    return {"redis": "down", "redisError": error}


CASES: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("WorkloadMissing", {"ready": DOWN, "workload": {"exists": False}}),
    ("NodeNotReady", {"ready": SILENT, "workload": {"nodeLost": True}}),
    ("AuthFailed", {"ready": says("auth")}),
    ("AuthFailed", {"ready": behind("auth")}),
    ("AuthFailed", {"api": api("auth")}),
    ("Loading", {"ready": says("loading"), "persistence": {"loading": True}}),
    ("Loading", {"ready": behind("loading"), "workload": {"ready": 0, "oomKilled": True}}),
    ("ReadOnlyReplica", {"ready": says("readonly")}),
    ("ReadOnlyReplica", {"ready": says("masterdown")}),
    ("ReadOnlyReplica", {"api": api("read_only")}),
    ("PersistenceFailed", {"ready": says("misconf"), "persistence": {"misconf": True}}),
    ("PersistenceFailed", {"ready": behind("misconf"), "workload": {"ready": 0}}),
    ("PersistenceFailed", {"api": api("disk_full")}),
    ("OutOfMemory", {"ready": says("oom"), "memory": {"oom": True}}),
    ("OutOfMemory", {"ready": says("oom"), "memory": {"oom": True}, "workload": {"oomKilled": True}}),
    ("TooManyClients", {"connections": {"exhausted": True}}),
    (
        "TooManyClients",
        {"ready": says("maxclients"), "connections": {"exhausted": True}, "api": api("too_many_connections")},
    ),
    ("TooManyClients", {"api": api("too_many_connections")}),
    ("TooManyClients", {"ready": behind("maxclients"), "workload": {"ready": 0}}),
    ("Busy", {"ready": says("busy")}),
    ("NetworkBlocked", {"network": {"broken": True}, "api": api("timeout")}),
    ("NetworkBlocked", {"ready": {"ok": False, "outcome": "refused", "direct": "ok", "server": "ok"}}),
    (
        "Starting",
        {"ready": {"ok": False, "outcome": "refused", "direct": "ok", "server": "ok"}, "workload": {"justReady": True}},
    ),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}, "workload": {"justReady": True}}),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}}),
    ("OperatorCutOff", {"ready": SILENT, "api": {"redis": "up"}}),
    ("ConnectionRefused", {"ready": DOWN, "api": {"redis": "up"}}),
    ("OOMKilled", {"ready": DOWN, "workload": {"oomKilled": True, "crashLoop": True}}),
    ("Starting", {"ready": DOWN, "workload": {"terminating": 1}}),
    ("Starting", {"ready": DOWN, "workload": {"ready": 0, "starting": True}}),
    ("Starting", {"ready": behind("ok"), "workload": {"ready": 0}}),
    ("Starting", {"ready": DOWN, "workload": {"reason": "ContainerCreating"}}),
    ("Unschedulable", {"ready": DOWN, "workload": {"unschedulable": "0/1 nodes are available"}}),
    ("ScaledToZero", {"ready": DOWN, "workload": {"wanted": 0, "pods": 0}}),
    ("CrashLoop", {"ready": DOWN, "workload": {"crashLoop": True}}),
    ("ProcessDown", {"ready": DOWN}),
    ("ProcessDown", {"ready": SILENT}),
    ("ProcessDown", {"ready": SILENT, "workload": {"ready": 0}}),
    ("Unknown", {"ready": says("error")}),
    ("Unknown", {"ready": behind("error")}),
    ("Unknown", {"api": api("other")}),
]
# What two persons want of a server that is well.
WISHES = [
    ("DataSetAside", "SetAside", {}),
    ("DataPutBack", "PutBack", {"state": "aside", "keys": 9}),
    ("DataDrop", "Drop", {"state": "aside", "keys": 9}),
    ("DataDrop", "Drop", {"state": "replaced", "keys": 9}),
]
NO_WISHES = [
    ("SetAside", {"liveKeys": 0}),
    ("SetAside", {"state": "aside", "keys": 9}),
    ("SetAside", {"state": "foreign", "keys": 9}),
    ("PutBack", {}),
    ("PutBack", {"state": "replaced", "keys": 9}),
    ("Drop", {}),
    ("Drop", {"state": "foreign", "keys": 9}),
    ("Keep", {"state": "aside", "keys": 9}),
]
KEEP = {"data": "Keep"}
MAY_RESTART_REDIS = {"OOMKilled", "CrashLoop", "ProcessDown"}


def findings(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All is well but for the changes; where Redis does not answer, the api says so too, unless it is changed."""
    down = "ready" in changes and "api" not in changes
    fine = {**FINE, "api": {**FINE["api"], "redis": "down"}} if down else FINE
    return {name: {**usual, **changes.get(name, {})} for name, usual in fine.items()}


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_findings_name_the_cause(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    verdict = judge(RUNBOOK, findings(changes), KEEP)
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


@pytest.mark.parametrize(("cause", "wish", "aside"), WISHES)
def test_a_wish_names_its_cause(cause: str, wish: str, aside: dict[str, Any]) -> None:
    verdict = judge(RUNBOOK, findings({"aside": aside}), {"data": wish})
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


@pytest.mark.parametrize(("wish", "aside"), NO_WISHES)
def test_what_is_not_there_to_be_done_is_no_symptom(wish: str, aside: dict[str, Any]) -> None:
    assert judge(RUNBOOK, findings({"aside": aside}), {"data": wish}).symptom is False


def test_every_cause_has_a_case() -> None:
    assert {c.name for c in RUNBOOK.causes} == {case[0] for case in [*CASES, *WISHES]}


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_only_causes_that_a_restart_can_cure_have_one(cause: Any) -> None:
    actions = {s.action for s in cause.remediate}
    assert ("restartWorkload" in actions) == (cause.name in MAY_RESTART_REDIS)
    assert cause.name in {*MAY_RESTART_REDIS, "Unknown"} or "restartWorkload" in cause.forbid
    assert not actions & set(cause.forbid)
    assert cause.message
    assert cause.human


def test_no_fault_no_symptom() -> None:
    assert judge(RUNBOOK, FINE, KEEP).symptom is False


def test_no_data_is_neither_good_nor_bad() -> None:
    assert judge(RUNBOOK, {**FINE, "ready": {"summary": "the probe gave no answer"}}, KEEP).symptom is None


def test_an_api_that_answers_nobody_is_no_proof_that_clients_reach_redis() -> None:
    assert judge(RUNBOOK, {**FINE, "api": {"reachable": False}}, KEEP).symptom is None
    assert judge(RUNBOOK, {**FINE, "api": {"reachable": True}}, KEEP).symptom is False
    without = {name: finding for name, finding in FINE.items() if name != "api"}
    assert judge(RUNBOOK, without, KEEP).symptom is False


def test_redis_is_not_restarted_while_it_may_be_reading_its_data_back() -> None:
    seen = findings({"ready": DOWN}) | {"persistence": {"summary": "could not be read"}}
    diagnosis = judge(RUNBOOK, seen, KEEP).diagnosis
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.confidence) == ("ProcessDown", "Medium")
    assert diagnosis.would_worsen("restartWorkload") == "Loading"


def test_the_shipped_runbook_is_sound() -> None:
    assert problem_of(RUNBOOK) is None
