"""Held connections at real servers that die, hang, start anew in good order, or hang up on silence."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from docuquery_operator.adapters import links
from docuquery_operator.adapters.links import HeldLinks
from docuquery_operator.ports import Key, LinkTarget
from tests.adapters.conftest import sessions
from tests.stack.services import Postgres, Redis, free_port

OWNER = Key("stacks", "docuquery", "docuquery")


class Held:
    """What is held, and when it broke."""

    def __init__(self, most: int = 500) -> None:
        self.links = HeldLinks(most)
        self.broke: list[tuple[float, str]] = []

    def want(self, owner: Key = OWNER, **targets: LinkTarget) -> None:
        self.links.want(owner, targets, lambda name: self.broke.append((time.monotonic(), name)))

    async def keep_wanting(self, seconds: float, **targets: LinkTarget) -> None:
        """As the rounds of probes do while they find the server well."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.want(**targets)
            await asyncio.sleep(0.2)

    async def until(self, what: Callable[[], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within):
            while not what():
                await asyncio.sleep(0.002)


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    made = Held()
    async with made.links:
        yield made


async def _holding(held: Held, target: LinkTarget) -> None:
    held.want(server=target)
    await held.until(lambda: held.links.open == 1)
    await asyncio.sleep(links.HELD_SECONDS + 0.1)
    assert held.broke == []


async def _seconds_to_notice(held: Held, act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    await held.until(lambda: bool(held.broke))
    return held.broke[0][0] - began


async def test_a_killed_redis_is_noticed_at_once_and_held_again_when_it_is_back(held: Held, redis: Redis) -> None:
    await _holding(held, LinkTarget("127.0.0.1", redis.port))
    child = redis.process.child
    assert child
    assert await _seconds_to_notice(held, child.kill) < 0.1
    child.wait()
    await asyncio.sleep(0.5)
    assert (len(held.broke), held.links.open) == (1, 0)
    redis.start()
    await held.keep_wanting(0.5, server=LinkTarget("127.0.0.1", redis.port))
    assert (len(held.broke), held.links.open) == (1, 1)


async def test_a_killed_postgres_is_noticed_at_once(held: Held, postgres: Postgres) -> None:
    await _holding(held, LinkTarget("127.0.0.1", postgres.port))
    assert sessions(postgres) == 0, "a held connection takes one of max_connections"
    pid = postgres.pids()[0]
    assert await _seconds_to_notice(held, lambda: os.kill(pid, signal.SIGKILL)) < 0.1
    postgres.stop()
    await _free(postgres)
    postgres.start()


async def test_a_postgres_restarts_in_good_order_and_is_not_kept_from_it(held: Held, postgres: Postgres) -> None:
    target = LinkTarget("127.0.0.1", postgres.port)
    await _holding(held, target)
    began = time.monotonic()
    await asyncio.to_thread(postgres.stop)
    assert time.monotonic() - began < 5.0, "a connection that was made while it shut down kept it from ending"
    await asyncio.to_thread(postgres.start)
    await held.keep_wanting(0.5, server=target)
    assert (len(held.broke), held.links.open) == (1, 1)


async def test_a_hang_is_no_break(held: Held, redis: Redis) -> None:
    await _holding(held, LinkTarget("127.0.0.1", redis.port))
    assert redis.process.child
    os.kill(redis.process.child.pid, signal.SIGSTOP)
    await asyncio.sleep(1.0)
    os.kill(redis.process.child.pid, signal.SIGCONT)
    assert (held.broke, held.links.open) == ([], 1)


@pytest.mark.parametrize("redis", [["--timeout", "2"]], indirect=True, ids=["timeout 2"])
async def test_an_idle_time_out_is_learned(held: Held, redis: Redis) -> None:
    target = LinkTarget("127.0.0.1", redis.port)
    await _holding(held, target)
    await held.keep_wanting(10.0, server=target)
    assert (len(held.broke), held.links.open) == (2, 1), "renewed before the server hangs up"


@pytest.mark.parametrize("redis", [["--maxclients", "1"]], indirect=True, ids=["maxclients 1"])
async def test_a_server_that_lets_nobody_in_is_no_break(held: Held, redis: Redis) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    target = LinkTarget("127.0.0.1", redis.port)
    await held.keep_wanting(1.0, server=target)
    assert held.broke == []
    writer.close()
    await held.keep_wanting(0.5, server=target)
    assert held.links.open == 1


async def test_a_renewal_is_no_break(held: Held, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "RENEW_SECONDS", 0.2)
    await _holding(held, LinkTarget("127.0.0.1", redis.port))
    await asyncio.sleep(1.5)
    assert (held.broke, held.links.open) == ([], 1)


async def test_addresses_change_and_stacks_go(held: Held, redis: Redis) -> None:
    target = LinkTarget("127.0.0.1", redis.port)
    await _holding(held, target)
    held.want(other=target)
    held.want(Key("stacks", "docuquery", "second"), server=target)
    await held.until(lambda: held.links.open == 2)
    held.want()
    held.want(Key("stacks", "docuquery", "second"))
    await asyncio.sleep(0.2)
    assert (held.broke, held.links.open) == ([], 0)


async def test_their_number_is_bounded(redis: Redis) -> None:
    held = Held(most=3)
    async with held.links:
        held.want(**{f"redis-{n}": LinkTarget("127.0.0.1", redis.port) for n in range(6)})
        await asyncio.sleep(0.5)
        assert held.links.open == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "no such host", "", "256.1.1.1", "::1"])
async def test_nobody_there_is_no_break(held: Held, host: str) -> None:
    held.want(server=LinkTarget(host, free_port()))
    await asyncio.sleep(0.6)
    assert (held.broke, held.links.open) == ([], 0)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: float) -> None:
    """Answers each request, and hangs up after so much silence."""
    try:
        while True:
            async with asyncio.timeout(idle):
                head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HEAD /health HTTP/1.1\r\nHost: ")
            writer.write(b"HTTP/1.1 405 No\r\nContent-Length: 9\r\n\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@pytest.mark.parametrize(("idle", "most"), [(5.0, 0), (2.0, 2)], ids=["usual", "short"])
async def test_an_http_server_is_asked_before_it_hangs_up(held: Held, idle: float, most: int) -> None:
    server = await asyncio.start_server(lambda r, w: _http(r, w, idle), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        target = LinkTarget("127.0.0.1", port, "/health")
        await _holding(held, target)
        await held.keep_wanting(9.0, server=target)
        assert (len(held.broke), held.links.open) == (most, 1)


async def test_an_http_server_that_keeps_no_connection_is_left_alone(held: Held) -> None:
    asked = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 405 No\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        await held.keep_wanting(2.0, server=LinkTarget("127.0.0.1", server.sockets[0].getsockname()[1], "/health"))
    assert (held.broke, asked) == ([], links.STRIKES)


async def test_a_server_that_floods_is_hung_up_on(held: Held) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server:
        held.want(server=LinkTarget("127.0.0.1", server.sockets[0].getsockname()[1]))
        await asyncio.sleep(1.0)
        assert held.links.open == 0
        await held.links.__aexit__()


async def _free(postgres: Postgres) -> None:
    """Until no process of the killed server holds its memory any more."""
    for _ in range(100):
        if not any(_alive(pid) for pid in _leftovers(postgres)):
            return
        await asyncio.sleep(0.1)


def _leftovers(postgres: Postgres) -> list[int]:
    try:
        return [int((postgres.data / "postmaster.pid").read_text().split()[0])]
    except (OSError, ValueError):
        return []


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
