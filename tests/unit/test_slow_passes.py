"""A pass that waits for something slow lends its worker to others: the queue and the prober together, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from docuquery_operator.controllers.prober import StackProber
from docuquery_operator.domain.world import Neighbour
from docuquery_operator.ports import Key
from docuquery_operator.runtime.workqueue import WorkQueue
from tests.unit.runtime.virtual import now, run

SLOW = [Key("stacks", "docuquery", f"slow-{n}") for n in range(50)]
QUICK = Key("incidents", "elsewhere", "quick")


class Passes:
    """Slow keys wait aside for an hour, the quick one for nothing."""

    def __init__(self, queue: WorkQueue) -> None:
        self.queue = queue
        self.ended: dict[Key, float] = {}
        self.side_by_side = self.most = 0

    async def __call__(self, key: Key) -> float | None:
        if key in SLOW:
            async with self.queue.aside():
                await asyncio.sleep(3600)
        self.side_by_side += 1
        self.most = max(self.most, self.side_by_side)
        await asyncio.sleep(1)
        self.side_by_side -= 1
        self.ended[key] = now()
        return None


async def _work(passes: Passes, workers: int, seconds: float) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(passes.queue.run(passes)) for _ in range(workers)]
    await asyncio.sleep(seconds)
    return tasks


def test_fifty_slow_passes_leave_the_worker_to_a_quick_one() -> None:
    async def story() -> tuple[Passes, float, int]:
        queue = WorkQueue()
        passes = Passes(queue)
        for key in SLOW:
            queue.add(key)
        [worker] = await _work(passes, 1, 10)
        began = now()
        queue.add(QUICK)
        await asyncio.sleep(10)
        took = passes.ended[QUICK] - began
        await asyncio.sleep(3700)
        left = len(asyncio.all_tasks()) - 1
        worker.cancel()
        return passes, took, left

    passes, took, left = run(story())
    assert took == 1.0
    assert passes.ended.keys() == {*SLOW, QUICK}
    assert left == 1, "only the worker itself is left; every stand-in has gone"


def test_a_stand_in_ends_its_own_pass_before_it_leaves() -> None:
    async def story() -> Passes:
        queue = WorkQueue()
        passes = Passes(queue)
        queue.add(SLOW[0])
        [worker] = await _work(passes, 1, 3599.5)
        # The stand-in takes it half a second before the slow pass is back.
        queue.add(QUICK)
        await asyncio.sleep(5)
        worker.cancel()
        return passes

    passes = run(story())
    assert passes.ended.keys() == {SLOW[0], QUICK}
    assert passes.most == 2


def test_nothing_is_taken_after_the_stop() -> None:
    async def story() -> tuple[Passes, bool]:
        queue = WorkQueue()
        passes = Passes(queue)
        queue.add(SLOW[0])
        [worker] = await _work(passes, 1, 1)
        queue.stop()
        queue.add(QUICK)
        drained = await queue.drained(3610)
        worker.cancel()
        return passes, drained

    passes, drained = run(story())
    assert drained
    assert passes.ended.keys() == {SLOW[0]}


@pytest.mark.parametrize(("takes", "aside"), [(0.01, 0), (3.0, 1)])
def test_only_a_slow_round_of_probes_is_waited_for_aside(takes: float, aside: int) -> None:
    class Counted(WorkQueue):
        times = 0

        def aside(self):  # type: ignore[no-untyped-def]
            self.times += 1
            return super().aside()

    async def story() -> int:
        queue = Counted()
        prober = StackProber(None, queue.aside)  # type: ignore[arg-type]

        async def probe() -> dict[str, Neighbour]:
            await asyncio.sleep(takes)
            return {"redis": Neighbour(True, 1)}

        running = asyncio.create_task(probe())
        assert await prober._ended(running) == {"redis": Neighbour(True, 1)}
        return queue.times

    assert run(story()) == aside


def test_a_mistake_in_a_slow_round_reaches_the_pass() -> None:
    async def story() -> None:
        async def probe() -> None:
            await asyncio.sleep(3)
            raise ValueError("a bug")

        with pytest.raises(ValueError, match="a bug"):
            await StackProber(None)._ended(asyncio.create_task(probe()))  # type: ignore[arg-type]

    run(story())
