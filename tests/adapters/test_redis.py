"""The Redis adapter against a real server in each state that it can be brought into."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from docuquery_operator.adapters.redis import INFO_KEPT, RedisPy
from docuquery_operator.ports import RedisFacts, RedisTarget
from tests.stack.services import Redis, free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]
PASSWORD = "redis-marker-c0ffee"
TIMEOUT = 3.0


def at(redis: Redis, password: str = "", user: str = "") -> RedisTarget:
    return RedisTarget("127.0.0.1", redis.port, user, password)


async def look(redis: Redis, password: str = "", timeout: float = TIMEOUT, user: str = "") -> RedisFacts:
    """One look; whatever it says, no password is in it."""
    found = await RedisPy().look(at(redis, password, user), timeout)
    assert not password or password not in repr(found)
    return found


async def outcome(redis: Redis, password: str = "", timeout: float = TIMEOUT) -> str:
    """The class."""
    return (await look(redis, password, timeout)).outcome


@contextlib.contextmanager
def client(redis: Redis, **more: Any) -> Iterator[Any]:
    """A client of the server under test, by default its administrator."""
    with contextlib.closing(Client(port=redis.port, **more)) as connection:
        yield connection


async def until(redis: Redis, expected: str, timeout: float = TIMEOUT) -> RedisFacts:
    """Look until it is so."""
    for _ in range(100):
        found = await look(redis, timeout=timeout)
        if found.outcome == expected:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


def pid(redis: Redis) -> int:
    assert redis.process.child
    return redis.process.child.pid


async def test_healthy(redis: Redis) -> None:
    found = await look(redis)
    assert (found.outcome, found.message, found.role) == ("ok", "", "master")
    assert (found.used, found.blocked, found.clients) == (0, 0, ())
    assert found.max_clients
    assert found.latency_ms > 0
    assert (found.memory_limit, found.policy, found.evicted) == (0, "noeviction", 0)
    assert found.memory_bytes
    assert (found.loading, found.rdb_error, found.aof_error, found.slow_commands) == (False, False, False, 0)
    assert "connected_clients:1" in found.info
    assert len(found.info) <= INFO_KEPT
    with client(redis) as admin:
        assert wait_for("no connection of ours", lambda: len(admin.client_list()) == 1)


async def test_a_look_changes_nothing(redis: Redis) -> None:
    """The write that is tried is one that has no effect: no key, nothing in the log, nothing for replicas."""
    with client(redis) as admin:
        admin.set("a", "b")
        before = admin.info("persistence")["rdb_changes_since_last_save"], admin.info("replication")["master_repl_offset"]
        for _ in range(3):
            assert await outcome(redis) == "ok"
        after = admin.info("persistence")["rdb_changes_since_last_save"], admin.info("replication")["master_repl_offset"]
        assert (after, admin.keys("*")) == (before, [b"a"])


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
    assert (await look(redis)).used is None
    assert await outcome(redis) == "auth"
    assert await outcome(redis, "wrong") == "auth"
    assert await outcome(redis, password) == "ok"
    assert password not in caplog.text


async def test_password_where_none_is_asked(redis: Redis) -> None:
    """The Secret and the server disagree: that is a matter of passwords too, never 'ok' by chance."""
    assert await outcome(redis, PASSWORD) in ("ok", "auth")


async def test_a_user_of_its_own_with_few_rights(redis: Redis) -> None:
    """What it may not ask is left out; what it may is enough to tell health."""
    with client(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "operator", "on", f">{PASSWORD}", "+ping")
        bare = await look(redis, PASSWORD, user="operator")
        admin.execute_command("ACL", "SETUSER", "operator", "+info")
        told = await look(redis, PASSWORD, user="operator")
        admin.execute_command("ACL", "SETUSER", "operator", "+set", "+client", "+slowlog", "~docuquery:operator:*")
        full = await look(redis, PASSWORD, user="operator")
    assert (bare.outcome, bare.used, bare.clients) == ("ok", None, None)
    assert (told.outcome, told.used, told.clients, told.slow_commands) == ("ok", 1, None, None)
    assert (full.outcome, full.slow_commands) == ("ok", 0)
    assert full.clients is not None
    assert full.max_clients, "INFO says it where CONFIG may not be asked"


async def test_not_allowed_to_ping(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-ping")
    assert await outcome(redis) == "auth"


async def test_disabled_user(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "off")
    assert await outcome(redis, PASSWORD) == "auth"


async def test_refused() -> None:
    found = await RedisPy().look(RedisTarget("127.0.0.1", free_port()), TIMEOUT)
    assert found.outcome == "refused"
    assert found.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300, ""], ids=["unknown", "dots", "long", "empty"])
async def test_odd_hosts_are_answers(host: str) -> None:
    found = await RedisPy().look(RedisTarget(host, 1), TIMEOUT)
    assert found.outcome in ("refused", "unreachable", "timeout", "error")


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
async def test_odd_ports_are_answers(port: int) -> None:
    assert (await RedisPy().look(RedisTarget("127.0.0.1", port), TIMEOUT)).outcome in ("refused", "error")


async def test_a_full_backlog() -> None:
    """Nobody accepts and the queue is full: as with packets that are dropped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        try:
            found = await RedisPy().look(RedisTarget(*listener.getsockname()), 0.3)
        finally:
            for one in waiting:
                one.close()
    assert found.outcome == "timeout"


