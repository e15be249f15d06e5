"""The work queue in virtual time: what runs when, how often, and what an error of one key costs the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.ports import Conflict, Key, Refused, Transient, Unavailable
from docuquery_operator.runtime import workqueue
from docuquery_operator.runtime.workqueue import LONGEST_BACKOFF, REFUSED_AFTER, WorkQueue
from tests.unit.runtime.virtual import now, run

A, B, C = (Key("incidents", "docuquery", name) for name in "abc")
Reconcile = Callable[[Key], Awaitable[float | None]]
Runs = list[tuple[float, Key]]


@contextmanager
def workers(queue: WorkQueue, reconcile: Reconcile, count: int = 1) -> Iterator[list[asyncio.Task[None]]]:
    """Workers for the time of a block; one that has died fails the test."""
    tasks = [asyncio.create_task(queue.run(reconcile)) for _ in range(count)]
    try:
        yield tasks
        assert [t for t in tasks if t.done()] == []
    finally:
        for task in tasks:
            task.cancel()


class Recorder:
    """Reconciles by a script of answers for each key; an exception in it is raised, nothing left means None."""

    def __init__(self, script: dict[Key, list[float | BaseException | None]] | None = None, takes: float = 0.0) -> None:
        self.script = script or {}
        self.takes = takes
        self.runs: Runs = []
        self.running: Counter[Key] = Counter()
        self.overlaps = 0

    async def __call__(self, key: Key) -> float | None:
        self.runs.append((now(), key))
        self.running[key] += 1
        self.overlaps += self.running[key] > 1
        try:
            await asyncio.sleep(self.takes)
            answers = self.script.get(key) or [None]
            answer = answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            self.running[key] -= 1

    def times(self, key: Key) -> list[float]:
        return [at for at, k in self.runs if k == key]

    def waits(self, key: Key) -> list[float]:
        return [b - a for a, b in pairwise(self.times(key))]


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue.random, "uniform", lambda _low, _high: 1.0)


def test_many_quick_adds_are_few_passes() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder(takes=1.0)
        with workers(queue, seen, 4):
            for _ in range(20):
                queue.add(A)
                await asyncio.sleep(0.05)
            await asyncio.sleep(10)
            assert len(queue) == queue.busy == 0
        return seen

    seen = run(story())
    assert len(seen.runs) == 2


def test_an_add_while_the_key_runs_is_not_lost() -> None:
    """The pass may have read the object just before it changed: it must run once more."""

    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder(takes=5.0)
        with workers(queue, seen, 3):
            queue.add(A)
            await asyncio.sleep(4.9)
            assert seen.times(A) == [1000.0]
            queue.add(A)
            assert queue.knows(A)
            await asyncio.sleep(20)
        return seen

    assert run(story()).waits(A) == pytest.approx([5.0])


def test_a_key_is_known_while_it_waits_and_while_it_runs() -> None:
    async def story() -> list[bool]:
        queue = WorkQueue()
        known = [queue.knows(A)]
        queue.add(A, 1.0)
        known.append(queue.knows(A))
        with workers(queue, Recorder(takes=2.0)):
            await asyncio.sleep(2.0)
            known.append(queue.knows(A) and queue.busy == 1)
            await asyncio.sleep(2.0)
            known.append(queue.knows(A))
        return known

    assert run(story()) == [False, True, True, False]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    adds=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=25),
    count=st.integers(1, 5),
    takes=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_one_key_never_runs_twice_at_once_and_nothing_is_forgotten(
    adds: list[tuple[int, int, int]], count: int, takes: float
) -> None:
    async def story() -> None:
        queue, seen = WorkQueue(), Recorder(takes=takes)
        added: dict[Key, float] = {}
        with workers(queue, seen, count):
            for which, pause, after in adds:
                await asyncio.sleep(pause / 10)
                queue.add((A, B, C)[which], after / 10)
                added[(A, B, C)[which]] = now()
            await asyncio.sleep(200)
            assert len(queue) == queue.busy == 0
        assert seen.overlaps == 0
        # Each key is looked at once more after its last change.
        assert all(max(seen.times(key)) >= at for key, at in added.items())
        assert len(seen.runs) <= len(adds)

    run(story())


def test_the_earliest_due_key_comes_first() -> None:
    async def story() -> Runs:
        queue, seen = WorkQueue(), Recorder()
        queue.add(A, 3.0)
        queue.add(B, 1.0)
        queue.add(C, 2.0)
        with workers(queue, seen):
            await asyncio.sleep(10)
        return seen.runs

    assert run(story()) == [(1001.0, B), (1002.0, C), (1003.0, A)]


def test_an_earlier_time_wins_and_a_later_one_does_not_put_off() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder()
        with workers(queue, seen):
            queue.add(A, 10.0)
            queue.add(A, 2.0)
            queue.add(A, 60.0)
            await asyncio.sleep(100)
        return seen

    assert run(story()).times(A) == [1002.0]


def test_an_event_wakes_a_worker_that_waits_for_a_later_key() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder()
        with workers(queue, seen):
            queue.add(A, 300.0)
            await asyncio.sleep(1)
            queue.add(B)
            await asyncio.sleep(1)
        return seen

    assert run(story()).runs == [(1001.0, B)]


def test_the_answer_says_when_to_look_again() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [5.0, 7.0, None]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(600)
        return seen

    assert run(story()).waits(A) == pytest.approx([5.0, 7.0])


def test_errors_back_off_exponentially_to_a_cap_and_never_end(no_jitter: None) -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [ValueError("bug") for _ in range(12)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(10_000)
        return seen

    waits = run(story()).waits(A)
    assert waits == pytest.approx([2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_BACKOFF] * 4])


def test_the_back_off_is_jittered_within_a_tenth() -> None:
    async def story(which: int) -> list[float]:
        queue, seen = WorkQueue(), Recorder({A: [ValueError("bug") for _ in range(3)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(100)
        assert which >= 0
        return seen.waits(A)

    found = [run(story(n)) for n in range(20)]
    assert all(w == pytest.approx([2, 4, 8], rel=0.101) for w in found)
    assert len({w[0] for w in found}) > 1


def test_a_success_forgets_earlier_failures(no_jitter: None) -> None:
    script: list[float | BaseException | None] = [ValueError("1"), ValueError("2"), 50.0, ValueError("3"), None]

    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: script})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(1000)
        return seen

    assert run(story()).waits(A) == pytest.approx([2, 4, 50, 2])


def test_not_ready_is_looked_at_when_it_says_however_often() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Transient("rollout", 3.5) for _ in range(10)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(1000)
        return seen

    assert run(story()).waits(A) == pytest.approx([3.5] * 10)


def test_a_conflict_is_read_again_at_once_and_cannot_spin_nor_sleep_long(no_jitter: None) -> None:
    """Somebody who writes all the time must neither burn the processor nor put healing off for a minute."""

    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Conflict("409") for _ in range(9)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(1000)
        return seen

    assert run(story()).waits(A) == pytest.approx([0, 0, 0, 0, 0, 2, 4, 8, 16])


def test_an_api_server_that_is_away_is_asked_again_within_ten_seconds() -> None:
    """However long it was away: the next look after its return must not wait for minutes of back-off."""

    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Unavailable("away") for _ in range(30)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(1000)
        return seen

    waits = run(story()).waits(A)
    assert len(waits) == 30
    assert all(1.79 <= w <= 10.01 for w in waits)


def test_retry_after_of_a_busy_api_server_is_obeyed() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Unavailable("429", after=60.0)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(300)
        return seen

    assert run(story()).waits(A) == pytest.approx([60.0])


def test_a_refusal_waits_longer_than_an_error_and_goes_on() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Refused(403, "no rights") for _ in range(12)]})
        with workers(queue, seen):
            queue.add(A)
            await asyncio.sleep(10_000)
        return seen

    waits = run(story()).waits(A)
    assert len(waits) == 12
    assert all(REFUSED_AFTER - 0.01 <= w <= LONGEST_BACKOFF * 1.11 for w in waits)


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("bug"),
        Refused(403, "no"),
        Unavailable("away", 30.0),
        Conflict("409"),
        Transient("wait", 9.0),
        TimeoutError(),
    ],
)
def test_a_problem_of_one_key_never_delays_another(problem: Exception) -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [problem] * 1000, B: [1.0] * 60})
        with workers(queue, seen):
            queue.add(A)
            queue.add(B)
            await asyncio.sleep(60.5)
        return seen

    seen = run(story())
    assert seen.waits(B) == pytest.approx([1.0] * 60)
    assert len(seen.times(A)) > 1


def test_a_cancelled_part_of_a_pass_does_not_take_the_worker_with_it() -> None:
    """A pass may wait for a shared task that somebody cancelled; only the worker's own cancellation may end the worker."""

    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [asyncio.CancelledError(), None]})
        with workers(queue, seen):
            queue.add(A)
            queue.add(B, 1.0)
            await asyncio.sleep(60)
            assert queue.busy == 0
        return seen

    seen = run(story())
    assert seen.times(B) == [1001.0]
    assert len(seen.times(A)) == 2


