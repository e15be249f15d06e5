"""Where an alert from outside belongs: an incident that is open, one that ended just now, or a new one. Pure.

An alert is told by its fingerprint, an episode of it by the time at which it began. What an incident holds of one alert only
ever moves forward (a later episode; then its end), so messages that come twice, late or in another order change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ...api.alerts import ALERTS_KEPT, IncidentAlert
from ...api.common import Severity, format_time
from ...api.incident import Incident, Phase
from ...api.stack import Stack
from ..detection.faults import REFIRE_WITHIN, dependencies, incident_name, number_of

# A message that was under way when the end of its alert was told is older than this at most; a later one is news.
LATE_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Alert:
    """One alert of a message, as far as it could be read. ends_at: None while it fires."""

    fingerprint: str
    name: str
    starts_at: datetime
    ends_at: datetime | None = None
    namespace: str = ""
    stack: str = ""
    incident_type: str = ""
    component: str = ""
    severity: Severity | None = None
    summary: str = ""


@dataclass(frozen=True)
class Write:
    """One object to create or to change; version: the resourceVersion that it must still have."""

    name: str
    spec: Mapping[str, Any]
    create: bool = False
    version: str = ""


@dataclass
class _Place:
    """An incident while the alerts of one message are put in."""

    name: str
    incident_type: str
    component: str
    alerts: dict[str, IncidentAlert]
    version: str = ""
    ended: datetime | None = None
    by_hand: bool = False
    severity: Severity | None = None
    left_out: int = 0
    create: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.ended is None


@dataclass
class Intake:
    """One message's alerts about one Stack. outcomes: what became of each, by words that metrics can count."""

    stack: Stack
    now: datetime
    places: list[_Place]
    names: set[str]
    outcomes: list[str] = field(default_factory=list)

    def writes(self) -> list[Write]:
        """What is to be written, at most one write an incident."""
        return [
            Write(p.name, p.changes | {"alerts": [a.to_wire() for a in _sorted(p.alerts)]}, p.create, p.version)
            for p in self.places
            if p.changes or p.create
        ]


def intake(
    stack: Stack,
    incidents: Sequence[Incident],
    names: Collection[str],
    alerts: Sequence[Alert],
    left_out: int,
    now: datetime,
) -> Intake:
    """Put every alert where it belongs.

    incidents: those of the namespace that can be read; names: of all of them. left_out: alerts that the message lacks.
    """
    mine = [_place(i) for i in incidents if i.spec.stack_ref.name == stack.metadata.name]
    work = Intake(stack, now, mine, set(names))
    for alert in sorted(alerts, key=lambda a: (_depth(stack, a.component), a.fingerprint, a.starts_at)):
        place, outcome = _put(work, alert)
        work.outcomes.append(outcome)
        if place is not None and left_out > place.left_out:
            place.left_out = left_out
            place.changes["alertsLeftOut"] = left_out
    return work


def _place(incident: Incident) -> _Place:
    spec, status = incident.spec, incident.status
    ended, by_hand = None, False
    if status is not None and status.phase is Phase.RESOLVED:
        at = status.times.resolved_at
        # Fired again already, but the operator has not seen that yet.
        again = spec.refired_at is not None and at is not None and spec.refired_at > at
        closed = status.condition("Resolved")
        ended, by_hand = None if again else at, closed is not None and closed.reason == "ResolvedByHand"
    return _Place(
        name=incident.metadata.name,
        incident_type=spec.type,
        component=spec.component or (status.component if status else None) or "",
        alerts={a.fingerprint: a for a in spec.alerts},
        version=incident.metadata.resource_version,
        ended=ended,
        by_hand=by_hand,
        severity=spec.severity or (status.severity if status else None),
        left_out=spec.alerts_left_out,
    )


def _depth(stack: Stack, component: str) -> int:
    """Causes before their symptoms, where one message holds both."""
    return len(dependencies(stack.spec.components, component)) if component in stack.spec.components else 0


def _sorted(alerts: Mapping[str, IncidentAlert]) -> list[IncidentAlert]:
    return sorted(alerts.values(), key=lambda a: (a.starts_at, a.fingerprint))


def _put(work: Intake, alert: Alert) -> tuple[_Place | None, str]:
    known = max((p for p in work.places if alert.fingerprint in p.alerts), key=lambda p: _order(p, alert), default=None)
    if known is not None:
        held = known.alerts[alert.fingerprint]
        if held.starts_at > alert.starts_at:
            return None, "stale"
        if held.starts_at == alert.starts_at and not _again(held, alert, work.now):
            return _same_episode(known, held, alert)
        if alert.ends_at is not None and held.ends_at is None:
            # Two messages were lost, the end of the one and the beginning of the other: both episodes are over.
            return _ended(known, held, alert)
    if alert.ends_at is not None:
        return None, "unknown_end"
    place = _open_place(work, alert, known)
    if place is not None:
        _attach(work, place, alert)
        return place, "attached"
    return _opened(work, alert)


