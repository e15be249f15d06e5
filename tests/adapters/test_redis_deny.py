"""The deny set against a real server: each key ends by itself, what a person has set stays, and a sick server is an answer."""

from __future__ import annotations

import time

import pytest

from docuquery_operator.adapters.redis import RedisPy
from docuquery_operator.ports import RedisTarget
from tests.adapters.test_redis import TIMEOUT, at, client
from tests.stack.services import Redis, free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]
ONE, TWO = "blocked_client:203.0.113.7", "blocked_client:2001:db8::7"


async def test_keys_end_by_themselves_and_no_repetition_makes_them_longer(redis: Redis) -> None:
    server = RedisPy()
    assert await server.deny(at(redis), {ONE: "a", TWO: "a"}, 2, TIMEOUT) == ""
    began = time.monotonic()
    assert await server.denied(at(redis), [ONE, TWO, "other"], TIMEOUT) == [ONE, TWO]
    with client(redis) as admin:
        assert admin.get(ONE) == b"a"
        assert await server.deny(at(redis), {ONE: "a", TWO: "b"}, 3600, TIMEOUT) == ""
        assert (admin.get(TWO), admin.ttl(ONE) <= 2) == (b"a", True)
        wait_for("the end of the keys", lambda: not admin.exists(ONE, TWO), 5)
    assert time.monotonic() - began < 4
    assert await server.denied(at(redis), [ONE, TWO], TIMEOUT) == []


async def test_only_what_is_ours_is_taken_back(redis: Redis) -> None:
    server = RedisPy()
    with client(redis) as admin:
        admin.set(ONE, "a person's")
        assert await server.deny(at(redis), {ONE: "a", TWO: "a"}, 60, TIMEOUT) == ""
        assert admin.ttl(ONE) == -1
        assert await server.allow(at(redis), {ONE: "a", TWO: "a"}, TIMEOUT) == 1
        assert (admin.get(ONE), admin.get(TWO)) == (b"a person's", None)
        admin.delete(ONE)


async def test_a_server_that_takes_no_writes_says_so(redis: Redis) -> None:
    with client(redis) as admin:
        admin.config_set("min-replicas-to-write", 1)
        try:
            assert "NOREPLICAS" in await RedisPy().deny(at(redis), {ONE: "a"}, 60, TIMEOUT)
        finally:
            admin.config_set("min-replicas-to-write", 0)
        assert not admin.exists(ONE)


async def test_nobody_there() -> None:
    server, nobody = RedisPy(), RedisTarget("127.0.0.1", free_port())
    assert (await server.deny(nobody, {ONE: "a"}, 60, TIMEOUT)).startswith("refused")
    assert await server.denied(nobody, [ONE], TIMEOUT) is None
    assert await server.allow(nobody, {ONE: "a"}, TIMEOUT) is None
