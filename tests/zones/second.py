"""A second reading of the rule of summer time: it walks through the zone's minutes and looks at the clock on the wall.

It shares nothing with domain/schedules.py: no search between two readings of a time, no fold, no library of schedules.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
STEP, DAY = timedelta(minutes=15), timedelta(days=1)
# Files of the zone data that are no zones of a place.
LEFT_OUT = ("localtime", "Factory")


@lru_cache(maxsize=1)
def zones() -> dict[str, tuple[datetime, ...]]:
    """Every zone, and the days around which its clocks are set in these years."""
    return {name: changes(name) for name in sorted(available_timezones()) if not name.startswith(LEFT_OUT)}


@lru_cache(maxsize=1024)
def changes(name: str) -> tuple[datetime, ...]:
    """Days (00:00 UTC) within which the zone's offset changes; none is set twice within a week."""
    zone, found = ZoneInfo(name), []

    def offset(day: datetime) -> timedelta | None:
        return day.astimezone(zone).utcoffset()

    week = FIRST
    while week < LAST:
        if offset(week) != offset(week + 7 * DAY):
            found.append(next(d for d in (week + n * DAY for n in range(7)) if offset(d) != offset(d + DAY)))
        week += 7 * DAY
    return tuple(found)


def shown(name: str, begin: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    """Instants and what a clock on the wall shows then, each quarter of an hour."""
    zone, at = ZoneInfo(name), begin
    while at < begin + timedelta(days=days):
        yield at, at.astimezone(zone).replace(tzinfo=None)
        at += STEP


def openings(walk: list[tuple[datetime, datetime]], hour: int, minute: int) -> dict[datetime, datetime]:
    """By day on the wall: the first instant at which the clock shows that time of the day, or one beyond it."""
    found: dict[datetime, datetime] = {}
    days = sorted({wall.replace(hour=0, minute=0) for _, wall in walk})
    for day in days[1:-1]:
        wanted = day.replace(hour=hour, minute=minute)
        found[day] = next(at for at, wall in walk if wall >= wanted)
    return found
