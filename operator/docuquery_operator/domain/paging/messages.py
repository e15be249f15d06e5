"""What people are told: what, since when, what was tried and why that stopped, what to do next, and where to look. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ...api.common import Severity, delta, format_time
from ...api.communication import Communication
from ...api.incident import Incident, IncidentStatus, Notification, Paging, Phase, Step
from ...api.stack import Stack
from ..incidents import alerts
from ..incidents.review import WRITE_IT, lines_of
from ..maintenance import effects
from ..redaction import redact
from ..reports.incident import durations
from . import people, threads
from .buttons import Button

Kind = Literal["trigger", "update", "acknowledge", "resolve", "change"]
TITLE, LINE, TEXT = 150, 300, 2800
STEPS_TOLD, NAMED = 4, 20
KINDS: dict[str, Kind] = {
    "Step": "trigger",
    "AckExpired": "trigger",
    "NeedsHuman": "trigger",
    "NeedsApproval": "trigger",
    "TeamUpdate": "update",
    "StakeholderUpdate": "update",
    "MutedDigest": "update",
    "Acknowledged": "acknowledge",
    "Resolved": "resolve",
    "ReviewDue": "update",
    "FollowUpDue": "update",
    "Change": "change",
}
GROUPS = {
    "onCall": "on call",
    "teamLead": "team lead",
    "engineeringManager": "engineering manager",
    "cto": "CTO",
    "stakeholders": "stakeholders",
}


@dataclass(frozen=True)
class Message:
    """One message, the same for every channel.

    key: identity over all tries. alert: identity of the alert that it raises, takes or ends at a paging service.
    thread: what all messages of a round share. members: incidents that one message covers.
    parent: where a channel keeps that thread, as one of its receipts says. button: what an answer is about, None when none
    is wanted any more. taken: somebody has it already.
    """

    key: str
    alert: str
    thread: str
    kind: Kind
    what: str
    severity: Severity
    title: str
    text: str
    to: str
    contacts: tuple[str, ...]
    namespace: str
    stack: str
    component: str
    incident: str
    incident_type: str
    phase: str
    at: datetime
    links: tuple[tuple[str, str], ...] = ()
    members: tuple[str, ...] = ()
    parent: str = ""
    button: Button | None = None
    taken: bool = False


def message(incident: Incident, stack: Stack, note: Notification, now: datetime) -> Message:
    """The message of one entry of the outbox, from the incident as it is now."""
    status = incident.status or IncidentStatus()
    talk, uid = stack.spec.communication, incident.metadata.uid
    severity = effects.paged_as(status)
    first = min(talk.escalation, key=lambda s: delta(s.after)).to if talk.escalation else note.to
    return Message(
        key=f"{uid}/{note.key}",
        alert=uid if note.to in ("", first) else f"{uid}/{note.to}",
        thread=f"{uid}/r{status.round}",
        kind=KINDS.get(note.what, "update"),
        what=note.what,
        severity=severity,
        title=_title(incident, status, note, severity),
        text=_text(incident, status, stack, note, now),
        to=note.to,
        contacts=recipients(talk, note, now),
        namespace=incident.metadata.namespace,
        stack=stack.metadata.name,
        component=status.component or incident.spec.component or "",
        incident=incident.metadata.name,
        incident_type=incident.spec.type,
        phase=status.phase.value,
        at=note.ordered_at or now,
        links=tuple((_line(k.text, 60), k.href) for k in talk.links),
        parent=threads.parent(status, note.channel),
        button=threads.button(incident, status),
        taken=status.holds("Acknowledged"),
    )


def recipients(talk: Communication, note: Notification, now: datetime) -> tuple[str, ...]:
    """Who is meant; the team's update goes to the first two groups."""
    groups = ("onCall", "teamLead") if note.what == "TeamUpdate" else (note.to,)
    found = [c for g in groups if g in GROUPS for c in people.contacts(talk, g, now)]
    return tuple(dict.fromkeys(found))


