"""What a chat keeps of an incident: the thread of its round, the buttons of its message, and what was done. Pure."""

from __future__ import annotations

import re

from ...api.incident import Incident, IncidentStatus, Notification, Phase, StepState
from .buttons import Button

# A receipt that names the message that began a thread: channel and time, by which Slack knows a message.
RECEIPT = re.compile(r"thread ([A-Z0-9]{2,32}/[0-9]{1,16}\.[0-9]{1,10})")


def receipt(parent: str) -> str:
    """What is noted of a message in a thread."""
    return f"thread {parent}"


def parent(status: IncidentStatus, channel: str) -> str:
    """The message that began this round's thread, '' when there is none yet."""
    mine = (n for n in status.notifications if n.channel == channel and n.key.startswith(f"r{status.round}/"))
    found = (RECEIPT.fullmatch(n.receipt) for n in mine if n.state == "Sent" and n.receipt)
    return next((m[1] for m in found if m is not None), "")


def button(incident: Incident, status: IncidentStatus) -> Button | None:
    """What an answer would be about: the step that waits for one, or the incident alone."""
    if status.phase is Phase.RESOLVED:
        return None
    waits = (s for s in status.steps if s.state is StepState.AWAITING_APPROVAL and s.round == status.round)
    step = next(waits, None)
    meta = incident.metadata
    plan = (step.name, step.plan_digest or "") if step is not None else ("", "")
    return Button(meta.namespace, meta.name, meta.uid, status.round, *plan)


def change(incident: Incident, status: IncidentStatus, note: Notification) -> str:
    """What the operator has begun to do, in one line."""
    step = next((s for s in status.steps if s.attempt_id and f"/change-{s.attempt_id}/" in note.key), None)
    name = f"{incident.spec.stack_ref.name}/{incident.metadata.name}"
    if step is None:
        return f"a step of the remedy ({name})"
    on = f" on {step.component}" if step.component else ""
    return f"{step.name}{on}: {step.summary} ({name})"
