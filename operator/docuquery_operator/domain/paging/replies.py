"""What people answer by a button or at PagerDuty, as changes of an incident's spec. Pure; said again it changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ...api.alerts import SLACK_USER, Approver
from ...api.common import format_time
from ...api.incident import Approval, Incident, IncidentStatus, Phase, StepState
from ..incidents.draft import as_written

# Told to whoever pressed a button that did not count, by the outcome. Words of our own alone.
REASONS = {
    "not_an_approver": "your answer does not count, as the Stack does not name you among its approvers (spec.approvers).",
    "outdated": "this button is of an older round or plan. Use those of the newest message, where it still asks.",
    "over": "it is over already, so nothing was changed.",
    "gone": "there is no such incident any more, so nothing was changed.",
    "full": "it holds as many answers as it can. Answer with kubectl.",
    "known": "that is known already: you have answered, or somebody has taken it since.",
    "namespace_not_watched": "this operator does not watch the namespace of the incident.",
    "not_a_button": "this button is none that the operator can read.",
}
NAME = 200
Decision = Literal["Approve", "Reject"]
ANSWERS_KEPT = 16


@dataclass(frozen=True)
class Reply:
    """What is to be written, None for nothing, and what came of the answer in one word."""

    outcome: str
    spec: dict[str, Any] | None = None


def reason(outcome: str, namespace: str, incident: str) -> str:
    """What is said of an answer that did not count, '' of one that did."""
    why = REASONS.get(outcome)
    if why is None:
        return ""
    of = f"{namespace}/{incident}"[:NAME] if incident else ""
    for raw, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        of = of.replace(raw, escaped)
    return f"{of}: {why}" if of else f"{why[0].upper()}{why[1:]}"


def acknowledge(incident: Incident, round_: int | None, by: str, at: datetime, now: datetime) -> Reply:
    """Somebody takes it. round_: the one that the person saw, None when that is not known. at: when he said so."""
    wrong = _not_now(incident, round_)
    if wrong:
        return Reply(wrong)
    when, said, counted = as_written(min(at, now)) or now, incident.spec.acknowledged, (incident.status or IncidentStatus())
    known = said.at if said is not None and said.at is not None else None
    if known is None and said is not None and counted.acknowledgement is not None:
        known = counted.acknowledgement.at
    if known is not None and when <= known:
        return Reply("known")
    return Reply("acknowledged", {"acknowledged": {"by": by, "at": format_time(when)}})


def resolve(incident: Incident, by: str, note: str, at: datetime, now: datetime) -> Reply:
    """Somebody says that it is over. What was said before this round began is not about it."""
    opened = (incident.status or IncidentStatus()).times.opened_at
    if _not_now(incident, None) or (opened is not None and at < opened):
        return Reply("over")
    return Reply("resolved", {"resolved": {"by": by, "note": note[:2048], "at": format_time(min(at, now))}})


def decide(
    incident: Incident, round_: int, step: str, digest: str, by: str, decision: Decision, approvers: Sequence[Approver]
) -> Reply:
    """An answer to exactly one plan, by somebody whom the Stack names. Whoever said no cannot say yes to it here."""
    if by not in {a.id for a in approvers}:
        return Reply("not_an_approver")
    wrong = _not_now(incident, round_)
    if wrong:
        return Reply(wrong)
    waits = (incident.status or IncidentStatus()).steps
    asked = any(
        (s.name, s.plan_digest, s.round) == (step, digest, round_) and s.state is StepState.AWAITING_APPROVAL for s in waits
    )
    if not asked:
        return Reply("outdated")
    answers = incident.spec.approvals
    mine = [a for a in answers if (a.step, a.plan_digest, a.by) == (step, digest, by)]
    if any(a.decision in (decision, "Reject") for a in mine):
        return Reply("known")
    fresh = Approval(step=step, plan_digest=digest, by=by, decision=decision)
    kept = _with_room(answers, digest)
    if kept is None:
        return Reply("full")
    outcome = "approved" if decision == "Approve" else "rejected"
    return Reply(outcome, {"approvals": [a.to_wire() for a in (*kept, fresh)]})


def _with_room(answers: Sequence[Approval], digest: str) -> list[Approval] | None:
    """Answers by buttons to other plans make room; those that people wrote themselves stay."""
    kept = list(answers)
    while len(kept) >= ANSWERS_KEPT:
        old = next((a for a in kept if re.fullmatch(SLACK_USER, a.by) and a.plan_digest != digest), None)
        if old is None:
            return None
        kept.remove(old)
    return kept


def _not_now(incident: Incident, round_: int | None) -> str:
    status = incident.status
    if status is None:
        return "" if round_ in (None, 1) else "outdated"
    if round_ is not None and round_ != status.round:
        return "outdated"
    return "over" if status.phase is Phase.RESOLVED else ""
