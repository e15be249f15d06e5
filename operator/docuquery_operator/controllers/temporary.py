"""Puts back what was changed for a while, when its time has come (rule 18). Level-triggered: the objects hold the record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..api.stack import Stack
from ..domain.names import label_of
from ..domain.remedies import temporary
from ..ports import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    JSON,
    LEASE,
    SCALED_OBJECT,
    STACK,
    STATEFUL_SET,
    Conflict,
    Key,
    Kind,
    Ports,
    Refused,
)
from .ledgers import held_by_task, lease_name

LOOK_SECONDS = 15.0
KINDS = (DEPLOYMENT, STATEFUL_SET, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT)
log = logging.getLogger(__name__)
End = Callable[[Mapping[str, Any]], temporary.Return | None]


class Returner:
    """One for the Stack controller."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._looked: dict[Key, float] = {}

    async def look(self, stack: Stack, obj: JSON) -> None:
        """Put back what is due. A pause holds it: whoever works by hand must not be surprised."""
        now = self._ports.clock.now()
        key = Key(STACK.plural, stack.metadata.namespace, stack.metadata.name)
        if stack.spec.paused or not self._ports.leader.leading():
            return
        if 0 <= now.timestamp() - self._looked.get(key, 0.0) < LOOK_SECONDS:
            return
        self._looked[key] = now.timestamp()
        await self._all(key, lambda o: temporary.due(o, now), obj, stack)

    async def gone(self, key: Key) -> None:
        """The Stack was deleted: everything goes back at once, for nobody would look again."""
        self._looked.pop(key, None)
        if self._ports.leader.leading():
            await self._all(key, temporary.everything, None, None)

    async def _all(self, key: Key, end: End, stack_object: JSON | None, stack: Stack | None) -> None:
        selector = f"{temporary.KEY}={label_of(key.name)}"
        for kind in KINDS:
            try:
                found = await self._ports.cluster.list(kind, key.namespace, selector)
            except Refused as refused:
                # A kind that is not served, or not ours to read: nothing of ours can be on it.
                log.debug("not looked at", extra={"kind": kind.kind, "why": str(refused)})
                continue
            for obj in found:
                await self._one(key, kind, obj, end, stack_object, stack)

    async def _one(self, key: Key, kind: Kind, obj: JSON, end: End, stack_object: JSON | None, stack: Stack | None) -> None:
        name = obj["metadata"]["name"]
        try:
            over = end(obj)
        except ValueError as spoilt:
            log.warning("temporary change not readable", extra={"object": f"{kind.kind}/{name}", "why": str(spoilt)})
            return
        if over is None or (stack is not None and await self._at_work(stack, obj)):
            return
        try:
            await self._ports.cluster.patch(kind, key.namespace, name, over.patch)
        except Conflict:
            # Somebody wrote first; the next look reads what is there now.
            self._looked.pop(key, None)
            return
        for change in over.put_back:
            back = "absent" if change.former is None else change.former
            await self._say(stack_object, "Normal", "PutBack", f"{kind.kind} {name}: {change.field} is {back} again")
        for change in over.kept:
            text = f"{kind.kind} {name}: {change.field} was changed by somebody else meanwhile; it is left as it is"
            await self._say(stack_object, "Warning", "NotPutBack", text)

    async def _at_work(self, stack: Stack, obj: JSON) -> bool:
        """Whether a maintenance task acts on the same workload: then the return waits for its end."""
        name = ((obj.get("spec") or {}).get("scaleTargetRef") or obj["metadata"])["name"]
        of = [n for n, c in stack.spec.components.items() if c.workload.name == name]
        leases = [
            await self._ports.cluster.get(LEASE, stack.metadata.namespace, lease_name(stack.metadata.name, n)) for n in of
        ]
        return any(held_by_task(lease, self._ports.clock.now()) for lease in leases if lease is not None)

    async def _say(self, stack_object: JSON | None, type_: str, reason: str, message: str) -> None:
        log.info("temporary change over", extra={"outcome": reason, "change": message})
        if stack_object is not None:
            await self._ports.events.post(STACK, stack_object, type_, reason, message)