def _order(place: _Place, alert: Alert) -> tuple[datetime, bool, str]:
    return place.alerts[alert.fingerprint].starts_at, place.open, place.name


def _again(held: IncidentAlert, alert: Alert, now: datetime) -> bool:
    """It has ended and fires on under the same time, as after an outage of Prometheus itself."""
    return alert.ends_at is None and held.ends_at is not None and now - held.ends_at > LATE_WITHIN


def _same_episode(place: _Place, held: IncidentAlert, alert: Alert) -> tuple[_Place | None, str]:
    if alert.ends_at is None or held.ends_at is not None:
        return place, "known"
    return _ended(place, held, alert)


def _ended(place: _Place, held: IncidentAlert, alert: Alert) -> tuple[_Place, str]:
    changes = {"starts_at": alert.starts_at, "ends_at": alert.ends_at}
    place.alerts[alert.fingerprint] = held.model_copy(update=changes)
    place.changes.setdefault("alerts", True)
    return place, "ended"


def _open_place(work: Intake, alert: Alert, known: _Place | None) -> _Place | None:
    """The open incident that it belongs to: its own, the same fault's, or that of a cause below it."""
    if known is not None and known.open:
        return known
    components = work.stack.spec.components
    below = {alert.component, *dependencies(components, alert.component)} if alert.component in components else set()
    ranked = [(_rank(p, alert, below), p.name, p) for p in work.places if p.open]
    return min((r for r in ranked if r[0] is not None), key=lambda r: (r[0], r[1]), default=(0, "", None))[2]


def _rank(place: _Place, alert: Alert, below: set[str]) -> int | None:
    same_component = place.component == alert.component
    if place.incident_type == alert.incident_type and (same_component or "" in (place.component, alert.component)):
        return 0
    if alert.component and place.component in below:
        return 1 if same_component else 2
    return None


def _attach(work: Intake, place: _Place, alert: Alert) -> None:
    entry = IncidentAlert(
        fingerprint=alert.fingerprint,
        name=alert.name,
        starts_at=alert.starts_at,
        component=alert.component if alert.component and alert.component != place.component else None,
        summary=alert.summary,
    )
    if alert.fingerprint not in place.alerts and len(place.alerts) >= ALERTS_KEPT:
        over = next((a for a in _sorted(place.alerts) if a.ends_at is not None), None)
        if over is None:
            # No room: the incident is open for the same reason, and says that there is more.
            place.left_out = max(1, place.left_out)
            place.changes["alertsLeftOut"] = place.left_out
            return
        del place.alerts[over.fingerprint]
    place.alerts[alert.fingerprint] = entry
    place.changes.setdefault("alerts", True)
    worse = alert.severity is not None and place.severity is not None and alert.severity < place.severity
    if place.incident_type == alert.incident_type and worse:
        place.severity = alert.severity
        place.changes["severity"] = str(alert.severity)


def _opened(work: Intake, alert: Alert) -> tuple[_Place | None, str]:
    allowed = work.stack.spec.alerts.types
    if not alert.incident_type:
        return None, "no_type"
    if alert.incident_type not in allowed:
        return None, "type_not_allowed"
    lately = [
        p
        for p in work.places
        if p.ended is not None
        and not p.by_hand
        and (p.incident_type, p.component) == (alert.incident_type, alert.component or p.component)
        and work.now - p.ended < REFIRE_WITHIN
    ]
    if lately:
        place = max(lately, key=lambda p: (p.ended, p.name))
        place.ended = None
        place.changes["refiredAt"] = format_time(work.now)
        _attach(work, place, alert)
        return place, "reopened"
    place = _fresh(work, alert)
    work.places.append(place)
    work.names.add(place.name)
    _attach(work, place, alert)
    return place, "opened"


def _fresh(work: Intake, alert: Alert) -> _Place:
    """A name that everybody who sees the same chooses: the second one to create it finds the first one's."""
    stack = work.stack.metadata.name
    number = 1 + max((number_of(n, stack, alert.incident_type) for n in work.names), default=0)
    spec: dict[str, Any] = {
        "stackRef": {"name": stack},
        "type": alert.incident_type,
        "description": f"Alert {alert.name}: {alert.summary}".removesuffix(": ")[:1024],
    }
    if alert.component:
        spec["component"] = alert.component
    if alert.severity is not None:
        spec["severity"] = str(alert.severity)
    return _Place(
        name=incident_name(stack, alert.incident_type, number),
        incident_type=alert.incident_type,
        component=alert.component,
        alerts={},
        severity=alert.severity,
        create=True,
        changes=spec,
    )
