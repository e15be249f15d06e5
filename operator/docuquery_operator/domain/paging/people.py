"""Who is to be told now, and when nobody is to be woken: rotations, overrides, quiet hours. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...api.common import Severity
from ...api.communication import Communication, QuietHours, Rotation

WEEK = timedelta(days=7)
DAY = timedelta(days=1)
# Quiet hours end each day: nothing is put off for longer than a year of them.
LONGEST = 800


def contacts(talk: Communication, group: str, now: datetime) -> tuple[str, ...]:
    """Who of a group is told now: a stand-in, the one whose week it is, or everybody of the group."""
    stand_ins = [o.contact for o in talk.overrides if o.group == group and o.from_ <= now < o.until]
    if stand_ins:
        return (stand_ins[-1],)
    everybody: tuple[str, ...] = tuple(getattr(talk.contacts, _FIELDS[group]))
    rotation = next((r for r in talk.rotations if r.group == group), None)
    if rotation is None or not everybody:
        return everybody
    return (everybody[weeks_since(rotation, now) % len(everybody)],)


_FIELDS = {
    "onCall": "on_call",
    "teamLead": "team_lead",
    "engineeringManager": "engineering_manager",
    "cto": "cto",
    "stakeholders": "stakeholders",
}


def weeks_since(rotation: Rotation, now: datetime) -> int:
    """Whole weeks since the start, by the clock on the wall: a handover stays at its hour when the clocks change."""
    where = zone(rotation.time_zone)
    start, at = (t.astimezone(where).replace(tzinfo=None) for t in (rotation.start, now))
    return (at - start) // WEEK


def awake_after(quiet: QuietHours | None, severity: Severity, start: datetime, wait: timedelta) -> datetime:
    """The instant `wait` after the start, for P2 and P3 without counting quiet hours; never within them."""
    if quiet is None or severity in (Severity.P0, Severity.P1):
        return start + wait
    at, left = start, wait
    for _ in range(LONGEST):
        until = end_of_quiet(quiet, at)
        if until is not None:
            at = until
            continue
        next_start = _next_wall(quiet, at, _clock(quiet.from_))
        if at + left < next_start:
            return at + left
        left -= next_start - at
        at = next_start
    return at


def end_of_quiet(quiet: QuietHours, at: datetime) -> datetime | None:
    """When the quiet hours end that it is in; None outside of them."""
    where = zone(quiet.time_zone)
    wall = at.astimezone(where).time().replace(tzinfo=None)
    begin, end = _clock(quiet.from_), _clock(quiet.until)
    within = begin <= wall < end if begin < end else (wall >= begin or wall < end)
    return _next_wall(quiet, at, end) if within else None


def _next_wall(quiet: QuietHours, at: datetime, clock: time) -> datetime:
    """The first instant after this one at which the wall clock shows the time, or would where the zone skips it."""
    where = zone(quiet.time_zone)
    day = at.astimezone(where).date() - DAY
    for ahead in range(4):
        found = datetime.combine(day + ahead * DAY, clock, where).astimezone(UTC)
        if found > at:
            return found
    return at + DAY


def _clock(value: str) -> time:
    """'22:00' as a time; what admission should have refused counts as midnight."""
    hours, _, minutes = value.partition(":")
    try:
        return time(int(hours), int(minutes))
    except ValueError:
        return time(0, 0)


def zone(name: str) -> tzinfo:
    """The zone; one that is not known counts as UTC: people must be told all the same."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
