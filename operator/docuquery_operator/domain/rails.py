"""The rails: an ordered list of small checks; the first refusal wins. Each says rule, reason, figure and next time.

Rules are numbered as in docs/safety.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..api.common import HealMode, format_time, rate
from ..api.incident import IncidentStatus, Step
from ..api.runbook import StepSpec
from ..api.stack import Stack
from .ledger import Attempt, Ledger, since
from .world import PlannedStep, Refusal, Risk, World

PER_TARGET_DAILY = 6
BACKOFF_MINUTES = (1, 2, 4, 8, 10)
BREAKER_FAILURES = 3
BREAKER_OPEN = timedelta(hours=1)
RECURRENCE_WINDOW = timedelta(hours=4)
RECURRENCE_FAILED = 3
RECURRENCE_ANY = 5
FOREIGN_ROLLOUT = timedelta(minutes=10)
LADDER_STEPS = 4
LADDER_TIME = timedelta(minutes=30)
AUTOMATIC_PHASE = timedelta(hours=1)


@dataclass(frozen=True)
class Candidate:
    """A step that is about to be intended, with all that the checks may look at.

    unsure: a cause that forbids the action and could not be ruled out.
    """

    stack: Stack
    world: World
    status: IncidentStatus
    incident_uid: str
    cause: str
    forbidden: tuple[str, ...]
    spec: StepSpec
    planned: PlannedStep
    now: datetime
    unsure: str = ""

    @property
    def ledger(self) -> Ledger:
        """Attempts on the target, with unfinished old ones counted as failures."""
        return self.world.ledgers.get(self.planned.component, Ledger()).settled(self.now, AUTOMATIC_PHASE)

    @property
    def steps(self) -> list[Step]:
        """Steps of this round that were really tried."""
        return [s for s in self.status.steps if s.round == self.status.round and s.attempt_id]


Check = Callable[[Candidate], Refusal | None]


def first_refusal(candidate: Candidate, checks: Iterable[Check] | None = None) -> Refusal | None:
    """The first refusal of the chain, or None: the step may begin."""
    for check in RAILS if checks is None else checks:
        refusal = check(candidate)
        if refusal is not None:
            return refusal
    return None


def leading(c: Candidate) -> Refusal | None:
    """Only the leader acts."""
    return None if c.world.leading else Refusal("leader", "NotLeader", "another replica leads; it acts")


def window(c: Candidate) -> Refusal | None:
    """Rule 27."""
    return _window(c.world)


def _window(world: World) -> Refusal | None:
    if not world.blocking_window:
        return None
    return Refusal(
        "27-maintenance", "MaintenanceWindow", f"maintenance window '{world.blocking_window}' blocks healing until it ends"
    )


def paused(c: Candidate) -> Refusal | None:
    """Rule 29."""
    return _paused(c.stack)


def _paused(stack: Stack) -> Refusal | None:
    if not stack.spec.paused:
        return None
    return Refusal("29-pause", "Paused", f"the Stack is paused: {stack.spec.pause_reason or 'no reason given'}")


def lookups(c: Candidate) -> Refusal | None:
    """Rule 28."""
    return _lookups(c.world)


def _lookups(world: World) -> Refusal | None:
    if not world.failed_lookups:
        return None
    return Refusal(
        "28-lookup",
        "LookupFailed",
        f"could not read {', '.join(world.failed_lookups)}; nothing disruptive is done on guesses",
    )


def standing(world: World, stack: Stack, mode: HealMode | None, step: Step, now: datetime) -> Refusal | None:
    """What holds back any effect that has not begun, though its intent is written (rules 1, 3, 24, 27, 28 and 29)."""
    if mode in (HealMode.OBSERVE, HealMode.OFF):
        return Refusal("1-mode", "ModeChanged", f"the mode is {mode} now; the step had not begun")
    component = step.component or ""
    return _window(world) or _paused(stack) or _lookups(world) or _own(world, component) or _foreign(world, component, now)


def named(stack: Stack, step: Step) -> bool:
    """Whether the Stack still names what the plan would touch (rule 3)."""
    component, plan = stack.spec.components.get(step.component or ""), step.plan or {}
    if component is None:
        return False
    ref = component.workload
    return "kind" not in plan or (plan["kind"], plan.get("name")) == (ref.kind, ref.name)


def forbidden(c: Candidate) -> Refusal | None:
    """What the cause forbids, whatever the remedy list says."""
    if c.planned.action not in c.forbidden:
        return None
    return Refusal("cause-forbids", "ForbiddenByCause", f"{c.planned.action} would make {c.cause} worse")


def ruled_out(c: Candidate) -> Refusal | None:
    """Rule 28: data that are missing may hide a cause that this action would make worse."""
    if not c.unsure:
        return None
    return Refusal(
        "28-lookup", "CauseNotRuledOut", f"{c.unsure} could not be ruled out, and {c.planned.action} would make it worse"
    )


def ladder(c: Candidate) -> Refusal | None:
    """Rules 21 and 22."""
    if len(c.steps) >= LADDER_STEPS:
        return Refusal("22-ladder", "LadderUsedUp", f"{len(c.steps)} automatic steps were tried; a person must look")
    started = [s.started_at for s in c.steps if s.started_at]
    if started and c.now - min(started) > LADDER_TIME:
        return Refusal("21-timeouts", "LadderTimeUp", "the automatic steps have taken 30m; a person must look")
    opened = c.status.times.opened_at
    if opened and c.now - opened > AUTOMATIC_PHASE and not c.planned.needs_approval:
        return Refusal("21-timeouts", "AutomaticPhaseOver", "1h has passed since the incident began; a person must look")
    return None


def foreign_change(c: Candidate) -> Refusal | None:
    """Rule 24."""
    return _foreign(c.world, c.planned.component, c.now)


def _foreign(world: World, component: str, now: datetime) -> Refusal | None:
    target = world.targets.get(component)
    if target is None or target.foreign_rollout_at is None:
        return None
    until = target.foreign_rollout_at + FOREIGN_ROLLOUT
    if now >= until:
        return None
    return Refusal(
        "24-foreign-rollout",
        "RolloutBySomebodyElse",
        f"{target.foreign_rollout} was rolled out at {format_time(target.foreign_rollout_at)} by somebody else; "
        "undoing that rollout is the likely fix",
        until,
    )


def one_actor(c: Candidate) -> Refusal | None:
    """Rule 4."""
    if not c.ledger.held_by_other(c.incident_uid, c.now):
        return None
    return Refusal(
        "4-one-actor",
        "TargetBusy",
        f"another incident is working on {c.planned.component}",
    )


def own_target(c: Candidate) -> Refusal | None:
    """Rule 3, the operator's part."""
    return _own(c.world, c.planned.component)


