"""Counting keys on a real server, and on servers that misbehave: right, in short steps, in time, and without secrets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import ANY

import pytest
from redis import Redis as Client

from docuquery_operator.adapters.redis_keys import STEP_SECONDS, Pace, ScannedKeys
from docuquery_operator.ports import KeyCount, RedisTarget
from tests.adapters import misbehaving as m
from tests.adapters.test_misbehaving_redis import REDIS
from tests.adapters.test_misbehaviours import PASSWORD, TIMEOUT, in_time
from tests.stack.services import Redis, free_port

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]
PATTERN = "*rate_limit*"


async def count(redis: Redis, pattern: str = PATTERN, timeout: float = 20.0, **target: str) -> KeyCount:
    """One count."""
    return await ScannedKeys().count(RedisTarget("127.0.0.1", redis.port, **target), pattern, 3, timeout)


@contextmanager
def client(redis: Redis) -> Iterator[Any]:
    """A client of the server under test."""
    connection = Client(port=redis.port)
    try:
        yield connection
    finally:
        connection.close()


def fill(redis: Redis, limits: int, others: int) -> None:
    """Counters of the limit among other keys."""
    with client(redis) as server:
        for start in range(0, max(limits, others), 5000):
            pipe = server.pipeline(transaction=False)
            for n in range(start, start + 5000):
                if n < limits:
                    pipe.set(f"rate_limit:198.51.{n // 250 % 250}.{n % 250}:{n}", n % 1000)
                if n < others:
                    pipe.set(f"session:{n}", "x")
            pipe.execute()


async def test_keys_are_counted_and_the_highest_told(redis: Redis) -> None:
    fill(redis, 700, 300)
    with client(redis) as server:
        server.set("rate_limit:203.0.113.7:1", 99_999)
        server.set("rate_limit:203.0.113.8:1", 88_888)
        server.rpush("rate_limit:a-list", 1)
        server.set("rate_limit:no-number", "x")
        server.set("rate_limit:line\r\nbreak", 5)
    found = await count(redis)
    assert (found.keys, found.at_least, found.problem) == (705, False, "")
    assert found.highest[:2] == (("rate_limit:203.0.113.7:1", 99_999), ("rate_limit:203.0.113.8:1", 88_888))
    assert (await count(redis, "nothing*")).keys == 0


async def test_steps_stay_short_and_no_key_is_asked_for_by_keys(redis: Redis) -> None:
    await asyncio.to_thread(fill, redis, 120_000, 60_000)
    with client(redis) as server:
        server.config_set("slowlog-log-slower-than", int(STEP_SECONDS * 2 * 1e6))
        server.slowlog_reset()
        found = await count(redis)
        stats = server.info("commandstats")
        slow = [entry["command"] for entry in server.slowlog_get(128) if entry["command"].startswith(b"SCAN")]
    assert (found.keys, found.at_least) == (120_000, False)
    assert "cmdstat_keys" not in stats
    # A busy machine may stop the server in the middle of a step.
    assert stats["cmdstat_scan"]["usec_per_call"] <= STEP_SECONDS * 1e6
    assert len(slow) <= found.calls / 20
    # Not one call for ten keys, as by default.
    assert found.calls < 180_000 / 100


async def test_what_is_not_seen_in_time_is_told_as_at_least(redis: Redis) -> None:
    await asyncio.to_thread(fill, redis, 200_000, 0)
    began = time.monotonic()
    found = await count(redis, timeout=0.15)
    assert time.monotonic() - began < 1.0
    assert found.at_least
    assert 0 < found.keys < 200_000
    assert found.problem == ""


@pytest.mark.parametrize("redis", [["--requirepass", PASSWORD]], indirect=True)
async def test_a_password(redis: Redis) -> None:
    assert (await count(redis, password=PASSWORD)).problem == ""
    wrong = await count(redis, password=PASSWORD + "x")
    assert "WRONGPASS" in wrong.problem
    assert PASSWORD not in repr(wrong)
    assert "NOAUTH" in (await count(redis)).problem


async def test_a_user_who_may_only_scan(redis: Redis) -> None:
    fill(redis, 500, 0)
    with client(redis) as server:
        server.execute_command("ACL", "SETUSER", "scanner", "on", ">pw", "~*", "+scan", "+mget", "+ping")
    found = await count(redis, user="scanner", password="pw")
    assert (found.keys, found.at_least, found.problem) == (500, False, "")


async def test_nobody_there() -> None:
    for port in (free_port(), 70_000):
        found = await ScannedKeys().count(RedisTarget("127.0.0.1", port), PATTERN, 3, 1.0)
        assert found.problem
        assert found.keys == 0


@pytest.mark.parametrize("name", REDIS)
async def test_servers_that_misbehave(name: str) -> None:
    async def ask(port: int) -> list[KeyCount]:
        targets = (RedisTarget("127.0.0.1", port, "", password) for password in ("", PASSWORD))
        return await asyncio.gather(*(ScannedKeys().count(t, PATTERN, 3, TIMEOUT) for t in targets))

    answers = await in_time(REDIS[name][0], ask)
    assert PASSWORD not in answers[1].problem
    for found in answers:
        assert found.problem
        assert found.keys == 0
        assert len(found.problem) <= 300


async def test_a_cursor_that_never_ends_is_left_in_time() -> None:
    step = b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n"
    async with m.serving(m.endless(step)) as peer:
        found = await ScannedKeys().count(RedisTarget("127.0.0.1", peer.port), PATTERN, 0, TIMEOUT)
    assert found.at_least or found.problem


def test_the_pace_goes_up_in_steps_and_down_at_once() -> None:
    pace = Pace()
    for _ in range(20):
        pace.after(0.00001)
    most = pace.count
    pace.after(0.006)
    assert pace.count <= most / 9
    for _ in range(20):
        pace.after(1.0)
    assert pace.count == 10


async def test_the_keys_of_a_pattern_are_dropped_and_no_other(redis: Redis) -> None:
    fill(redis, 30_000, 20_000)
    with client(redis) as server:
        server.rpush("celery", *range(100))
        before = server.dbsize() - 30_000
    target = RedisTarget("127.0.0.1", redis.port)
    assert await ScannedKeys().drop(target, "rate_limit:*", 1000, 20.0) == KeyCount(1000, True, calls=ANY)
    rest = await ScannedKeys().drop(target, "rate_limit:*", 1_000_000, 20.0)
    assert (rest.keys, rest.at_least, rest.problem) == (29_000, False, "")
    with client(redis) as server:
        assert server.dbsize() == before
        assert server.llen("celery") == 100


async def test_dropping_too_needs_the_password(redis: Redis) -> None:
    fill(redis, 10, 0)
    answer = await ScannedKeys().drop(
        RedisTarget("127.0.0.1", redis.port, password="wrong-password"), "rate_limit:*", 10, 5.0
    )
    assert "wrong-password" not in answer.problem
    assert answer.problem
    assert (await count(redis)).keys == 10
