"""The rails: an ordered list of small checks; the first refusal wins. Each says rule, reason, figure and next time.

Rules are numbered as in docs/safety.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ...api.common import HealMode
from ...api.incident import Step
from ...api.stack import Stack
from ..maintenance.openings import WHOLE_STACK
from ..world import Refusal, Risk, World
from . import past, target
from .candidate import AUTOMATIC_PHASE, Candidate, Check

LADDER_STEPS = 4
LADDER_TIME = timedelta(minutes=30)


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
    return _window(c.world, c.planned.component)


def blocked_by(world: World, component: str) -> str:
    """The maintenance window that blocks healing of this component, '' for none."""
    return world.blocking_windows.get(WHOLE_STACK) or world.blocking_windows.get(component) or ""


def _window(world: World, component: str) -> Refusal | None:
    name = blocked_by(world, component)
    if not name:
        return None
    return Refusal("27-maintenance", "MaintenanceWindow", f"maintenance window '{name}' blocks healing until it ends")


def restoring(c: Candidate) -> Refusal | None:
    """While data is replaced, everything looks broken and nothing may be touched."""
    return _restoring(c.world)


def _restoring(world: World) -> Refusal | None:
    if not world.restoring:
        return None
    text = f"RestoreJob '{world.restoring}' replaces the Stack's data; healing stands still until it has ended"
    return Refusal("restore", "RestoreRunning", text)


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
    return (
        _window(world, component)
        or _restoring(world)
        or _paused(stack)
        or _lookups(world)
        or target.own(world, component)
        or target.foreign(world, component, now)
    )


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


def _effects_only(check: Check) -> Check:
    """These guard effects; a step without one is free of them."""

    def guarded(c: Candidate) -> Refusal | None:
        return check(c) if c.planned.risk is not Risk.NONE else None

    guarded.__name__ = check.__name__
    return guarded


RAILS: tuple[Check, ...] = (
    leading,
    window,
    restoring,
    paused,
    forbidden,
    ladder,
    *(
        _effects_only(check)
        for check in (
            lookups,
            ruled_out,
            target.own_target,
            target.foreign_change,
            target.last_replica,
            target.share,
            target.git,
            target.backup_gate,
            storm,
            flapping,
            past.one_actor,
            past.recurrence,
            past.breaker,
            past.backoff,
            past.cooldown,
            past.target_budget,
            past.stack_budget,
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
    "TooManyAtOnce",
    "GitOwnsField",
    "BlockingNotSet",
    "NoRedis",
    "OtherPolicies",
    "HostNetwork",
    "IngressMissing",
    "LimitByReference",
    "NoBackup",
    "BackupNotFit",
    "ScalingNotAllowed",
    "AtMaximum",
    "AutoscalerPaused",
    "OwnWorkload",
    "RolloutBySomebodyElse",
    "StormBrake",
    "Paused",
    "TargetNotInStack",
    "TargetsNotKnown",
}
# What goes on by itself, however long it takes, needs nobody.
ENDS_BY_ITSELF = {"NotLeader", "TargetBusy", "Backoff", "RestoreRunning"}
