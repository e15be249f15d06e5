"""Redis clients against a real server: which are told, and that only those that were meant are ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import ExitStack
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from docuquery_operator.adapters.redis import CLIENTS_KEPT, RedisPy
from docuquery_operator.ports import RedisFacts
from tests.adapters.test_redis import TIMEOUT, at, client, look
from tests.stack.services import Redis, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


def identity(redis: Redis, found: RedisFacts, connection: Any) -> tuple[int, str, int]:
    """A connection as the look has told it."""
    number = connection.client_id()
    return next((c.id, c.address, c.age_seconds) for c in found.clients or () if c.id == number)


def ended(connection: Any) -> bool:
    """Whether the server has ended it; a client of redis-py would connect anew unless it is told not to."""
    try:
        connection.ping()
    except Exception:
        return True
    return False


def held(stack: ExitStack, redis: Redis, **more: Any) -> Any:
    """A connection that stays."""
    made = stack.enter_context(client(redis, single_connection_client=True, retry=Retry(NoBackoff(), 0), **more))
    made.ping()
    return made


async def test_only_named_clients_are_ended(redis: Redis) -> None:
    server = RedisPy()
    with ExitStack() as stack:
        first, second, other = (held(stack, redis) for _ in range(3))
        numbers = {c: c.client_id() for c in (first, second, other)}
        found = await look(redis)
        assert {c.id for c in found.clients or ()} == set(numbers.values())
        named = [identity(redis, found, c) for c in (first, second)]
        assert await server.alive(at(redis), named, 0, TIMEOUT) == 2
        assert await server.kill_clients(at(redis), named, 0, TIMEOUT) == 2
        with client(redis) as admin:
            left = {int(c["id"]) for c in admin.client_list()}
        assert numbers[other] in left
        assert not left & {numbers[first], numbers[second]}
        assert await server.alive(at(redis), named, 0, TIMEOUT) == 0
        assert await server.kill_clients(at(redis), named, 0, TIMEOUT) == 0, "a second time there is nothing to do"


async def test_another_client_with_the_same_id_is_left_alone(redis: Redis) -> None:
    """A server that has started anew counts from the beginning: another address, or a younger client, is another one."""
    server = RedisPy()
    with ExitStack() as stack:
        one = held(stack, redis)
        number, address, age = identity(redis, await look(redis), one)
        for other in ((number, "127.0.0.1:1", age), (number + 1, address, age), (number, address, age + 100)):
            assert await server.kill_clients(at(redis), [other], 0, TIMEOUT) == 0
            assert await server.alive(at(redis), [other], 0, TIMEOUT) == 0
        assert not ended(one)


async def test_a_client_that_was_used_since_is_left_alone(redis: Redis) -> None:
    server = RedisPy()
    with ExitStack() as stack:
        one = held(stack, redis)
        await asyncio.sleep(1.1)
        found = await look(redis)
        assert [c.idle_seconds >= 1 for c in found.clients or ()] == [True]
        number = (found.clients or ())[0]
        named = [(number.id, number.address, number.age_seconds)]
        one.ping()
        assert await server.kill_clients(at(redis), named, 1, TIMEOUT) == 0
        assert await server.alive(at(redis), named, 1, TIMEOUT) == 0
        assert not ended(one)


async def test_whoever_waits_or_watches_is_not_idle(redis: Redis) -> None:
    """A worker in BRPOP, a subscriber, a transaction, a replica, a monitor, and the operator itself: never in the list."""
    with ExitStack() as stack:
        pubsub = stack.enter_context(contextlib.closing(stack.enter_context(client(redis)).pubsub()))
        pubsub.subscribe("news")
        pubsub.get_message(timeout=1)
        pipe = stack.enter_context(stack.enter_context(client(redis)).pipeline())
        pipe.watch("a")
        popped = held(stack, redis)
        popped.brpop("queue", timeout=0.1)
        blocked, monitor, watcher, ours = (
            stack.enter_context(socket.create_connection(("127.0.0.1", redis.port))) for _ in range(4)
        )
        for connection, line in (
            (blocked, b"BRPOP queue 0\r\n"),
            (monitor, b"MONITOR\r\n"),
            (watcher, b"MULTI\r\n"),
            (ours, b"CLIENT SETNAME docuquery-operator\r\n"),
        ):
            connection.sendall(line)
        with client(redis) as admin:
            wait_for("all of them", lambda: len(admin.client_list()) >= 8)
        found = await look(redis)
        assert found.clients is not None
        assert len(found.clients) == 1, found.clients
        # WATCH alone is no flag; the client that only watches keys is the one that is listed.
        assert {c.command for c in found.clients} == {"watch"}
        assert (found.blocked, (found.used or 0) >= 7) == (1, True)


async def test_names_of_others_are_data(redis: Redis) -> None:
    with ExitStack() as stack:
        named = held(stack, redis)
        named.execute_command("CLIENT", "SETNAME", "a=b;'--" * 40)
        found = await look(redis)
    assert [c.name for c in found.clients or ()] == [("a=b;'--" * 40)[:64]]


async def test_many_clients_are_bounded(redis: Redis) -> None:
    with ExitStack() as stack, client(redis) as admin:
        # Few of the many that are allowed: the list is not read; most of those that are allowed: it is, and is cut.
        many = [stack.enter_context(socket.create_connection(("127.0.0.1", redis.port))) for _ in range(CLIENTS_KEPT + 20)]
        wait_for("all of them", lambda: admin.info("clients")["connected_clients"] > len(many))
        assert (await look(redis)).clients is None
        admin.config_set("maxclients", len(many) + 50)
        found = await look(redis)
        assert len(found.clients or ()) == CLIENTS_KEPT
        assert found.max_clients == len(many) + 50
