"""An event loop whose time moves on at once to the next timer: hours pass in milliseconds, in exact order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class NothingHappensError(AssertionError):
    """Every task waits and no timer is set: in the real world this would hang for ever."""


class _Selector(selectors.DefaultSelector):
    """Skips the wait and reports how long it would have been."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingHappensError("all tasks wait for ever")
        self.skipped += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1,000 s, as a monotonic clock starts anywhere."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 1000.0 + self._virtual.skipped


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """Run to the end in virtual time; tasks that are left are cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    """Time of the running loop."""
    return asyncio.get_running_loop().time()
