"""What a maintenance task acts on, in the ledgers that healing counts by: taken first, kept, given back with a verdict."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from ..api.stack import Stack
from ..domain.ledger import LEASE_FOR, TASK_HOLDER, Attempt, Ledger
from ..domain.rails import planned
from ..domain.world import Refusal
from ..ports import ApiError, Ports, Transient
from .ledgers import LedgerStore

log = logging.getLogger(__name__)


class TaskTargets:
    """Of one attempt of one task (catalogue.tasks.base.Targets)."""

    def __init__(self, ports: Ports, stack: Stack, attempt_id: str) -> None:
        self._ports, self._stack, self._attempt_id = ports, stack, attempt_id
        self._store = LedgerStore(ports.cluster)
        self._holder = f"{TASK_HOLDER}{attempt_id}"
        self._held: dict[str, Attempt] = {}
        self._renewed: dict[str, datetime] = {}

    async def take(self, component: str, action: str, cooldown: timedelta) -> Refusal | None:
        """Enter the attempt and hold the target, or say why not; may be repeated after a crash."""
        meta, now = self._stack.metadata, self._ports.clock.now()
        try:
            ledgers = await self._store.read(meta.namespace, meta.name)
        except (ApiError, ValueError) as problem:
            return Refusal("28-lookup", "LookupFailed", f"the ledger of attempts cannot be read: {problem}"[:200])
        step = planned.planned_step(component, action, cooldown)
        refusal = planned.refusal(self._stack, ledgers, step, self._holder, self._attempt_id, now)
        if refusal is not None:
            return refusal
        known = ledgers.get(component, Ledger()).find(self._attempt_id)
        attempt = known or Attempt(self._attempt_id, now, action, planned.CAUSE, self._holder)
        try:
            await self._keep(component, attempt)
        except (ApiError, Transient) as problem:
            return Refusal("4-one-actor", "TargetBusy", str(problem)[:200])
        return None

    async def keep(self, component: str) -> None:
        """Go on holding it; Transient when somebody else has taken it meanwhile."""
        renewed = self._renewed.get(component)
        if renewed is None or abs(self._ports.clock.now() - renewed) > LEASE_FOR / 3:
            await self._keep(component, self._held[component])

    async def finish(self, component: str, outcome: str) -> None:
        """The verdict, once; nothing happens where no attempt was entered."""
        meta, now = self._stack.metadata, self._ports.clock.now()
        await self._store.finish(meta.namespace, meta.name, component, self._attempt_id, outcome, now)
        self._held.pop(component, None)
        self._renewed.pop(component, None)

    async def leave(self) -> None:
        """The task has ended, as it may, without a verdict on these."""
        for component in [*self._held]:
            try:
                await self.finish(component, "Inconclusive")
            except (ApiError, Transient) as problem:
                log.warning("a target was not given back", extra={"component": component, "problem": str(problem)[:200]})

    async def _keep(self, component: str, attempt: Attempt) -> None:
        if not self._ports.leader.leading():
            raise Transient("not the leader any more", 1.0)
        meta, now = self._stack.metadata, self._ports.clock.now()
        await self._store.keep(meta.namespace, meta.name, component, attempt, now)
        self._held[component], self._renewed[component] = attempt, now
