"""An Incident as the public sees it: phases with fixed texts, and the message that somebody wrote for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...api.common import Severity
from ...api.incident import Incident, IncidentStatus, Phase
from ..paging.outbox import CHANNEL_FAILURE
from .words import IMPACTS, PHASES, Impact, clean

# A fault without effect on users is nobody's business, unless somebody wrote a message for them.
SHOWN_ALWAYS = (Severity.P0, Severity.P1, Severity.P2)
_PHASE_OF_EVENT = {
    "Opened": Phase.INVESTIGATING,
    "Reopened": Phase.INVESTIGATING,
    "Identified": Phase.IDENTIFIED,
    "Mitigated": Phase.MONITORING,
    "SymptomBack": Phase.IDENTIFIED,
    "Resolved": Phase.RESOLVED,
}


@dataclass(frozen=True)
class Update:
    """One thing that was told."""

    id: str
    at: datetime
    phase: Phase
    body: str


@dataclass(frozen=True)
class IncidentFacts:
    """All that is kept of an Incident: nothing in it is secret but stack and component, which are not shown."""

    id: str
    stack: str
    component: str | None
    phase: Phase
    impact: Impact
    message: str
    opened_at: datetime
    monitoring_at: datetime | None
    resolved_at: datetime | None
    updates: tuple[Update, ...]

    @property
    def updated_at(self) -> datetime:
        """When something was told last."""
        return self.updates[-1].at


@dataclass(frozen=True)
class PublicIncident:
    """As it is shown. updates: newest first; next_update: when the next is due while it is open."""

    id: str
    title: str
    phase: Phase
    impact: Impact
    message: str
    components: tuple[str, ...]
    opened_at: datetime
    monitoring_at: datetime | None
    resolved_at: datetime | None
    updated_at: datetime
    next_update: datetime | None
    updates: tuple[Update, ...]

    @property
    def resolved(self) -> bool:
        """It is over."""
        return self.phase is Phase.RESOLVED

    def overdue(self, now: datetime) -> bool:
        """Nobody has told anything for longer than promised."""
        return self.next_update is not None and now > self.next_update


def public_id(uid: str, *parts: str) -> str:
    """Not to be traced to an object without read access to it; the same as long as the object lives."""
    return hashlib.sha256("/".join((uid, *parts)).encode()).hexdigest()[:12]


def incident_facts(obj: Mapping[str, Any]) -> IncidentFacts | None:
    """None for what is not shown: not opened, without effect on users, about the operator itself. May raise ValueError."""
    incident = Incident.model_validate(obj)
    status, message = incident.status, clean(incident.spec.public_message)
    opened = status.times.opened_at if status else None
    if status is None or opened is None:
        return None
    severity = status.severity or incident.spec.severity or Severity.P2
    if not message and (severity not in SHOWN_ALWAYS or incident.spec.type == CHANNEL_FAILURE):
        return None
    id_ = public_id(incident.metadata.uid)
    phases = _phases(status, opened)
    told = [(at, phase, PHASES[phase]) for at, phase in phases]
    if message:
        told = _with_message(told, message, written_at(obj, incident) or opened)
    # A message that is changed moves in time: it is another update then, also where it stays the last.
    updates = [Update(public_id(id_, str(n), at.isoformat()), at, phase, body) for n, (at, phase, body) in enumerate(told)]
    return IncidentFacts(
        id=id_,
        stack=incident.spec.stack_ref.name,
        component=status.component or incident.spec.component,
        phase=status.phase,
        impact=IMPACTS[severity],
        message=message,
        opened_at=phases[0][0],
        monitoring_at=next((at for at, p in reversed(phases) if p is Phase.MONITORING), None),
        resolved_at=phases[-1][0] if status.phase is Phase.RESOLVED else None,
        updates=tuple(updates),
    )


def written_at(obj: Mapping[str, Any], incident: Incident) -> datetime | None:
    """When the message was last written, as far as the API server knows: by the field's owner in managedFields."""
    for entry in (obj.get("metadata") or {}).get("managedFields") or []:
        if "f:publicMessage" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            try:
                return datetime.fromisoformat(str(entry.get("time")))
            except ValueError:
                break
    return incident.metadata.creation_timestamp


def shown_incident(facts: IncidentFacts, titles: Sequence[str], many: bool, cadence: timedelta) -> PublicIncident:
    """titles: of the components that it is about; many: it is about all of them; cadence: from one update to the next."""
    where = "several services" if many or not titles else ", ".join(titles)
    open_ = facts.phase is not Phase.RESOLVED
    return PublicIncident(
        id=facts.id,
        title=f"{_DISRUPTION[facts.impact]}: {where}",
        phase=facts.phase,
        impact=facts.impact,
        message=facts.message,
        components=tuple(titles),
        opened_at=facts.opened_at,
        monitoring_at=facts.monitoring_at,
        resolved_at=facts.resolved_at,
        updated_at=facts.updated_at,
        next_update=facts.updated_at + cadence if open_ and cadence else None,
        updates=tuple(reversed(facts.updates)),
    )


_DISRUPTION = {
    Impact.NONE: "Notice",
    Impact.MINOR: "Reduced service",
    Impact.MAJOR: "Disruption",
    Impact.CRITICAL: "Outage",
}


def _phases(status: IncidentStatus, opened: datetime) -> list[tuple[datetime, Phase]]:
    """Each change of phase, oldest first; of the timeline only the kinds of its events count, never their texts."""
    seen = [(e.at, _PHASE_OF_EVENT[e.event]) for e in status.timeline if e.event in _PHASE_OF_EVENT]
    times = status.times
    seen += [
        (at, phase)
        for at, phase in (
            (opened, Phase.INVESTIGATING),
            (times.identified_at, Phase.IDENTIFIED),
            (times.mitigated_at, Phase.MONITORING),
            (times.resolved_at, Phase.RESOLVED),
        )
        if at is not None
    ]
    order = list(Phase)
    found: list[tuple[datetime, Phase]] = []
    for at, phase in sorted(seen, key=lambda s: (s[0], order.index(s[1]))):
        if not found or found[-1][1] is not phase:
            found.append((at, phase))
    if found[-1][1] is not status.phase:
        # The timeline has lost entries, or a phase went back without an event: what holds now is said last.
        found.append((found[-1][0], status.phase))
    return found


def _with_message(
    told: Iterable[tuple[datetime, Phase, str]], message: str, at: datetime
) -> list[tuple[datetime, Phase, str]]:
    """The message stands where it was written, in the phase of that time; one from before the opening opens the story."""
    listed = list(told)
    before = [t for t in listed if t[0] <= at]
    if not before:
        first = listed[0]
        return [(first[0], first[1], message), *listed[1:]]
    return [*before, (at, before[-1][1], message), *listed[len(before) :]]
