"""Maintenance windows as pure values: which one is open, what comes next, what was missed. No clock, no I/O.

A window opens at each instant of its schedule (domain/schedules.py states the rule of summer time) and holds for its
duration. One that is noticed late still opens while it lasts and no longer than `startingDeadline` after its begin; else it
is missed, and the status says so. Windows overlap freely: of their effects, the strongest holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from ...api.common import Condition, delta
from ...api.maintenance_window import (
    NEXT_SHOWN,
    ActiveWindow,
    Effects,
    MaintenanceWindow,
    MaintenanceWindowStatus,
    PastWindow,
)
from ..conditions import set_condition
from ..incidents.draft import News
from ..schedules import Schedule, ScheduleError, instants_between, latest, schedule_of, upcoming
from . import overrun
from .tasks import fresh

WHOLE_STACK = "*"
# More missed openings than this are counted no further: the operator was away for long.
MISSED_COUNTED = 100
# A close later than this is said to be late.
LATE = timedelta(seconds=30)
# A clock that is set back by so little as a window has just opened does not close it.
CLOCK_STEP = timedelta(minutes=1)
# A Stack that comes later is found so soon.
MISSING_LOOK = timedelta(seconds=10)
EVER = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """From since (included) to until (excluded)."""

    since: datetime
    until: datetime

    def contains(self, at: datetime) -> bool:
        """Whether the instant lies in it."""
        return self.since <= at < self.until


@dataclass(frozen=True)
class Plan:
    """The status to write, what to tell, and when to look again."""

    status: MaintenanceWindowStatus
    news: tuple[News, ...] = ()
    look_again: datetime | None = None


def open_span(window: MaintenanceWindow, now: datetime) -> Span | None:
    """The span that is open at this instant, by the schedule itself: right also before the status says so."""
    if window.spec.suspend or window.metadata.deletion_timestamp is not None:
        return None
    known = _span_of(window, now)
    if known is not None and (known.contains(now) or known.contains(now + CLOCK_STEP)):
        return known
    try:
        begin = latest(schedule_of(window.spec.schedule, window.spec.time_zone), now)
    except ScheduleError:
        return None
    if begin is None or begin <= _handled(window):
        return None
    span = Span(begin, begin + delta(window.spec.duration))
    return span if span.contains(now) and _in_time(window, begin, now) else None


def blocking(windows: Iterable[MaintenanceWindow], stack: str, incident_type: str, now: datetime) -> Mapping[str, str]:
    """Windows that block healing of such incidents at this instant: the name of one by component, or by WHOLE_STACK."""
    found: dict[str, str] = {}
    for window in sorted(windows, key=lambda w: w.metadata.name):
        spec = window.spec
        if spec.stack_ref.name != stack or _allows(spec.effects, incident_type) or open_span(window, now) is None:
            continue
        for component in spec.components or [WHOLE_STACK]:
            found.setdefault(component, window.metadata.name)
    return found


def _allows(effects: Effects, incident_type: str) -> bool:
    return effects.healing == "Allow" or (effects.healing == "Runbooks" and incident_type in effects.runbooks)


def decide(window: MaintenanceWindow, components: frozenset[str] | None, now: datetime) -> Plan:
    """One pass: close what is over, say what was missed, open what is due. components: the Stack's; None without a Stack."""
    status = window.status or MaintenanceWindowStatus()
    try:
        schedule = schedule_of(window.spec.schedule, window.spec.time_zone)
    except ScheduleError as error:
        return _wrong(window, status, str(error), now)
    news: list[News] = []
    status = _set_back(window, status, schedule, now, news)
    window = window.model_copy(update={"status": status})
    status = _closed(window, status, now, news)
    if status.active is None and not window.spec.suspend:
        status = _opened(window, status, schedule, now, news)
    coming = () if window.spec.suspend else upcoming(schedule, now, NEXT_SHOWN)
    status = status.model_copy(update={"next": list(coming), "observed_generation": window.metadata.generation})
    status = status.model_copy(update={"phase": _phase(status), "conditions": _told(window, status, components, now)})
    times = [*coming[:1], *([status.active.until] if status.active else [])]
    if components is None:
        times.append(now + MISSING_LOOK)
    return Plan(status, tuple(news), min(times, default=None))


