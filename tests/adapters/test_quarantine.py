"""The quarantine on a real Redis, with real messages: set aside and given back intact, in order, whoever is killed when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from docuquery_operator.adapters import quarantine
from docuquery_operator.adapters.quarantine import RedisQuarantine
from docuquery_operator.ports import Batch, CeleryTarget, RedisTarget, Transient
from tests.adapters.workers import Broker, working
from tests.stack.services import ROOT, Redis, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
MANY = 10_000
TIMEOUT = 5.0
URGENT = "celery\x06\x163"


@pytest.fixture
def broker(redis: Redis, folder: pathlib.Path) -> Broker:
    return Broker(redis, folder)


def fill(broker: Broker, count: int, queue: str = "celery", first: int = 0) -> list[bytes]:
    """Messages as long as Celery's, the first one sent first; as they are served."""
    messages = [json.dumps({"body": "e30=" * 50, "headers": {"id": f"m{first + n}"}}).encode() for n in range(count)]
    with broker.client() as client:
        for start in range(0, count, 1000):
            client.lpush(queue, *messages[start : start + 1000])
    return messages


def served(broker: Broker, queue: str = "celery") -> list[bytes]:
    """What waits, in the order in which it would be served."""
    with broker.client() as client:
        return list(reversed(client.lrange(queue, 0, -1)))


def held(broker: Broker) -> Sequence[Batch]:
    found = asyncio.run(RedisQuarantine().held(broker.target, TIMEOUT))
    assert found is not None
    return found


def move(broker: Broker, attempt: str = "a1") -> int:
    """Move, and the number that the attempt says."""
    asyncio.run(RedisQuarantine().move(broker.target, attempt, TIMEOUT))
    done = asyncio.run(RedisQuarantine().done(broker.target, attempt, TIMEOUT))
    assert done is not None
    return done


def put_back(broker: Broker, attempt: str, batches: Sequence[Batch]) -> int:
    """Put back until there is no more; the number of calls."""
    for calls in range(1, 200):
        if asyncio.run(RedisQuarantine().put_back(broker.target, attempt, batches, TIMEOUT)):
            return calls
    raise AssertionError("it never ends")


def done(broker: Broker, attempt: str) -> int | None:
    return asyncio.run(RedisQuarantine().done(broker.target, attempt, TIMEOUT))


def everything(broker: Broker) -> list[bytes]:
    """Each message of all lists."""
    with broker.client() as client:
        lists = [k for k in client.scan_iter() if client.type(k) == b"list"]
        return [m for k in lists for m in client.lrange(k, 0, -1)]


def test_ten_thousand_are_set_aside_at_once_and_come_back_as_they_were(broker: Broker) -> None:
    before, urgent = fill(broker, MANY), fill(broker, 5, URGENT, first=50_000)
    began = time.monotonic()
    assert move(broker) == MANY + 5
    assert time.monotonic() - began < 0.5
    assert (served(broker), served(broker, URGENT)) == ([], [])
    batches = held(broker)
    assert [(b.attempt, b.queue, b.messages) for b in batches] == [("a1", "celery", MANY), ("a1", URGENT, 5)]
    assert done(broker, "b1") is None
    put_back(broker, "b1", batches)
    assert (served(broker), served(broker, URGENT)) == (before, urgent)
    assert (done(broker, "b1"), held(broker)) == (MANY + 5, ())


def test_moving_twice_is_moving_once_and_what_comes_later_stays(broker: Broker) -> None:
    fill(broker, 10)
    assert move(broker) == 10
    later = fill(broker, 3, first=100)
    assert move(broker) == 10
    assert served(broker) == later
    assert move(broker, "a2") == 3
    assert [(b.attempt, b.messages) for b in held(broker)] == [("a1", 10), ("a2", 3)]


@pytest.mark.parametrize(("old", "new"), [(MANY, 0), (MANY, 7), (7, MANY), (MANY, MANY), (30_000, 30_000), (3, 3)])
def test_what_was_held_is_served_before_what_has_come_since(broker: Broker, old: int, new: int) -> None:
    before = fill(broker, old)
    move(broker)
    since = fill(broker, new, first=100_000)
    put_back(broker, "b1", held(broker))
    assert served(broker) == before + since
    assert (done(broker, "b1"), held(broker)) == (old, ())


