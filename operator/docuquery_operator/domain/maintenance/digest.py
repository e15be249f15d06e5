"""After a window: what of its incidents nobody was told of, in one message that wakes nobody. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.common import Severity, format_time
from ...api.communication import Communication
from ...api.incident import Incident, Notification, Phase
from ...api.maintenance_window import Digest, MaintenanceWindow, MaintenanceWindowStatus, PastWindow
from ...api.stack import Stack
from ..paging import people
from ..paging.messages import Message
from ..paging.outbox import TRIES, backoff
from ..redaction import redact
from ..world import Delivery

# An operator that was away for longer tells nothing of a window that is long over.
WITHIN = timedelta(hours=24)
WHAT, TO = "MutedDigest", "onCall"
# The first of these that the Stack has; calls and pages are not for this.
CHANNELS = ("slack", "webhook", "email")
LINES = 12
LATER = timedelta(seconds=15)


@dataclass(frozen=True)
class DigestPlan:
    """The digest to keep, what to send of it, and when to look again. settled: keys of tries that it has taken over."""

    digest: Digest | None
    send: tuple[Notification, ...] = ()
    look_again: datetime | None = None
    settled: tuple[str, ...] = ()


def due(window: MaintenanceWindow, status: MaintenanceWindowStatus, now: datetime) -> PastWindow | None:
    """The window that is over and of which nothing was told yet."""
    past = next((p for p in reversed(status.history) if p.outcome != "Missed"), None)
    if past is None or status.active is not None or window.spec.effects.paging == "None":
        return None
    told = status.digest is not None and status.digest.since == past.since
    return None if told or now - past.until > WITHIN else past


def compose(
    window: MaintenanceWindow, past: PastWindow, incidents: Iterable[Incident], talk: Communication | None, now: datetime
) -> Digest:
    """Of all incidents whose paging it has held or lowered; where there are none, nothing is sent."""
    touched = [i for i in incidents if _touched(i, window, past)]
    touched.sort(key=lambda i: (i.status.severity or Severity.P3 if i.status else Severity.P3, i.metadata.name))
    lines = [_line(i, past) for i in touched[:LINES]]
    channel = _channel(talk) if talk is not None and touched else ""
    key = f"digest-{past.since:%Y%m%dT%H%M%S}/{channel}"
    notes = [Notification(key=key, what=WHAT, to=TO, channel=channel, ordered_at=now)] if channel else []
    return Digest(since=past.since, until=past.until, incidents=len(touched), lines=lines, notifications=notes)


def keep(digest: Digest | None, deliveries: Mapping[str, Delivery], now: datetime) -> DigestPlan:
    """Take over what became of it; a few tries, then it is left: all of it stands in the incidents too."""
    if digest is None:
        return DigestPlan(None)
    notes = [_after(n, deliveries.get(n.key)) for n in digest.notifications]
    open_ = [n for n in notes if n.state == "Due"]
    ready = tuple(n for n in open_ if n.next_at is None or n.next_at <= now)
    looks = [n.next_at for n in open_ if n.next_at is not None and n.next_at > now] + ([now + LATER] if ready else [])
    kept = digest.model_copy(update={"notifications": notes})
    return DigestPlan(kept, ready, min(looks, default=None), tuple(deliveries))


def message(window: MaintenanceWindow, stack: Stack, digest: Digest, note: Notification, now: datetime) -> Message:
    """The one message."""
    meta, uid = window.metadata, window.metadata.uid
    open_ = sum(" still open" in line for line in digest.lines)
    title = f"Maintenance window {meta.name} is over: {digest.incidents} incidents were muted, {open_} still open"
    return Message(
        key=f"{uid}/{note.key}",
        alert=f"{uid}/digest",
        thread=f"{uid}/{note.key}",
        kind="update",
        what=WHAT,
        severity=Severity.P3,
        title=title[:150],
        text=text(window, digest),
        to=TO,
        contacts=people.contacts(stack.spec.communication, TO, now),
        namespace=meta.namespace,
        stack=stack.metadata.name,
        component="",
        incident=meta.name,
        incident_type="MaintenanceWindow",
        phase="",
        at=note.ordered_at or now,
    )


def text(window: MaintenanceWindow, digest: Digest) -> str:
    """For people: when, and what of."""
    more = digest.incidents - len(digest.lines)
    lines = [
        f"Maintenance window {window.metadata.name} was open from {format_time(digest.since)[:19]}Z to "
        f"{format_time(digest.until)[:19]}Z. Its paging effect touched {digest.incidents} incidents:",
        *digest.lines,
        *([f"and {more} more"] if more > 0 else []),
        f"Look: kubectl -n {window.metadata.namespace} get incidents",
    ]
    return "\n".join(lines)[:2800]


def _touched(incident: Incident, window: MaintenanceWindow, past: PastWindow) -> bool:
    paging = incident.status.paging if incident.status else None
    if paging is None or window.metadata.name not in paging.windows:
        return False
    return paging.since < past.until and (paging.ended_at or paging.until) > past.since


def _line(incident: Incident, past: PastWindow) -> str:
    status = incident.status
    assert status is not None
    cause = f", {status.cause.name}" if status.cause else ""
    over = status.phase is Phase.RESOLVED and status.times.resolved_at is not None
    end = f"over since {format_time(status.times.resolved_at)[:19]}Z" if over and status.times.resolved_at else "still open"
    what = f"{status.severity} {incident.metadata.name}: {incident.spec.type}{cause}"
    where = f" on {status.component}" if status.component else ""
    flat = " ".join(redact(f"{what}{where}, {end}").split())
    return "".join(c for c in flat if c.isprintable())[:512]


def _channel(talk: Communication) -> str:
    mail = any("@" in c for c in talk.contacts.on_call)
    return next((c for c in CHANNELS if c in talk.channels and (c != "email" or mail)), "")


def _after(note: Notification, seen: Delivery | None) -> Notification:
    if seen is None or note.state != "Due":
        return note
    tries = note.attempts + 1
    if seen.accepted:
        changes: dict[str, object] = {"state": "Sent", "sent_at": seen.at, "receipt": seen.note[:256] or None}
        return note.model_copy(update=changes | {"attempts": tries, "next_at": None, "problem": None})
    wait = max(backoff(note.key, tries, seen.hard), seen.retry_after)
    state = "Failed" if tries >= TRIES else "Due"
    return note.model_copy(update={"state": state, "attempts": tries, "next_at": seen.at + wait, "problem": seen.note[:256]})


def readable(objects: Sequence[Mapping[str, object]]) -> list[Incident]:
    """Incidents of the Stack's namespace; one that cannot be read says so itself."""
    found = []
    for obj in objects:
        try:
            found.append(Incident.model_validate(obj))
        except ValueError:
            continue
    return found
