"""The Celery adapter against real workers on a real Redis: dead, frozen, busy, idle and broker down are told apart."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from docuquery_operator.adapters.celery import REPLIES, SILENCE_SECONDS, RedisCelery
from docuquery_operator.adapters.quarantine import RedisQuarantine
from docuquery_operator.ports import CeleryFacts, CeleryTarget, RedisTarget
from tests.adapters.test_misbehaving_redis import REDIS
from tests.adapters.test_misbehaviours import TIMEOUT as MISBEHAVING_TIMEOUT
from tests.adapters.test_misbehaviours import in_time
from tests.adapters.workers import Broker, working
from tests.stack.services import Redis, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]
TIMEOUT = 3.0
# Of the second that `celery inspect ping` waits.
GOAL_SECONDS = 0.05


@pytest.fixture
def broker(redis: Redis, folder: pathlib.Path) -> Iterator[Broker]:
    """A broker of this test alone, on which nothing of the operator's is left at the end."""
    made = Broker(redis, folder)
    yield made
    assert redis.process.child
    if redis.process.child.poll() is None:
        os.kill(redis.process.child.pid, signal.SIGCONT)
        with made.client() as client:
            left = [k for k in client.scan_iter() if b"docuquery-operator" in k]
            bound = [m for m in client.smembers(f"_kombu.binding.{REPLIES}") if b"docuquery-operator" in m]
            assert (left, bound) == ([], [])


async def look(broker: Broker, timeout: float = TIMEOUT) -> CeleryFacts:
    return await RedisCelery().look(broker.target, timeout)


async def ping(broker: Broker, timeout: float = TIMEOUT) -> CeleryFacts:
    return await RedisCelery().ping(broker.target, timeout)


def active(facts: CeleryFacts) -> list[str]:
    return [t.name for n in facts.nodes for t in n.active]


async def until(broker: Broker, what: str, holds: object) -> CeleryFacts:
    """Look until it is so."""
    deadline = time.monotonic() + 20
    while True:
        facts = await look(broker)
        if holds(facts):  # type: ignore[operator]
            return facts
        assert time.monotonic() < deadline, (what, facts)


async def test_nobody_there_is_known_at_once(broker: Broker) -> None:
    facts = await ping(broker)
    assert (facts.outcome, facts.subscribed, facts.nodes, facts.complete) == ("ok", 0, (), True)
    assert facts.latency_ms < 1000 * GOAL_SECONDS


async def test_an_idle_worker_and_one_that_is_busy(broker: Broker) -> None:
    with working(broker, "--concurrency=2"):
        facts = await look(broker)
        assert (facts.subscribed, facts.complete, active(facts)) == (1, True, [])
        (node,) = facts.nodes
        assert (node.name, node.pool, node.slots, node.begun, node.queues) == ("one@test", "prefork", 2, 0, ("celery",))
        broker.send(*[("tasks.stuck", 60, {})] * 3, ("tasks.stuck", 61, {"priority": 6}))
        facts = await until(broker, "two tasks", lambda f: len(active(f)) == 2)
        assert facts.waiting
        assert (facts.waiting.total, facts.waiting.held, facts.waiting.head_task) == (2, 2, "tasks.stuck")
        assert facts.nodes[0].begun == 2
        ages = [t.age_seconds for t in facts.nodes[0].active]
        assert all(age is not None and 0 <= age < 30 for age in ages)
        again = await look(broker)
        assert again.waiting
        assert (again.waiting.head, again.waiting.held_ids) == (facts.waiting.head, facts.waiting.held_ids)


