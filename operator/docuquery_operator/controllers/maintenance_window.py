"""MaintenanceWindow: read → decide → write once → tell. Its effects are read by others, from the schedule itself."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from ..api.maintenance_window import MaintenanceWindow, MaintenanceWindowStatus
from ..domain.maintenance import openings, silences, tasks
from ..domain.maintenance.window_figures import ended, figures_of
from ..ports import JSON, MAINTENANCE_WINDOW, STACK, Key, Ports
from .courier import Courier
from .digester import Digester, with_digest
from .invalid import say_invalid
from .prober import StackProber
from .silencer import Silencer
from .status import write_status
from .task_runner import TaskRunner

SHORTEST_LOOK = 0.05


class MaintenanceWindowController:
    """Reconciles one MaintenanceWindow: opens, closes, and says what was missed."""

    def __init__(
        self,
        ports: Ports,
        runner: TaskRunner | None = None,
        changed: Callable[[Key], None] | None = None,
        courier: Courier | None = None,
    ) -> None:
        self._ports = ports
        self._changed = changed or (lambda _key: None)
        self._silencer = Silencer(ports)
        self._digester = Digester(ports, courier or Courier(ports, lambda _key: None))
        self._tasks = runner or TaskRunner(ports, StackProber(ports), "")

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next opening or closing, None when only an event can change something."""
        obj = await self._ports.cluster.get(MAINTENANCE_WINDOW, key.namespace, key.name)
        if obj is None:
            self._digester.forget(key)
            self._ports.metrics.window_gone(key.namespace, key.name)
            return None
        try:
            window = MaintenanceWindow.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, MAINTENANCE_WINDOW, obj, "Stalled", error)
            return None
        stack = await self._ports.cluster.get(STACK, key.namespace, window.spec.stack_ref.name)
        components = None if stack is None else frozenset((stack.get("spec") or {}).get("components") or {})
        if window.metadata.deletion_timestamp is not None:
            return await self._leave(window, stack)
        world = await self._tasks.world(window)
        silenced = await self._silencer.look(window, stack)
        now = self._ports.clock.now()
        plan = openings.decide(window, components, now)
        work = tasks.decide(window, plan.status, world, now)
        quiet = silences.decide(window, work.status, silenced, now)
        told, digested = await self._digester.plan(key, window, quiet.status, stack, now)
        status = with_digest(quiet.status, told)
        before = obj.get("status") or {}
        changes, _ = await write_status(self._ports, MAINTENANCE_WINDOW, window.metadata, before, status.to_wire())
        for end in ended(window.status, status):
            self._ports.metrics.task_ended(end)
        self._ports.metrics.window(key.namespace, key.name, figures_of(window, status, now))
        if changes.keys() & {"active", "observedGeneration"}:
            # Of what it covers, the Stack shows that.
            self._changed(Key(STACK.plural, key.namespace, window.spec.stack_ref.name))
        await self._silencer.act(window, stack, quiet)
        self._digester.tell(key, window, stack, told)
        for news in (*plan.news, *work.news, *digested):
            await self._ports.events.post(MAINTENANCE_WINDOW, obj, news.type, news.reason, news.message)
        await self._tasks.act(window.model_copy(update={"status": status}), work)
        looks = [at for at in (plan.look_again, work.look_again, quiet.look_again, told.look_again) if at is not None]
        return max(SHORTEST_LOOK, (min(looks) - now).total_seconds()) if looks else None

    async def _leave(self, window: MaintenanceWindow, stack: JSON | None) -> float | None:
        """It is being deleted: its silence goes first."""
        if silences.FINALIZER not in window.metadata.finalizers:
            return None
        facts, now = await self._silencer.look(window, stack), self._ports.clock.now()
        plan = silences.decide(window, window.status or MaintenanceWindowStatus(), facts, now)
        await self._silencer.act(window, stack, plan)
        return None if plan.look_again is None else max(SHORTEST_LOOK, (plan.look_again - now).total_seconds())
