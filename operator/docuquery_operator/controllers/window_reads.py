"""Reads MaintenanceWindows for those who only need to know what is open: from their schedules, whatever was read when."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from ..api.maintenance_window import MaintenanceWindow
from ..ports import JSON, MAINTENANCE_WINDOW, ApiError, Ports

READ_SECONDS = 30.0


def readable(objects: Sequence[JSON]) -> list[MaintenanceWindow]:
    """Windows; one that cannot be read opens never, and says so itself."""
    found = []
    for obj in objects:
        with suppress(ValidationError):
            found.append(MaintenanceWindow.model_validate(obj))
    return found


class WindowReader:
    """One for the Stack controller; asks at most each 30 s a namespace, and anew when a window has changed."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._known: dict[str, tuple[float, list[MaintenanceWindow]]] = {}

    def outdate(self, namespace: str) -> None:
        """A window has opened, closed or changed."""
        self._known[namespace] = (0.0, self._known.get(namespace, (0.0, []))[1])

    async def windows(self, namespace: str) -> Sequence[MaintenanceWindow]:
        """Where they cannot be read, those that were read last."""
        now = self._ports.clock.now().timestamp()
        at, known = self._known.get(namespace, (0.0, []))
        if at and 0 <= now - at < READ_SECONDS:
            return known
        with suppress(ApiError):
            known = readable(await self._ports.cluster.list(MAINTENANCE_WINDOW, namespace))
        self._known[namespace] = (now, known)
        return known
