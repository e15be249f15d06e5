"""When a Stack was last looked at, for domain/detection/uptime.py, which counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..api.stack import ComponentStatus, ComponentUptime
from ..domain.detection import uptime
from ..ports import Key, Ports


class UptimeKeeper:
    """Remembers the last look at each Stack; what it forgets with the process, the Lease knows."""

    def __init__(self, ports: Ports) -> None:
        self._leader = ports.leader
        self._looked: dict[Key, datetime] = {}

    def count(
        self, key: Key, shown: Sequence[ComponentStatus], before: Sequence[ComponentUptime], now: datetime
    ) -> list[ComponentUptime]:
        """To be written with the states; `looked` says afterwards that it was."""
        return uptime.counted(before, shown, self._looked.get(key) or self._leader.predecessor_looked, now)

    def looked(self, key: Key, at: datetime) -> None:
        """The pass has ended well: up to here the states are known and written."""
        self._looked[key] = at
        self._leader.looked(at)

    def drop(self, key: Key) -> None:
        """The Stack is gone."""
        self._looked.pop(key, None)
