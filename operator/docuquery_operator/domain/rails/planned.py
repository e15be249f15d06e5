"""The rails that rest on what was tried before (rules 4 to 8), for a maintenance task that is about to touch a component.

Planned work can wait, so it also keeps away from what a runbook has just done, whatever that was and however it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from ...api.common import format_time
from ...api.incident import IncidentStatus
from ...api.runbook import StepSpec
from ...api.stack import Stack
from ..ledger import TASK_HOLDER, Ledger
from ..world import PlannedStep, Refusal, Risk, World
from . import past
from .candidate import Candidate, Check

QUIET_AFTER = timedelta(minutes=10)
CAUSE = "Maintenance"


def refusal(
    stack: Stack,
    ledgers: Mapping[str, Ledger],
    planned: PlannedStep,
    holder: str,
    attempt_id: str,
    now: datetime,
) -> Refusal | None:
    """Why it may not act now; an attempt that is entered already was allowed, and only asks who holds its target."""
    world = World(stack=stack, ledgers=ledgers)
    spec = StepSpec(action=planned.action)
    candidate = Candidate(stack, world, IncidentStatus(), holder, CAUSE, (), spec, planned, now)
    checks = CHECKS[:1] if candidate.ledger.find(attempt_id) else CHECKS
    return next((found for check in checks if (found := check(candidate)) is not None), None)


def planned_step(component: str, action: str, cooldown: timedelta) -> PlannedStep:
    """What the rails must know of it."""
    return PlannedStep(action, component, Risk.DISRUPTIVE, {}, "", cooldown)


def _at_work(c: Candidate) -> Refusal | None:
    """A step without a verdict is at work, even while nobody renews its Lease."""
    others = [a for a in c.ledger.attempts if not a.outcome and not a.incident.startswith(TASK_HOLDER)]
    if not others:
        return None
    return Refusal("4-one-actor", "TargetBusy", f"{others[-1].action} of an incident is at work on {c.planned.component}")


def _just_acted(c: Candidate) -> Refusal | None:
    done = [a for a in c.ledger.attempts if a.outcome not in ("", "Skipped") and not a.incident.startswith(TASK_HOLDER)]
    ends = [(a.finished or a.at, a.action) for a in done]
    last, action = max(ends, default=(None, ""))
    if last is None or c.now >= last + QUIET_AFTER:
        return None
    text = f"{action} of an incident ended on {c.planned.component} at {format_time(last)}"
    return Refusal("6-cooldown", "Cooldown", text, last + QUIET_AFTER)


CHECKS: tuple[Check, ...] = (
    past.one_actor,
    _at_work,
    _just_acted,
    past.cooldown,
    past.backoff,
    past.breaker,
    past.target_budget,
    past.stack_budget,
)