def _span_of(window: MaintenanceWindow, now: datetime) -> Span | None:
    """The open one; its end follows the duration that stands in the spec now, and tasks that may take longer."""
    active = window.status.active if window.status else None
    if active is None:
        return None
    return Span(active.since, overrun.end(window, active.since + delta(window.spec.duration), now))


def _handled(window: MaintenanceWindow) -> datetime:
    """Openings up to this instant are decided."""
    known = window.status.last_opening if window.status else None
    created = window.metadata.creation_timestamp or EVER
    # A window that is created while it should be open opens; what was over by then was never promised.
    return known or created - delta(window.spec.duration)


def _in_time(window: MaintenanceWindow, begin: datetime, now: datetime) -> bool:
    """Whether it may still begin. One that comes while its predecessor is open waits for that one's end, and is not late."""
    status, span = window.status, _span_of(window, now)
    free = [span.until] if span else [p.until for p in status.history[-1:] if p.outcome != "Missed"] if status else []
    return now - max([begin, *free]) <= delta(window.spec.starting_deadline or window.spec.duration)


def _set_back(
    window: MaintenanceWindow, status: MaintenanceWindowStatus, schedule: Schedule, now: datetime, news: list[News]
) -> MaintenanceWindowStatus:
    """The clock was ahead, over openings that have not come yet: what was only missed by that is still to come.

    What was opened, or is open, stays decided: nothing runs twice.
    """
    if status.last_opening is None or status.last_opening <= now or status.active is not None:
        return status
    if any(p.since > now and p.outcome != "Missed" for p in status.history):
        return status
    handled = latest(schedule, now)
    done = any(p.since == handled and p.outcome != "Missed" for p in status.history) or not window.spec.history_limit
    if handled is not None and not done and _in_time(window, handled, now) and now < handled + delta(window.spec.duration):
        handled -= timedelta(milliseconds=1)
    text = f"the clock was set back to {_at(now)}; openings after that are not missed, they are still to come"
    news.append(News("Normal", "ClockSetBack", text))
    kept = [p for p in status.history if p.since <= now or p.outcome != "Missed"]
    return status.model_copy(update={"last_opening": handled, "history": kept})


def _closed(
    window: MaintenanceWindow, status: MaintenanceWindowStatus, now: datetime, news: list[News]
) -> MaintenanceWindowStatus:
    active, span = status.active, _span_of(window, now)
    if active is None or span is None:
        return status
    if now < span.until and not window.spec.suspend:
        more = overrun.extension(window, span.until)
        news += [more] if more is not None else []
        return status.model_copy(update={"active": active.model_copy(update={"until": span.until})})
    if now < span.until:
        past = PastWindow(since=span.since, until=now, outcome="Aborted", summary="closed early: suspend was set")
    else:
        past = _at_end(window, span, now)
        if overrun.in_words(window):
            news.append(News("Warning", "WindowOverrun", overrun.in_words(window)))
    news.append(News("Normal", "WindowClosed", f"the window of {_at(span.since)} is closed: {past.summary}"))
    return _kept(window, status, past).model_copy(update={"active": None})


def _at_end(window: MaintenanceWindow, span: Span, now: datetime) -> PastWindow:
    """It ends as planned, or later where its tasks were given time."""
    more = overrun.used(window, span.until, now)
    until = span.until + more
    said = f"closed {_words(now - until)} late: the operator was away" if now - until > LATE else "its effects have ended"
    if more:
        said = f"{said}; it was open {_words(more)} longer, for its tasks"
    outcome: Literal["Completed", "Aborted"] = "Aborted" if overrun.stopped(window) else "Completed"
    return PastWindow(since=span.since, until=until, outcome=outcome, summary=said)


def _opened(
    window: MaintenanceWindow, status: MaintenanceWindowStatus, schedule: Schedule, now: datetime, news: list[News]
) -> MaintenanceWindowStatus:
    begin = latest(schedule, now)
    if begin is None or begin <= _handled(window):
        return status
    earlier = [d for d in instants_between(schedule, _handled(window), now, MISSED_COUNTED) if d != begin]
    span = Span(begin, begin + delta(window.spec.duration))
    opens = span.contains(now) and _in_time(window, begin, now)
    promised = window.metadata.creation_timestamp or EVER
    missed = [d for d in (earlier if opens else [*earlier, begin]) if d >= promised]
    if missed:
        status = _missed(window, status, missed, now, news)
    status = status.model_copy(update={"last_opening": begin})
    if not opens:
        return status
    news.append(News("Normal", "WindowOpened", f"open until {_at(span.until)}: {effects_in_words(window)}"))
    return status.model_copy(update={"active": ActiveWindow(since=begin, until=span.until), "tasks": fresh(window, begin)})


