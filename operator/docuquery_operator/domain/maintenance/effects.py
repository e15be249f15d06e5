"""What open maintenance windows change for an incident: whom it pages, and as what. Pure.

A muted message is not lost: nothing is ordered while it is muted and what was ordered before is held; the clock of the
escalation stands still. At the end the step that came due first is told at once, later ones keep their distance from it.
Of several windows the strongest effect holds: Mute before Downgrade. What pierces one window may be muted by another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.common import Severity, format_time
from ...api.communication import Communication
from ...api.incident import IncidentStatus, Paging
from ...api.maintenance_window import MaintenanceWindow
from ...api.stack import ComponentState, ComponentStatus, Stack
from ..incidents.draft import Draft, as_written
from ..paging import escalation, people
from ..world import Quiet, Refusal, World
from .openings import open_span

NAMED = 8
# What ends or takes an alert wakes nobody, nor does what the operator has done.
NEVER_MUTED = ("Acknowledged", "Resolved", "Change")


def quiets(windows: Iterable[MaintenanceWindow], stack: str, now: datetime) -> tuple[Quiet, ...]:
    """Windows that change the paging of this Stack's incidents at this instant, by their schedules themselves."""
    found = []
    for window in sorted(windows, key=lambda w: w.metadata.name):
        spec, span = window.spec, open_span(window, now)
        if spec.stack_ref.name == stack and spec.effects.paging != "None" and span is not None:
            mute, pierce = spec.effects.paging == "Mute", frozenset(spec.effects.pierce)
            found.append(Quiet(window.metadata.name, span.until, mute, frozenset(spec.components), pierce))
    return tuple(found)


def under_maintenance(
    windows: Iterable[MaintenanceWindow], stack: Stack, states: Sequence[ComponentStatus], now: datetime
) -> list[ComponentStatus]:
    """The states as they are shown: of what an open window covers that is to be shown, what is seen moves to `observed`."""
    covered: dict[str, str] = {}
    for window in sorted(windows, key=lambda w: w.metadata.name, reverse=True):
        spec = window.spec
        if spec.stack_ref.name == stack.metadata.name and spec.effects.status_page and open_span(window, now) is not None:
            covered |= dict.fromkeys(spec.components or stack.spec.components, window.metadata.name)
    shown = {"state": ComponentState.UNDER_MAINTENANCE}
    return [
        c.model_copy(update={**shown, "observed": c.state, "window": covered[c.name]}) if c.name in covered else c
        for c in states
    ]


def as_observed(states: Iterable[ComponentStatus]) -> list[ComponentStatus]:
    """The states as they were seen, whatever is shown."""
    return [
        c.model_copy(update={"state": c.observed, "observed": None, "window": None}) if c.observed is not None else c
        for c in states
    ]


@dataclass(frozen=True)
class _Wanted:
    """The effect that holds now, by which windows, until when."""

    mute: bool
    names: tuple[str, ...]
    until: datetime


def muted(status: IncidentStatus) -> bool:
    """Whether nobody is told now."""
    return _active(status.paging) is not None and status.paging is not None and status.paging.effect == "Mute"


def paged_as(status: IncidentStatus) -> Severity:
    """The severity that channels and clocks go by: one lower while a window says so; P2 when none is known yet."""
    severity = status.severity or Severity.P2
    paging = _active(status.paging)
    if paging is None or paging.effect != "Downgrade":
        return severity
    order = list(Severity)
    return order[min(order.index(severity) + 1, len(order) - 1)]


def asked_from(d: Draft) -> datetime:
    """From when on somebody can know of a question that is asked now."""
    paging = d.status.paging
    return max(d.now, paging.until) if paging is not None and muted(d.status) else d.now


def clock_from(status: IncidentStatus, opened: datetime) -> datetime:
    """The begin of the response time: what was muted does not count."""
    return opened + timedelta(seconds=status.paging.held_seconds if status.paging else 0)


def keep_paging(d: Draft, w: World) -> None:
    """Begin, carry on or end what open windows make of the paging. The severity is known, the incident is not over."""
    active, wanted = _active(d.status.paging), _wanted(d, w)
    if wanted is not None:
        d.look(wanted.until)
    if active is not None and (wanted is None or wanted.mute != (active.effect == "Mute")):
        _end(d, w, active)
        active = None
    if wanted is not None:
        _hold(d, active, wanted)


