"""Work queue: keys, deduplicated, delayed, with back-off; one key never runs twice at once."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from ..ports import Conflict, Key, Refused, Transient, Unavailable
from .echoes import Echoes

log = logging.getLogger(__name__)
Reconcile = Callable[[Key], Awaitable[float | None]]
Observe = Callable[[Key, str, float], None]
LONGEST_BACKOFF = 300.0
REFUSED_AFTER = 30.0
REREADS = 5
# What nobody has been told of yet comes first; receipts that have waited for a second longer still come before it.
HEAD_START, NEW_START = 2.0, 3.0
SLACK = 64


class WorkQueue:
    """Level-triggered: adding a key twice runs it once; a key added while it runs is run again afterwards."""

    def __init__(self, observe: Observe | None = None) -> None:
        self._due: dict[Key, float] = {}
        # Each due key once or more; what `_due` does not say is out of date.
        self._line: list[tuple[float, int, Key]] = []
        self._count = itertools.count()
        self._echoes = Echoes()
        self._busy: set[Key] = set()
        self._failures: Counter[Key] = Counter()
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._stopping = False
        self._reconcile: Reconcile | None = None
        self._working: set[asyncio.Task[None] | None] = set()
        self._stand_ins: set[asyncio.Task[None]] = set()
        self._observe = observe or (lambda _key, _result, _seconds: None)

    def __len__(self) -> int:
        return len(self._due)

    @property
    def busy(self) -> int:
        """Passes that run now."""
        return len(self._busy)

    def add(self, key: Key, after: float = 0.0) -> None:
        """Run the key `after` seconds from now, or earlier when it is due earlier."""
        at = asyncio.get_running_loop().time() + after
        if at < self._due.get(key, math.inf):
            self._due[key] = at
            self._line_up(key)

    def seen(self, key: Key, version: str, new: bool = False) -> None:
        """The watch has shown this resourceVersion of it, '' when it is gone; the echo of a decided write needs no pass."""
        if self._echoes.news(key, version):
            self.add(key, -NEW_START if new else 0.0)

    def decided(self, key: Key, version: str) -> None:
        """Said by the running pass of this key: it wrote this version, and has decided on it (runtime/echoes.py)."""
        self._echoes.decided(key, version)

    def first(self, key: Key) -> None:
        """Run the key before what has become due just now; what has waited for longer, as a new page, still comes first."""
        self.add(key, -HEAD_START)

    def knows(self, key: Key) -> bool:
        """Whether the key is due or running."""
        return key in self._due or key in self._busy

    def stop(self) -> None:
        """Take no more keys; running passes go on."""
        self._stopping = True
        self._wake.set()

    async def drained(self, limit: float) -> bool:
        """Wait until no pass runs; False when the limit came first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._busy:
                    await asyncio.sleep(0.05)
        return not self._busy

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Around a long wait within a pass: a stand-in works meanwhile, so that what is slow holds up nobody else."""
        if self._reconcile is None:
            yield
            return
        leave = asyncio.Event()
        stand_in = asyncio.create_task(self.run(self._reconcile, leave))
        self._stand_ins.add(stand_in)
        stand_in.add_done_callback(self._stand_ins.discard)
        try:
            yield
        finally:
            leave.set()
            if stand_in not in self._working:
                stand_in.cancel()

    async def run(self, reconcile: Reconcile, leave: asyncio.Event | None = None) -> None:
        """One worker, until it is told to leave; start several."""
        loop = asyncio.get_running_loop()
        self._reconcile, worker = reconcile, asyncio.current_task()
        while leave is None or not leave.is_set():
            key = await self._next()
            self._busy.add(key)
            self._echoes.begins(key)
            self._working.add(worker)
            began = loop.time()
            try:
                after, result = await self._once(reconcile, key)
            finally:
                self._working.discard(worker)
            self._busy.discard(key)
            if key in self._due:
                self._line_up(key)
            if self._echoes.ends(key, result == "success"):
                self.add(key)
            self._observe(key, result, loop.time() - began)
            if result == "conflict" and after == 0.0:
                # It has read what is not so any more; what it has to write has waited already.
                self.first(key)
            elif after is not None:
                self.add(key, after)

    async def _once(self, reconcile: Reconcile, key: Key) -> tuple[float | None, str]:
        """One pass: when to look again, and how it ended."""
        try:
            after = await reconcile(key)
        except Transient as problem:
            log.debug("not ready", extra={"key": str(key), "problem": str(problem)})
            return problem.after, "transient"
        except Conflict:
            rereads = self._failed(key)
            return 0.0 if rereads <= REREADS else self._backoff(key, rereads - REREADS), "conflict"
        except Unavailable as problem:
            self._failed(key)
            log.warning("API server unavailable", extra={"key": str(key), "problem": str(problem)[:300]})
            return max(problem.after, min(10.0, self._backoff(key))), "unavailable"
        except Refused as problem:
            self._failed(key)
            log.error("API server refused", extra={"key": str(key), "problem": str(problem)[:500]})
            return max(REFUSED_AFTER, self._backoff(key)), "refused"
        except (Exception, asyncio.CancelledError):
            # What the pass waited for may have been cancelled; only the worker's own cancellation ends the worker.
            if _cancelled():
                raise
            self._failed(key)
            log.exception("reconcile failed", extra={"key": str(key)})
            return self._backoff(key), "error"
        del self._failures[key]
        return after, "success"

    def _failed(self, key: Key) -> int:
        self._failures[key] += 1
        return self._failures[key]

    def _backoff(self, key: Key, failures: int | None = None) -> float:
        exponent = min(failures or self._failures[key], 9)
        return min(LONGEST_BACKOFF, 2.0**exponent) * random.uniform(0.9, 1.1)

    def _line_up(self, key: Key) -> None:
        entry = self._due[key], next(self._count), key
        heapq.heappush(self._line, entry)
        if self._line[0] is entry:
            self._wake.set()
        if len(self._line) > 2 * len(self._due) + SLACK:
            # What is looked at often and next due in days would leave an entry each time.
            self._line = [(at, next(self._count), k) for k, at in self._due.items()]
            heapq.heapify(self._line)

    async def _next(self) -> Key:
        """One worker at a time waits for the next key, so that each wakes one and not all."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            while True:
                self._wake.clear()
                at = math.inf if self._stopping else self._first_due()
                if at <= loop.time():
                    _, _, key = heapq.heappop(self._line)
                    del self._due[key]
                    return key
                wait = None if at == math.inf else at - loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()

    def _first_due(self) -> float:
        """When the first key that does not run is due. One that runs lines up again at its end."""
        while self._line:
            at, _, key = self._line[0]
            if self._due.get(key) == at and key not in self._busy:
                return at
            heapq.heappop(self._line)
        return math.inf


def _cancelled() -> bool:
    """Whether the running task itself is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
