"""Our own writes come back as events: they cost no pass of their own, and nothing that anybody else writes is ever lost for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.ports import Conflict, Key, Unavailable
from docuquery_operator.runtime.workqueue import WorkQueue
from tests.unit.runtime.virtual import run

A, B = Key("incidents", "docuquery", "a"), Key("incidents", "docuquery", "b")
# Hundreds of stories; two seconds are for single cases.
pytestmark = pytest.mark.timeout(60)


@dataclass
class Object:
    """What people want, how far the operator has come with it, and in which version."""

    wanted: int = 0
    done: int = 0
    half: int = 0
    version: int = 0


@dataclass
class Server:
    """An API server with one watch: events of an object come late and in order, or not at all before the next list."""

    queue: WorkQueue
    lags: list[int]
    objects: dict[Key, Object] = field(default_factory=lambda: {A: Object(), B: Object()})
    version: int = 0
    told: Counter[Key] = field(default_factory=Counter)
    last: dict[Key, float] = field(default_factory=dict)
    down: bool = False

    def changed(self, key: Key) -> int:
        self.version += 1
        self.objects[key].version = self.version
        if not self.down:
            lag = self.lags[self.version % len(self.lags)] / 1000
            loop = asyncio.get_running_loop()
            self.last[key] = max(loop.time() + lag, self.last.get(key, 0.0))
            loop.call_at(self.last[key], self.queue.seen, key, str(self.version))
        return self.version

    def listed(self) -> None:
        """The watch begins anew, with all objects as they are."""
        self.down = False
        for key, known in self.objects.items():
            self.queue.seen(key, str(known.version))


@dataclass
class Controller:
    """Does what is wanted in two writes, and never asks for another look: only events make it go on."""

    server: Server
    waits: list[int]
    troubles: list[int]
    passes: Counter[Key] = field(default_factory=Counter)
    conflicts: int = 0
    failures: int = 0

    async def __call__(self, key: Key) -> float | None:
        self.passes[key] += 1
        number = self.passes.total()
        await self._wait(number)
        known = self.server.objects[key]
        wanted, half, done, read = known.wanted, known.half, known.done, known.version
        await self._wait(number + 1)
        if done == wanted:
            return None
        if known.version != read:
            self.conflicts += 1
            raise Conflict("somebody wrote first")
        if half == wanted:
            known.done = wanted
        else:
            known.half = wanted
        written = self.server.changed(key)
        # The answer may come later than the event.
        await self._wait(number + 2)
        if known.done == wanted:
            self.server.queue.decided(key, str(written))
        if number in self.troubles:
            self.failures += 1
            raise Unavailable("503")
        return None

    async def _wait(self, number: int) -> None:
        await asyncio.sleep(self.waits[number % len(self.waits)] / 1000)


TIMES = st.lists(st.integers(0, 30), min_size=1, max_size=6)
WRITES = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([A, A, A, B]), st.sampled_from(["edit"] * 6 + ["touch", "lost"])),
    max_size=12,
)


@given(WRITES, TIMES, TIMES, st.lists(st.integers(1, 12), max_size=3), st.integers(1, 3))
@settings(max_examples=400, deadline=None)
def test_nothing_that_others_write_is_lost_however_events_and_answers_come(
    writes: list[tuple[int, Key, str]], lags: list[int], waits: list[int], troubles: list[int], workers: int
) -> None:
    async def story() -> tuple[Server, Controller]:
        queue = WorkQueue()
        server = Server(queue, lags)
        controller = Controller(server, waits, troubles)
        tasks = [asyncio.create_task(queue.run(controller)) for _ in range(workers)]
        now = 0
        for at, key, what in sorted(writes, key=lambda w: w[0]):
            await asyncio.sleep((at - now) / 1000)
            now = at
            server.down = server.down or what == "lost"
            # What is only touched, as by a label, asks for nothing, but nobody may know that.
            server.objects[key].wanted += what != "touch"
            server.changed(key)
        await asyncio.sleep(0.2)
        server.listed()
        await asyncio.sleep(120)
        for task in tasks:
            task.cancel()
        return server, controller

    server, controller = run(story())
    for key, known in server.objects.items():
        assert known.done == known.wanted, key
    # Each change costs two passes at most, a conflict and a failure one or two more, the list one.
    assert controller.passes.total() <= 2 * len(writes) + 2 * (controller.conflicts + controller.failures) + 2 + len(writes)


@pytest.mark.parametrize(("lag", "answer"), [(1, 10), (10, 1), (200, 1)])
def test_a_change_in_quiet_times_costs_no_pass_for_what_was_decided(lag: int, answer: int) -> None:
    """Two passes write; the second says that it is decided, and its event is left out, whether it comes before the answer or after."""

    async def story() -> Controller:
        queue = WorkQueue()
        server = Server(queue, [lag])
        controller = Controller(server, [answer], [])
        task = asyncio.create_task(queue.run(controller))
        server.objects[A].wanted = 1
        server.changed(A)
        await asyncio.sleep(5)
        task.cancel()
        return controller

    assert run(story()).passes[A] == 2
