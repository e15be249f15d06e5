"""The review after a P0 or P1: whether it is there, when people are reminded of it and of its follow-ups. Pure.

Working days are Monday to Friday in the time zone of the first group's rotation, else of the quiet hours, else UTC.
Reminders are due at nine in the morning there; the times are frozen in the status when the incident ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ...api.common import Severity, delta
from ...api.communication import Communication
from ...api.incident import Incident, IncidentStatus, Phase
from ...api.review import FollowUp, Reminder, Review, ReviewState
from ..paging import people
from ..redaction import redact
from ..world import World
from .draft import Draft

REVIEWED = (Severity.P0, Severity.P1)
# The later one goes to the team lead.
REMIND_AFTER = (3, 5)
HOUR = time(9)
FRIDAY = 4
DAY = timedelta(days=1)
LINES = 5
WRITE_IT = "write spec.review.rootCause, lessons and actions (docs/reviews.md)"


def digest(review: Review | None) -> str | None:
    """What a review says, in twelve digits; None when it says nothing."""
    said = review.to_wire() if review is not None else {}
    if not any(said.values()):
        return None
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def of_this_round(incident: Incident, status: IncidentStatus) -> Review | None:
    """The review, unless it was written for an earlier round and says the same still."""
    mark = digest(incident.spec.review)
    old = status.review.earlier if status.review is not None else None
    return incident.spec.review if mark is not None and mark != old else None


def is_reported(incident: Incident, status: IncidentStatus) -> bool:
    """There is a report of this round, and the review was not changed since."""
    return status.report is not None and status.report.review == digest(incident.spec.review)


def is_written(review: Review | None) -> bool:
    """It names the root cause; lessons and follow-ups may be none."""
    return review is not None and bool((review.root_cause or "").strip())


def open_actions(review: Review | None) -> list[FollowUp]:
    """Follow-ups that are not done."""
    return [a for a in review.actions if not a.done] if review is not None else []


def due_day(action: FollowUp) -> date | None:
    """Its day; None without one, or where the calendar has no such day."""
    try:
        return date.fromisoformat(action.due) if action.due else None
    except ValueError:
        return None


def zone_of(talk: Communication) -> tzinfo:
    """Where the people are who are told first."""
    first = min(talk.escalation, key=lambda s: delta(s.after)).to if talk.escalation else "onCall"
    rotation = next((r for r in talk.rotations if r.group == first), None)
    if rotation is not None:
        return people.zone(rotation.time_zone)
    return people.zone(talk.quiet_hours.time_zone) if talk.quiet_hours is not None else UTC


def working_days_after(start: datetime, days: int, where: tzinfo) -> datetime:
    """Nine in the morning of the so-manieth working day after the day of the start."""
    day, left = start.astimezone(where).date(), days
    while left > 0:
        day += DAY
        left -= day.weekday() <= FRIDAY
    return _morning(day, where)


def _morning(day: date, where: tzinfo) -> datetime:
    return datetime.combine(day, HOUR, where).astimezone(UTC)


def _working(day: date) -> date:
    while day.weekday() > FRIDAY:
        day += DAY
    return day


def keep(d: Draft, w: World) -> None:
    """Once an incident is over: the condition Reviewed, and the reminders that are due now (`d.reminders`)."""
    ended, review = d.status.times.resolved_at, of_this_round(d.incident, d.status)
    wanted = d.status.severity in REVIEWED
    if d.status.phase is not Phase.RESOLVED or ended is None or w.stack is None or not (wanted or review):
        return
    where, state = zone_of(w.stack.spec.communication), d.status.review or ReviewState()
    if state.ended_at != ended:
        days = REMIND_AFTER if wanted else ()
        fresh = [Reminder(key=f"review-{n}", due_at=working_days_after(ended, n, where)) for n in days]
        # What was over long before reviews were asked for is not asked for now.
        state = state.model_copy(update={"ended_at": ended, "reminders": [r for r in fresh if r.due_at > d.now]})
    if wanted:
        _condition(d, review)
    kept = [r for r in state.reminders if r.key.startswith("review-") and not (is_written(review) and r.told_at is None)]
    kept += _of_actions(state.reminders, open_actions(review), where)
    d.update(review=state.model_copy(update={"reminders": _told(d, kept)}))


def _condition(d: Draft, review: Review | None) -> None:
    if is_written(review):
        if not d.status.holds("Reviewed"):
            d.tell("Reviewed", "the review is written", announce=False)
        d.condition("Reviewed", True, "Written", "the review names the root cause")
    else:
        d.condition("Reviewed", False, "Needed", WRITE_IT)


def _of_actions(known: Sequence[Reminder], actions: Iterable[FollowUp], where: tzinfo) -> list[Reminder]:
    """One for each day on which follow-ups fall due; what was frozen stays."""
    by = {r.key: r for r in known}
    days = sorted({day for a in actions if (day := due_day(a)) is not None})
    found = [(f"due-{day:%Y-%m-%d}", day) for day in days]
    return [by.get(key) or Reminder(key=key, due_at=_morning(_working(day), where)) for key, day in found]


def _told(d: Draft, reminders: Sequence[Reminder]) -> list[Reminder]:
    """Marks what is due now; of several that ask for the review, as after an absence, only the last is told."""
    due = [r for r in reminders if r.told_at is None and r.due_at <= d.now]
    asks = [r for r in due if r.key.startswith("review-")]
    for reminder in [*asks[-1:], *(r for r in due if r not in asks)]:
        d.reminders.append(reminder.key)
        what = "the review is missing" if reminder in asks else "follow-ups of the review are due"
        d.tell("ReviewDue" if reminder in asks else "FollowUpDue", what, warning=True)
    for reminder in reminders:
        if reminder.told_at is None and reminder.due_at > d.now:
            d.look(reminder.due_at)
    return [r.model_copy(update={"told_at": d.now}) if r in due else r for r in reminders]


def next_reminder(d: Draft) -> datetime | None:
    """When the next reminder is due, None without one."""
    waiting = d.status.review.reminders if d.status.review else []
    return min((r.due_at for r in waiting if r.told_at is None and r.due_at > d.now), default=None)


def lines_of(incident: Incident, now: datetime) -> list[str]:
    """Follow-ups that are open and due, for the reminder."""
    found = []
    for action in open_actions(incident.spec.review):
        day = due_day(action)
        if day is not None and datetime.combine(day, time(0), UTC) <= now + DAY:
            found.append(f"{action.title} (owner {action.owner}, due {action.due})")
    return found


def earlier(d: Draft, w: World) -> None:
    """Open follow-ups of earlier incidents of the same cause are shown in this one, as long as it lasts."""
    cause = d.status.cause
    if cause is None or d.status.phase is Phase.RESOLVED:
        return
    lines = [redact(line)[:512] for line in w.follow_ups.get(cause.name, ())[:LINES]]
    if lines == d.status.open_follow_ups:
        return
    if lines and not d.status.open_follow_ups:
        d.tell("OpenFollowUps", f"of earlier incidents of {cause.name}: {'; '.join(lines)}", announce=False)
    d.update(open_follow_ups=lines)
