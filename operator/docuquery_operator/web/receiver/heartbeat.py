"""When each Stack's watchdog was last heard, noted on a Lease that the operator has made; not each minute."""

from __future__ import annotations

from datetime import datetime

from ...api.common import delta, format_time
from ...domain.detection.watchdog import LEASE_NAME, key_of
from ...ports import LEASE, Cluster
from .metrics import ReceiverMetrics

SHARE = 4


class Heartbeats:
    """One a process."""

    def __init__(self, cluster: Cluster, metrics: ReceiverMetrics) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._noted: dict[tuple[str, str], datetime] = {}

    async def beat(self, namespace: str, stack: str, after: str, now: datetime) -> None:
        """It was heard; noted at most four times within `after`. Raises ApiError."""
        last = self._noted.get((namespace, stack))
        if last is not None and last <= now < last + delta(after) / SHARE:
            return
        note = {"metadata": {"annotations": {key_of(stack): format_time(now)}}}
        if await self._cluster.patch(LEASE, namespace, LEASE_NAME, note) is None:
            # The operator makes it with the Stack's next pass, and waits for the alert from then on.
            self._metrics.alert("watchdog_not_awaited")
            return
        self._noted[namespace, stack] = now
