"""Seconds of each UTC day in which a component was not well, from the states that were seen. No clock, no I/O.

What is counted (docs/status-page.md has the same for readers):
- Only whole seconds between marks that are whole seconds count, so that sums do not depend on how often anybody looked.
- A state holds from the look that saw it to the next look. Where nobody looked for longer than BRIDGED, the time is
  unknown: never good and never bad. An operator that was away is such a time.
- `days` holds only days with something amiss. A day after `since` that is absent was good.
- Availability of a day is 1 - down / (seconds of the day that are past - unknown - maintenance). Degradation is shown, but
  a service that answers slowly is available.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ...api.stack import ComponentState, ComponentStatus, ComponentUptime, UptimeDay

DAYS = 90
DAY_SECONDS = 86_400
# A restart or a change of leader takes seconds; states of both its ends are known, and what was between is not in doubt.
BRIDGED = timedelta(seconds=60)
# All entries of a Stack together: at most 75 bytes each, so that the status of 16 components stays far below 64 KiB.
ENTRIES = 480
_COUNTED = {
    ComponentState.MAJOR_OUTAGE: "down",
    ComponentState.DEGRADED: "partial",
    ComponentState.PARTIAL_OUTAGE: "partial",
    ComponentState.UNKNOWN: "unknown",
    ComponentState.UNDER_MAINTENANCE: "maintenance",
}


def counted(
    before: Sequence[ComponentUptime],
    states: Sequence[ComponentStatus],
    looked: datetime | None,
    now: datetime,
) -> list[ComponentUptime]:
    """The same as before, unless a state has changed, the day has turned, or nobody has looked for long.

    states: as they are shown; looked: the last look at this Stack, None where nobody knows.
    """
    known = {u.name: u for u in before}
    kept = min(DAYS, ENTRIES // max(1, len(states)))
    found = []
    for status in states:
        found.append(_counted(known.get(status.name), status.name, status.state, looked, _whole(now), kept))
    return found


def current(
    record: ComponentUptime, state: ComponentState, now: datetime, looked: datetime | None = None
) -> ComponentUptime:
    """The record with all that has passed up to now; the next seconds are the state's."""
    at = _whole(now)
    if at < record.until:
        # The clock was set back: seconds that are counted are not counted twice.
        return record.model_copy(update={"state": state})
    days = {d.day: d for d in record.days}
    seen = at if looked is None or at - looked <= BRIDGED else max(record.until, _whole(looked))
    _add(days, record.state, record.until, seen)
    _add(days, ComponentState.UNKNOWN, seen, at)
    return record.model_copy(update={"until": at, "state": state, "days": [days[day] for day in sorted(days)]})


@dataclass(frozen=True)
class Day:
    """One day as it is shown. seconds: of it that are past and were counted; 0 is a day without data."""

    day: date
    seconds: int
    down: int = 0
    partial: int = 0
    unknown: int = 0
    maintenance: int = 0

    @property
    def measured(self) -> int:
        """Seconds that say something of the service."""
        return max(0, self.seconds - self.unknown - self.maintenance)

    @property
    def availability(self) -> float | None:
        """Share from 0 to 1; None without data."""
        return None if self.measured == 0 else max(0.0, 1 - self.down / self.measured)


def shown(record: ComponentUptime | None, now: datetime, days: int = DAYS) -> list[Day]:
    """The last days, oldest first, with what has passed since the record was written."""
    today = now.astimezone(UTC).date()
    wanted = [today - timedelta(days=n) for n in reversed(range(days))]
    if record is None:
        return [Day(day, 0) for day in wanted]
    known = {d.day: d for d in current(record, record.state, now).days}
    return [_shown(day, record.since, now, known) for day in wanted]


def availability(days: Iterable[Day]) -> float | None:
    """Of all days together; None without data."""
    listed = list(days)
    measured = sum(d.measured for d in listed)
    return None if measured == 0 else max(0.0, 1 - sum(d.down for d in listed) / measured)


def _shown(day: date, since: datetime, now: datetime, known: Mapping[str, UptimeDay]) -> Day:
    begin = datetime.combine(day, time(), UTC)
    past = min(now, begin + timedelta(days=1)) - max(begin, since)
    seconds, found = max(0, int(past.total_seconds())), known.get(day.isoformat())
    if found is None or seconds == 0:
        return Day(day, seconds)
    return Day(day, seconds, found.down, found.partial, found.unknown, found.maintenance)


def _counted(
    record: ComponentUptime | None, name: str, state: ComponentState, looked: datetime | None, now: datetime, kept: int
) -> ComponentUptime:
    if record is None:
        return ComponentUptime(name=name, since=now, until=now, state=state)
    seen = record.until if looked is None else looked
    silent = now - seen > BRIDGED
    if record.state is state and not silent and now.date() <= record.until.date():
        return record
    return _bounded(current(record, state, now, seen), now, kept)


def _bounded(record: ComponentUptime, now: datetime, kept: int) -> ComponentUptime:
    """Days that are too old go; where too many are bad, the oldest go as well, and counting has begun after them."""
    oldest = (now.date() - timedelta(days=DAYS - 1)).isoformat()
    days = [d for d in record.days if d.day >= oldest]
    if len(days) <= kept:
        return record.model_copy(update={"days": days})
    after = date.fromisoformat(days[-kept - 1].day) + timedelta(days=1)
    since = max(record.since, datetime.combine(after, time(), UTC))
    return record.model_copy(update={"days": days[-kept:], "since": since})


def _add(days: dict[str, UptimeDay], state: ComponentState, begin: datetime, end: datetime) -> None:
    field = _COUNTED.get(state)
    while field is not None and begin < end:
        midnight = datetime.combine(begin.date() + timedelta(days=1), time(), UTC)
        until = min(end, midnight)
        day = begin.date().isoformat()
        known = days.get(day) or UptimeDay(day=day)
        days[day] = known.model_copy(update={field: getattr(known, field) + int((until - begin).total_seconds())})
        begin = until


def _whole(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(microsecond=0)
