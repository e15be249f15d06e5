"""The report of an incident: Markdown for people, JSON for machines, from status and evidence alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...api.common import format_time
from ...api.incident import Incident, IncidentStatus, Notification, Step
from ..incidents.review import REVIEWED, of_this_round
from ..redaction import redact

EVIDENCE_LIMIT = 256 * 1024


def report_json(incident: Incident) -> dict[str, Any]:
    """The figures: times, durations in seconds, cause, steps, decisions, timeline."""
    status = incident.status or IncidentStatus()
    return {
        "incident": incident.metadata.name,
        "namespace": incident.metadata.namespace,
        "stack": incident.spec.stack_ref.name,
        "type": incident.spec.type,
        "status": status.to_wire(),
        "seconds": durations(status),
        "review": incident.spec.review.to_wire() if incident.spec.review is not None else None,
    }


def durations(status: IncidentStatus) -> dict[str, float]:
    """Seconds from the opening of this round to each mark that was reached."""
    times = status.times
    if times.opened_at is None:
        return {}
    marks = {
        "acknowledged": times.acknowledged_at,
        "identified": times.identified_at,
        "acted": times.acted_at,
        "mitigated": times.mitigated_at,
        "resolved": times.resolved_at,
    }
    return {k: round((v - times.opened_at).total_seconds(), 3) for k, v in marks.items() if v is not None}


def report_markdown(incident: Incident) -> str:
    """One page that reads from top to bottom: what, why, what was done, what was not, when."""
    status = incident.status or IncidentStatus()
    title = incident.spec.title or incident.spec.type
    lines = [
        f"# Incident {incident.metadata.name}: {_text(title)}",
        "",
        f"- Stack: {incident.spec.stack_ref.name}, component: {status.component or '-'}, severity: {status.severity or '-'}",
        f"- Phase: {status.phase}, mode: {status.mode or '-'}, runbook: {status.runbook or '-'}, round: {status.round}",
        *[f"- {name} after {value:.1f} s" for name, value in durations(status).items()],
        f"- Response by {_time(status.deadlines.respond_by)}: {status.deadlines.response}" if status.deadlines else "",
        "",
        "## Cause",
        "",
        *_cause(status),
        *_earlier(status),
        "## What was done",
        "",
        *([_step(s) for s in status.steps] or ["Nothing."]),
        "",
        "## What was not done, and why",
        "",
        *(
            [f"- {_time(d.at)} {d.step or 'all'}: {_text(d.message)} (rule {d.rule}, {d.reason})" for d in status.decisions]
            or ["Nothing was refused."]
        ),
        "",
        "## Who was told",
        "",
        *([_told(n) for n in status.notifications] or ["Nobody."]),
        "",
        *_review(incident, status),
        "## Timeline (UTC)",
        "",
        *[f"- {_time(e.at)} **{e.event}** {_text(e.message)}" for e in status.timeline],
        "",
    ]
    return "\n".join(lines)


def _cause(status: IncidentStatus) -> list[str]:
    if status.cause is None:
        return ["No cause was named.", ""]
    cause = status.cause
    return [
        f"**{cause.name}** (confidence {cause.confidence}): {_text(cause.message)}",
        "",
        *[f"- {_text(line)}" for line in cause.evidence],
        "",
    ]


def _earlier(status: IncidentStatus) -> list[str]:
    if not status.open_follow_ups:
        return []
    return ["Still open since earlier incidents of this cause:", *[f"- {_text(o)}" for o in status.open_follow_ups], ""]


def _told(note: Notification) -> str:
    when = f"{_time(note.sent_at)} " if note.sent_at else ""
    return f"- {when}**{note.what}** to {note.to or 'all'} by {note.channel}: {note.state}"


def _review(incident: Incident, status: IncidentStatus) -> list[str]:
    """What people have written; where a review is asked for, also what they have not."""
    review = of_this_round(incident, status)
    if review is None and status.severity not in REVIEWED:
        return []
    lines = ["## Review", "", f"Root cause: {_text((review and review.root_cause) or 'not written yet')}", ""]
    lines += [f"- Lesson: {_text(line)}" for line in (review.lessons if review else [])]
    for action in review.actions if review else []:
        due = f", due {action.due}" if action.due else ""
        state = "done" if action.done else "open"
        lines.append(f"- Follow-up ({state}): {_text(action.title)}, owner {_text(action.owner)}{due}")
    return [*lines, ""]


def _step(step: Step) -> str:
    took = ""
    if step.started_at and step.finished_at:
        took = f", {(step.finished_at - step.started_at).total_seconds():.1f} s"
    target = f" on {step.component}" if step.component else ""
    by = f", approved by {_text(step.approval_by)}" if step.approval_by else ""
    return f"- **{step.name}**{target}: {step.state}{took}{by}. {_text(step.summary)} (attempt {step.attempt_id or '-'})"


def _time(value: datetime) -> str:
    return format_time(value)[:19].replace("T", " ")


def _text(text: str) -> str:
    """Text from outside is data: no markup of its own, one line (rule 31)."""
    flat = " ".join(redact(text).split())
    return flat.replace("<", "&lt;").replace("|", "\\|").replace("`", "'").replace("[", "\\[").replace("*", "\\*")


def capped_evidence(parts: Mapping[str, str]) -> dict[str, str]:
    """Evidence within its limit as JSON: each part keeps its end, where the newest lines are."""
    names = sum(len(json.dumps(name)) + len(": ,\n ") for name in parts)
    share = max(2, (EVIDENCE_LIMIT - names - len("{\n}")) // max(1, len(parts)))
    return {name: _end_of(redact(text), share) for name, text in parts.items()}


def _end_of(text: str, limit: int) -> str:
    while (size := len(json.dumps(text))) > limit:
        # Characters are escaped into up to twelve.
        text = text[-(len(text) * limit // size) or len(text) :]
    return text
