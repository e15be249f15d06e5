"""Each rail refuses with its rule and the next allowed time, and lets pass what it should."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import ObjectMeta, Severity
from docuquery_operator.api.incident import IncidentStatus, Step, StepState, Times
from docuquery_operator.api.runbook import StepSpec
from docuquery_operator.api.stack import LastBackup, PartBackup, Stack, StackSpec, StackStatus
from docuquery_operator.domain.ledger import Attempt, Ledger
from docuquery_operator.domain.rails import first_refusal
from docuquery_operator.domain.rails.candidate import Candidate
from docuquery_operator.domain.rails.past import demoted
from docuquery_operator.domain.world import Neighbour, PlannedStep, Risk, Target, World

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WITH_STORES = StackSpec.model_validate(
    {
        "components": {
            name: {"type": kind, "workload": {"kind": "StatefulSet", "name": name}}
            for name, kind in (("postgres", "PostgreSQL"), ("qdrant", "Qdrant"), ("redis", "Redis"))
        }
    }
)


def attempt(minutes_ago: float, outcome: str = "Healed", cause: str = "Other", action: str = "restartWorkload") -> Attempt:
    at = NOW - minutes_ago * MINUTE
    return Attempt(f"id-{minutes_ago}", at, action, cause, "other", outcome, at + timedelta(seconds=30) if outcome else None)


def candidate(**world: Any) -> Candidate:
    stack = Stack(metadata=ObjectMeta(name="s", namespace="n"), spec=StackSpec(components={}))
    return Candidate(
        stack=stack,
        world=World(stack=stack, **world),
        status=IncidentStatus(times=Times(opened_at=NOW - MINUTE)),
        incident_uid="me",
        cause="ProcessDown",
        forbidden=(),
        spec=StepSpec(action="restartWorkload"),
        planned=PlannedStep("restartWorkload", "postgres", Risk.DISRUPTIVE, {}, "restart", timedelta(minutes=10)),
        now=NOW,
    )


def restart_of_api(healthy: bool | None, gap: str) -> Candidate:
    """The database is broken, and the remedy would restart its client."""
    c = candidate(component="postgres", targets={"api": Target(gap=gap)}, neighbours={"api": Neighbour(healthy, 3)})
    return replace(c, planned=replace(c.planned, component="api", restarts=True))


def restarting(target: Target) -> Candidate:
    c = candidate(component="postgres", targets={"postgres": target})
    return replace(c, planned=replace(c.planned, restarts=True))


def planned_with(**changes: Any) -> Candidate:
    c = candidate()
    return replace(c, planned=replace(c.planned, **changes))


def with_backup(c: Candidate, hours: float, verified: bool, severity: Severity = Severity.P2) -> Candidate:
    at = NOW - timedelta(hours=hours)
    part = PartBackup(part="postgres", time=at, proved_time=at if verified else None)
    last = LastBackup(time=at, verified=verified, parts=[part])
    stack = c.stack.model_copy(update={"status": StackStatus(last_backup=last), "spec": WITH_STORES})
    return replace(c, stack=stack, status=c.status.model_copy(update={"severity": severity}))


def ledger(*attempts: Attempt, holder: str = "", renewed: datetime | None = None) -> dict[str, Any]:
    ordered = tuple(sorted(attempts, key=lambda a: a.at))
    return {"ledgers": {"postgres": Ledger(ordered, holder, renewed)}}


def with_steps(c: Candidate, count: int, first: datetime) -> Candidate:
    steps = [
        Step(name=f"s{i}", kind="x", attempt_id=f"a{i}", state=StepState.NOT_HEALED, started_at=first) for i in range(count)
    ]
    return replace(c, status=c.status.model_copy(update={"steps": steps}))


REFUSED: list[tuple[str, Candidate, datetime | None]] = [
    ("NotLeader", candidate(leading=False), None),
    ("MaintenanceWindow", candidate(blocking_windows={"*": "sunday"}), None),
    ("MaintenanceWindow", candidate(blocking_windows={"postgres": "sunday"}), None),
    ("LookupFailed", candidate(failed_lookups=("the rollouts",)), None),
    ("CauseNotRuledOut", replace(candidate(), unsure="DiskFull"), None),
    ("ForbiddenByCause", replace(candidate(), forbidden=("restartWorkload",)), None),
    ("LadderUsedUp", with_steps(candidate(), 4, NOW), None),
    ("LadderTimeUp", with_steps(candidate(), 1, NOW - 31 * MINUTE), None),
    (
        "AutomaticPhaseOver",
        replace(candidate(), status=IncidentStatus(times=Times(opened_at=NOW - 61 * MINUTE))),
        None,
    ),
    (
        "RolloutBySomebodyElse",
        candidate(targets={"postgres": Target(NOW - 4 * MINUTE, "postgres-2")}),
        NOW + 6 * MINUTE,
    ),
    ("OwnWorkload", candidate(targets={"postgres": Target(own=True)}), None),
    ("LastHealthyReplica", restart_of_api(healthy=True, gap="it is a StatefulSet with one pod"), None),
    ("LastHealthyReplica", restart_of_api(healthy=None, gap="its strategy is Recreate"), None),
    ("TargetBusy", candidate(**ledger(holder="other", renewed=NOW - timedelta(seconds=59))), None),
    (
        "CauseKeepsComingBack",
        candidate(**ledger(*(attempt(m, "NotHealed", "ProcessDown") for m in (230, 130, 20)))),
        NOW + 10 * MINUTE,
    ),
    ("CircuitOpen", candidate(**ledger(*(attempt(m, "Inconclusive") for m in (50, 40, 30)))), NOW + 30.5 * MINUTE),
    ("Cooldown", candidate(**ledger(attempt(8))), NOW + 2.5 * MINUTE),
    ("TooManyAtOnce", restarting(Target(share="its rolling update takes 3 of 4 pods at once")), None),
    ("GitOwnsField", planned_with(git="Argo CD (x)"), None),
    ("NoBackup", planned_with(risk=Risk.DATA), None),
    ("BackupNotFit", with_backup(planned_with(risk=Risk.DATA), hours=1, verified=False), None),
    ("BackupNotFit", with_backup(planned_with(risk=Risk.DATA), hours=25, verified=True), None),
    ("BackupNotFit", with_backup(planned_with(risk=Risk.DATA), hours=7, verified=True, severity=Severity.P0), None),
    (
        "BudgetUsedUp",
        candidate(**ledger(*(attempt(m, action="terminateIdleSessions") for m in (50, 40, 30)))),
        NOW + 10 * MINUTE,
    ),
    (
        "BudgetUsedUp",
        candidate(**ledger(*(attempt(m, action="terminateIdleSessions") for m in (1430, 900, 800, 700, 600, 500)))),
        NOW + 10 * MINUTE,
    ),
    (
        "BudgetUsedUp",
        candidate(
            ledgers={f"c{n}": Ledger(tuple(attempt(59 - n - m / 10, action="x") for m in range(5))) for n in range(2)}
        ),
        None,
    ),
]


@pytest.mark.parametrize(("reason", "case", "until"), REFUSED)
def test_refused(reason: str, case: Candidate, until: datetime | None) -> None:
    refusal = first_refusal(case)
    assert refusal is not None
    assert refusal.reason == reason
    assert refusal.message
    if until is not None:
        assert refusal.next_allowed_at == until


def test_pause_refuses_with_its_reason() -> None:
    c = candidate()
    spec = c.stack.spec.model_copy(update={"paused": True, "pause_reason": "migration of the schema"})
    refusal = first_refusal(replace(c, stack=c.stack.model_copy(update={"spec": spec})))
    assert refusal is not None
    assert refusal.reason == "Paused"
    assert "migration of the schema" in refusal.message


def test_back_off_doubles_and_its_jitter_is_stable() -> None:
    one = first_refusal(candidate(**ledger(attempt(0.6, "NotHealed"))))
    two = first_refusal(candidate(**ledger(attempt(30, "NotHealed"), attempt(0.6, "NotHealed"))))
    assert one is not None
    assert two is not None
    assert one.reason == two.reason == "Backoff"
    assert one == first_refusal(candidate(**ledger(attempt(0.6, "NotHealed"))))
    began = NOW - 0.1 * MINUTE
    assert one.next_allowed_at is not None
    assert two.next_allowed_at is not None
    assert MINUTE <= one.next_allowed_at - began <= 1.1 * MINUTE
    assert 2 * MINUTE <= two.next_allowed_at - began <= 2.2 * MINUTE


ALLOWED = [
    candidate(),
    candidate(**ledger(holder="other", renewed=NOW - timedelta(seconds=61))),
    candidate(**ledger(holder="me", renewed=NOW)),
    candidate(**ledger(attempt(11))),
    candidate(**ledger(*(attempt(m, "Inconclusive") for m in (200, 190, 180)))),
    candidate(targets={"postgres": Target(NOW - 11 * MINUTE, "postgres-2")}),
    restart_of_api(healthy=True, gap=""),
    restart_of_api(healthy=False, gap="its strategy is Recreate"),
    # The component that the cause was found on is broken: its one pod is what the restart is for.
    candidate(component="postgres", targets={"postgres": Target(gap="it is a StatefulSet with one pod")}),
    candidate(**ledger(*(attempt(m, "NotHealed", "ProcessDown") for m in (500, 400)), attempt(300))),
]


@pytest.mark.parametrize("case", ALLOWED)
def test_allowed(case: Candidate) -> None:
    assert first_refusal(case) is None


def test_an_attempt_that_nobody_finished_counts_as_a_failure() -> None:
    old = ledger(*(attempt(m, "") for m in (110, 100, 90)))
    refusal = first_refusal(candidate(**old))
    assert refusal is not None
    assert refusal.reason == "CircuitOpen"


def test_a_step_without_an_effect_needs_no_budget() -> None:
    c = candidate(failed_lookups=("everything",), **ledger(*(attempt(m) for m in (3, 2, 1))))
    assert first_refusal(replace(c, planned=replace(c.planned, risk=Risk.NONE))) is None


@pytest.mark.parametrize(
    "case",
    [
        with_backup(planned_with(risk=Risk.DATA), hours=23, verified=True),
        with_backup(planned_with(risk=Risk.DATA), hours=5, verified=True, severity=Severity.P0),
        planned_with(risk=Risk.DATA, backup=False),
        planned_with(),
    ],
)
def test_a_proven_backup_opens_the_gate(case: Candidate) -> None:
    assert first_refusal(case) is None


DAY = 24 * 60


@pytest.mark.parametrize(
    ("outcomes", "asks"),
    [
        (["NotHealed"] * 3, True),
        (["NotHealed", "Inconclusive", "Healed", "Regressed", "Healed"], True),
        (["NotHealed", "NotHealed", "Healed"], False),
        (["NotHealed"] * 3 + ["Healed"] * 5, False),
        (["NotHealed", "NotHealed", "NotHealed", "Healed", "Healed", "Healed"], False),
        (["Skipped"] * 5, False),
    ],
)
def test_a_remedy_that_mostly_failed_asks_first(outcomes: list[str], asks: bool) -> None:
    tried = [attempt(6 * DAY - n, outcome, "ProcessDown") for n, outcome in enumerate(outcomes)]
    assert bool(demoted(candidate(**ledger(*tried)))) is asks
    old = [replace(a, at=a.at - timedelta(days=2)) for a in tried]
    assert not demoted(candidate(**ledger(*old))), "a week later it is tried again"
    others = [replace(a, cause="Other") for a in tried]
    assert not demoted(candidate(**ledger(*others)))


@pytest.mark.parametrize("component", ["qdrant", "redis"])
def test_a_proven_backup_of_one_store_opens_the_gate_of_no_other(component: str) -> None:
    c = with_backup(planned_with(risk=Risk.DATA), hours=1, verified=True)
    refusal = first_refusal(replace(c, planned=replace(c.planned, component=component)))
    assert refusal is not None
    assert refusal.reason == "NoBackup"
