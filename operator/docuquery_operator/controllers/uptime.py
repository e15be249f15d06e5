"""Uptime of a Stack's components: when somebody last looked, which windows are open. Counted in domain/uptime.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from ..api.maintenance_window import MaintenanceWindow
from ..api.stack import ComponentStatus, ComponentUptime
from ..domain import uptime
from ..ports import JSON, MAINTENANCE_WINDOW, Key, Ports

WINDOWS_SECONDS = 30.0


class UptimeKeeper:
    """Remembers the last look at each Stack; what it forgets with the process, the Lease knows."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._looked: dict[Key, datetime] = {}
        self._windows: dict[Key, tuple[datetime, list[MaintenanceWindow]]] = {}

    async def count(
        self, key: Key, states: Sequence[ComponentStatus], before: Sequence[ComponentUptime], now: datetime
    ) -> list[ComponentUptime]:
        """To be written with the states; `looked` says afterwards that it was."""
        windows = await self._open_windows(key, now)
        covered = uptime.covered_by(windows, key.name, (s.name for s in states), now)
        looked = self._looked.get(key) or self._ports.leader.predecessor_looked
        return uptime.counted(before, states, covered, looked, now)

    def looked(self, key: Key, at: datetime) -> None:
        """The pass has ended well: up to here the states are known and written."""
        self._looked[key] = at
        self._ports.leader.looked(at)

    def drop(self, key: Key) -> None:
        """The Stack is gone."""
        self._looked.pop(key, None)
        self._windows.pop(key, None)

    async def _open_windows(self, key: Key, now: datetime) -> list[MaintenanceWindow]:
        """Read at most each 30 s: whether one of them is open is a matter of its schedule."""
        at, known = self._windows.get(key, (None, []))
        if at is not None and 0 <= (now - at).total_seconds() < WINDOWS_SECONDS:
            return known
        found = _readable(await self._ports.cluster.list(MAINTENANCE_WINDOW, key.namespace))
        self._windows[key] = (now, found)
        return found


def _readable(objects: Sequence[JSON]) -> list[MaintenanceWindow]:
    """One that cannot be read says so itself, and opens nothing."""
    found = []
    for obj in objects:
        try:
            found.append(MaintenanceWindow.model_validate(obj))
        except ValidationError:
            continue
    return found
