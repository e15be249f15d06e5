"""Alerts into Incidents: read, decide (domain/incidents/intake.py), write conditionally, again after a conflict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ...api.incident import Incident
from ...api.stack import Stack
from ...domain.incidents.intake import Alert, Write, intake
from ...domain.names import OPENED_BY_LABEL, STACK_LABEL, label_of
from ...ports import INCIDENT, JSON, STACK, ApiError, Clock, Cluster, Conflict, Refused, Unavailable
from .heartbeat import Heartbeats
from .metrics import ReceiverMetrics
from .payload import Message

TRIES = 8
# A right that is missing is mended by a person: Alertmanager keeps its alerts meanwhile.
LATER = (401, 403)
log = logging.getLogger(__name__)


class AlertStore:
    """Stores what a message says. Raises ApiError when it could not, so that it is sent again."""

    def __init__(
        self, cluster: Cluster, clock: Clock, metrics: ReceiverMetrics, heartbeats: Heartbeats, watched: Sequence[str]
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._watched = frozenset(watched)

    async def store(self, message: Message) -> None:
        """All alerts of a message, those of each Stack together; one Stack's fault keeps no other from being stored."""
        groups: dict[tuple[str, str], list[Alert]] = {}
        for alert in message.alerts:
            groups.setdefault((alert.namespace, alert.stack), []).append(alert)
        self._fault("malformed", message.bad)
        problems: list[ApiError] = []
        for (namespace, stack), alerts in groups.items():
            try:
                await self._of_stack(namespace, stack, alerts, message.left_out)
            except Refused as no:
                if no.status in LATER:
                    problems.append(no)
                else:
                    self._fault("refused", len(alerts), namespace, stack, str(no))
            except ApiError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    async def _of_stack(self, namespace: str, name: str, alerts: Sequence[Alert], left_out: int) -> None:
        if not namespace or not name:
            self._fault("no_stack", len(alerts))
            return
        if self._watched and namespace not in self._watched:
            self._fault("namespace_not_watched", len(alerts), namespace, name)
            return
        obj = await self._cluster.get(STACK, namespace, name)
        stack = _stack(obj)
        if stack is None:
            self._fault("stack_not_found" if obj is None else "stack_invalid", len(alerts), namespace, name)
            return
        watchdog = stack.spec.alerts.watchdog
        beats = [a for a in alerts if watchdog is not None and a.name == watchdog.alert]
        if watchdog is not None and any(a.ends_at is None for a in beats):
            await self._heartbeats.beat(namespace, name, watchdog.after, self._clock.now())
        self._count("watchdog", len(beats))
        left = [a for a in alerts if a not in beats]
        if left:
            await self._put(stack, left, left_out)

    async def _put(self, stack: Stack, alerts: Sequence[Alert], left_out: int) -> None:
        """Every try begins with what is there now, so that two receivers, or a person, cannot overwrite one another."""
        namespace = stack.metadata.namespace
        for _ in range(TRIES):
            listed = await self._cluster.list(INCIDENT, namespace)
            names = [str(o["metadata"]["name"]) for o in listed]
            incidents = [i for o in listed if (i := _incident(o)) is not None]
            work = intake(stack, incidents, names, alerts, left_out, self._clock.now())
            try:
                for write in work.writes():
                    await self._write(stack, write)
            except Conflict:
                continue
            for outcome in work.outcomes:
                self._count(outcome, 1)
                if outcome in ("no_type", "type_not_allowed"):
                    log.warning("alert not taken", extra={"stack": stack.metadata.name, "outcome": outcome})
            return
        raise Unavailable(f"the incidents of {namespace} change faster than alerts can be written")

    async def _write(self, stack: Stack, write: Write) -> None:
        namespace, name = stack.metadata.namespace, stack.metadata.name
        if write.create:
            labels = {STACK_LABEL: label_of(name), OPENED_BY_LABEL: "alerts"}
            body: JSON = {"metadata": {"name": write.name, "labels": labels}, "spec": dict(write.spec)}
            await self._cluster.create(INCIDENT, namespace, body)
            log.info("incident opened", extra={"incident": write.name})
            return
        change: JSON = {"metadata": {"resourceVersion": write.version}, "spec": dict(write.spec)}
        if await self._cluster.patch(INCIDENT, namespace, write.name, change) is None:
            raise Conflict(f"incident {write.name} was deleted meanwhile")

    def _count(self, outcome: str, count: int) -> None:
        if count:
            self._metrics.alert(outcome, count)

    def _fault(self, outcome: str, count: int, namespace: str = "", stack: str = "", why: str = "") -> None:
        """What nobody could store however often it is sent: counted and logged, and answered as taken."""
        if count:
            self._metrics.alert(outcome, count)
            extra = {"outcome": outcome, "alerts": count, "namespace": namespace[:63], "stack": stack[:253], "why": why}
            log.warning("alerts not taken", extra=extra)


def _stack(obj: Any) -> Stack | None:
    try:
        return Stack.model_validate(obj) if obj is not None else None
    except ValidationError:
        return None


def _incident(obj: Any) -> Incident | None:
    """None for one that cannot be read; the operator tells people of that."""
    try:
        return Incident.model_validate(obj)
    except ValidationError:
        return None
