"""The shipped runbook of Qdrant: which findings name which cause, and what that cause forbids."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis import parameters
from docuquery_operator.domain.diagnosis.causes import judge

RUNBOOK = shipped()["VectorStorePerformance"]
PARAMETERS = parameters.resolve(RUNBOOK, None)
FINE: dict[str, dict[str, Any]] = {
    "ready": {"ok": True, "outcome": "ok", "direct": "", "server": "ok", "memoryBytes": 2**26, "memoryPercent": 12.5},
    "collections": {"total": 1, "green": 1, "yellow": 0, "grey": 0, "red": 0, "yellowSeconds": 0.0, "greySeconds": 0.0,
                    "optimizerFailed": 0, "optimizerError": "", "snapshotRunning": False, "diskFull": False},
    "search": {"searchable": True, "p50Ms": 4.0, "p95Ms": 9.0, "samples": 20},
    "cluster": {"enabled": False, "peers": 1},
    "workload": {"exists": True, "ready": 1, "wanted": 1, "pods": 1, "terminating": 0, "crashLoop": False, "oomKilled": False,
                 "starting": False, "justReady": False, "nodeLost": False, "unschedulable": "", "reason": "", "state": "running"},
    "network": {"broken": False, "endpoints": 1},
    "api": {"reachable": True, "qdrant": "up"},
}  # fmt: skip
DOWN = {"ok": False, "outcome": "refused", "direct": "refused", "server": ""}
SILENT = {"ok": False, "outcome": "timeout", "direct": "timeout", "server": ""}
SLOW = {"p50Ms": 1500.0, "p95Ms": 2500.0}


def says(word: str) -> dict[str, Any]:
    """The server answers, and this is what it says."""
    return {"ok": False, "outcome": word, "server": word}


def behind(word: str) -> dict[str, Any]:
    """Its pod is not ready, so only the pod's own address says it."""
    return {"ok": False, "outcome": "refused", "direct": word, "server": word}


def api(error: str) -> dict[str, Any]:
    """What the api says when its own use of Qdrant fails."""
    return {"qdrant": "down", "qdrantError": error}


GREY = {"green": 0, "grey": 1, "greySeconds": 300.0}
YELLOW = {"green": 0, "yellow": 1, "yellowSeconds": 3600.0}
CASES: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("WorkloadMissing", {"ready": DOWN, "workload": {"exists": False}}),
    ("NodeNotReady", {"ready": SILENT, "workload": {"nodeLost": True}}),
    ("AuthFailed", {"ready": says("auth")}),
    ("AuthFailed", {"ready": behind("auth")}),
    ("AuthFailed", {"api": api("auth")}),
    ("DiskFull", {"collections": {"red": 1, "optimizerFailed": 1, "diskFull": True}}),
    ("DiskFull", {"ready": says("error"), "collections": {"diskFull": True}}),
    ("DiskFull", {"api": api("disk_full")}),
    ("OptimizerFailed", {"collections": {"red": 1, "optimizerFailed": 1, "optimizerError": "documents: panicked"}}),
    ("CollectionRed", {"collections": {"red": 1, "green": 0}}),
    ("CollectionRed", {"collections": {"red": 1, "yellow": 1, "snapshotRunning": True}}),
    ("SnapshotRunning", {"search": SLOW, "collections": {"green": 0, "yellow": 1, "snapshotRunning": True}}),
    ("Recovering", {"ready": says("not_ready")}),
    ("Recovering", {"ready": behind("not_ready"), "workload": {"ready": 0, "oomKilled": True}}),
    ("OOMKilled", {"ready": DOWN, "workload": {"oomKilled": True, "crashLoop": True}}),
    ("Starting", {"ready": DOWN, "workload": {"terminating": 1}}),
    ("Starting", {"ready": DOWN, "workload": {"ready": 0, "starting": True}}),
    ("Starting", {"ready": behind("ok"), "workload": {"ready": 0}}),
    ("Starting", {"ready": DOWN, "workload": {"reason": "ContainerCreating"}}),
    ("NetworkBlocked", {"network": {"broken": True}, "api": api("timeout")}),
    ("NetworkBlocked", {"ready": {"ok": False, "outcome": "refused", "direct": "ok", "server": "ok"}}),
    (
        "Starting",
        {"ready": {"ok": False, "outcome": "refused", "direct": "ok", "server": "ok"}, "workload": {"justReady": True}},
    ),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}, "workload": {"justReady": True}}),
    ("NetworkBlocked", {"ready": SILENT, "network": {"broken": True}}),
    ("Unschedulable", {"ready": DOWN, "workload": {"unschedulable": "0/1 nodes are available"}}),
    ("ScaledToZero", {"ready": DOWN, "workload": {"wanted": 0, "pods": 0}}),
    ("CrashLoop", {"ready": DOWN, "workload": {"crashLoop": True}}),
    ("OperatorCutOff", {"ready": SILENT, "api": {"qdrant": "up"}}),
    ("ConnectionRefused", {"ready": DOWN, "api": {"qdrant": "up"}}),
    ("Stalled", {"ready": says("stalled")}),
    ("Stalled", {"ready": behind("stalled"), "workload": {"ready": 0}}),
    ("Unresponsive", {"ready": DOWN}),
    ("Unresponsive", {"ready": SILENT}),
    ("Unresponsive", {"ready": SILENT, "workload": {"ready": 0}}),
    ("MemoryPressure", {"search": SLOW, "ready": {"memoryPercent": 95.0}}),
    ("MemoryPressure", {"collections": YELLOW, "ready": {"memoryPercent": 90.0}}),
    ("ApiCannotUseIt", {"api": api("missing_database")}),
    ("ApiCannotUseIt", {"api": api("timeout")}),
    ("CollectionGrey", {"collections": GREY}),
    ("CollectionGrey", {"collections": GREY, "search": SLOW}),
    ("CollectionYellow", {"collections": YELLOW}),
    ("CollectionYellow", {"collections": YELLOW, "search": SLOW}),
    ("OptimizersBusy", {"collections": {"green": 0, "yellow": 1, "yellowSeconds": 60.0}, "search": SLOW}),
    ("SlowSearch", {"search": SLOW}),
    ("SlowSearch", {"search": SLOW, "ready": {"memoryPercent": 89.0}}),
    ("Unknown", {"ready": says("error")}),
    ("Unknown", {"ready": behind("error")}),
]
MAY_RESTART = {"OOMKilled", "Stalled", "Unresponsive"}
MAY_OPTIMISE = {"CollectionGrey", "CollectionYellow", "SlowSearch"}