def test_the_workers_own_cancellation_ends_it() -> None:
    async def story() -> bool:
        queue = WorkQueue()
        task = asyncio.create_task(queue.run(Recorder(takes=100.0)))
        queue.add(A)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(story())


def test_stop_takes_no_more_keys_and_lets_running_passes_end() -> None:
    async def story() -> None:
        queue, seen = WorkQueue(), Recorder({A: [1.0] * 9}, takes=10.0)
        with workers(queue, seen, 2):
            queue.add(A)
            queue.add(B, 5.0)
            await asyncio.sleep(1)
            queue.stop()
            queue.add(C)
            assert not await queue.drained(2.0)
            assert await queue.drained(20.0)
            assert now() == pytest.approx(1010.0, abs=0.1)
            await asyncio.sleep(100)
        assert seen.runs == [(1000.0, A)]

    run(story())


def test_the_drain_of_an_idle_queue_is_at_once() -> None:
    async def story() -> tuple[bool, float]:
        queue = WorkQueue()
        queue.stop()
        return await queue.drained(25.0), now()

    assert run(story()) == (True, 1000.0)


def test_each_pass_is_reported_with_its_result_and_time() -> None:
    seen: list[tuple[str, str, float]] = []

    async def story() -> None:
        queue = WorkQueue(lambda key, result, seconds: seen.append((key.name, result, round(seconds, 3))))
        answers: list[float | BaseException | None] = [
            Conflict(""), Transient("", 1.0), Unavailable(""), Refused(403, ""), KeyError("x"), None,
        ]  # fmt: skip
        with workers(queue, Recorder({A: answers}, takes=0.25)):
            queue.add(A)
            await asyncio.sleep(1000)

    run(story())
    assert seen == [("a", r, 0.25) for r in ("conflict", "transient", "unavailable", "refused", "error", "success")]


