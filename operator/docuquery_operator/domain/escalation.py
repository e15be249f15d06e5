"""Deadlines and the escalation path, frozen as absolute times when the incident begins."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ..api.common import Severity, delta
from ..api.communication import Communication
from ..api.incident import Deadlines, EscalationEntry

WARN_AT = (50, 80)


def deadlines(severity: Severity, communication: Communication, opened: datetime) -> Deadlines:
    """Absolute due times of this severity; source: the runbook's "Response Times" and "Incident Communication"."""
    return Deadlines(
        respond_by=opened + delta(communication.response_times.of(severity)),
        team_update_by=opened + delta(communication.updates.team),
        stakeholders_by=opened + delta(communication.updates.stakeholders),
    )


def path(severity: Severity, communication: Communication, opened: datetime) -> list[EscalationEntry]:
    """The escalation path; P2 and P3 stop at the second step."""
    steps = communication.escalation if severity in (Severity.P0, Severity.P1) else communication.escalation[:2]
    return [EscalationEntry(to=s.to, due_at=opened + delta(s.after)) for s in steps]


def response(
    current: Deadlines, opened: datetime, acknowledged: datetime | None, now: datetime
) -> tuple[Deadlines, list[str]]:
    """Deadlines with the state of the response, and the warnings that are new: '50', '80' or 'Breached', each once."""
    if current.response in ("Met", "NotNeeded"):
        return current, []
    met = acknowledged is not None and acknowledged <= current.respond_by
    news: list[str] = []
    state: Literal["Pending", "Met", "Breached", "NotNeeded"] = "Met" if met else current.response
    warned = current.warned_percent
    if state == "Pending" and now > current.respond_by:
        state, news = "Breached", ["Breached"]
    if state == "Pending":
        total = (current.respond_by - opened).total_seconds()
        share = 100 * (now - opened).total_seconds() / total if total > 0 else 100.0
        due = [p for p in WARN_AT if share >= p > warned]
        if due:
            warned, news = max(due), [str(max(due))]
    return current.model_copy(update={"response": state, "warned_percent": warned}), news


def next_look(current: Deadlines | None, opened: datetime | None, now: datetime) -> datetime | None:
    """When the next warning or the breach is due."""
    if current is None or opened is None or current.response != "Pending":
        return None
    total = current.respond_by - opened
    times = [opened + total * p / 100 for p in WARN_AT if p > current.warned_percent] + [current.respond_by]
    return min((t for t in times if t > now), default=None)
