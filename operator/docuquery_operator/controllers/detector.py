"""Opens an Incident when a runbook's symptom shows on a Stack; what that means is decided in domain/detection/faults.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.common import HealMode, format_time
from ..api.incident import Incident, Phase
from ..api.stack import Stack
from ..catalogue.base import Round
from ..catalogue.probes.celery import WINDOW_SECONDS, CeleryFailures
from ..catalogue.probes.service_level import ServiceLevelProbe
from ..catalogue.service_levels import lag_seconds
from ..domain.detection.faults import GRACE, KnownIncident, Opening, Raising, Suspicion, number_of, openings, raisings
from ..domain.detection.thresholds import Level
from ..domain.diagnosis import parameters
from ..domain.diagnosis.causes import Diagnosis
from ..domain.diagnosis.references import references
from ..domain.incidents.healing import FIRST_CAUSE
from ..ports import INCIDENT, JSON, STACK, Conflict, Ports
from .gather import Gatherer
from .prober import StackProber

STACK_LABEL = "ops.docuquery.ai/stack"
OPENED_BY_LABEL = "ops.docuquery.ai/opened-by"
log = logging.getLogger(__name__)


class Detector:
    """Looks with the probes and the symptom of each runbook in force in the Stack's namespace, shipped or its own."""

    def __init__(self, ports: Ports, prober: StackProber) -> None:
        self._ports = ports
        self._prober = prober
        self._gather = Gatherer(ports, prober)

    async def look(
        self,
        stack: Stack,
        obj: JSON,
        sick: Collection[str],
        levels: Mapping[str, Level | None],
        together: Round | None = None,
    ) -> None:
        """Open what is to be opened; mode Off means that nobody wants this Stack to be looked at. levels: of services."""
        if not stack.spec.detection.open_incidents or stack.spec.healing.mode is HealMode.OFF:
            return
        kinds = await self._gather.incident_types(stack.metadata.namespace)
        found = await asyncio.gather(*(self._suspicions(stack, kind, levels, together) for kind in kinds))
        suspicions = [s for of_kind in found for s in of_kind]
        if not any(s.streak.verdict.symptom for s in suspicions):
            return
        now = self._ports.clock.now()
        targets, known = await self._gather.targets(stack), await self._known(stack)
        rolling = [n for n, t in targets.items() if _lately(t.foreign_rollout_at, now)]
        restarted = [n for n, t in targets.items() if _lately(t.restarted_at, now)]
        for opening in openings(stack, suspicions, sick, rolling, known, now, restarted):
            if self._ports.leader.leading():
                await self._open(stack, obj, opening, now)
        for raising in raisings(stack, suspicions, rolling, known, now):
            if self._ports.leader.leading():
                await self._raise(stack, obj, raising)

    async def _suspicions(
        self, stack: Stack, incident_type: str, levels: Mapping[str, Level | None], together: Round | None
    ) -> list[Suspicion]:
        chosen = await self._gather.runbook(stack.metadata.namespace, incident_type)
        if chosen.spec is None or chosen.problem is not None or not chosen.spec.open_incidents:
            return []
        of_levels = {p.name: p for p in chosen.spec.diagnose if p.probe == ServiceLevelProbe.name}
        # A symptom of the service level alone is known already: no need to ask all the other probes of it each round.
        named = {(r.name, r.key) for r in references(chosen.spec.symptom)}
        alone = bool(of_levels) and named <= {(name, "level") for name in of_levels}
        lag = timedelta(seconds=lag_seconds(stack)) if of_levels else timedelta(0)
        counts = {p.name for p in chosen.spec.diagnose if p.probe == CeleryFailures.name}
        values = parameters.resolve(chosen.spec, None)
        found = []
        for name, component in sorted(stack.spec.components.items()):
            if component.type.value != chosen.spec.component_type:
                continue
            if alone and levels.get(name) in (None, Level.NONE):
                continue
            seen = await self._prober.diagnose(stack, chosen.spec, chosen.source, name, values, together)
            facts = "; ".join(str(seen.findings.get(n, {}).get("summary", "")) for n in of_levels)
            counted = _rests_on(seen.streak.verdict.diagnosis, counts)
            shows_for = max(lag, timedelta(seconds=WINDOW_SECONDS)) if counted else lag
            found.append(Suspicion(incident_type, name, seen.streak, shows_for, facts))
        return found

    async def _known(self, stack: Stack) -> list[KnownIncident]:
        objects = await self._ports.cluster.list(INCIDENT, stack.metadata.namespace)
        found = [_known(o, stack.metadata.name) for o in objects]
        return [k for k in found if k is not None]

    async def _open(self, stack: Stack, obj: JSON, opening: Opening, now: datetime) -> None:
        namespace, name = stack.metadata.namespace, opening.name
        if opening.again:
            again: JSON = {"refiredAt": format_time(now)}
            body: JSON = {
                "metadata": {"annotations": {FIRST_CAUSE: opening.cause}},
                "spec": again | ({"severity": opening.severity.value} if opening.severity else {}),
            }
            await self._ports.cluster.patch(INCIDENT, namespace, name, body)
        elif not await self._created(stack, opening):
            return
        log.info("incident opened", extra={"incident": name, "again": opening.again})
        await self._ports.events.post(STACK, obj, "Warning", "IncidentOpened", f"{name}: {opening.description}")

    async def _raise(self, stack: Stack, obj: JSON, raising: Raising) -> None:
        body: JSON = {"spec": {"severity": raising.severity.value}}
        await self._ports.cluster.patch(INCIDENT, stack.metadata.namespace, raising.name, body)
        text = f"{raising.name} is {raising.severity} now: {raising.description}"
        await self._ports.events.post(STACK, obj, "Warning", "IncidentRaised", text)

    async def _created(self, stack: Stack, opening: Opening) -> bool:
        spec: JSON = {
            "stackRef": {"name": stack.metadata.name},
            "type": opening.incident_type,
            "component": opening.component,
            "description": opening.description,
        }
        if opening.severity is not None:
            spec["severity"] = opening.severity.value
        labels = {STACK_LABEL: stack.metadata.name, OPENED_BY_LABEL: "detector"}
        annotations = {FIRST_CAUSE: opening.cause}
        body = {"metadata": {"name": opening.name, "labels": labels, "annotations": annotations}, "spec": spec}
        try:
            await self._ports.cluster.create(INCIDENT, stack.metadata.namespace, body)
        except Conflict:
            # Another replica was quicker, or a person has taken the name; the next look tells which.
            return False
        return True


