"""What people answer: who has taken the incident, how long that holds, and whether it came in time. Pure."""

from __future__ import annotations

from datetime import datetime

from ...api.communication import Communication
from ...api.incident import Acknowledged, Phase
from ..incidents.draft import Draft
from ..incidents.lifecycle import severity_of
from ..maintenance import effects
from ..world import World
from . import escalation


def acknowledge(d: Draft, w: World) -> None:
    """Take over who has acknowledged, let it expire, and keep the response deadline's state. The incident is not over."""
    said, opened = _of_this_round(d), d.status.times.opened_at or d.now
    if said is not None:
        _take(d, w, said, opened)
    elif d.status.holds("Acknowledged") or d.status.acknowledgement is not None:
        d.condition("Acknowledged", False, "TakenBack", "spec.acknowledged was removed")
        d.update(acknowledgement=None)
        d.times(acknowledged_at=None)
    _expire(d)
    _response(d)


def _of_this_round(d: Draft) -> Acknowledged | None:
    """Who took the round before has not taken this one."""
    said, times = d.incident.spec.acknowledged, d.status.times
    opened = times.opened_at or d.now
    if said is not None and d.status.round > 1 and (said.at is None or said.at < min(times.detected_at or opened, opened)):
        return None
    return said


def _take(d: Draft, w: World, said: Acknowledged, opened: datetime) -> None:
    talk = w.stack.spec.communication if w.stack else Communication()
    before = d.status.acknowledgement
    ack = escalation.taken(before, said, severity_of(d.status), talk, opened, d.now)
    if ack is before:
        return
    d.update(acknowledgement=ack)
    d.times(acknowledged_at=d.status.times.acknowledged_at or ack.at)
    d.tell("Acknowledged", f"by {ack.by}", announce=False)
    d.condition("Acknowledged", True, "ByPerson", f"by {ack.by}")


def _expire(d: Draft) -> None:
    ack = d.status.acknowledgement
    if ack is None or ack.expired:
        return
    if d.now < ack.until:
        d.look(ack.until)
        return
    d.update(acknowledgement=ack.model_copy(update={"expired": True}))
    text = f"{ack.by} took it {ack.until - ack.at} ago and it is not over; the escalation goes on"
    d.condition("Acknowledged", False, "Expired", text)
    d.tell("AcknowledgementExpired", text, warning=True)


def _response(d: Draft) -> None:
    opened, current = d.status.times.opened_at, d.status.deadlines
    if opened is None or current is None or d.status.phase is Phase.RESOLVED or effects.muted(d.status):
        return
    opened = effects.clock_from(d.status, opened)
    changed, news = escalation.response(current, opened, d.status.times.acknowledged_at, d.now)
    d.update(deadlines=changed)
    for item in news:
        if item == "Breached":
            d.tell("ResponseTimeBreached", f"nobody acknowledged by {changed.respond_by:%H:%M:%S} UTC", warning=True)
        else:
            d.tell("ResponseTimeWarning", f"{item}% of the response time has passed without an answer", warning=True)
    at = escalation.next_look(changed, opened, d.now)
    if at is not None:
        d.look(at)