async def test_stopped_and_started(redis: Redis) -> None:
    redis.process.stop()
    assert await outcome(redis) == "refused"
    redis.start()
    await until(redis, "ok")


async def test_frozen(redis: Redis) -> None:
    """The kernel still accepts; nobody answers."""
    os.kill(pid(redis), signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert await outcome(redis, timeout=0.5) == "timeout"
        assert await RedisPy().kill_clients(at(redis), [(1, "127.0.0.1:1", 0)], 0, 0.3) == 0
        assert await RedisPy().alive(at(redis), [(1, "127.0.0.1:1", 0)], 0, 0.3) is None
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
    assert await outcome(redis, timeout=0.2) == "timeout"
    found = await until(redis, "busy")
    assert (found.used, found.clients) == (None, None)
    with client(redis, socket_timeout=5.0) as admin:
        admin.execute_command("SCRIPT", "KILL")
    await until(redis, "ok")


async def test_paused(redis: Redis) -> None:
    with client(redis) as admin:
        admin.execute_command("CLIENT", "PAUSE", "60000", "ALL")
        assert await outcome(redis, timeout=0.3) == "timeout"


@pytest.mark.parametrize("password", ["", PASSWORD], ids=["open", "with a password"])
async def test_too_many_clients(redis: Redis, password: str) -> None:
    """The server shows the operator the door as well, and says why before it hears anything."""
    with client(redis) as admin, ExitStack() as held:
        admin.config_set("maxclients", 2)
        held.enter_context(client(redis)).ping()
        for _ in range(10):
            found = await look(redis, password)
            assert (found.outcome, found.used) == ("maxclients", None)
        assert await RedisPy().alive(at(redis), [(1, "x:1", 0)], 0, TIMEOUT) is None
        assert await RedisPy().kill_clients(at(redis), [(1, "x:1", 0)], 0, TIMEOUT) == 0


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
    found = await until(redis, "loading")
    assert found.loading, "INFO is answered while it loads"
    with client(redis) as admin:
        admin.config_set("key-load-delay", 0)
    assert not (await until(redis, "ok")).loading


@pytest.mark.parametrize(("stale", "expected"), [("yes", "readonly"), ("no", "masterdown")])
async def test_replica_without_its_master(redis: Redis, stale: str, expected: str) -> None:
    """With the default it answers PING and old data; a write tells."""
    with client(redis) as admin:
        admin.config_set("replica-serve-stale-data", stale)
        admin.replicaof("127.0.0.1", str(free_port()))
    found = await look(redis)
    assert (found.outcome, found.role) == (expected, "slave")


async def test_cannot_save(redis: Redis) -> None:
    """-MISCONF: the folder of its data is gone."""
    with client(redis) as admin:
        admin.config_set("appendonly", "no")
        admin.config_set("save", "3600 1")
        shutil.rmtree(admin.config_get("dir")["dir"])
        admin.set("a", "b")
        with contextlib.suppress(Exception):
            admin.bgsave()
        wait_for("a failed save", lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    found = await look(redis)
    assert (found.outcome, found.rdb_error) == ("misconf", True)
    assert "MISCONF" in found.message
    # It would refuse to end in order, as it cannot save.
    redis.process.stop(signal.SIGKILL)


async def test_cannot_save_and_goes_on(redis: Redis) -> None:
    """Where it is told to take writes all the same, that is no fault that clients feel; the finding says it."""
    with client(redis) as admin:
        admin.config_set("stop-writes-on-bgsave-error", "no")
        shutil.rmtree(admin.config_get("dir")["dir"])
        with contextlib.suppress(Exception):
            admin.bgsave()
        wait_for("a failed save", lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
    found = await look(redis)
    assert (found.outcome, found.rdb_error) == ("ok", True)
    redis.process.stop(signal.SIGKILL)


async def test_out_of_memory(redis: Redis) -> None:
    """PING and reading go on; a write tells."""
    with client(redis) as admin:
        admin.config_set("maxmemory", 1)
        assert admin.ping()
    found = await look(redis)
    assert (found.outcome, found.memory_limit, found.policy) == ("oom", 1, "noeviction")
    with client(redis) as admin:
        admin.config_set("maxmemory", 0)
    assert await outcome(redis) == "ok"


async def test_many_at_once_leave_nothing(redis: Redis) -> None:
    assert set(await asyncio.gather(*(outcome(redis) for _ in range(20)))) == {"ok"}
    with client(redis) as admin:
        wait_for("no connection of ours", lambda: len(admin.client_list()) == 1)
