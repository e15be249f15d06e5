"""Faults at the n-th call of a port: errors, kills before and after the effect, and callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


class KilledError(BaseException):
    """The process is gone; not an Exception, so that no handler can survive it."""


@dataclass
class Faults:
    """Numbers every call of one process; shared by all of its ports."""

    kill_before: int = 0
    kill_after: int = 0
    errors: dict[int, BaseException] = field(default_factory=dict)
    raise_for: Callable[[str, int], BaseException | None] | None = None
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    dead: bool = False

    @property
    def count(self) -> int:
        """Calls so far."""
        return len(self.calls)

    async def around(self, name: str, effect: Callable[[], Awaitable[Value]]) -> Value:
        """Run one call of a port under the faults."""
        self._alive()
        self.calls.append(name)
        number = self.count
        # A real call gives way to the other tasks; so does this one.
        await asyncio.sleep(0)
        self._alive()
        hook = self.at.get(number)
        if hook is not None:
            hook()
        error = self.errors.get(number) or (self.raise_for(name, number) if self.raise_for else None)
        if error is not None:
            raise error
        if number == self.kill_before:
            self._die()
        value = await effect()
        if number == self.kill_after:
            self._die()
        return value

    def _alive(self) -> None:
        if self.dead:
            raise KilledError

    def _die(self) -> None:
        self.dead = True
        raise KilledError
