"""Resync: what the watch has missed comes back, is counted, and a broken watch ends the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from docuquery_operator.ports import INCIDENT, STACK, Key, Kind, Refused, Unavailable
from docuquery_operator.runtime.metrics import OperatorMetrics
from docuquery_operator.runtime.resync import Resync
from docuquery_operator.runtime.workqueue import WorkQueue
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.faults import Faults
from tests.unit.runtime.virtual import now, run

SPACE = "docuquery"
EVERY = 600.0


def incident(name: str, namespace: str = SPACE) -> Key:
    return Key(INCIDENT.plural, namespace, name)


class Setting:
    """A server, a queue that nobody works on, and a resync over both."""

    def __init__(self) -> None:
        self.server = FakeServer(ManualClock())
        self.faults = Faults()
        self.queue = WorkQueue()
        self.metrics = OperatorMetrics(ManualClock())
        self.resync = Resync(FakeCluster(self.server, self.faults), self.queue, self.metrics, [INCIDENT, STACK])

    def put(self, name: str, kind: Kind = INCIDENT, namespace: str = SPACE, seen: bool = False) -> Key:
        self.server.put(kind, {"metadata": {"name": name, "namespace": namespace}})
        key = Key(kind.plural, namespace, name)
        if seen:
            self.resync.seen(key, deleted=False, version="1")
        return key

    def finds(self, kind: Kind = INCIDENT) -> float:
        return self.metrics.registry.get_sample_value("docuquery_operator_resync_finds_total", {"kind": kind.plural}) or 0.0

    async def worked_off(self) -> list[Key]:
        """Keys that the queue holds now."""
        done: list[Key] = []

        async def reconcile(key: Key) -> None:
            done.append(key)

        worker = asyncio.create_task(self.queue.run(reconcile))
        await asyncio.sleep(0.1)
        worker.cancel()
        return sorted(done)


def test_what_the_watch_missed_is_counted_and_looked_at() -> None:
    async def story() -> None:
        s = Setting()
        known = s.put("known", seen=True)
        missed = s.put("missed")
        stack = s.put("docuquery", STACK)
        await s.worked_off()
        assert await s.resync.once([SPACE]) == 2
        assert (s.finds(), s.finds(STACK)) == (1, 1)
        # The known one is looked at as well: its deadline may have been lost with a former process.
        assert await s.worked_off() == sorted([known, missed, stack])
        assert await s.resync.once([SPACE]) == 0

    run(story())


def test_a_key_that_waits_for_its_time_is_not_called_early() -> None:
    async def story() -> None:
        s = Setting()
        key = s.put("later", seen=True)
        await s.worked_off()
        s.queue.add(key, after=300.0)
        await s.resync.once([SPACE])
        assert await s.worked_off() == []

    run(story())


def test_only_the_watched_namespaces_are_listed() -> None:
    async def story() -> None:
        s = Setting()
        s.put("ours")
        s.put("theirs", namespace="other")
        assert await s.resync.once([SPACE]) == 1
        assert await s.resync.once([]) == 1
        assert s.queue.knows(incident("theirs", "other"))

    run(story())


def test_a_deleted_and_recreated_object_that_the_watch_did_not_show_is_a_find() -> None:
    async def story() -> None:
        s = Setting()
        key = s.put("again", seen=True)
        s.resync.seen(key, deleted=True, version="2")
        assert await s.resync.once([SPACE]) == 1

    run(story())


def test_a_deletion_is_looked_at_too() -> None:
    async def story() -> None:
        s = Setting()
        key = s.put("gone", seen=True)
        await s.worked_off()
        s.resync.seen(key, deleted=True, version="2")
        assert await s.worked_off() == [key]

    run(story())


async def rounds(s: Setting, each: Callable[[int], None], limit: float) -> float | None:
    """Run until it ends by itself; `each` changes the world before each round. Seconds, None when it did not end."""
    began = now()
    running = asyncio.create_task(s.resync.run(EVERY, [SPACE]))
    number = 0
    await asyncio.sleep(EVERY / 2)
    while not running.done() and now() - began < limit:
        number += 1
        each(number)
        await asyncio.wait([running], timeout=EVERY)
    ended = running.done()
    running.cancel()
    return now() - began if ended else None


def test_finds_in_two_rounds_in_a_row_end_the_process() -> None:
    async def story() -> float | None:
        s = Setting()
        return await rounds(s, lambda n: s.put(f"missed-{n}") and None, 10 * EVERY)

    assert run(story()) == pytest.approx(2 * EVERY)


def test_finds_now_and_then_do_not_end_the_process() -> None:
    async def story() -> None:
        s = Setting()
        assert await rounds(s, lambda n: n % 2 and s.put(f"missed-{n}") and None, 20 * EVERY) is None
        assert s.finds() == 10

    run(story())


@pytest.mark.parametrize("problem", [Unavailable("away"), Refused(403, "no")])
def test_an_api_server_that_is_away_neither_ends_it_nor_counts_as_a_broken_watch(problem: Exception) -> None:
    async def story() -> None:
        s = Setting()
        s.faults.raise_for = lambda name, _n: problem if name.startswith("list") else None
        s.put("missed")
        assert await rounds(s, lambda _n: None, 5 * EVERY) is None
        s.faults.raise_for = None
        assert await rounds(s, lambda _n: None, 3 * EVERY) is None
        assert s.finds() == 1

    run(story())


def test_a_deletion_that_the_watch_missed_is_looked_at_and_forgotten() -> None:
    async def story() -> None:
        setting = Setting()
        gone, kept = setting.put("gone", seen=True), setting.put("kept", seen=True)
        elsewhere = incident("elsewhere", "other")
        setting.resync.seen(elsewhere, deleted=False, version="1")
        await setting.worked_off()
        setting.server.remove(INCIDENT, SPACE, "gone")
        assert await setting.resync.once([SPACE]) == 0
        assert await setting.worked_off() == [gone, kept]
        # Made anew without the watch telling: a find, as for any object that it never showed.
        setting.put("gone")
        assert await setting.resync.once([SPACE]) == 1

    run(story())