def test_a_receipt_is_written_before_what_has_just_become_due_and_reads_again_at_once() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder({A: [Conflict("somebody wrote first")]})
        for key in (B, C):
            queue.add(key)
        queue.first(A)
        with workers(queue, seen):
            await asyncio.sleep(1.0)
        return seen

    assert [key for _, key in run(story()).runs] == [A, A, B, C]


def test_a_receipt_does_not_overtake_what_has_waited_for_long() -> None:
    async def story() -> Recorder:
        queue, seen = WorkQueue(), Recorder()
        queue.add(B)
        await asyncio.sleep(3.0)
        queue.add(C)
        queue.first(A)
        with workers(queue, seen):
            await asyncio.sleep(1.0)
        return seen

    assert [key for _, key in run(story()).runs] == [B, A, C]


def test_what_is_out_of_date_in_the_line_does_not_pile_up_nor_come_twice() -> None:
    """Each look puts the next one days away; an entry left behind each time would fill the memory until then."""

    async def story() -> tuple[int, int]:
        queue, days = WorkQueue(), 5 * 86_400.0
        passes: list[Key] = []

        async def reconcile(key: Key) -> float:
            passes.append(key)
            return days

        with workers(queue, reconcile, 3):
            for _ in range(1000):
                queue.add(A)
                await asyncio.sleep(1)
            looked = len(passes)
            await asyncio.sleep(days + 1)
        return len(queue._line), len(passes) - looked

    left, more = run(story())
    assert left < 100
    # One at the end of the five days, and none for what was out of date.
    assert more == 1


def test_of_many_workers_one_wakes_for_a_key() -> None:
    """Eight that all look for the next key made an idle process with 500 incidents use a tenth of a processor."""

    async def story() -> int:
        queue, looks = WorkQueue(), 0
        first_due = queue._first_due

        def counted() -> float:
            nonlocal looks
            looks += 1
            return first_due()

        queue._first_due = counted  # type: ignore[method-assign]
        with workers(queue, Recorder(), 8):
            for number in range(100):
                queue.add(Key("incidents", "docuquery", str(number)), float(number))
            await asyncio.sleep(200)
        return looks

    assert run(story()) <= 100 * 3 + 10


def test_what_is_new_comes_before_receipts_and_receipts_that_waited_for_a_second_more_before_it() -> None:
    """Nobody has been told of a new incident yet; but receipts that are never written would hold up the pages themselves."""

    async def story() -> list[Key]:
        queue, order = WorkQueue(), list[Key]()

        async def reconcile(key: Key) -> None:
            order.append(key)

        old, receipt, new, known = (Key("incidents", "docuquery", n) for n in ("old", "receipt", "new", "known"))
        queue.first(old)
        await asyncio.sleep(1.5)
        queue.seen(known, "5")
        queue.first(receipt)
        queue.seen(new, "7", new=True)
        with workers(queue, reconcile):
            await asyncio.sleep(1)
        return order

    assert [k.name for k in run(story())] == ["old", "new", "receipt", "known"]
