"""Approvals: what is asked for, for how long, and what counts as a yes (rule 20)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ...api.alerts import SLACK_USER, Approver
from ...api.common import HealMode, Severity, format_time
from ...api.incident import Approval, Step, StepState
from ..maintenance import effects
from ..world import PlannedStep, Risk
from . import lifecycle
from .draft import Draft

CREATED_BY = "ops.docuquery.ai/created-by"
TWO_PERSONS = (
    f"; this needs two persons: whoever opened the incident (annotation {CREATED_BY}) and another one, or two answers"
)
APPROVAL_TIME = {
    Severity.P0: timedelta(minutes=15),
    Severity.P1: timedelta(minutes=15),
    Severity.P2: timedelta(minutes=30),
    Severity.P3: timedelta(hours=4),
}


def needed(d: Draft, planned: PlannedStep) -> bool:
    """Whether a person must say yes first."""
    return planned.needs_approval or (d.status.mode is HealMode.APPROVE and planned.risk is not Risk.NONE)


def as_asked(d: Draft, planned: PlannedStep, name: str, cause: str) -> PlannedStep:
    """What a person was asked about, while an answer is awaited: that is held against the rails, and nothing newer."""
    waiting = _waiting(d, name, cause)
    if waiting is None or waiting.component is None or not needed(d, planned):
        return planned
    return replace(planned, component=waiting.component, plan=waiting.plan or {}, summary=waiting.summary)


def approved(d: Draft, planned: PlannedStep, name: str, cause: str, approvers: Sequence[Approver] = ()) -> bool:
    """Whether the plan may begin now: none needs approval, or a person approved exactly this one in time (rule 20).

    approvers: who may answer by a button, and who that is.
    """
    if not needed(d, planned):
        return True
    waiting = _waiting(d, name, cause)
    if waiting is None:
        _ask(d, planned, name, cause)
        return False
    said = [a for a in d.incident.spec.approvals if (a.step, a.plan_digest) == (name, waiting.plan_digest)]
    users = {a.id: a.user for a in approvers}
    answers = [a for a in said if a.by in users or not re.fullmatch(SLACK_USER, a.by)]
    answer = answers[-1] if answers else None
    expired = waiting.approval_until is not None and d.now >= waiting.approval_until
    lone = planned.two_persons and _lone(d, answers, users)
    if answer is not None and answer.decision == "Approve" and not expired and not lone:
        d.put_step(waiting.model_copy(update={"approval_by": answer.by}))
        d.condition("NeedsApproval", False, "Approved", f"{name} was approved by {answer.by}")
        d.tell("Approved", f"{name} by {answer.by}")
        return True
    if answer is not None and answer.decision == "Reject":
        _not_approved(d, waiting, "Rejected", f"rejected by {answer.by}")
    elif expired:
        missing = "nobody else approved in time" if lone else "it could not begin in time; a new answer is needed"
        late = f"approved by {answer.by}, but {missing}" if answer else ""
        _not_approved(d, waiting, "ApprovalExpired", late or "nobody answered in time; no answer is a no")
    else:
        _wait(d, waiting, TWO_PERSONS if planned.two_persons else "")
    return False


def _lone(d: Draft, answers: Sequence[Approval], users: Mapping[str, str]) -> bool:
    """Whether fewer than two persons want it: whoever opened the incident is one, when that is known (rule 20).

    Who answers by a button and by kubectl is one person all the same.
    """
    last = {users.get(a.by, a.by): a.decision for a in answers}
    opener = d.incident.metadata.annotations.get(CREATED_BY, "")
    return len({by for by, decision in last.items() if decision == "Approve"} | ({opener} if opener else set())) < 2


def tidy(d: Draft) -> None:
    """Nobody is asked for an answer that would do nothing: the step is over, or the mode lets nothing be done."""
    waiting = any(s.state is StepState.AWAITING_APPROVAL and s.round == d.status.round for s in d.status.steps)
    if d.status.holds("NeedsApproval") and (not waiting or d.status.mode in (HealMode.OBSERVE, HealMode.OFF)):
        d.condition("NeedsApproval", False, "NotAsked", "nothing waits for an answer now")


def _not_approved(d: Draft, waiting: Step, reason: str, why: str) -> None:
    d.put_step(waiting.model_copy(update={"state": StepState.SKIPPED, "finished_at": d.now, "summary": why}))
    d.condition("NeedsApproval", False, reason, f"{waiting.name}: {why}")
    lifecycle.needs_human(d, reason, f"{waiting.name}: {why}")


def _waiting(d: Draft, name: str, cause: str) -> Step | None:
    return next(
        (
            s
            for s in d.status.steps
            if (s.name, s.cause, s.round) == (name, cause, d.status.round) and s.state is StepState.AWAITING_APPROVAL
        ),
        None,
    )


def _ask(d: Draft, planned: PlannedStep, name: str, cause: str) -> None:
    step = Step(
        name=name,
        kind=planned.action,
        component=planned.component,
        cause=cause,
        round=d.status.round,
        state=StepState.AWAITING_APPROVAL,
        plan=dict(planned.plan),
        plan_digest=plan_digest(d, planned, name, cause),
        approval_until=effects.asked_from(d) + APPROVAL_TIME[lifecycle.severity_of(d.status)],
        summary=planned.summary[:512],
    )
    d.put_step(step)
    d.tell("ApprovalNeeded", _wait(d, step, TWO_PERSONS if planned.two_persons else ""), warning=True)


def _wait(d: Draft, step: Step, also: str) -> str:
    """Say what is waited for, and how it is given."""
    until = step.approval_until or d.now
    text = (
        f"{step.summary}. To approve until {format_time(until)}: add to spec.approvals "
        f"{{step: {step.name}, planDigest: {step.plan_digest}, by: <you>, decision: Approve}}{also}"
    )
    d.condition("NeedsApproval", True, "WaitingForApproval", text)
    d.summary(f"waiting for approval of {step.name}: {step.summary}")
    d.look(until)
    return text


def attempt_id(uid: str, round_: int, cause: str, step: str) -> str:
    """Identity of an effect: the same for the same step of the same round, so a repeated decision repeats nothing."""
    return hashlib.sha256(f"{uid}/{round_}/{cause}/{step}".encode()).hexdigest()[:16]


def plan_digest(d: Draft, planned: PlannedStep, name: str, cause: str) -> str:
    """What an approval is bound to: one plan of one attempt, so that no later round can use the answer again."""
    attempt = attempt_id(d.incident.metadata.uid, d.status.round, cause, name)
    text = json.dumps([attempt, planned.action, planned.component, planned.plan], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
