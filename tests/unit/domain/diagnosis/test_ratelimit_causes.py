"""The shipped runbook of the rate limit: which findings name which cause, and what tells it from its neighbours."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.domain.diagnosis.causes import judge
from docuquery_operator.domain.diagnosis.parameters import resolve

RUNBOOK = shipped()["RateLimitSpike"]
PARAMETERS = resolve(RUNBOOK, None)
Changes = dict[str, dict[str, Any]]
# Many clients, each with a little too much, and as much traffic as always.
SPIKE: Changes = {
    "refusals": {"requests": 6000, "refused": 1500, "refusedPercent": 25.0, "healthRefused": 0, "perSecond": 100.0,
                 "seconds": 60, "usualPerSecond": 95.0, "growth": 1.05},
    "limits": {"requests": 100, "window": 60, "perSecond": 1.667, "mixed": False},
    "keys": {"keys": 200, "atLeast": False, "clients": []},
    "traffic": {"requests": 30000, "refusedPercent": 25.0, "clientCount": 220, "refusedClients": 180,
                "refusedOwnPercent": 20.0, "topRefused": "198.51.100.7", "topRefusedInternal": False, "topRefusedPercent": 2.0,
                "topRefusedOwnPercent": 20.0, "fewRefusedPercent": 8.0, "fewRefusedOwnPercent": 20.0, "retryPercent": 12.0,
                "retryAgent": "a/1", "retryAgentPercent": 40.0, "retryClients": 9, "complete": True},
    "api": {"reachable": True, "status": 200},
    "workload": {"exists": True, "ready": 2, "wanted": 2},
}  # fmt: skip
GROWN = {"refusals": {"growth": 3.0, "perSecond": 300.0}}
STORM = {"traffic": {"retryPercent": 80.0, "retryAgentPercent": 95.0, "retryClients": 40, "refusedOwnPercent": 80.0}}


def abuser(**more: Any) -> Changes:
    """One client has nearly all refusals and does not care."""
    told = {"topRefusedPercent": 92.0, "topRefusedOwnPercent": 88.0, "fewRefusedPercent": 95.0, "fewRefusedOwnPercent": 80.0}
    return {"traffic": {**told, "refusedClients": 5, **more}}


def few(**more: Any) -> Changes:
    """Four clients share nearly all refusals and do not care."""
    told = {"topRefusedPercent": 26.0, "topRefusedOwnPercent": 85.0, "fewRefusedPercent": 97.0, "fewRefusedOwnPercent": 85.0}
    return {"traffic": {**told, "refusedClients": 9, **more}}


CASES: list[tuple[str, Changes]] = [
    ("WorkloadMissing", {"workload": {"exists": False}}),
    ("HealthCheckLimited", {"refusals": {"healthRefused": 3}}),
    ("HealthCheckLimited", {"api": {"status": 429}}),
    ("HealthCheckLimited", {"api": {"status": 429}, **abuser()}),
    ("OneAbuser", abuser()),
    ("OneAbuser", {**abuser(), **GROWN}),
    # One client that asks again at once is still one client.
    ("OneAbuser", abuser(retryPercent=99.0, retryAgentPercent=100.0, retryClients=1)),
    ("OneAbuser", abuser(topRefusedPercent=50.0, topRefusedOwnPercent=50.0)),
    # Half of the refusals, but little of its own is refused: a big client just above the limit.
    ("LimitTooLow", abuser(topRefusedOwnPercent=17.0, fewRefusedOwnPercent=17.0)),
    ("OrganicGrowth", {**abuser(topRefusedOwnPercent=17.0, fewRefusedOwnPercent=17.0), **GROWN}),
    ("FewAbusers", abuser(topRefusedPercent=49.9)),
    ("InternalClient", abuser(topRefusedInternal=True, topRefused="10.61.0.9")),
    ("FewAbusers", few()),
    ("FewAbusers", {**few(), **GROWN}),
    ("FewAbusers", few(retryPercent=90.0, retryAgentPercent=90.0, retryClients=5)),
    ("LimitTooLow", few(fewRefusedOwnPercent=20.0)),
    ("RetryStorm", STORM),
    ("RetryStorm", {**STORM, **GROWN}),
    ("RetryStorm", few(retryPercent=90.0, retryAgentPercent=90.0, retryClients=6, refusedOwnPercent=85.0)),
    # All ask again at once, but with all sorts of clients: no version is to blame.
    ("LimitTooLow", {"traffic": {**STORM["traffic"], "retryAgentPercent": 30.0}}),
    ("LimitTooLow", {"traffic": {**STORM["traffic"], "retryPercent": 49.0}}),
    # Busy clients go on at their pace and have little refused: they come again soon, but not because they were refused.
    ("LimitTooLow", {"traffic": {**STORM["traffic"], "refusedOwnPercent": 39.9}}),
    ("OrganicGrowth", {"traffic": {**STORM["traffic"], "refusedOwnPercent": 30.0}, **GROWN}),
    ("OrganicGrowth", GROWN),
    ("LimitTooLow", {}),
    ("LimitTooLow", {"refusals": {"growth": 1.49}}),
    ("OrganicGrowth", {"refusals": {"growth": 1.5}}),
]


def findings(changes: Changes) -> Changes:
    """The spike with these changes."""
    return {name: {**usual, **changes.get(name, {})} for name, usual in SPIKE.items()}


def without(changes: Changes, name: str, *keys: str) -> Changes:
    """The same without some facts, or without all of a probe."""
    seen = findings(changes)
    seen[name] = {k: v for k, v in seen[name].items() if keys and k not in keys} | {"summary": "not known"}
    return seen


@pytest.mark.parametrize(("cause", "changes"), CASES)
def test_findings_name_the_cause(cause: str, changes: Changes) -> None:
    verdict = judge(RUNBOOK, findings(changes), PARAMETERS)
    assert verdict.symptom is True
    assert verdict.diagnosis is not None
    assert (verdict.diagnosis.name, verdict.diagnosis.confidence) == (cause, "High")


def test_every_cause_has_a_case() -> None:
    assert {c.name for c in RUNBOOK.causes} == {"Unknown", *(cause for cause, _ in CASES)}


@pytest.mark.parametrize("changes", [{}, abuser(), few(), STORM, GROWN], ids=["usual", "one", "few", "storm", "growth"])
def test_without_a_log_nobody_is_named(changes: Changes) -> None:
    diagnosis = judge(RUNBOOK, without(changes, "traffic"), PARAMETERS).diagnosis
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.confidence) == ("Unknown", "Low")
    assert "log" in (diagnosis.spec.human or "")
    assert {"OneAbuser", "RetryStorm"} <= {c.name for c in diagnosis.open}


def test_an_abuser_is_named_without_the_usual_traffic_but_growth_is_not_guessed() -> None:
    unknown = ("growth", "usualPerSecond")
    one = judge(RUNBOOK, without(abuser(), "refusals", *unknown), PARAMETERS).diagnosis
    assert one is not None
    assert (one.name, one.confidence) == ("OneAbuser", "High")
    many = judge(RUNBOOK, without({}, "refusals", *unknown), PARAMETERS).diagnosis
    assert many is not None
    assert many.name == "Unknown"
    assert {c.name for c in many.open} == {"OrganicGrowth", "LimitTooLow"}


def test_the_symptom() -> None:
    def symptom(**refusals: Any) -> bool | None:
        return judge(RUNBOOK, findings({"refusals": refusals}), PARAMETERS).symptom

    assert symptom() is True
    assert symptom(refusedPercent=10.0) is False
    assert symptom(refusedPercent=50.0, refused=19) is False
    assert symptom(refusedPercent=0.0, refused=0, healthRefused=1) is True
    # No traffic at all is no refusal; that was counted and is no lack of data.
    assert symptom(requests=0, refused=0, refusedPercent=0.0, perSecond=0.0) is False


def test_no_data_is_neither_good_nor_bad() -> None:
    nothing = without({}, "refusals")
    assert judge(RUNBOOK, nothing, PARAMETERS).symptom is None
    # An api that is down is another incident, and no end of this one.
    assert judge(RUNBOOK, {**nothing, "api": {"reachable": False}}, PARAMETERS).symptom is None
    assert judge(RUNBOOK, {**nothing, "api": {"reachable": True, "status": 429}}, PARAMETERS).symptom is True


def test_the_bounds_can_be_set() -> None:
    strict = resolve(RUNBOOK, {"refusedPercent": 1, "refusedAtLeast": 1})
    seen = findings({"refusals": {"refusedPercent": 1.2, "refused": 3}})
    assert judge(RUNBOOK, seen, PARAMETERS).symptom is False
    assert judge(RUNBOOK, seen, strict).symptom is True


@pytest.mark.parametrize("cause", RUNBOOK.causes, ids=lambda c: c.name)
def test_nothing_restarts_an_api_that_refuses(cause: Any) -> None:
    assert not {s.action for s in cause.remediate} & {"restartWorkload", "restartLeakingClient"}
    assert cause.name == "Unknown" or "restartWorkload" in cause.forbid
    assert cause.message
    assert cause.human


def test_the_shipped_runbook_is_sound() -> None:
    assert problem_of(RUNBOOK) is None
