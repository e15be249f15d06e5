"""The shipped runbook of the api: which findings name which cause, and what that cause forbids."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis.causes import judge

RUNBOOK = shipped()["ApiUnavailable"]
FINE: dict[str, dict[str, Any]] = {
    "api": {"reachable": True, "status": 200, "database": "up", "redis": "up", "qdrant": "up"},
    "workload": {"exists": True, "ready": 2, "wanted": 2, "pods": 2, "terminating": 0, "crashLoop": False, "oomKilled": False,
                 "starting": False, "nodeLost": False, "unschedulable": "", "reason": "", "state": "running"},
    "network": {"serviceExists": True, "selectorMatches": True, "broken": False, "endpoints": 2, "tcp": "ok"},
    "rollout": {"found": False},
}  # fmt: skip
SILENT = {"api": {"reachable": False}}
GONE = {"ready": 0}
CASES: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("WorkloadMissing", {**SILENT, "workload": {"exists": False, "ready": 0}}),
    ("ServiceMissing", {**SILENT, "network": {"serviceExists": False}}),
    ("ServiceMissing", {**SILENT, "network": {"selectorMatches": False, "broken": True}}),
    ("NodeNotReady", {**SILENT, "workload": {**GONE, "nodeLost": True}}),
    ("ScaledToZero", {**SILENT, "workload": {**GONE, "wanted": 0, "pods": 0}}),
    ("Unschedulable", {**SILENT, "workload": {**GONE, "unschedulable": "0/1 nodes are available"}}),
    ("ImageMissing", {**SILENT, "workload": {**GONE, "reason": "ImagePullBackOff"}}),
    ("OOMKilled", {**SILENT, "workload": {**GONE, "oomKilled": True, "crashLoop": True}}),
    ("NewRollout", {**SILENT, "workload": {**GONE, "crashLoop": True}, "rollout": {"found": True, "ageSeconds": 120}}),
    ("CrashLoop", {**SILENT, "workload": {**GONE, "crashLoop": True}, "rollout": {"found": True, "ageSeconds": 90_000}}),
    ("CrashLoop", {**SILENT, "workload": {**GONE, "crashLoop": True}}),
    ("Starting", {**SILENT, "workload": {**GONE, "starting": True}}),
    ("Starting", {**SILENT, "workload": {**GONE, "terminating": 1}}),
    ("Starting", {**SILENT, "workload": {**GONE, "reason": "ContainerCreating"}}),
    ("OperatorCutOff", {**SILENT, "network": {"tcp": "unreachable"}}),
    ("ErrorAnswer", {"api": {"status": 500}}),
    ("ProcessDown", SILENT),
    ("ProcessDown", {**SILENT, "workload": GONE}),
]
MAY_RESTART = {"OOMKilled", "CrashLoop", "ErrorAnswer", "ProcessDown"}


def findings(changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All is well but for the changes; an api that answers nobody gives no other fact of itself."""
    usual = {**FINE, **(SILENT if changes.get("api") == SILENT["api"] else {})}
    return {name: {**finding, **changes.get(name, {})} for name, finding in usual.items()}


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_findings_name_the_cause(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    verdict = judge(RUNBOOK, findings(changes), {})
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


def test_every_cause_has_a_case() -> None:
    # Whoever answers has given an error, and whoever does not is down: nothing is left for the last one but missing facts.
    assert {c.name for c in RUNBOOK.causes} - {"Unknown"} == {cause for cause, _ in CASES}


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_only_causes_that_a_restart_can_cure_have_one(cause: Any) -> None:
    actions = {s.action for s in cause.remediate}
    assert ("restartWorkload" in actions) == (cause.name in MAY_RESTART)
    assert cause.name in {*MAY_RESTART, "Unknown"} or "restartWorkload" in cause.forbid
    assert not actions & set(cause.forbid)
    assert cause.message
    assert cause.human


def test_no_fault_no_symptom() -> None:
    assert judge(RUNBOOK, FINE, {}).symptom is False


@pytest.mark.parametrize("dependency", ["database", "redis", "qdrant"])
def test_an_api_that_says_what_is_down_is_not_down_itself(dependency: str) -> None:
    assert judge(RUNBOOK, findings({"api": {"status": 503, dependency: "down"}}), {}).symptom is False


def test_no_data_is_neither_good_nor_bad() -> None:
    assert judge(RUNBOOK, {**FINE, "api": {"summary": "the probe gave no answer"}}, {}).symptom is None


def test_the_shipped_runbook_is_sound() -> None:
    assert problem_of(RUNBOOK) is None