def test_several_batches_come_back_the_oldest_first(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    one = fill(broker, 10)
    move(broker)
    time.sleep(1.1)
    two = fill(broker, 10, first=100)
    move(broker, "a2")
    three = fill(broker, 10, first=200)
    batches = held(broker)
    put_back(broker, "b1", batches)
    assert served(broker) == one + two + three
    assert done(broker, "b1") == 20
    # The plan once more: nothing is there to be put back, and nothing is doubled.
    put_back(broker, "b1", batches)
    assert (served(broker), done(broker, "b1")) == (one + two + three, 20)


@pytest.mark.parametrize("stop", range(1, 6))
def test_given_up_in_the_middle_another_carries_on(broker: Broker, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "CHUNK", 100)
    before = fill(broker, 500)
    move(broker)
    since = fill(broker, 450, first=100_000)
    batches = held(broker)
    for _ in range(stop):
        asyncio.run(RedisQuarantine().put_back(broker.target, "b1", batches, TIMEOUT))
        assert sorted(everything(broker)) == sorted(before + since)
        # It has begun, and somebody else can see it.
        assert done(broker, "b1") is not None
    put_back(broker, "b1", batches)
    assert (served(broker), done(broker, "b1")) == (before + since, 500)


MOVER = """
import asyncio, sys
from docuquery_operator.adapters import quarantine
from docuquery_operator.ports import CeleryTarget, RedisTarget
quarantine.CHUNK = 50
async def main():
    target, mover = CeleryTarget(RedisTarget("127.0.0.1", int(sys.argv[1]))), quarantine.RedisQuarantine()
    round_ = int(sys.argv[2])
    while True:
        await mover.move(target, f"a{round_}", 5.0)
        print("moved", flush=True)
        batches = await mover.held(target, 5.0)
        while not await mover.put_back(target, f"b{round_}", batches, 5.0):
            pass
        print("back", flush=True)
        round_ += 1
asyncio.run(main())
"""


def test_killed_at_any_point_no_message_is_lost_or_doubled(broker: Broker) -> None:
    """kill -9 of the mover at times that go through the whole of it; a producer adds messages meanwhile."""
    sent = fill(broker, 2000)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    command = [sys.executable, "-c", MOVER, str(broker.redis.port)]
    seen = set()
    for kill in range(20):
        mover = subprocess.Popen([*command, str(kill * 1000)], env=env, stdout=subprocess.PIPE, text=True)
        assert mover.stdout
        mover.stdout.readline()
        sent += fill(broker, 300, first=10_000 + 1000 * kill)
        time.sleep(0.0013 * kill)
        mover.kill()
        mover.wait()
        mover.stdout.close()
        assert sorted(everything(broker)) == sorted(sent)
        batches = held(broker)
        seen.add(bool(batches))
        put_back(broker, f"c{kill}", batches)
        assert held(broker) == ()
        assert served(broker) == sent
    assert seen == {True, False}, "the kills have hit one state only"


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_connection_that_is_cut_leaves_all_or_nothing(broker: Broker, cut: str) -> None:
    """The command comes to the server or not; the caller cannot know, asks again, and it is done once."""
    before = await asyncio.to_thread(fill, broker, 100)
    async with cutting(broker.redis.port, forward=cut == "after") as port:
        target = CeleryTarget(RedisTarget("127.0.0.1", port))
        with pytest.raises(Transient):
            await RedisQuarantine().move(target, "a1", 1.0)
    await asyncio.sleep(0.1)
    seen = await RedisQuarantine().done(broker.target, "a1", TIMEOUT)
    assert seen == (100 if cut == "after" else None)
    later = await asyncio.to_thread(fill, broker, 5, "celery", 1000)
    await RedisQuarantine().move(broker.target, "a1", TIMEOUT)
    batches = await RedisQuarantine().held(broker.target, TIMEOUT)
    assert batches is not None
    while not await RedisQuarantine().put_back(broker.target, "b1", batches, TIMEOUT):
        pass
    assert await asyncio.to_thread(served, broker) == before + later


@contextlib.asynccontextmanager
async def cutting(port: int, forward: bool) -> Any:
    """A proxy that hangs up at the script, before or after the server has got it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, up_writer))

        async def down() -> None:
            while data := await up_reader.read(65536):
                writer.write(data)

        answers = asyncio.create_task(down())
        while data := await reader.read(65536):
            script = b"EVAL" in data
            if script:
                answers.cancel()
            if forward or not script:
                up_writer.write(data)
                await up_writer.drain()
            if script:
                await asyncio.sleep(0.2)
                break
        writer.close()
        up_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


def test_the_server_killed_in_the_middle_has_each_message_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of Redis itself: what it has written to its log is a whole number of steps."""
    monkeypatch.setattr(quarantine, "CHUNK", 20)
    with broker.client() as client:
        client.config_set("appendfsync", "always")
    before = fill(broker, 2000)
    move(broker)
    since = fill(broker, 1500, first=100_000)
    batches = held(broker)

    def later() -> None:
        time.sleep(0.03)
        broker.redis.process.stop(signal.SIGKILL)

    killer = threading.Thread(target=later)
    killer.start()
    with contextlib.suppress(Transient):
        put_back(broker, "b1", batches)
    killer.join()
    broker.redis.start()
    wait_for("the data", lambda: len(everything_or_nothing(broker)) == 3500)
    assert sorted(everything(broker)) == sorted(before + since)
    put_back(broker, "b1", batches)
    assert (served(broker), done(broker, "b1")) == (before + since, 2000)


def everything_or_nothing(broker: Broker) -> list[bytes]:
    """Nothing while the server loads."""
    from redis.exceptions import RedisError

    with contextlib.suppress(RedisError):
        return everything(broker)
    return []


def test_beside_a_producer_and_a_worker_each_task_is_worked_on_once(broker: Broker) -> None:
    """Real tasks: sent before, meanwhile and after; set aside and given back twice under the worker's hands."""
    numbers = iter(range(10**6))
    sent: list[int] = []

    def send(count: int) -> None:
        more = [next(numbers) for _ in range(count)]
        broker.send(*[("tasks.note", n, {}) for n in more])
        sent.extend(more)

    send(300)
    with working(broker, "--concurrency=1"):
        producer = threading.Thread(target=lambda: [send(50) for _ in range(4)])
        producer.start()
        for turn in range(2):
            moved = move(broker, f"a{turn}")
            batches = held(broker)
            assert sum(b.messages for b in batches) == moved
            time.sleep(0.3)
            put_back(broker, f"b{turn}", batches)
            assert done(broker, f"b{turn}") == moved
        producer.join()
        send(5)
        wait_for("all tasks", lambda: len(broker.notes()) >= len(sent), 60)
        time.sleep(0.5)
    assert sorted(broker.notes()) == sorted(sent)
    assert broker.notes()[-5:] == sent[-5:]


def test_a_waiting_worker_notices_what_is_put_back(broker: Broker) -> None:
    broker.send(*[("tasks.note", n, {}) for n in range(20)])
    move(broker)
    with working(broker, "--concurrency=1"):
        time.sleep(1)
        assert broker.notes() == []
        put_back(broker, "b1", held(broker))
        wait_for("the tasks", lambda: len(broker.notes()) == 20, 10)
    assert broker.notes() == list(range(20))


def test_only_what_was_approved_is_dropped(broker: Broker) -> None:
    fill(broker, 10)
    move(broker)
    approved = held(broker)
    key = f"{quarantine.PREFIX}:a1:celery"
    with broker.client() as client:
        first = client.lindex(key, 0)
        client.lset(key, 0, b"another")
        assert not asyncio.run(RedisQuarantine().drop(broker.target, "d1", approved, TIMEOUT))
        client.lset(key, 0, first)
        client.lpush(key, b"one more")
        assert not asyncio.run(RedisQuarantine().drop(broker.target, "d1", approved, TIMEOUT))
        client.lpop(key)
    assert (done(broker, "d1"), [b.messages for b in held(broker)]) == (None, [10])
    later = fill(broker, 2, first=100)
    assert asyncio.run(RedisQuarantine().drop(broker.target, "d1", approved, TIMEOUT))
    assert asyncio.run(RedisQuarantine().drop(broker.target, "d1", approved, TIMEOUT))
    assert (done(broker, "d1"), held(broker), served(broker)) == (10, (), later)


def test_nothing_in_quarantine_expires(broker: Broker) -> None:
    fill(broker, 10)
    with broker.client() as client:
        client.expire("celery", 1)
    move(broker)
    with broker.client() as client:
        kept = [k for k in client.scan_iter(f"{quarantine.PREFIX}*") if b":done:" not in k]
        assert len(kept) == 2
        assert [client.ttl(k) for k in kept] == [-1, -1]


def test_what_is_no_queue_is_left_alone(broker: Broker) -> None:
    with broker.client() as client:
        client.set(URGENT, "not a list")
    before = fill(broker, 3)
    with pytest.raises(Transient, match="is no queue"):
        move(broker)
    assert (served(broker), held(broker), done(broker, "a1")) == (before, (), None)


def test_a_full_memory_loses_nothing(broker: Broker) -> None:
    before = fill(broker, 6000)
    move(broker)
    since = fill(broker, 100, first=100_000)
    batches = held(broker)
    with broker.client() as client:
        client.config_set("maxmemory", "1")
        with contextlib.suppress(Transient):
            put_back(broker, "b1", batches)
        assert sorted(everything(broker)) == sorted(before + since)
        client.config_set("maxmemory", "0")
    put_back(broker, "b1", batches)
    assert (served(broker), done(broker, "b1")) == (before + since, 6000)


@pytest.fixture(autouse=True)
def _alive(broker: Broker) -> Iterator[None]:
    yield
    assert broker.redis.process.child