def _active(paging: Paging | None) -> Paging | None:
    return paging if paging is not None and paging.ended_at is None else None


def _wanted(d: Draft, w: World) -> _Wanted | None:
    active = _active(d.status.paging)
    if w.quiets is None:
        # Windows cannot be read: nothing new is muted, and what is muted ends when it was to end.
        known = active if active is not None and d.now < active.until else None
        return _Wanted(known.effect == "Mute", tuple(known.windows), known.until) if known else None
    component, severity = d.status.component or d.incident.spec.component or "", d.status.severity
    covering = [
        q
        for q in w.quiets
        if (not q.components or component in q.components) and severity not in q.pierce and q.until > d.now
    ]
    mute = any(q.mute for q in covering)
    strongest = [q for q in covering if q.mute == mute]
    if not strongest:
        return None
    return _Wanted(mute, tuple(q.name for q in strongest[:NAMED]), max(q.until for q in strongest))


def _hold(d: Draft, active: Paging | None, wanted: _Wanted) -> None:
    before = d.status.paging
    until = as_written(wanted.until) or wanted.until
    names = sorted({*(active.windows if active else ()), *wanted.names})[:NAMED]
    paging = Paging(
        effect="Mute" if wanted.mute else "Downgrade",
        windows=names,
        since=active.since if active else d.now,
        until=until,
        held_seconds=before.held_seconds if before else 0,
    )
    if paging == active:
        return
    d.update(paging=paging)
    by = f"maintenance window{'s' if len(wanted.names) > 1 else ''} {_listed(wanted.names)}"
    if wanted.mute:
        text = f"nobody is told before {format_time(until)}: muted by {by}"
        refusal = Refusal("27-maintenance", "PagingMuted", text, until)
    else:
        text = f"told as {paged_as(d.status)} instead of {d.status.severity} until {format_time(until)}, by {by}"
        refusal = Refusal("27-maintenance", "PagingDowngraded", text, until)
    d.refuse(refusal, None)
    if active is None:
        d.tell(refusal.reason, text, announce=False)


def _end(d: Draft, w: World, active: Paging) -> None:
    """The effect is over, at the end of the window or earlier; what still burns is due now."""
    at = min(d.now, active.until)
    if active.effect == "Downgrade":
        d.update(paging=active.model_copy(update={"ended_at": at}))
        d.tell("PagingRestored", f"maintenance window {_listed(active.windows)} is over", announce=False)
        return
    held = max(timedelta(0), at - active.since)
    total = active.held_seconds + round(held.total_seconds())
    d.update(paging=active.model_copy(update={"ended_at": at, "held_seconds": total}))
    _put_off(d, w, active.since, at)
    d.tell("PagingResumed", f"maintenance window {_listed(active.windows)} is over and it still burns: told now")


def _put_off(d: Draft, w: World, since: datetime, at: datetime) -> None:
    """The clock stood still: the first step that came due meanwhile is due at the end, the later ones as much later."""
    talk = w.stack.spec.communication if w.stack else Communication()
    severity = paged_as(d.status)

    def later(due: datetime, by: timedelta) -> datetime:
        return people.awake_after(talk.quiet_hours, severity, due + by, timedelta(0))

    first = min((e.due_at for e in d.status.escalation if escalation.is_open(e)), default=None)
    if first is not None and first < at:
        by = at - max(since, first)
        path = [
            e.model_copy(update={"due_at": later(e.due_at, by)}) if escalation.is_open(e) else e for e in d.status.escalation
        ]
        d.update(escalation=path)
    due, held = d.status.deadlines, at - since
    if due is None:
        return
    changes = {
        "respond_by": later(due.respond_by, held) if due.response == "Pending" else due.respond_by,
        "team_update_by": due.team_update_by if due.team_told_at else later(due.team_update_by, held),
        "stakeholders_by": due.stakeholders_by if due.stakeholders_told_at else later(due.stakeholders_by, held),
    }
    d.update(deadlines=due.model_copy(update=changes))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)
