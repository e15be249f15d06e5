"""MaintenanceWindow: read → decide → write once → tell. Its effects are read by others, from the schedule itself."""

from __future__ import annotations

from pydantic import ValidationError

from ..api.maintenance_window import MaintenanceWindow
from ..domain import maintenance
from ..domain.patching import merge_patch
from ..ports import JSON, MAINTENANCE_WINDOW, STACK, Key, Ports
from .invalid import say_invalid

SHORTEST_LOOK = 0.05


class MaintenanceWindowController:
    """Reconciles one MaintenanceWindow: opens, closes, and says what was missed."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next opening or closing, None when only an event can change something."""
        obj = await self._ports.cluster.get(MAINTENANCE_WINDOW, key.namespace, key.name)
        if obj is None:
            return None
        try:
            window = MaintenanceWindow.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, MAINTENANCE_WINDOW, obj, "Stalled", error)
            return None
        stack = await self._ports.cluster.get(STACK, key.namespace, window.spec.stack_ref.name)
        components = None if stack is None else frozenset((stack.get("spec") or {}).get("components") or {})
        now = self._ports.clock.now()
        plan = maintenance.decide(window, components, now)
        changes = merge_patch(obj.get("status") or {}, plan.status.to_wire())
        if changes:
            body: JSON = {"metadata": {"resourceVersion": window.metadata.resource_version}, "status": changes}
            await self._ports.cluster.patch(MAINTENANCE_WINDOW, key.namespace, key.name, body, "status")
        for news in plan.news:
            await self._ports.events.post(MAINTENANCE_WINDOW, obj, news.type, news.reason, news.message)
        return None if plan.look_again is None else max(SHORTEST_LOOK, (plan.look_again - now).total_seconds())