def _missed(
    window: MaintenanceWindow, status: MaintenanceWindowStatus, begins: list[datetime], now: datetime, news: list[News]
) -> MaintenanceWindowStatus:
    """One entry for all that were missed at once: the newest of them, and how many before it."""
    begin, more = begins[-1], f", and {len(begins) - 1} before it" if len(begins) > 1 else ""
    said = f"noticed {_words(now - begin)} after its begin, later than startingDeadline or its end{more}"
    past = PastWindow(since=begin, until=begin + delta(window.spec.duration), outcome="Missed", summary=said)
    news.append(News("Warning", "WindowMissed", f"the window of {_at(begin)} was missed: {said}"))
    return _kept(window, status, past)


def _kept(window: MaintenanceWindow, status: MaintenanceWindowStatus, past: PastWindow) -> MaintenanceWindowStatus:
    limit = window.spec.history_limit
    return status.model_copy(update={"history": [*status.history, past][-limit:] if limit else []})


def _phase(status: MaintenanceWindowStatus) -> str:
    if status.active is not None:
        return "Active"
    if status.next or not status.last_opening:
        return "Scheduled"
    return "Failed" if status.history and status.history[-1].outcome == "Missed" else "Completed"


def _told(
    window: MaintenanceWindow, status: MaintenanceWindowStatus, components: frozenset[str] | None, now: datetime
) -> list[Condition]:
    spec, generation = window.spec, window.metadata.generation
    wrong = _reference_problem(window, components)
    if wrong is not None:
        ready = (False, *wrong)
    elif spec.suspend:
        ready = (False, "Suspended", "suspend is set: no window opens until it is taken away")
    elif status.active is not None:
        ready = (True, "Open", f"open until {_at(status.active.until)}: {effects_in_words(window)}")
    elif status.next:
        ready = (True, "Scheduled", f"opens next at {_at(status.next[0])} for {spec.duration}")
    else:
        ready = (True, "Over", "its schedule has come to its end; no further window opens")
    conditions = set_condition(status.conditions, "Ready", *ready, now, generation)
    stalled = (True, *wrong) if wrong else (False, "Understood", "Stack and schedule can be used")
    conditions = set_condition(conditions, "Stalled", *stalled, now, generation)
    return conditions


def _reference_problem(window: MaintenanceWindow, components: frozenset[str] | None) -> tuple[str, str] | None:
    name = window.spec.stack_ref.name
    if components is None:
        return "StackNotFound", f"Stack '{name}' does not exist here; create it or correct stackRef.name"
    unknown, known = ", ".join(sorted(set(window.spec.components) - components)), ", ".join(sorted(components))
    return ("ComponentNotFound", f"Stack '{name}' has no component {unknown}; it has {known}") if unknown else None


def _wrong(window: MaintenanceWindow, status: MaintenanceWindowStatus, problem: str, now: datetime) -> Plan:
    """Nothing opens; what is open closes, as its schedule can no longer be read."""
    generation = window.metadata.generation
    conditions = set_condition(status.conditions, "Ready", False, "InvalidSchedule", problem, now, generation)
    conditions = set_condition(conditions, "Stalled", True, "InvalidSchedule", problem, now, generation)
    known = next((c for c in status.conditions if c.type == "Stalled"), None)
    news = () if known and known.message == problem else (News("Warning", "InvalidSchedule", problem),)
    changes = {"active": None, "next": [], "phase": "Failed", "conditions": conditions, "observed_generation": generation}
    return Plan(status.model_copy(update=changes), news)


def effects_in_words(window: MaintenanceWindow) -> str:
    """What the open window changes, for people."""
    where = ", ".join(window.spec.components) or "the whole Stack"
    healing = "no healing step begins" if window.spec.effects.healing == "Block" else "healing goes on"
    return f"{healing} on {where}"


def _words(span: timedelta) -> str:
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{seconds}s"


def _at(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