async def test_the_verdict_takes_a_twentieth_of_what_celery_waits(broker: Broker) -> None:
    with working(broker, "--concurrency=2"):
        broker.send(*[("tasks.stuck", 60, {})] * 2)
        await until(broker, "two tasks", lambda f: len(active(f)) == 2)
        times = sorted([(await ping(broker)).latency_ms / 1000 for _ in range(20)])
        assert times[10] <= GOAL_SECONDS, times
        script = "import tasks, time; b = time.monotonic(); r = tasks.celery.control.inspect().ping(); print(time.monotonic() - b, r)"
        done = subprocess.run(
            [broker.python, "-c", script], env={**os.environ, **broker.env}, capture_output=True, text=True, check=True
        )
        theirs = float(done.stdout.split()[0])
        assert "pong" in done.stdout
        assert times[10] <= 0.05 * max(theirs, 1.0)


async def test_a_worker_that_was_killed_is_gone_at_once(broker: Broker) -> None:
    with working(broker, "--concurrency=1") as worker:
        assert (await ping(broker)).subscribed == 1
        assert worker.child
        os.killpg(worker.child.pid, signal.SIGKILL)
        wait_for("the end of the connection", lambda: worker.child and worker.child.poll() is not None)
        began = time.monotonic()
        while (await ping(broker)).subscribed:
            assert time.monotonic() - began < 2


async def test_a_frozen_worker_listens_and_says_nothing(broker: Broker) -> None:
    with working(broker, "--concurrency=1") as worker:
        assert worker.child
        os.kill(worker.child.pid, signal.SIGSTOP)
        facts = await look(broker)
        assert (facts.outcome, facts.subscribed, facts.nodes, facts.complete) == ("ok", 1, (), False)
        assert facts.latency_ms < 1000 * (SILENCE_SECONDS + 0.5)
        os.kill(worker.child.pid, signal.SIGCONT)
        # What it says too late is for nobody, and is left nowhere: see the fixture.
        await until(broker, "an answer", lambda f: f.complete and f.nodes)
        time.sleep(0.5)


async def test_a_worker_of_one_process_is_silent_while_it_works(broker: Broker) -> None:
    with working(broker, "--pool=solo"):
        facts = await look(broker)
        assert [n.pool for n in facts.nodes] == ["solo"]
        broker.send(("tasks.stuck", 4, {}))
        facts = await until(broker, "a silent worker", lambda f: f.subscribed == 1 and not f.nodes)
        assert facts.waiting
        assert facts.waiting.held == 1
        assert facts.waiting.held_tasks == {"tasks.stuck": 1}
        assert facts.waiting.held_oldest is not None
        await until(broker, "an answer", lambda f: f.nodes and f.waiting.held == 0)


async def test_a_broker_that_is_down_frozen_or_refuses(broker: Broker) -> None:
    with broker.client() as client:
        client.config_set("requirepass", "celery-marker-51")
        facts = await look(broker)
        assert (facts.outcome, facts.subscribed) == ("auth", None)
        right = RedisTarget("127.0.0.1", broker.redis.port, "", "celery-marker-51")
        known = await RedisCelery().look(CeleryTarget(right), TIMEOUT)
        assert known.outcome == "ok"
        assert "celery-marker" not in repr(known)
        client.config_set("requirepass", "")
        client.config_set("maxmemory", "1")
        assert (await look(broker)).outcome == "oom"
        client.config_set("maxmemory", "0")
    child = broker.redis.process.child
    assert child
    os.kill(child.pid, signal.SIGSTOP)
    facts = await look(broker, 0.5)
    assert facts.outcome == "timeout"
    os.kill(child.pid, signal.SIGCONT)
    broker.redis.process.stop(signal.SIGKILL)
    facts = await look(broker)
    assert facts.outcome == "refused"
    assert facts.latency_ms < 1000