def _own(world: World, component: str) -> Refusal | None:
    target = world.targets.get(component)
    if target is None or not target.own:
        return None
    return Refusal("3-own-targets", "OwnWorkload", f"{component} is the operator itself; take it out of the Stack")


def last_replica(c: Candidate) -> Refusal | None:
    """Rule 11: a component that is well is not left without a pod for the sake of another one."""
    name, target = c.planned.component, c.world.targets.get(c.planned.component)
    seen = c.world.neighbours.get(name)
    if not c.planned.restarts or name == c.world.component or target is None or not target.gap:
        return None
    if seen is None or seen.healthy is False:
        return None
    return Refusal(
        "11-last-replica", "LastHealthyReplica", f"{name} is not known to be broken and would serve nobody: {target.gap}"
    )


def storm(c: Candidate) -> Refusal | None:
    """Rule 10."""
    conditions = c.stack.status.conditions if c.stack.status else []
    brake = next((x for x in conditions if x.type == "StormBrake" and x.status == "True"), None)
    if brake is None:
        return None
    return Refusal("10-storm-brake", "StormBrake", f"{brake.message}; released when all stores were well for 5m")


def flapping(c: Candidate) -> Refusal | None:
    """Rule 14."""
    if not c.status.holds("Flapping"):
        return None
    return Refusal("14-flapping", "Flapping", "the fault has come back again and again; acting on it once more is no cure")


def recurrence(c: Candidate) -> Refusal | None:
    """Rule 9."""
    same = [a for a in since(c.ledger.attempts, c.now - RECURRENCE_WINDOW) if a.cause == c.cause and a.outcome]
    failed = [a for a in same if a.failed]
    if len(failed) < RECURRENCE_FAILED and len(same) < RECURRENCE_ANY:
        return None
    return Refusal(
        "9-recurrence",
        "CauseKeepsComingBack",
        f"{c.cause} was acted on {len(same)} times in 4h, {len(failed)} without success; a person must find the root",
        same[0].at + RECURRENCE_WINDOW,
    )


def breaker(c: Candidate) -> Refusal | None:
    """Rule 8."""
    failures = _failures_in_a_row(c.ledger)
    if len(failures) < BREAKER_FAILURES:
        return None
    until = (failures[-1].finished or failures[-1].at) + BREAKER_OPEN
    if c.now >= until:
        return None
    return Refusal(
        "8-circuit-breaker", "CircuitOpen", f"{len(failures)} attempts in a row did not heal {c.planned.component}", until
    )