def together(messages: Sequence[Message]) -> Message:
    """One message instead of a flood: named for the worst and oldest of them, and naming the others."""
    worst = min(messages, key=lambda m: (m.severity, m.at, m.key))
    if len(messages) == 1:
        return worst
    by = {s: sum(m.severity is s for m in messages) for s in Severity}
    counts = ", ".join(f"{n} {s}" for s, n in by.items() if n)
    lines = [f"{m.severity} {m.incident}: {m.incident_type}" for m in sorted(messages, key=lambda m: (m.severity, m.key))]
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    text = "\n".join(
        [f"{len(messages)} incidents of Stack {worst.stack} ({counts}):", *lines[:NAMED], *more, "", worst.text]
    )
    return replace(
        worst,
        title=f"{len(messages)} incidents ({counts}), first {worst.title}"[:TITLE],
        text=text[:TEXT],
        contacts=tuple(dict.fromkeys(c for m in messages for c in m.contacts)),
        members=tuple(m.incident for m in messages),
    )


def _title(incident: Incident, status: IncidentStatus, note: Notification, severity: Severity) -> str:
    if note.what == "Change":
        return _line(threads.change(incident, status, note), TITLE)
    name = incident.spec.title or incident.spec.type
    target = f" on {status.component}" if status.component else ""
    ack = status.acknowledgement
    lead = {
        "Resolved": "Resolved: ",
        "Acknowledged": f"Taken by {ack.by}: " if ack else "Taken: ",
        "AckExpired": "Still open, acknowledgement expired: ",
        "NeedsHuman": "Needs you: ",
        "NeedsApproval": "Needs an approval: ",
        "TeamUpdate": "Update: ",
        "StakeholderUpdate": "Update: ",
        "ReviewDue": "The review is missing: ",
        "FollowUpDue": "Follow-ups are due: ",
    }.get(note.what, f"For the {GROUPS.get(note.to, note.to)}: ")
    return _line(f"{lead}{severity} {name}{target} ({incident.spec.stack_ref.name}/{incident.metadata.name})", TITLE)


def _text(incident: Incident, status: IncidentStatus, stack: Stack, note: Notification, now: datetime) -> str:
    if note.what == "StakeholderUpdate":
        lines = _for_stakeholders(incident, status, now)
    elif note.what in ("ReviewDue", "FollowUpDue"):
        lines = [*_what(incident, status, stack, now), *_to_review(incident, note, now), *_where(incident, status)]
    else:
        lines = [*_what(incident, status, stack, now), *_tried(status), *_next(incident, status), *_where(incident, status)]
    return "\n".join(lines)[:TEXT]


def _what(incident: Incident, status: IncidentStatus, stack: Stack, now: datetime) -> list[str]:
    times, cause = status.times, status.cause
    since = times.detected_at or times.opened_at or now
    took = f"{format_time(times.resolved_at)[:19]}Z" if times.resolved_at else f"open for {_minutes(since, now)}"
    of = f"{incident.spec.type} on {status.component or 'the Stack'} of Stack {stack.metadata.name}"
    lines = [
        f"What: {of}, namespace {stack.metadata.namespace}",
        f"Since: {format_time(since)[:19]}Z, {'over at ' if times.resolved_at else ''}{took}",
        f"State: {status.phase}. {_line(status.summary)}",
    ]
    if incident.spec.description:
        lines.append(f"Seen: {_line(incident.spec.description)}")
    if incident.spec.alerts:
        lines.append(f"Alerts: {_line(alerts.line(incident))}")
    if status.paging is not None:
        lines.append(_paging(status, status.paging))
    if cause is not None:
        lines.append(f"Cause: {cause.name} (confidence {cause.confidence}): {_line(cause.message)}")
    if status.open_follow_ups:
        lines.append(f"Still to do since earlier incidents of this cause: {_line('; '.join(status.open_follow_ups), 600)}")
    return lines + ([f"Took: {took_in_words(status)}"] if times.resolved_at else [])


def took_in_words(status: IncidentStatus) -> str:
    """How long it took to each mark, and whether somebody answered in time."""
    marks = [f"{name} after {in_words(value)}" for name, value in durations(status).items()]
    answer = [ANSWERED[status.deadlines.response]] if status.deadlines is not None else []
    return ", ".join([*marks, *answer])