def findings(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All is well but for the changes; a Qdrant that does not answer tells no figures, and the api says so too."""
    down = not changes.get("ready", {}).get("ok", True)
    fine = dict(FINE)
    if down:
        fine |= {"collections": {"diskFull": False}, "search": {}, "cluster": {}}
    if down and "api" not in changes:
        fine["api"] = {**FINE["api"], "qdrant": "down"}
    return {name: {**usual, **changes.get(name, {})} for name, usual in fine.items()}


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_findings_name_the_cause(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    verdict = judge(RUNBOOK, findings(changes), PARAMETERS)
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_no_step_is_held_back_by_a_cause_that_only_lacks_data(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    """A server that answers nobody tells no figures; that must not keep its restart from being done."""
    diagnosis = judge(RUNBOOK, findings(changes), PARAMETERS).diagnosis
    assert diagnosis is not None
    assert {s.action: diagnosis.would_worsen(s.action) for s in diagnosis.spec.remediate if diagnosis.open} == {}


def test_every_cause_has_a_case() -> None:
    assert {c.name for c in RUNBOOK.causes} == {cause for cause, _ in CASES}


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_only_causes_that_a_step_can_cure_have_it(cause: Any) -> None:
    actions = {s.action for s in cause.remediate}
    assert ("restartWorkload" in actions) == (cause.name in MAY_RESTART)
    assert ("optimizeCollections" in actions) == (cause.name in MAY_OPTIMISE)
    assert cause.name in {*MAY_RESTART, "Unknown"} or "restartWorkload" in cause.forbid
    assert cause.name in {*MAY_OPTIMISE, "Unknown"} or "optimizeCollections" in cause.forbid
    assert not actions & set(cause.forbid)
    assert cause.message
    assert cause.human


def symptom(changes: dict[str, dict[str, Any]], **more: Any) -> bool | None:
    """Whether the fault is felt."""
    return judge(RUNBOOK, findings(changes) | more, PARAMETERS).symptom


def test_no_fault_no_symptom() -> None:
    assert symptom({}) is False
    assert symptom({"search": {"searchable": False}}) is False
    assert symptom({"search": {"p95Ms": 1000.0}}) is False
    # Yellow and grey are ways to green, and a snapshot shows yellow, too.
    assert symptom({"collections": {"green": 0, "yellow": 1, "yellowSeconds": 1700.0}}) is False
    assert symptom({"collections": {"green": 0, "grey": 1, "greySeconds": 100.0}}) is False
    assert symptom({"collections": {"green": 0, "yellow": 1, "snapshotRunning": True}}) is False


def test_no_data_is_neither_good_nor_bad() -> None:
    gone = {"summary": "the probe gave no answer"}
    assert symptom({}, ready=gone) is None
    assert symptom({}, collections=gone) is None
    assert symptom({}, search=gone) is None
    assert symptom({}, search={"searchable": True}) is None
    assert symptom({}, api={"reachable": False}) is None
    assert symptom({}, api={"reachable": True}) is False


def test_the_bound_of_a_search_is_a_parameter() -> None:
    values = parameters.resolve(RUNBOOK, {"maxSearchMs": 5})
    assert judge(RUNBOOK, FINE, values).symptom is True


def test_nothing_is_optimised_while_a_snapshot_cannot_be_ruled_out() -> None:
    """A key that may not read /metrics hides whether one runs."""
    seen = findings({"collections": YELLOW})
    del seen["collections"]["snapshotRunning"]
    diagnosis = judge(RUNBOOK, seen, PARAMETERS).diagnosis
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.confidence) == ("CollectionYellow", "Medium")
    assert diagnosis.would_worsen("optimizeCollections") == "SnapshotRunning"


def test_the_shipped_runbook_is_sound() -> None:
    assert problem_of(RUNBOOK) is None
