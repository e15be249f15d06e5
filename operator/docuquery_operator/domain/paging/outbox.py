"""The outbox in an incident's status: what is to be told to whom through which channel, and what has become of it. Pure.

A message is ordered in the same write as the fact that it tells; it is sent only after that. An entry whose fate nobody
knows, as after a kill, is sent again under the same key: never lost, and at most once more for each kill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.communication import ChannelName, Communication
from ...api.incident import Incident, IncidentStatus, Notification, Phase, StepState
from ..incidents import lifecycle
from ..incidents.draft import Draft
from ..maintenance import effects
from ..world import Delivery, World
from . import escalation
from .sending import ALERTING, SHARED

CHANNEL_FAILURE = "ChannelFailure"
CHANNEL = "channel"
# Where nothing of the severity's own channels takes a message, the others are tried in this order.
FALLBACK: tuple[ChannelName, ...] = ("pagerduty", "slack", "phone", "email", "webhook", "apprise")
TRIES = 3
FIRST_WAIT, LONGEST_WAIT, HARD_WAIT = timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=5)
# A summary that no channel has taken for so long is not news any more.
SUMMARY_WITHIN = timedelta(hours=24)
KEPT = 60
# A reminder that no channel has taken for so long has been overtaken by other means.
REMINDER_WITHIN = timedelta(days=7)
REMINDERS = ("ReviewDue", "FollowUpDue")
# These call nobody: nobody waits for them by another way, or knows of the incident by them alone.
SILENT = ("Acknowledged", "Resolved", "Change", *REMINDERS)
SAFETY_LOOK = timedelta(seconds=15)


@dataclass
class _Book:
    """The outbox while one decision works on it."""

    d: Draft
    talk: Communication
    excluded: str
    notes: list[Notification]

    @property
    def status(self) -> IncidentStatus:
        return self.d.status

    @property
    def over(self) -> bool:
        return self.status.phase is Phase.RESOLVED

    @property
    def acknowledged(self) -> bool:
        return escalation.in_force(self.status.acknowledgement)

    def has(self, prefix: str) -> bool:
        return any(n.key.startswith(f"{prefix}/") for n in self.notes)

    def mine(self) -> list[Notification]:
        """Entries of this round."""
        return [n for n in self.notes if n.key.startswith(f"r{self.status.round}/")]

    def put(self, what: str, prefix: str, to: str, channels: Iterable[str]) -> bool:
        fresh = [
            Notification(key=f"{prefix}/{c}"[:128], what=what, to=to, channel=c, ordered_at=self.d.now) for c in channels
        ]
        known = {n.key for n in self.notes}
        fresh = [n for n in fresh if n.key not in known]
        self.notes += fresh
        return bool(fresh)

    @property
    def route(self) -> list[str]:
        """Channels of the severity that it is told as."""
        found: list[str] = getattr(self.talk.routes, effects.paged_as(self.status).value)
        return found

    def usable(self, to: str) -> list[str]:
        """Channels that the Stack has, that can reach the group, in the order of the route and then of the fallback."""
        route = self.route
        ordered = [*route, *(c for c in FALLBACK if c not in route)]
        return [c for c in ordered if c in self.talk.channels and c != self.excluded and _reaches(self.talk, c, to)]

    def routed(self, to: str) -> list[str]:
        """The severity's channels, or the first of the others where the Stack has none of them."""
        usable = self.usable(to)
        return [c for c in usable if c in self.route] or usable[:1]

    def first(self, to: str, wanted: Iterable[str]) -> list[str]:
        """The first of these channels, or of whatever there is."""
        usable = self.usable(to)
        return [c for c in wanted if c in usable][:1] or usable[:1]


def _reaches(talk: Communication, channel: str, to: str) -> bool:
    """Mail needs an address; the other channels know by their Secret where to go."""
    groups = talk.contacts
    named = {"onCall": groups.on_call, "teamLead": groups.team_lead, "engineeringManager": groups.engineering_manager}
    contacts = named.get(to) or {"cto": groups.cto, "stakeholders": groups.stakeholders}.get(to, [])
    stand_ins = [o.contact for o in talk.overrides if o.group == to]
    return channel != "email" or any("@" in c for c in [*contacts, *stand_ins])