async def test_failed_tasks_are_counted_and_nothing_of_what_they_said_is_told(broker: Broker) -> None:
    with working(broker, "--concurrency=1"):
        broker.send(*[("tasks.fail", "secret-marker-9", {})] * 3, ("tasks.note", 1, {}))

        def over() -> bool:
            with broker.client() as client:
                return sum(1 for _ in client.scan_iter("celery-task-meta-*")) == 4

        wait_for("results", over)
    with broker.client() as client:
        client.set("celery-task-meta-nonsense", "{")
        client.hset("celery-task-meta-hash", "a", "b")
        client.set("celery-task-meta-long", '{"status": "FAILURE", "result": "' + "x" * 100_000)
        client.set("other", "x")
    page = await RedisCelery().results(broker.target, 0, TIMEOUT)
    assert page is not None
    assert page.cursor == 0
    failed = [r for r in page.results if r.failed and r.id != "long"]
    assert [(r.name, r.error) for r in failed] == [("tasks.fail", "OddError")] * 3
    assert all(r.finished is not None and abs(page.now - r.finished) < 60 for r in failed)
    assert sorted(r.failed for r in page.results) == [False, True, True, True, True]
    assert "secret-marker" not in repr(page)


async def test_a_big_result_back_end_is_read_in_small_steps_and_gone_on_with(broker: Broker) -> None:
    with broker.client() as client:
        pipeline = client.pipeline()
        for number in range(20_000):
            done = {"status": "FAILURE", "result": {"exc_type": "E"}, "date_done": "2026-01-01T00:00:00", "name": "t"}
            pipeline.set(f"celery-task-meta-{number:05}", json.dumps(done))
        pipeline.execute()
        client.config_set("slowlog-log-slower-than", 1000)
        client.slowlog_reset()
        seen: set[str] = set()
        cursor, pages = 0, 0
        while True:
            began = time.monotonic()
            page = await RedisCelery().results(broker.target, cursor, TIMEOUT)
            assert page is not None
            assert time.monotonic() - began < 0.5
            seen |= {r.id for r in page.results}
            cursor, pages = page.cursor, pages + 1
            if cursor == 0:
                break
        assert len(seen) == 20_000
        assert pages > 5
        slow = [e for e in client.slowlog_get(100) if e["command"].startswith((b"SCAN", b"GETRANGE"))]
        assert len(slow) <= 2, slow


async def test_what_a_killed_operator_has_left_is_cleared_away(broker: Broker) -> None:
    old = f"docuquery-operator.{int(time.time()) - 3600:x}.{uuid.uuid4().hex[:12]}"
    with broker.client() as client:
        client.sadd(f"_kombu.binding.{REPLIES}", f"{old}\x06\x16\x06\x16{old}.{REPLIES}")
        client.lpush(f"{old}.{REPLIES}", "late")
    await ping(broker)


async def test_key_prefix_and_database_are_the_applications(redis: Redis, folder: pathlib.Path) -> None:
    broker = Broker(redis, folder, database=3)
    with working(broker, "--concurrency=1"):
        assert [n.name for n in (await ping(broker)).nodes] == ["one@test"]
        assert (await ping(Broker(redis, folder))).subscribed == 0
    broker = Broker(redis, folder, prefix="app1:")
    with working(broker, "--concurrency=1", name="two"):
        assert [n.name for n in (await ping(broker)).nodes] == ["two@test"]
        broker.send(*[("tasks.stuck", 60, {})] * 3)
        facts = await until(broker, "a task", lambda f: active(f) == ["tasks.stuck"])
        assert facts.waiting
        assert (facts.waiting.total, facts.waiting.held) == (2, 1)


@pytest.mark.parametrize("name", sorted(REDIS))
async def test_a_server_that_misbehaves_is_no_healthy_broker(name: str) -> None:
    facts = await in_time(REDIS[name][0], lambda port: RedisCelery().look(at(port), MISBEHAVING_TIMEOUT))
    assert (facts.outcome != "ok", facts.subscribed, facts.nodes) == (True, None, ())
    assert await in_time(REDIS[name][0], lambda port: RedisCelery().results(at(port), 0, MISBEHAVING_TIMEOUT)) is None
    assert await in_time(REDIS[name][0], lambda port: RedisQuarantine().held(at(port), MISBEHAVING_TIMEOUT)) is None


def at(port: int) -> CeleryTarget:
    return CeleryTarget(RedisTarget("127.0.0.1", port))
