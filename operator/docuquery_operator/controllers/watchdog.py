"""Opens an Incident when the alert that always fires is not heard any more, and ends it when it is heard again.

The receiver only notes when it heard it; who judges is the operator, so that a receiver that is dead is noticed too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.alerts import Watchdog
from ..api.common import Severity, delta, format_time
from ..api.incident import Incident, Phase
from ..api.stack import Stack
from ..domain.detection.watchdog import LEASE_NAME, entry, heard, key_of, silent
from ..domain.incidents.lifecycle import WATCHDOG_SILENT
from ..ports import INCIDENT, JSON, LEASE, Conflict, Key, Ports

SHARE, LONGEST = 8, timedelta(seconds=30)


class WatchdogKeeper:
    """One for the Stack controller. Looks several times within `after`, and not at each pass."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._alive_since = ports.clock.now()
        self._next: dict[Key, datetime] = {}

    async def look(self, key: Key, stack: Stack) -> None:
        """What follows from when it was last heard."""
        watchdog, now = stack.spec.alerts.watchdog, self._ports.clock.now()
        if watchdog is None or not self._ports.leader.leading():
            self._next.pop(key, None)
            return
        if key in self._next and timedelta(0) < self._next[key] - now <= LONGEST:
            return
        self._next[key] = now + min(LONGEST, delta(watchdog.after) / SHARE)
        at = await self._heard(stack, now)
        if at is None:
            return
        found = await self._ports.cluster.get(INCIDENT, key.namespace, _name(stack))
        if silent(watchdog, at, self._alive_since, now):
            await self._open(stack, watchdog, at, now, found)
        elif found is not None:
            await self._end(stack, watchdog, at, found)

    async def _heard(self, stack: Stack, now: datetime) -> datetime | None:
        """When it was last heard; None when waiting for it begins only now."""
        namespace, name = stack.metadata.namespace, stack.metadata.name
        lease = await self._ports.cluster.get(LEASE, namespace, LEASE_NAME)
        at = heard(lease, name)
        if at is not None:
            return min(at, now)
        note: JSON = {"metadata": {"annotations": {key_of(name): format_time(now)}}}
        if lease is None:
            body: JSON = {"metadata": note["metadata"] | {"name": LEASE_NAME}, "spec": {"holderIdentity": "watchdog"}}
            await self._ports.cluster.create(LEASE, namespace, body)
        else:
            await self._ports.cluster.patch(LEASE, namespace, LEASE_NAME, note)
        return None

    async def _open(self, stack: Stack, watchdog: Watchdog, at: datetime, now: datetime, found: JSON | None) -> None:
        namespace, name = stack.metadata.namespace, stack.metadata.name
        alerts = [entry(name, watchdog, at).to_wire()]
        if found is None:
            spec: JSON = {
                "stackRef": {"name": name},
                "type": WATCHDOG_SILENT,
                "severity": Severity.P1.value,
                "title": "Alerts may be lost",
                "description": f"{watchdog.alert} was last heard at {format_time(at)}, more than {watchdog.after} ago",
                "alerts": alerts,
            }
            try:
                await self._ports.cluster.create(INCIDENT, namespace, {"metadata": {"name": _name(stack)}, "spec": spec})
            except Conflict:
                return
            return
        incident = _read(found)
        over = incident is not None and incident.status is not None and incident.status.phase is Phase.RESOLVED
        # Closed by a person while it is silent: that is known, and the next silence is news again.
        if incident is not None and over and all(a.ends_at is not None for a in incident.spec.alerts):
            again: JSON = {"spec": {"refiredAt": format_time(now), "alerts": alerts}}
            await self._ports.cluster.patch(INCIDENT, namespace, _name(stack), again)

    async def _end(self, stack: Stack, watchdog: Watchdog, at: datetime, found: JSON) -> None:
        incident = _read(found)
        fires = [a for a in incident.spec.alerts if a.ends_at is None and a.starts_at < at] if incident else []
        if fires:
            ended = [entry(stack.metadata.name, watchdog, fires[0].starts_at, at).to_wire()]
            body: JSON = {"spec": {"alerts": ended}}
            await self._ports.cluster.patch(INCIDENT, stack.metadata.namespace, _name(stack), body)


def _name(stack: Stack) -> str:
    return f"{stack.metadata.name}-watchdog"


def _read(obj: JSON) -> Incident | None:
    try:
        return Incident.model_validate(obj)
    except ValidationError:
        return None