def excluded(incident: Incident) -> str:
    """The channel that an incident is about, and cannot travel by."""
    found = (incident.spec.parameters or {}).get(CHANNEL) if incident.spec.type == CHANNEL_FAILURE else None
    return found if isinstance(found, str) else ""


def keep(d: Draft, w: World) -> None:
    """Take over what became of messages, order new ones, and say which are to be sent now (`d.outgoing`)."""
    if d.status.severity is None or d.status.times.opened_at is None:
        return
    talk = w.stack.spec.communication if w.stack else Communication()
    book = _Book(d, talk, excluded(d.incident), list(d.status.notifications))
    _results(book, w)
    _stop(book)
    if w.stack is not None:
        _order(book)
        _fail_over(book)
    _trim(book)
    d.update(notifications=book.notes)
    _send(book, w)


def channel_back(d: Draft, w: World) -> bool:
    """An incident about a channel ends with the next message that it takes."""
    if d.incident.spec.type != CHANNEL_FAILURE or not w.channel_works:
        return False
    lifecycle.close(d, "ChannelWorks", f"{excluded(d.incident)} has taken a message again")
    return True


# What has become of it


def _results(book: _Book, w: World) -> None:
    for i, note in enumerate(book.notes):
        seen = w.deliveries.get(note.key)
        if seen is None or note.state == "Sent":
            continue
        book.notes[i] = _after(book, note, seen)


def _after(book: _Book, note: Notification, seen: Delivery) -> Notification:
    tries = note.attempts + 1
    if seen.accepted:
        _receipt(book, note, seen)
        changes: dict[str, object] = {
            "state": "Sent",
            "sent_at": seen.at,
            "receipt": seen.note[:256] or None,
            "problem": None,
        }
        return note.model_copy(update=changes | {"attempts": tries, "next_at": None})
    if note.state == "NotNeeded":
        return note
    failed = seen.hard or tries >= TRIES
    if failed and note.state != "Failed":
        text = f"{note.what} for {note.to or 'all'} by {note.channel}: {seen.note}"
        book.d.tell("NotificationFailed", text, warning=True)
    wait = max(backoff(note.key, tries, seen.hard), seen.retry_after)
    return note.model_copy(
        update={
            "state": "Failed" if failed else "Due",
            "attempts": tries,
            "next_at": seen.at + wait,
            "problem": seen.note[:256],
        }
    )


def backoff(key: str, tries: int, hard: bool) -> timedelta:
    """5, 10, 20, … seconds up to 5 minutes, up to a tenth longer by the key, so that many do not come back together."""
    wait = HARD_WAIT if hard else min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries - 1, 10))
    share = int(hashlib.sha256(f"{key}/{tries}".encode()).hexdigest()[:4], 16) / 0xFFFF
    return wait * (1 + share / 10)


def _receipt(book: _Book, note: Notification, seen: Delivery) -> None:
    if note.what != "Step":
        return
    lines = [f"{note.channel} {seen.at:%Y-%m-%dT%H:%M:%SZ}{f' {seen.note}' if seen.note else ''}"[:512]]
    told = [
        e.model_copy(update={"sent_at": e.sent_at or seen.at, "receipts": [*e.receipts, *lines][-8:]})
        if e.to == note.to and e.ordered_at == note.ordered_at
        else e
        for e in book.status.escalation
    ]
    if any(e.sent_at is None and n.sent_at is not None for e, n in zip(book.status.escalation, told, strict=True)):
        book.d.tell("Notified", f"{note.to} by {note.channel}", announce=False)
    book.d.update(escalation=told)


