"""When something recurs: instants of cron and RFC 5545 rules, read as a clock on the wall of an IANA zone. Pure.

An hour that the zone skips starts at the next valid instant, one that it doubles runs once, the first time. So what would
have run several times in a skipped hour runs once, and nothing runs in the second of two equal hours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from ..api.schedule import RecurringSchedule, WindowSchedule

# The zone's clock was never set by more than a day, the day that Samoa left out.
WIDEST_CHANGE = timedelta(hours=26)
STEP = timedelta(seconds=1)
# How far a rule is searched for its next instant: a rule that never comes must not be searched for ever.
HORIZON = {
    "YEARLY": timedelta(days=9 * 366),
    "MONTHLY": timedelta(days=4 * 366),
    "WEEKLY": timedelta(days=2 * 366),
    "DAILY": timedelta(days=800),
    "HOURLY": timedelta(days=60),
}
LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PERIOD = {"WEEKLY": timedelta(weeks=1), "DAILY": timedelta(days=1), "HOURLY": timedelta(hours=1)}
_UNTIL = re.compile(r"UNTIL=(\d{8}T\d{6})Z")
_COUNT = re.compile(r";COUNT=\d+")


class ScheduleError(ValueError):
    """The schedule cannot be used; the text says what to write instead."""


@dataclass(frozen=True)
class Schedule:
    """One schedule in one zone: exactly one of cron, rrule (with start) and at."""

    zone: str
    cron: str = ""
    rrule: str = ""
    start: datetime | None = None
    at: datetime | None = None


def schedule_of(spec: RecurringSchedule | WindowSchedule, zone: str) -> Schedule:
    """From what a user wrote; ScheduleError when it can be known to be wrong."""
    at = spec.at if isinstance(spec, WindowSchedule) else None
    found = Schedule(zone, spec.cron or "", spec.rrule or "", spec.start, at)
    _walls(found, datetime(2026, 1, 1), True)
    return found


def upcoming(schedule: Schedule, after: datetime, count: int) -> tuple[datetime, ...]:
    """The first instants strictly after this one, soonest first, in UTC; fewer where the schedule ends."""
    return _upcoming(schedule, after.astimezone(UTC), count)


def following(schedule: Schedule, after: datetime) -> datetime | None:
    """The first instant strictly after this one."""
    return next(iter(upcoming(schedule, after, 1)), None)


def latest(schedule: Schedule, until: datetime) -> datetime | None:
    """The last instant not later than this one."""
    return _latest(schedule, until.astimezone(UTC))


def instants_between(schedule: Schedule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """Instants after one and not later than the other, soonest first, at most so many."""
    return [at for at in upcoming(schedule, after, limit) if at <= until]


@lru_cache(maxsize=512)
def _upcoming(schedule: Schedule, after: datetime, count: int) -> tuple[datetime, ...]:
    if schedule.at is not None:
        return (schedule.at,) if schedule.at > after else ()
    zone = zone_of(schedule.zone)
    found: list[datetime] = []
    begin = after.astimezone(zone).replace(tzinfo=None) - _margin(zone, after) - STEP
    for wall in _walls(schedule, begin, True):
        at = instant(wall, zone)
        if at > after and at not in found[-1:]:
            found.append(at)
        if len(found) == count:
            break
    return tuple(found)


@lru_cache(maxsize=512)
def _latest(schedule: Schedule, until: datetime) -> datetime | None:
    if schedule.at is not None:
        return schedule.at if schedule.at <= until else None
    zone = zone_of(schedule.zone)
    begin = until.astimezone(zone).replace(tzinfo=None) + _margin(zone, until) + STEP
    return next((at for wall in _walls(schedule, begin, False) if (at := instant(wall, zone)) <= until), None)


def zone_of(name: str) -> ZoneInfo:
    """The zone; ScheduleError when the operator's own zone data do not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as problem:
        text = f"timeZone '{name}' is not known; write an IANA name such as Europe/Berlin or Etc/UTC"
        raise ScheduleError(text) from problem


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant in UTC at which a clock on the wall first shows this time, or first shows a later one."""
    late = wall.replace(tzinfo=zone).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == wall:
        return late
    # The time is skipped: look for the moment of the change between both readings of it.
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = late.astimezone(zone).utcoffset()
    while late - early > STEP:
        middle = (early + (late - early) / 2).replace(microsecond=0)
        early, late = (early, middle) if middle.astimezone(zone).utcoffset() == offset else (middle, late)
    return late


def _margin(zone: ZoneInfo, at: datetime) -> timedelta:
    """How far times on the wall may be out of step with instants near this one."""
    offsets = {(at + shift).astimezone(zone).utcoffset() for shift in (-WIDEST_CHANGE, timedelta(0), WIDEST_CHANGE)}
    return timedelta(0) if len(offsets) == 1 else WIDEST_CHANGE


def _walls(schedule: Schedule, begin: datetime, forward: bool) -> Iterator[datetime]:
    """Times on the wall from here on, or from here back; ScheduleError when the schedule itself is wrong."""
    zone = zone_of(schedule.zone)
    if schedule.cron:
        return _cron_walls(schedule.cron, begin, forward)
    return _rule_walls(schedule, zone, begin, forward) if schedule.rrule else iter(())


def _cron_walls(cron: str, begin: datetime, forward: bool) -> Iterator[datetime]:
    # Loaded where it is needed: a replica without schedules does without it.
    from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]

    try:
        times = croniter(cron, begin)
    except (ValueError, KeyError, TypeError) as problem:
        text = f"cron '{cron}' cannot be used: {problem}; write five fields such as '0 2 * * *'"
        raise ScheduleError(text) from problem
    step: Callable[[Any], datetime] = times.get_next if forward else times.get_prev
    return _until_none(lambda: step(datetime), CroniterBadDateError)


def _until_none(step: Callable[[], datetime], end: type[Exception]) -> Iterator[datetime]:
    while True:
        try:
            yield step()
        except (end, OverflowError):
            return


def _rule_walls(schedule: Schedule, zone: ZoneInfo, begin: datetime, forward: bool) -> Iterator[datetime]:
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

    assert schedule.start is not None
    parts = dict(part.partition("=")[::2] for part in schedule.rrule.split(";"))
    frequency = parts.get("FREQ", "")
    if frequency == "HOURLY" and {"BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"} & parts.keys():
        raise ScheduleError("rrule: FREQ=HOURLY goes with BYDAY, BYHOUR and BYMINUTE only; use FREQ=DAILY with BYHOUR")
    if _never(parts):
        raise ScheduleError(f"rrule '{schedule.rrule}' names a day that none of its months has; write another BYMONTHDAY")
    start = schedule.start.astimezone(zone).replace(tzinfo=None, microsecond=0)
    try:
        count = int(parts["COUNT"]) if "COUNT" in parts else None
        begin_at = _moved(start, begin, frequency, int(parts.get("INTERVAL", "1")), count is not None, forward)
        rule = rrulestr(f"RRULE:{_local_until(_COUNT.sub('', schedule.rrule), zone)}", dtstart=begin_at)
        # The library knows no bound of its own search, and reads one only as the end of the rule.
        end = max(begin, begin_at) + HORIZON[frequency] if forward else begin
        times = islice(iter(rule.replace(until=min(end, rule._until or end))), count)
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        text = f"rrule '{schedule.rrule}' cannot be used: {problem}; write a rule such as FREQ=MONTHLY;BYDAY=3TU"
        raise ScheduleError(text) from problem
    return (wall for wall in times if wall >= begin) if forward else _backwards(times)


def _never(parts: Mapping[str, str]) -> bool:
    """The library would look for such a day through the years, slowly."""
    try:
        months = [int(m) for m in parts.get("BYMONTH", "").split(",") if m]
        days = [abs(int(d)) for d in parts.get("BYMONTHDAY", "").split(",") if d]
        return bool(days) and all(day > LONGEST[month] for month in months or (1,) for day in days)
    except (ValueError, IndexError):
        return False


def _backwards(times: Iterator[datetime]) -> Iterator[datetime]:
    yield from reversed(list(times))


def _local_until(rule: str, zone: ZoneInfo) -> str:
    """UNTIL as a time on the wall, which is how the rule is counted."""

    def local(match: re.Match[str]) -> str:
        at = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).astimezone(zone)
        return f"UNTIL={at:%Y%m%dT%H%M%S}"

    return _UNTIL.sub(local, rule)


def _moved(start: datetime, begin: datetime, frequency: str, interval: int, counted: bool, forward: bool) -> datetime:
    """A later start in the same rhythm, so that years need not be counted through."""
    period = _PERIOD.get(frequency)
    if period is None or counted:
        return start
    rhythm = period * max(1, interval)
    # Two rounds before: a round may hold no instant yet, or what is looked for backwards.
    rounds = (begin - (timedelta(0) if forward else HORIZON[frequency]) - start) // rhythm - 2
    return start + rhythm * max(0, rounds)
