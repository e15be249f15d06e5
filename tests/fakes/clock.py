"""A clock that moves only when told to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


class ManualClock:
    """ports.Clock; listeners see every step, so that simulated controllers live in the same time."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._listeners: list[Callable[[datetime], None]] = []

    def now(self) -> datetime:
        """The present instant."""
        return self._now

    def listen(self, listener: Callable[[datetime], None]) -> None:
        """Call the listener after each step of at most half a second."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[datetime], None]) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    def advance(self, seconds: float) -> None:
        """Move on."""
        end = self._now + timedelta(seconds=seconds)
        while self._now < end:
            self._now = min(end, self._now + timedelta(seconds=0.5))
            for listener in self._listeners:
                listener(self._now)

    def jump(self, seconds: float) -> None:
        """Jump, also backwards, without anything in between."""
        self._now += timedelta(seconds=seconds)
