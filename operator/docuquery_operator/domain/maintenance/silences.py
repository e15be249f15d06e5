"""The silence that an open maintenance window keeps in Alertmanager. Pure.

It lives in slices of half an hour that are renewed, and never longer than the window, so that a dead operator's silence ends
by itself. Its comment bears a mark of Stack, window and opening: the mark is in the window's status before the silence is
made, so that whoever comes after a crash finds it again, whatever its id is by then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...api.alertmanager import AlertmanagerServer
from ...api.common import format_time
from ...api.maintenance_window import MaintenanceWindow, MaintenanceWindowStatus, Silence
from ..conditions import set_condition
from ..incidents.draft import as_written

SLICE, RENEW_BEFORE = timedelta(minutes=30), timedelta(minutes=10)
CREATED_BY = "docuquery-operator"
FINALIZER = "ops.docuquery.ai/silence"
AGAIN, SOON = timedelta(seconds=10), timedelta(seconds=1)
MARK = re.compile(r"\[docuquery:([\w.-]+):([\w.-]+):(\w+)\]")
CONDITION = "Silenced"


@dataclass(frozen=True)
class Seen:
    """A silence as Alertmanager shows it. state: active, pending or expired."""

    id: str
    state: str
    ends_at: datetime
    created_by: str
    comment: str
    matchers: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True)
class SilenceFacts:
    """server: the Stack's, None without one. asked: whether it was asked in this pass; seen: None without an answer."""

    server: AlertmanagerServer | None = None
    stack_uid: str = ""
    asked: bool = False
    seen: tuple[Seen, ...] | None = None
    problem: str = ""


@dataclass(frozen=True)
class SilencePlan:
    """put: the silence to make or to renew. expire: ids to end. keep: whether the finalizer is to be there."""

    status: MaintenanceWindowStatus
    put: Mapping[str, Any] | None = None
    expire: tuple[str, ...] = ()
    keep: bool = False
    look_again: datetime | None = None


def mark(stack_uid: str, window: MaintenanceWindow, since: datetime) -> str:
    """What tells this silence from all others, in its comment."""
    return f"[docuquery:{stack_uid}:{window.metadata.uid}:{since.astimezone(UTC):%Y%m%dT%H%M%SZ}]"


def wanted(window: MaintenanceWindow, status: MaintenanceWindowStatus, server: AlertmanagerServer | None) -> bool:
    """Whether there is to be a silence now."""
    deleted = window.metadata.deletion_timestamp is not None
    return window.spec.effects.alertmanager_silence and status.active is not None and server is not None and not deleted


def must_ask(window: MaintenanceWindow, server: AlertmanagerServer | None, seen_before: bool, now: datetime) -> bool:
    """Whether Alertmanager has to be asked: something is to be made, renewed or ended, or nobody has looked yet."""
    status = window.status or MaintenanceWindowStatus()
    known = status.silence
    if server is None:
        return False
    if known is None:
        return window.spec.effects.alertmanager_silence
    # The status is that of the last pass: a window that ends now is asked about as well.
    over = status.active is None or now >= status.active.until or not wanted(window, status, server) or window.spec.suspend
    return over or known.state != "Active" or not seen_before or known.ends_at - now <= RENEW_BEFORE


def decide(window: MaintenanceWindow, status: MaintenanceWindowStatus, facts: SilenceFacts, now: datetime) -> SilencePlan:
    """One pass. status: as the other decisions of this pass have left it."""
    decided = _wanted if wanted(window, status, facts.server) else _ended
    return _told(window, decided(window, status, facts, now), facts, now)


def matchers(server: AlertmanagerServer, components: Sequence[str]) -> tuple[tuple[str, str, bool], ...]:
    """Name, value and whether it is a regular expression; labels of the Stack and its components, never of pods."""
    found = [(name, value, False) for name, value in sorted(server.labels.items())]
    if components:
        found.append((server.component_label, "|".join(re.escape(c) for c in sorted(components)), True))
    return tuple(found)


def orphans(seen: Iterable[Seen], stack_uid: str, kept: Collection[str]) -> tuple[str, ...]:
    """Ids of living silences of this Stack that no window keeps any more. kept: marks in the status of windows."""
    found = []
    for one in seen:
        match = MARK.search(one.comment) if one.created_by == CREATED_BY and one.state != "expired" else None
        if match is not None and match[1] == stack_uid and match[0] not in kept:
            found.append(one.id)
    return tuple(found)


def _of_window(window: MaintenanceWindow, facts: SilenceFacts) -> list[Seen]:
    """Living silences of this window, of whichever opening; newest end first."""
    prefix = f":{window.metadata.uid}:"
    mine = [s for s in facts.seen or () if s.created_by == CREATED_BY and s.state != "expired"]
    found = [s for s in mine if (m := MARK.search(s.comment)) is not None and prefix in m[0]]
    return sorted(found, key=lambda s: (s.ends_at, s.id), reverse=True)


