"""Kinds whose API is defined but which this version does not serve yet: the object says so instead of staying silent."""

from __future__ import annotations

from ..api.common import Condition
from ..domain.conditions import set_condition
from ..domain.patching import merge_patch
from ..ports import JSON, Key, Kind, Ports


class UnservedController:
    """Writes one condition: nothing happens for this object in this version."""

    def __init__(self, ports: Ports, kind: Kind) -> None:
        self._ports = ports
        self._kind = kind

    async def reconcile(self, key: Key) -> float | None:
        """Only an event can change something."""
        obj = await self._ports.cluster.get(self._kind, key.namespace, key.name)
        if obj is None:
            return None
        meta, status = obj["metadata"], obj.get("status") or {}
        before = [Condition.model_validate(c) for c in status.get("conditions") or []]
        message = f"this version of the operator does not act on {self._kind.kind} objects yet; nothing is done for it"
        now, generation = self._ports.clock.now(), meta.get("generation")
        conditions = set_condition(before, "Stalled", True, "NotServed", message, now, generation)
        changes = merge_patch(status, {**status, "conditions": [c.to_wire() for c in conditions]})
        if changes:
            body: JSON = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": changes}
            await self._ports.cluster.patch(self._kind, key.namespace, key.name, body, "status")
            await self._ports.events.post(self._kind, obj, "Warning", "NotServed", message)
        return None