def backoff(c: Candidate) -> Refusal | None:
    """Rule 7."""
    failures = _failures_in_a_row(c.ledger)
    if not failures:
        return None
    last = failures[-1]
    minutes = BACKOFF_MINUTES[min(len(failures), len(BACKOFF_MINUTES)) - 1]
    until = (last.finished or last.at) + timedelta(minutes=minutes) * (1 + _jitter(last.id))
    if c.now >= until:
        return None
    return Refusal(
        "7-backoff", "Backoff", f"{len(failures)} failed attempt(s) on {c.planned.component}; waiting {minutes}m", until
    )


def cooldown(c: Candidate) -> Refusal | None:
    """Rule 6."""
    for attempt in reversed(c.ledger.attempts):
        if attempt.action != c.planned.action or attempt.outcome != "Healed":
            continue
        until = (attempt.finished or attempt.at) + c.planned.cooldown
        if c.now < until:
            return Refusal(
                "6-cooldown",
                "Cooldown",
                f"{c.planned.action} on {c.planned.component} succeeded at "
                f"{format_time(attempt.finished or attempt.at)}; that it is needed again so soon is for a person to see",
                until,
            )
        return None
    return None


def target_budget(c: Candidate) -> Refusal | None:
    """Rule 5, the target's part."""
    limit, per = rate(c.stack.spec.healing.budget.per_target)
    return _over(c, c.ledger.attempts, limit, per, c.planned.component) or _over(
        c,
        c.ledger.attempts,
        PER_TARGET_DAILY if limit <= PER_TARGET_DAILY else limit * 2,
        timedelta(days=1),
        c.planned.component,
    )


def stack_budget(c: Candidate) -> Refusal | None:
    """Rule 5, the Stack's part."""
    limit, per = rate(c.stack.spec.healing.budget.per_stack)
    everything = sorted((a for ledger in c.world.ledgers.values() for a in ledger.attempts), key=lambda a: a.at)
    return _over(c, everything, limit, per, "the Stack")


def _over(c: Candidate, attempts: Iterable[Attempt], limit: int, per: timedelta, what: str) -> Refusal | None:
    recent = since(attempts, c.now - per)
    if len(recent) < limit:
        return None
    return Refusal(
        "5-budget",
        "BudgetUsedUp",
        f"{len(recent)} actions on {what} within {int(per.total_seconds() // 60)}m, the limit is {limit}",
        recent[-limit].at + per if limit else None,
    )


def _failures_in_a_row(ledger: Ledger) -> list[Attempt]:
    """Only Healed ends the row: a step that was let go before it had an effect proves nothing."""
    row: list[Attempt] = []
    for attempt in reversed(ledger.attempts):
        if attempt.outcome == "Healed":
            break
        if attempt.failed:
            row.insert(0, attempt)
    return row


def _jitter(seed: str) -> float:
    """0 … 10 %, the same for the same attempt, so that a second look does not move the time."""
    return int(hashlib.sha256(seed.encode()).hexdigest()[:4], 16) / 0xFFFF * 0.1


def _effects_only(check: Check) -> Check:
    """These guard effects; a step without one is free of them."""

    def guarded(c: Candidate) -> Refusal | None:
        return check(c) if c.planned.risk is not Risk.NONE else None

    guarded.__name__ = check.__name__
    return guarded


RAILS: tuple[Check, ...] = (
    leading,
    window,
    paused,
    forbidden,
    ladder,
    *(
        _effects_only(check)
        for check in (
            lookups,
            ruled_out,
            own_target,
            foreign_change,
            last_replica,
            storm,
            flapping,
            one_actor,
            recurrence,
            breaker,
            backoff,
            cooldown,
            target_budget,
            stack_budget,
        )
    ),
)

NEEDS_HUMAN = {
    "LadderUsedUp",
    "LadderTimeUp",
    "AutomaticPhaseOver",
    "CauseKeepsComingBack",
    "CircuitOpen",
    "BudgetUsedUp",
    "Cooldown",
    "ForbiddenByCause",
    "Flapping",
    "LastHealthyReplica",
    "OwnWorkload",
    "RolloutBySomebodyElse",
    "StormBrake",
    "Paused",
    "TargetNotInStack",
    "TargetsNotKnown",
}
# What goes on by itself, however long it takes, needs nobody.
ENDS_BY_ITSELF = {"NotLeader", "TargetBusy", "Backoff"}