def _stop(book: _Book) -> None:
    """What is over needs no call any more; the end of an older round still ends its alerts."""
    for i, note in enumerate(book.notes):
        old = not note.key.startswith(f"r{book.status.round}/")
        reminds = note.what in REMINDERS and not (note.what == "ReviewDue" and book.status.holds("Reviewed"))
        stays = (note.what == "Resolved" and (not old or note.channel in ALERTING)) or (reminds and not old)
        within = REMINDER_WITHIN if reminds else SUMMARY_WITHIN
        late = stays and note.ordered_at is not None and book.d.now - note.ordered_at > within
        if note.unfinished and (old or book.over) and (late or not stays):
            book.notes[i] = note.model_copy(update={"state": "NotNeeded", "next_at": None})


# What is to be told


def _order(book: _Book) -> None:
    if book.over:
        _resolved(book)
        _reminders(book)
        return
    _answers(book)
    _changes(book)
    if effects.muted(book.status):
        return
    for say in (_step, _people, _updates):
        say(book)


def _resolved(book: _Book) -> None:
    """The summary goes to everybody who was told of it."""
    prefix = f"r{book.status.round}/resolved"
    if not book.has(prefix):
        _to_whoever_knows(book, "Resolved", prefix, lambda _channel: True)


def _reminders(book: _Book) -> None:
    """Written, never a call: by mail, or by the chat. The later reminder of a missing review is the team lead's."""
    for key in book.d.reminders:
        to = "teamLead" if key == "review-5" else "onCall"
        quiet = [c for c in ("email", "slack", "webhook") if c in book.usable(to)]
        what = "ReviewDue" if key.startswith("review-") else "FollowUpDue"
        book.put(what, f"r{book.status.round}/{key}/{to}", to, quiet[:1])


def _answers(book: _Book) -> None:
    """Somebody has taken it, or what he took has expired; told with the write that says so."""
    before = book.d.incident.status.acknowledgement if book.d.incident.status else None
    ack, prefix = book.status.acknowledgement, f"r{book.status.round}"
    if ack is None or ack == before:
        return
    mark = f"{ack.at:%Y%m%dT%H%M%S}"
    if ack.expired and book.status.escalation:
        to = book.status.escalation[0].to
        book.put("AckExpired", f"{prefix}/expired-{mark}/{to}", to, book.routed(to))
    elif not ack.expired:
        _to_whoever_knows(book, "Acknowledged", f"{prefix}/ack-{mark}", lambda channel: channel != "email")


def _to_whoever_knows(book: _Book, what: str, prefix: str, wanted: Callable[[str], bool]) -> None:
    seen: set[tuple[str, str]] = set()
    for note in book.mine():
        place = (note.channel, "" if note.channel in SHARED else note.to)
        told = note.state != "NotNeeded" or note.attempts > 0 or note.what == "Step"
        if told and wanted(note.channel) and note.what not in SILENT and place not in seen:
            seen.add(place)
            book.put(what, f"{prefix}/{note.to}", note.to, [note.channel])


def _changes(book: _Book) -> None:
    """Whatever the operator does is a change at PagerDuty, which calls nobody."""
    if "pagerduty" not in book.talk.channels or book.excluded == "pagerduty":
        return
    for step in book.status.steps:
        if step.attempt_id and step.state.in_flight and step.round == book.status.round:
            book.put("Change", f"r{book.status.round}/change-{step.attempt_id}", "", ["pagerduty"])


def _step(book: _Book) -> None:
    path, step = escalation.next_step(book.status.escalation, book.acknowledged, book.d.now)
    if step is not None:
        channels = book.routed(step.to)
        severity = effects.paged_as(book.status)
        if channels:
            book.put("Step", f"r{book.status.round}/{severity}/{step.to}", step.to, channels)
            book.d.update(escalation=path)
    at = escalation.next_due(book.status.escalation, book.acknowledged, book.d.now)
    if at is not None and book.talk.channels:
        book.d.look(at)