def _wanted(window: MaintenanceWindow, status: MaintenanceWindowStatus, facts: SilenceFacts, now: datetime) -> SilencePlan:
    assert status.active is not None
    assert facts.server is not None
    until, known = status.active.until, status.silence
    if not facts.asked or facts.seen is None:
        # Nothing is made that could be there already.
        again = AGAIN if facts.asked or known is None else max(AGAIN, known.ends_at - RENEW_BEFORE - now)
        return SilencePlan(status, keep=known is not None, look_again=min(until, now + again))
    this, match = mark(facts.stack_uid, window, status.active.since), matchers(facts.server, window.spec.components)
    of_window = _of_window(window, facts)
    fitting = [s for s in of_window if this in s.comment and set(s.matchers) == set(match)]
    current = fitting[0] if fitting else None
    expire = tuple(s.id for s in of_window if s is not current)
    due = current is None or (current.ends_at - now <= RENEW_BEFORE and current.ends_at < until)
    if not due:
        assert current is not None
        silence = Silence(mark=this, state="Active", id=current.id, ends_at=current.ends_at)
        at = min(until, current.ends_at - RENEW_BEFORE) if current.ends_at < until else until
        return SilencePlan(_with(status, silence), None, expire, True, max(at, now + SOON))
    planned = known.ends_at if known is not None and known.mark == this else now
    if planned - now <= RENEW_BEFORE or planned > until:
        # The end is kept from pass to pass, so that tries in vain write nothing.
        planned = min(until, now + SLICE)
    planned = as_written(planned) or planned
    state = "Active" if current is not None else "Intended"
    silence = Silence.model_validate({"mark": this, "state": state, "id": current and current.id, "endsAt": planned})
    body = _body(window, this, match, current, now, planned)
    return SilencePlan(_with(status, silence), body, expire, True, min(until, now + SOON))


def _body(
    window: MaintenanceWindow,
    this: str,
    match: Iterable[tuple[str, str, bool]],
    current: Seen | None,
    now: datetime,
    until: datetime,
) -> Mapping[str, Any]:
    where = f"{window.metadata.namespace}/{window.metadata.name}"
    body = {
        "matchers": [{"name": n, "value": v, "isRegex": regex, "isEqual": True} for n, v, regex in match],
        "startsAt": format_time(now),
        "endsAt": format_time(until),
        "createdBy": CREATED_BY,
        "comment": f"MaintenanceWindow {where} is open. Renewed while it is, ended with it. {this}",
    }
    return body | ({"id": current.id} if current is not None else {})


def _ended(window: MaintenanceWindow, status: MaintenanceWindowStatus, facts: SilenceFacts, now: datetime) -> SilencePlan:
    known = status.silence
    if known is None:
        return SilencePlan(status, expire=tuple(s.id for s in _of_window(window, facts)))
    if now >= known.ends_at:
        # It has ended by itself; whether Alertmanager answers does not matter any more.
        return SilencePlan(_with(status, None), expire=tuple(s.id for s in _of_window(window, facts)))
    if facts.seen is None:
        return SilencePlan(status, keep=True, look_again=min(known.ends_at, now + AGAIN))
    left = tuple(s.id for s in _of_window(window, facts))
    if left:
        return SilencePlan(status, expire=left, keep=True, look_again=now + SOON)
    return SilencePlan(_with(status, None))


def _with(status: MaintenanceWindowStatus, silence: Silence | None) -> MaintenanceWindowStatus:
    return status.model_copy(update={"silence": silence})


def _told(window: MaintenanceWindow, plan: SilencePlan, facts: SilenceFacts, now: datetime) -> SilencePlan:
    """The condition, where a silence is asked for or still there."""
    status, silence = plan.status, plan.status.silence
    others = [c for c in status.conditions if c.type != CONDITION]
    if not window.spec.effects.alertmanager_silence and silence is None:
        return plan if len(others) == len(status.conditions) else _replace(plan, others)
    known = [c for c in status.conditions if c.type == CONDITION]
    if window.spec.effects.alertmanager_silence and facts.server is None:
        told = (False, "NoAlertmanager", "the Stack names none; set spec.alertmanager of the Stack")
    elif facts.problem:
        told = (False, "AlertmanagerNotAsked", f"it is asked again: {facts.problem}"[:512])
    elif silence is not None and silence.state == "Active":
        told = (True, "Active", f"its alerts are silenced by {silence.id}")
    elif silence is not None:
        told = (False, "Beginning", "the silence is being made")
    else:
        told = (False, "NotOpen", "there is a silence while the window is open")
    conditions = set_condition(known, CONDITION, *told, now, window.metadata.generation)
    return _replace(plan, [*others, *conditions])


def _replace(plan: SilencePlan, conditions: Sequence[Any]) -> SilencePlan:
    status = plan.status.model_copy(update={"conditions": list(conditions)})
    return SilencePlan(status, plan.put, plan.expire, plan.keep, plan.look_again)
