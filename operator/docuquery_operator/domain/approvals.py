"""Approvals: what is asked for, for how long, and what counts as a yes (rule 20)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

from ..api.common import HealMode, Severity, format_time
from ..api.incident import Step, StepState
from . import lifecycle
from .draft import Draft
from .world import PlannedStep, Risk

APPROVAL_TIME = {
    Severity.P0: timedelta(minutes=15),
    Severity.P1: timedelta(minutes=15),
    Severity.P2: timedelta(minutes=30),
    Severity.P3: timedelta(hours=4),
}


def approved(d: Draft, planned: PlannedStep, name: str, cause: str) -> PlannedStep | None:
    """The plan that may begin now: none needs approval, or a person approved exactly this one in time (rule 20)."""
    if not (planned.needs_approval or (d.status.mode is HealMode.APPROVE and planned.risk is not Risk.NONE)):
        return planned
    waiting = waiting_step(d, name, cause)
    if waiting is None:
        _ask(d, planned, name, cause)
        return None
    digest = waiting.plan_digest
    answer = next((a for a in reversed(d.incident.spec.approvals) if (a.step, a.plan_digest) == (name, digest)), None)
    expired = waiting.approval_until is not None and d.now >= waiting.approval_until
    if answer is not None and answer.decision == "Approve" and not expired:
        d.put_step(waiting.model_copy(update={"approval_by": answer.by}))
        d.condition("NeedsApproval", False, "Approved", f"{name} was approved by {answer.by}")
        d.tell("Approved", f"{name} by {answer.by}")
        return replace(planned, plan=waiting.plan or {}, summary=waiting.summary)
    if answer is not None or expired:
        _not_approved(d, waiting, f"rejected by {answer.by}" if answer else "nobody answered in time; no answer is a no")
    elif waiting.approval_until is not None:
        d.look(waiting.approval_until)
    return None


def _not_approved(d: Draft, waiting: Step, why: str) -> None:
    d.put_step(waiting.model_copy(update={"state": StepState.SKIPPED, "finished_at": d.now, "summary": why}))
    reason = "Rejected" if why.startswith("rejected") else "ApprovalExpired"
    d.condition("NeedsApproval", False, reason, f"{waiting.name}: {why}")
    lifecycle.needs_human(d, reason, f"{waiting.name}: {why}")


def waiting_step(d: Draft, name: str, cause: str) -> Step | None:
    return next(
        (
            s
            for s in d.status.steps
            if (s.name, s.cause, s.round) == (name, cause, d.status.round) and s.state is StepState.AWAITING_APPROVAL
        ),
        None,
    )


def _ask(d: Draft, planned: PlannedStep, name: str, cause: str) -> None:
    digest = plan_digest(planned)
    until = d.now + APPROVAL_TIME[lifecycle.severity_of(d.status)]
    d.put_step(
        Step(
            name=name,
            kind=planned.action,
            component=planned.component,
            cause=cause,
            round=d.status.round,
            state=StepState.AWAITING_APPROVAL,
            plan=dict(planned.plan),
            plan_digest=digest,
            approval_until=until,
            summary=planned.summary[:512],
        )
    )
    text = (
        f"{planned.summary}. To approve until {format_time(until)}: add to spec.approvals "
        f"{{step: {name}, planDigest: {digest}, by: <you>, decision: Approve}}"
    )
    d.condition("NeedsApproval", True, "WaitingForApproval", text)
    d.tell("ApprovalNeeded", text, warning=True)
    d.summary(f"waiting for approval of {name}: {planned.summary}")
    d.look(until)


def plan_digest(planned: PlannedStep) -> str:
    """What an approval is bound to."""
    text = json.dumps([planned.action, planned.component, planned.plan], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
