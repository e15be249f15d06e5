"""The independent witness: watches the Incidents and counts what has really changed in their status."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .api import GROUP, JSON, Client

TIMESTAMP = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")
# A status that differs only in these says nothing new: words around figures, and which generation was looked at.
WORDS = ("message", "summary", "evidence", "observedGeneration")


class Watcher:
    """Counts real changes in one namespace: a write that leaves the meaning as it was is none."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._path = f"{GROUP}/namespaces/{namespace}/incidents?watch=true"
        self._meaning: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self.status: dict[str, JSON] = {}
        self.first_seen: dict[str, float] = {}
        self.last_change: dict[str, float] = {}
        self.changes = 0

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def until(self, done: Callable[[JSON], bool], count: int, within: float) -> float:
        """Wait until `count` objects have a status of this kind; the moment at which it was so."""
        async with asyncio.timeout(within):
            while sum(map(done, self.status.values())) < count:
                self._raise_problem()
                # Looking at each event would take the processor from the subject.
                await asyncio.sleep(0.02)
        return max(self.last_change.values())

    def _raise_problem(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
            raise RuntimeError("the bench's own watch ended")

    async def _run(self) -> None:
        async for event in self._client.lines(self._path):
            if event["type"] in ("ADDED", "MODIFIED"):
                self._take(event["object"])

    def _take(self, obj: JSON) -> None:
        name, status = obj["metadata"]["name"], obj.get("status") or {}
        self.first_seen.setdefault(name, time.monotonic())
        meant = meaning(status)
        if meant != self._meaning.get(name, {}):
            self.changes += 1
            self.last_change[name] = time.monotonic()
        self._meaning[name], self.status[name] = meant, status


def meaning(value: Any) -> Any:
    """A status without words and without the exact moments; that a moment is there at all stays."""
    if isinstance(value, dict):
        return {k: meaning(v) for k, v in value.items() if k not in WORDS}
    if isinstance(value, list):
        return [meaning(v) for v in value]
    return "moment" if isinstance(value, str) and TIMESTAMP.match(value) else value