ANSWERED = {
    "Met": "answered in time",
    "Breached": "not answered in time",
    "NotNeeded": "over before an answer was due",
    "Pending": "no answer yet",
}


def in_words(seconds: float) -> str:
    """Such as 45s, 12m30s or 4h02m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole // 60 % 60:02d}m"


def _to_review(incident: Incident, note: Notification, now: datetime) -> list[str]:
    if note.what == "ReviewDue":
        return [f"Next: {WRITE_IT}"]
    return [f"Due: {_line(line)}" for line in lines_of(incident, now)[: STEPS_TOLD * 2]]


def _paging(status: IncidentStatus, paging: Paging) -> str:
    """Why it is told late, or as less than it is."""
    names = ", ".join(paging.windows)
    since, until = (f"{format_time(t)[:19]}Z" for t in (paging.since, paging.ended_at or paging.until))
    if paging.effect == "Mute":
        return f"Muted: from {since} to {until} by maintenance window {names}"
    what = f"told as {effects.paged_as(status)} instead of {status.severity}" if paging.ended_at is None else "told as less"
    return f"Downgraded: {what} from {since} to {until} by maintenance window {names}"


def _tried(status: IncidentStatus) -> list[str]:
    mine = [s for s in status.steps if s.round == status.round and (s.attempt_id or s.effect_at)]
    lines = [f"Tried: {_step(s)}" for s in mine[-STEPS_TOLD:]] or ["Tried: nothing so far"]
    human = status.condition("NeedsHuman")
    refused = status.decisions[-1] if status.decisions else None
    if status.phase is Phase.RESOLVED:
        return lines
    if human is not None and human.status == "True":
        lines.append(f"Stopped: {human.reason}")
    elif refused is not None and status.holds("HealBlocked"):
        lines.append(f"Held back: {_line(refused.message)} (rule {refused.rule})")
    return lines


def _step(step: Step) -> str:
    return f"{step.name}{f' on {step.component}' if step.component else ''}: {step.state}. {_line(step.summary, 160)}"


def _next(incident: Incident, status: IncidentStatus) -> list[str]:
    if status.phase is Phase.RESOLVED:
        return []
    for name in ("NeedsApproval", "NeedsHuman"):
        found = status.condition(name)
        if found is not None and found.status == "True":
            return [f"Next: {_line(found.message, 600)}"]
    return ["Next: the operator goes on by itself; it tells when a person must act"]


def _where(incident: Incident, status: IncidentStatus) -> list[str]:
    namespace, name = incident.metadata.namespace, incident.metadata.name
    lines = [f"Look: kubectl -n {namespace} get incident {name} -o yaml"]
    if status.report is not None:
        lines.append(f"Report: kubectl -n {namespace} get configmap {status.report.config_map} -o yaml")
    if status.phase is not Phase.RESOLVED:
        body = '\'{"spec":{"acknowledged":{"by":"<you>","at":"<now>"}}}\''
        lines.append(f"Acknowledge: kubectl -n {namespace} patch incident {name} --type merge -p {body}")
    return lines


def _for_stakeholders(incident: Incident, status: IncidentStatus, now: datetime) -> list[str]:
    """Whoever does not work on it is told how it stands, and no internals."""
    since = status.times.detected_at or status.times.opened_at or now
    public = [_line(incident.spec.public_message, 600)] if incident.spec.public_message else []
    return [
        *public,
        f"Incident {incident.metadata.name} of Stack {incident.spec.stack_ref.name}, severity {status.severity}.",
        f"Since {format_time(since)[:19]}Z, open for {_minutes(since, now)}. State: {status.phase}.",
    ]


def _minutes(since: datetime, now: datetime) -> str:
    minutes = max(0, int((now - since).total_seconds() // 60))
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"


def _line(text: str, limit: int = LINE) -> str:
    """Text from outside is data: one line, without secrets and control characters, capped (rule 31)."""
    flat = " ".join(redact(text).split())
    return "".join(c for c in flat if c.isprintable())[:limit]
