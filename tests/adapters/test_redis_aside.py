"""Setting data aside on a real server: one step for every client, nothing lost, nothing of others touched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis as Client
from redis.exceptions import OutOfMemoryError

from docuquery_operator.adapters.redis_aside import SPARE, SwappedDatabases
from docuquery_operator.ports import Aside, RedisTarget
from tests.adapters.test_redis import TIMEOUT, at, client
from tests.stack.services import Redis, free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]
ASIDE = SwappedDatabases()


@pytest.fixture(autouse=True)
def empty(redis: Redis) -> Iterator[None]:
    """Before and after each test."""
    with client(redis) as admin:
        admin.flushall()
        yield
        admin.config_set("maxmemory", 0)
        admin.flushall()


def spare(redis: Redis) -> Client:
    return Client(port=redis.port, db=SPARE)


async def look(redis: Redis) -> Aside:
    seen = await ASIDE.look(at(redis), TIMEOUT)
    assert seen is not None
    return seen


async def test_there_and_back_and_then_what_came_since_is_dropped(redis: Redis) -> None:
    with client(redis) as admin:
        admin.rpush("celery", *range(10_000))
        admin.set("session:1", "x", ex=3600)
        assert await look(redis) == Aside("none", 2)
        assert await ASIDE.set_aside(at(redis), "a1", TIMEOUT) == ""
        assert admin.keys("[a-c]*") == []
        seen = await look(redis)
        assert (seen.state, seen.keys, seen.attempt, seen.since > 1e9) == ("aside", 2, "a1", True)
        admin.set("later", 1)
        assert await ASIDE.put_back(at(redis), "a2", seen, TIMEOUT) == ""
        assert admin.lrange("celery", 0, -1) == [b"%d" % n for n in range(10_000)]
        assert 3500 < admin.ttl("session:1") <= 3600
        assert not admin.exists("later", "docuquery:aside")
        seen = await look(redis)
        assert (seen.state, seen.attempt) == ("replaced", "a2")
        with spare(redis) as other:
            assert other.get("later") == b"1"
        assert await ASIDE.drop(at(redis), "a3", seen, TIMEOUT) == ""
        assert (await look(redis)).state == "none"
        assert admin.llen("celery") == 10_000


async def test_an_attempt_that_is_repeated_changes_nothing(redis: Redis) -> None:
    with client(redis) as admin:
        admin.set("one", 1)
        assert await ASIDE.done(at(redis), "a1", TIMEOUT) is False
        assert await ASIDE.set_aside(at(redis), "a1", TIMEOUT) == ""
        assert await ASIDE.done(at(redis), "a1", TIMEOUT) is True
        admin.set("two", 2)
        assert await ASIDE.set_aside(at(redis), "a1", TIMEOUT) == ""
        assert admin.get("two") == b"2"
        assert await ASIDE.set_aside(at(redis), "a2", TIMEOUT) == "the spare database is not empty"
        assert admin.get("two") == b"2"


async def test_only_what_is_meant_is_touched(redis: Redis) -> None:
    with client(redis) as admin, spare(redis) as other:
        admin.set("one", 1)
        await ASIDE.set_aside(at(redis), "a1", TIMEOUT)
        seen = await look(redis)
        other.set("more", 1)
        for call in (ASIDE.drop, ASIDE.put_back):
            assert await call(at(redis), "a2", seen, TIMEOUT) == "what lies aside is another by now"
            assert (
                await call(at(redis), "a2", replace(seen, attempt="other", keys=2), TIMEOUT)
                == "what lies aside is another by now"
            )
        assert sorted(other.keys()) == [b"docuquery:aside", b"more", b"one"]


async def test_keys_of_others_make_it_impossible(redis: Redis) -> None:
    with client(redis) as admin, spare(redis) as other:
        admin.set("one", 1)
        other.set("theirs", 1)
        assert await look(redis) == Aside("foreign", 1, 1)
        assert await ASIDE.set_aside(at(redis), "a1", TIMEOUT) == "the spare database is not empty"
        assert (admin.get("one"), other.get("theirs")) == (b"1", b"1")


async def test_a_server_without_memory_can_be_emptied(redis: Redis) -> None:
    with client(redis) as admin:
        for n in range(100):
            admin.set(f"big:{n}", "x" * 20_000)
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] - 1_000_000)
        with pytest.raises(OutOfMemoryError):
            admin.set("small", 1)
        assert await ASIDE.set_aside(at(redis), "a1", TIMEOUT) == ""
        assert await ASIDE.drop(at(redis), "a2", await look(redis), TIMEOUT) == ""
        wait_for("memory", lambda: takes(admin), 5)


def takes(admin: Client) -> bool:
    try:
        return bool(admin.set("small", 1))
    except OutOfMemoryError:
        return False


async def test_clients_see_all_or_nothing(redis: Redis) -> None:
    """A client that reads two keys in one step never sees one of them alone."""
    torn, stop = [], threading.Event()

    def read() -> None:
        with client(redis) as reader:
            while not stop.is_set():
                pair = reader.mget("one", "two")
                if (pair[0] is None) != (pair[1] is None):
                    torn.append(pair)

    with client(redis) as admin:
        admin.mset({"one": 1, "two": 2})
    thread = threading.Thread(target=read)
    thread.start()
    try:
        for n in range(20):
            assert await ASIDE.set_aside(at(redis), f"s{n}", TIMEOUT) == ""
            assert await ASIDE.put_back(at(redis), f"b{n}", await look(redis), TIMEOUT) == ""
            assert (await look(redis)).state == "none", "an empty database has been put aside as if it were data"
    finally:
        stop.set()
        thread.join()
    assert torn == []


async def test_nobody_there_and_no_spare_database(redis: Redis) -> None:
    nobody = RedisTarget("127.0.0.1", free_port())
    assert await ASIDE.look(nobody, TIMEOUT) is None
    assert await ASIDE.done(nobody, "a1", TIMEOUT) is None
    assert "does not answer" in await ASIDE.set_aside(nobody, "a1", TIMEOUT)