def _people(book: _Book) -> None:
    """A person must act, or answer: told to the first group, unless the step that was just told says it already."""
    if not book.status.escalation:
        return
    to = book.status.escalation[0].to
    told = max((e.ordered_at for e in book.status.escalation if e.ordered_at is not None), default=None)
    human = book.status.condition("NeedsHuman")
    fresh = human is not None and (told is None or human.last_transition_time > told)
    if human is not None and human.status == "True" and fresh:
        book.put("NeedsHuman", f"r{book.status.round}/human-{human.reason}/{to}", to, book.routed(to))
    for step in book.status.steps:
        if step.state is StepState.AWAITING_APPROVAL and step.round == book.status.round:
            prefix = f"r{book.status.round}/approval-{step.plan_digest}/{to}"
            book.put("NeedsApproval", prefix, to, book.routed(to))


def _updates(book: _Book) -> None:
    """Source: "Incident Communication": the team after 15 minutes, the stakeholders after an hour."""
    due = book.status.deadlines
    if due is None or not book.talk.channels:
        return
    prefix = f"r{book.status.round}"
    if due.team_told_at is None and _is_due(book, due.team_update_by):
        where = book.first("onCall", ("slack", "webhook", "email"))
        if book.put("TeamUpdate", f"{prefix}/team", "onCall", where):
            book.d.update(deadlines=due.model_copy(update={"team_told_at": book.d.now}))
    due = book.status.deadlines or due
    if due.stakeholders_told_at is None and _is_due(book, due.stakeholders_by):
        where = book.first("stakeholders", ("email", "slack", "webhook"))
        if book.put("StakeholderUpdate", f"{prefix}/stakeholders", "stakeholders", where):
            book.d.update(deadlines=due.model_copy(update={"stakeholders_told_at": book.d.now}))


def _is_due(book: _Book, at: datetime) -> bool:
    if book.d.now >= at:
        return True
    book.d.look(at)
    return False


def _fail_over(book: _Book) -> None:
    """Where no channel takes a message, the next one that the Stack has is tried as well."""
    groups: dict[str, list[Notification]] = {}
    for note in book.mine():
        groups.setdefault(note.key.rpartition("/")[0], []).append(note)
    for prefix, notes in groups.items():
        what, to = notes[0].what, notes[0].to
        if what in SILENT or any(n.state != "Failed" for n in notes):
            continue
        left = [c for c in book.usable(to) if c not in {n.channel for n in notes}]
        book.put(what, prefix, to, left[:1])


def _trim(book: _Book) -> None:
    """What is finished goes first: all of older rounds, then the oldest of this one."""
    mine = f"r{book.status.round}/"
    book.notes = [n for n in book.notes if n.unfinished or n.key.startswith(mine)]
    while len(book.notes) > KEPT:
        done = next((n for n in book.notes if not n.unfinished), book.notes[0])
        book.notes.remove(done)


# What is sent now


def _send(book: _Book, w: World) -> None:
    waiting = [n for n in book.notes if n.unfinished and not _held(book, n)]
    for note in waiting:
        if note.channel in book.talk.channels and (note.next_at is None or note.next_at <= book.d.now):
            book.d.outgoing.append(note)
        elif note.next_at is not None and note.next_at > book.d.now:
            book.d.look(note.next_at)
    if waiting and w.stack is not None:
        book.d.look(SAFETY_LOOK)


def _held(book: _Book, note: Notification) -> bool:
    """Somebody has it: a call that did not get through waits until that expires. An alert begins after its last ended.

    What a maintenance window mutes waits for its end.
    """
    if effects.muted(book.status) and note.what not in effects.NEVER_MUTED:
        return True
    if note.what == "AckExpired" and book.acknowledged:
        return True
    if note.what == "Step" and book.acknowledged:
        entry = next((e for e in book.status.escalation if e.to == note.to), None)
        return entry is not None and entry.unless == "Acknowledged"
    if note.channel in ALERTING and note.what != "Resolved":
        return any(
            n.state == "Due" and n.what == "Resolved" and (n.channel, n.to) == (note.channel, note.to) for n in book.notes
        )
    return False
