"""PING against a real Redis in each state that it can be brought into."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from docuquery_operator.adapters.network import SystemNetwork
from tests.stack.services import Redis, free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]
PASSWORD = "redis-marker-c0ffee"
TIMEOUT = 3.0


async def ping(port: int, password: str = "", timeout: float = TIMEOUT) -> str:
    """The class."""
    async with SystemNetwork() as network:
        return await network.redis_ping("127.0.0.1", port, password, timeout)


@contextlib.contextmanager
def client(redis: Redis, **more: Any) -> Iterator[Any]:
    """The administrator of the server under test."""
    with contextlib.closing(Client(port=redis.port, **more)) as connection:
        yield connection


async def until(redis: Redis, expected: str, timeout: float = TIMEOUT) -> None:
    """Ping until it is so."""
    found = ""
    for _ in range(100):
        found = await ping(redis.port, timeout=timeout)
        if found == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(found)


def pid(redis: Redis) -> int:
    assert redis.process.child
    return redis.process.child.pid


async def test_healthy(redis: Redis) -> None:
    assert await ping(redis.port) == "ok"
    with client(redis) as admin:
        assert wait_for("no connection of ours", lambda: len(admin.client_list()) == 1)


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "with 'quotes\" and \r\n lines", "überall 漢字", "* $5 +"],
    ids=["plain", "quotes", "letters", "wire"],
)
async def test_password(redis: Redis, password: str, caplog: pytest.LogCaptureFixture) -> None:
    """Needed, wrong, right; and nowhere in a log."""
    caplog.set_level(logging.DEBUG)
    with client(redis) as admin:
        admin.config_set("requirepass", password)
    assert await ping(redis.port) == "auth"
    assert await ping(redis.port, "wrong") == "auth"
    assert await ping(redis.port, password) == "ok"
    assert password not in caplog.text


async def test_password_where_none_is_asked(redis: Redis) -> None:
    """The Secret and the server disagree: that is a matter of passwords too, never 'ok' by chance."""
    assert await ping(redis.port, PASSWORD) in ("ok", "auth")


async def test_not_allowed_to_ping(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-ping")
    assert await ping(redis.port) in ("auth", "error")


async def test_disabled_user(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "off")
    assert await ping(redis.port, PASSWORD) == "auth"


async def test_refused() -> None:
    assert await ping(free_port()) == "refused"


async def test_stopped_and_started(redis: Redis) -> None:
    redis.process.stop()
    assert await ping(redis.port) == "refused"
    redis.start()
    await until(redis, "ok")


async def test_frozen(redis: Redis) -> None:
    """The kernel still accepts; nobody answers."""
    os.kill(pid(redis), signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert await ping(redis.port, timeout=0.5) == "timeout"
        assert time.monotonic() - began < 3
    finally:
        os.kill(pid(redis), signal.SIGCONT)
    await until(redis, "ok")


async def test_busy_with_a_script(redis: Redis) -> None:
    """One script without an end holds the whole server: first no answer, then -BUSY."""
    with client(redis, socket_timeout=1.0) as admin:
        admin.config_set("busy-reply-threshold", 1500)
    with client(redis, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)) as script, contextlib.suppress(Exception):
        script.eval("while true do end", 0)
    assert await ping(redis.port, timeout=0.2) == "timeout"
    await until(redis, "error")
    with client(redis, socket_timeout=5.0) as admin:
        admin.execute_command("SCRIPT", "KILL")
    await until(redis, "ok")


async def test_paused(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("CLIENT", "PAUSE", "60000", "ALL")
        assert await ping(redis.port, timeout=0.3) == "timeout"


async def test_too_many_clients(redis: Redis) -> None:
    with client(redis) as admin, ExitStack() as held:
        admin.config_set("maxclients", 2)
        held.enter_context(client(redis)).ping()
        assert await ping(redis.port) in ("refused", "error")


async def test_loading(redis: Redis) -> None:
    """Reads its data back slowly after a restart."""
    with client(redis) as admin, admin.pipeline(transaction=False) as many:
        for number in range(3000):
            many.set(f"key-{number}", "x" * 1000)
        many.execute()
        admin.save()
    redis.process.stop()
    redis.process.command += [
        "--appendonly",
        "no",
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]
    redis.start()
    await until(redis, "loading")
    with client(redis) as admin:
        admin.config_set("key-load-delay", 0)
    await until(redis, "ok")


@pytest.mark.parametrize(("stale", "expected"), [("yes", ("ok",)), ("no", ("error", "refused"))])
async def test_replica_without_its_master(redis: Redis, stale: str, expected: tuple[str, ...]) -> None:
    """With the default it answers with old data and says so to nobody; otherwise it says -MASTERDOWN."""
    with client(redis) as admin:
        admin.config_set("replica-serve-stale-data", stale)
        admin.replicaof("127.0.0.1", str(free_port()))
    assert await ping(redis.port) in expected


async def test_cannot_save(redis: Redis) -> None:
    """-MISCONF: the folder of its data is gone, and PING is the first to hear of it."""
    with client(redis) as admin:
        admin.config_set("appendonly", "no")
        admin.config_set("save", "3600 1")
        folder = admin.config_get("dir")["dir"]
        shutil.rmtree(folder)
        admin.set("a", "b")
        with contextlib.suppress(Exception):
            admin.bgsave()
        wait_for("a failed save", lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    assert await ping(redis.port) == "error"
    # It would refuse to end in order, as it cannot save.
    redis.process.stop(signal.SIGKILL)


async def test_out_of_memory_still_answers(redis: Redis) -> None:
    """PING needs no memory: the probe says what PING says."""
    with client(redis) as admin:
        admin.config_set("maxmemory", 1)
    assert await ping(redis.port) == "ok"


async def test_many_at_once_leave_nothing(redis: Redis) -> None:
    assert set(await asyncio.gather(*(ping(redis.port) for _ in range(20)))) == {"ok"}
    with client(redis) as admin:
        wait_for("no connection of ours", lambda: len(admin.client_list()) == 1)
