"""Deadlines and the escalation path, frozen as absolute times when the incident begins. Pure.

A step is told once: `ordered_at` says that its messages are in the outbox, in the same write that puts them there. What an
acknowledgement has stopped is due again when that expires. Of several due steps, as after hours in which the operator was
away, only the highest is told; the lower ones are superseded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from ...api.common import Severity, delta
from ...api.communication import Communication, EscalationStep, Unless
from ...api.incident import Acknowledged, AckState, Deadlines, EscalationEntry
from ..incidents.draft import as_written
from . import people

WARN_AT = (50, 80)
PAGED_TO_THE_END = (Severity.P0, Severity.P1)
STEPS_OF_MINOR = 2


def deadlines(severity: Severity, communication: Communication, opened: datetime) -> Deadlines:
    """Absolute due times of this severity; source: the runbook's "Response Times" and "Incident Communication"."""

    def due(after: str) -> datetime:
        return people.awake_after(communication.quiet_hours, severity, opened, delta(after))

    return Deadlines(
        respond_by=due(communication.response_times.of(severity)),
        team_update_by=due(communication.updates.team),
        stakeholders_by=due(communication.updates.stakeholders),
    )


def path(severity: Severity, communication: Communication, opened: datetime) -> list[EscalationEntry]:
    """The escalation path in the order of its times; P2 and P3 stop at the second step."""
    steps = sorted(enumerate(communication.escalation), key=lambda s: (delta(s[1].after), s[0]))
    kept = steps if severity in PAGED_TO_THE_END else steps[:STEPS_OF_MINOR]
    return [
        EscalationEntry(
            to=step.to,
            due_at=people.awake_after(communication.quiet_hours, severity, opened, delta(step.after)),
            unless=stopped_by(step, place),
        )
        for place, (_, step) in enumerate(kept)
    ]


def stopped_by(step: EscalationStep, place: int) -> Unless:
    """Who has taken it need not call the first two; the others are told as long as it is not over."""
    return step.unless or ("Acknowledged" if place < STEPS_OF_MINOR else "Resolved")


def raised(
    before: Sequence[EscalationEntry], severity: Severity, communication: Communication, now: datetime
) -> list[EscalationEntry]:
    """The path after the severity was raised: the first step is told again, no later step later than it would have been."""
    known = {e.to: e for e in before}
    found = []
    for place, entry in enumerate(path(severity, communication, now)):
        old = known.get(entry.to)
        if place == 0 or old is None:
            found.append(entry)
        elif old.ordered_at is not None or old.superseded:
            found.append(old)
        else:
            found.append(entry.model_copy(update={"due_at": min(old.due_at, entry.due_at)}))
    return found


def next_step(
    entries: Sequence[EscalationEntry], acknowledged: bool, now: datetime
) -> tuple[list[EscalationEntry], EscalationEntry | None]:
    """The path with the step that is to be told now, and that step; None when there is none. The incident is not over."""
    due = [i for i, e in enumerate(entries) if is_open(e) and e.due_at <= now and not stopped(e, acknowledged)]
    if not due:
        return list(entries), None
    top = due[-1]
    found = [e.model_copy(update={"superseded": True}) if i < top and is_open(e) else e for i, e in enumerate(entries)]
    found[top] = entries[top].model_copy(update={"ordered_at": now})
    return found, found[top]


def is_open(entry: EscalationEntry) -> bool:
    """Neither told nor superseded."""
    return entry.ordered_at is None and not entry.superseded


def stopped(entry: EscalationEntry, acknowledged: bool) -> bool:
    """Held back as somebody has the incident."""
    return acknowledged and entry.unless == "Acknowledged"


def next_due(entries: Sequence[EscalationEntry], acknowledged: bool, now: datetime) -> datetime | None:
    """When the next step is due that nothing stops."""
    return min((e.due_at for e in entries if is_open(e) and not stopped(e, acknowledged) and e.due_at > now), default=None)


def taken(
    before: AckState | None,
    said: Acknowledged,
    severity: Severity,
    communication: Communication,
    opened: datetime,
    now: datetime,
) -> AckState:
    """The acknowledgement that spec.acknowledged gives; the one that is known already stays as it is, expired or not."""
    if before is not None and (before.by, before.written_at) == (said.by, as_written(said.at)):
        return before
    at = min(max(said.at or now, opened), now)
    return AckState(
        by=said.by, at=at, until=at + delta(communication.ack_expiry.of(severity)), written_at=as_written(said.at)
    )


def in_force(ack: AckState | None) -> bool:
    """Somebody has it."""
    return ack is not None and not ack.expired


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
