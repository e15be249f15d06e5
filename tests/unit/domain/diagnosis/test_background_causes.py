"""The shipped runbook of background tasks: which findings name which cause, and what that cause forbids."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis.causes import judge
from docuquery_operator.domain.diagnosis.parameters import resolve

RUNBOOK = shipped()["BackgroundTaskFailure"]
FINE: dict[str, dict[str, Any]] = {
    "workers": {"outcome": "ok", "state": "idle", "subscribed": 1, "answered": 1, "silent": 0, "dead": False, "frozen": False,
                "active": 0, "reserved": 0, "slots": 2, "saturated": False, "idle": True, "oldestTask": "", "oldestId": "",
                "oldestSeconds": 0.0, "stalledSeconds": 0.0, "killer": "", "unconsumed": []},
    "queue": {"waiting": 0, "growing": False, "held": 0, "redelivered": 0},
    "failures": {"finished": 100, "failed": 1, "failedPercent": 1.0},
    "quarantine": {"messages": 0, "batches": []},
    "workload": {"exists": True, "ready": 1, "wanted": 1, "pods": 1, "terminating": 0, "crashLoop": False, "oomKilled": False,
                 "starting": False, "nodeLost": False, "unschedulable": "", "reason": "", "state": "running"},
    "redis": {"ok": True, "outcome": "ok"},
}  # fmt: skip
Changes = dict[str, dict[str, Any]]
BUSY = {"state": "busy", "idle": False, "active": 2, "saturated": True}
NOBODY = {"state": "dead", "subscribed": 0, "answered": 0, "dead": True, "idle": False, "slots": 0}
MANY = {"waiting": 5000, "growing": True}
HELD = {"messages": 3, "batches": [], "newestSeconds": 7200.0}


def broker(outcome: str) -> Changes:
    """The broker does not answer: only its outcome is known."""
    return {"workers": {"outcome": outcome, "state": "brokerDown"}, "queue": {}, "failures": {}, "quarantine": {}}


def stalled(seconds: float, waiting: int = 3, **workers: Any) -> Changes:
    """Messages wait and nothing is worked on."""
    return {"workers": {"stalledSeconds": seconds, **workers}, "queue": {"waiting": waiting}}


CASES: list[tuple[str, Changes, dict[str, Any]]] = [
    ("WorkloadMissing", {"workload": {"exists": False, "ready": 0}, "workers": NOBODY}, {}),
    ("AuthFailed", broker("auth"), {}),
    ("AuthFailed", broker("no_credentials"), {}),
    ("BrokerUnknown", broker("no_broker"), {}),
    ("BrokerDown", broker("refused") | {"redis": {"ok": False}}, {}),
    ("BrokerDown", broker("misconf"), {}),
    ("BrokerDown", {"workers": NOBODY, "redis": {"ok": False, "outcome": "timeout"}}, {}),
    ("QuarantinePutBack", {"quarantine": HELD}, {"quarantine": "PutBack"}),
    ("QuarantineDrop", {"quarantine": HELD}, {"quarantine": "Drop"}),
    ("QuarantineMove", {"queue": {"waiting": 3}}, {"quarantine": "Move"}),
    ("QuarantineMove", {"queue": MANY, "quarantine": HELD}, {"quarantine": "Move"}),
    ("NodeNotReady", {"workload": {"nodeLost": True, "ready": 0}, "workers": NOBODY}, {}),
    ("ScaledToZero", {"workload": {"wanted": 0, "pods": 0, "ready": 0}, "workers": NOBODY}, {}),
    ("PoisonTask", {"workload": {"ready": 0, "crashLoop": True}, "workers": {**NOBODY, "killer": "abc"}}, {}),
    ("OOMKilled", {"workload": {"ready": 0, "oomKilled": True, "crashLoop": True}, "workers": NOBODY}, {}),
    ("CrashLoop", {"workload": {"ready": 0, "crashLoop": True}, "workers": NOBODY}, {}),
    ("Unschedulable", {"workload": {"ready": 0, "unschedulable": "0/1 nodes"}, "workers": NOBODY}, {}),
    ("Starting", {"workload": {"ready": 0, "starting": True}, "workers": NOBODY}, {}),
    ("Starting", {"workload": {"ready": 0, "terminating": 1}, "workers": NOBODY}, {}),
    ("WorkerDead", {"workers": NOBODY}, {}),
    ("WorkerDead", {"workload": {"ready": 0}, "workers": NOBODY}, {}),
    ("WorkerFrozen", {"workers": {"state": "frozen", "frozen": True, "answered": 0, "silent": 1, "idle": False}}, {}),
    ("QueueNotConsumed", stalled(90, unconsumed=["celery"]), {}),
    ("StuckTask", stalled(90, **BUSY, oldestSeconds=700.0), {}),
    ("Wedged", stalled(90), {}),
    ("Wedged", stalled(700, state="silent", idle=False, answered=0, silent=1, slots=0), {}),
    ("TasksFail", {"failures": {"failed": 60, "failedPercent": 60.0}}, {}),
    ("QueueFlood", {"workers": BUSY, "queue": MANY}, {}),
    ("Unknown", {"queue": {"waiting": 0}}, {"quarantine": "Move"}),
]
MAY_RESTART = {"OOMKilled", "CrashLoop", "WorkerDead", "WorkerFrozen", "StuckTask", "Wedged"}
FREE = {*MAY_RESTART, "Unknown", "QuarantinePutBack", "QuarantineDrop", "QuarantineMove"}


def findings(changes: Changes) -> dict[str, dict[str, Any]]:
    """All is well but for the changes; a finding that is given empty, or only with an outcome, has nothing else."""
    broken = "outcome" in changes.get("workers", {})
    return {
        name: dict(changes[name]) if broken and name in changes else {**usual, **changes.get(name, {})}
        for name, usual in FINE.items()
    }


@pytest.mark.parametrize(("cause", "changes", "given"), CASES)
def test_findings_name_the_cause(cause: str, changes: Changes, given: dict[str, Any]) -> None:
    verdict = judge(RUNBOOK, findings(changes), resolve(RUNBOOK, given))
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause
    assert not verdict.diagnosis.would_worsen("restartWorkload") or cause not in MAY_RESTART


def test_every_cause_has_a_case() -> None:
    assert {c.name for c in RUNBOOK.causes} == {cause for cause, _, _ in CASES}
    assert problem_of(RUNBOOK) is None


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_only_causes_that_a_restart_can_cure_have_one(cause: Any) -> None:
    actions = {s.action for s in cause.remediate}
    assert ("restartWorkload" in actions) == (cause.name in MAY_RESTART)
    assert cause.name in FREE or "restartWorkload" in cause.forbid
    assert not actions & set(cause.forbid)
    assert cause.message
    assert cause.human


def test_more_workers_only_for_a_flood_and_never_where_they_would_do_harm() -> None:
    assert [c.name for c in RUNBOOK.causes if "scaleWorkload" in {s.action for s in c.remediate}] == ["QueueFlood"]
    harmful = {c.name for c in RUNBOOK.causes if "scaleWorkload" in c.forbid}
    assert harmful >= {"BrokerDown", "ScaledToZero", "PoisonTask", "TasksFail", "QueueNotConsumed", "Unschedulable"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # A long task while nobody waits, or while others are worked on.
        {"workers": {**BUSY, "oldestSeconds": 7200.0, "stalledSeconds": 0.0}},
        {"workers": {**BUSY, "oldestSeconds": 7200.0, "stalledSeconds": 10.0}, "queue": {"waiting": 9}},
        # All are busy with tasks that are long but not too long.
        stalled(300, **BUSY, oldestSeconds=300.0),
        # A worker of one process that works on a task and so answers nobody.
        stalled(300, state="silent", idle=False, answered=0, silent=1, slots=0, oldestSeconds=300.0),
        # A long queue that shrinks, and a short one that grows.
        {"queue": {"waiting": 100_000, "growing": False}, "workers": BUSY},
        {"queue": {"waiting": 900, "growing": True}, "workers": BUSY},
        # A few failures, and many of very many.
        {"failures": {"failed": 3, "failedPercent": 100.0}},
        {"failures": {"failed": 300, "failedPercent": 3.0}},
        # Messages in quarantine are nobody's fault.
        {"quarantine": HELD},
    ],
)
def test_no_fault_no_symptom(changes: Changes) -> None:
    assert judge(RUNBOOK, findings(changes), resolve(RUNBOOK, None)).symptom is False


def test_a_move_that_was_made_is_not_made_again() -> None:
    found = findings({"queue": {"waiting": 2}, "quarantine": {"messages": 9, "newestSeconds": 20.0}})
    assert judge(RUNBOOK, found, resolve(RUNBOOK, {"quarantine": "Move"})).symptom is False


@pytest.mark.parametrize("missing", ["workers", "queue", "workload"])
def test_no_data_is_neither_good_nor_bad(missing: str) -> None:
    found = {**FINE, missing: {"summary": "the probe gave no answer"}}
    assert judge(RUNBOOK, found, resolve(RUNBOOK, None)).symptom is None


@pytest.mark.parametrize("wish", ["Move", "PutBack", "Drop"])
def test_what_cannot_be_counted_is_neither_moved_nor_called_done(wish: str) -> None:
    found = {**FINE, "quarantine": {"summary": "no figures"}}
    assert judge(RUNBOOK, found, resolve(RUNBOOK, {"quarantine": wish})).symptom is not False
