"""The day's sample of each Stack that some window makes a CapacityPlan for, whether or not a window is open that day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from ..api.common import seconds
from ..api.maintenance_window import MaintenanceWindow, TaskType
from ..api.stack import Stack
from ..catalogue.base import Round
from ..catalogue.tasks.measuring import measured
from ..catalogue.tasks.sampling import sampled
from ..ports import ApiError, Key, Ports, Transient

log = logging.getLogger(__name__)
# UTC; by then most windows of the day have taken theirs, and what was measured first counts.
FROM_HOUR = 20
AGAIN_AFTER = timedelta(minutes=10)


class DailySampler:
    """One for the Stack controller; it measures beside the passes, which probe on."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._done: dict[Key, date] = {}
        self._tried: dict[Key, datetime] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def forget(self, key: Key) -> None:
        """The Stack is gone."""
        self._done.pop(key, None)
        self._tried.pop(key, None)

    def look(self, key: Key, stack: Stack, windows: Iterable[MaintenanceWindow]) -> None:
        """Begin to measure where today's sample is due; one that failed is tried again while the day lasts."""
        now = self._ports.clock.now()
        tried = self._tried.get(key)
        early = now.hour < FROM_HOUR or self._done.get(key) == now.date()
        if early or key in self._tasks or (tried is not None and timedelta(0) <= now - tried < AGAIN_AFTER):
            return
        if not _wanted(stack, windows) or not self._ports.leader.leading():
            return
        self._tried[key] = now
        task = asyncio.ensure_future(self.sample(key, stack))
        self._tasks[key] = task
        task.add_done_callback(lambda ended: self._ended(key, ended))

    async def sample(self, key: Key, stack: Stack) -> None:
        """Measure and keep; done twice on a day it adds only what was not known before."""
        timeout = seconds(stack.spec.detection.timeout)
        seen = await measured(Round(stack, self._ports, timeout, self._ports.clock.now()), stack.spec.components)
        await sampled(self._ports, stack, seen)
        self._done[key] = seen.at.date()

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, ApiError | Transient):
            log.warning("the day's sample could not be kept", extra={"stack": key.name, "problem": str(problem)[:200]})
        elif problem is not None:
            log.error("the day's sample could not be taken", exc_info=problem)


def _wanted(stack: Stack, windows: Iterable[MaintenanceWindow]) -> bool:
    ours = (w for w in windows if w.spec.stack_ref.name == stack.metadata.name and not w.spec.suspend)
    return any(task.type is TaskType.CAPACITY_PLAN for w in ours for task in w.spec.tasks)