def _rests_on(diagnosis: Diagnosis | None, probes: Collection[str]) -> bool:
    """Whether the cause was named for the findings of one of these probes."""
    return diagnosis is not None and any(r.name in probes for r in references(diagnosis.spec.when))


def _lately(at: datetime | None, now: datetime) -> bool:
    return at is not None and now - at < GRACE


def _known(obj: JSON, stack: str) -> KnownIncident | None:
    """What the detector has to know of an incident; None when it is another Stack's."""
    try:
        incident = Incident.model_validate(obj)
    except ValidationError:
        return None
    if incident.spec.stack_ref.name != stack:
        return None
    status = incident.status
    ended, by_hand = None, False
    if status is not None and status.phase is Phase.RESOLVED:
        again, at = incident.spec.refired_at, status.times.resolved_at
        # Fired again already, but its own controller has not seen that yet.
        ended = None if again is not None and at is not None and again > at else at
        closed = status.condition("Resolved")
        by_hand = closed is not None and closed.reason == "ResolvedByHand"
    return KnownIncident(
        name=incident.metadata.name,
        incident_type=incident.spec.type,
        component=incident.spec.component or (status.component if status else None) or "",
        number=number_of(incident.metadata.name, stack, incident.spec.type),
        ended=ended,
        by_hand=by_hand,
        severity=incident.spec.severity or (status.severity if status else None),
    )
