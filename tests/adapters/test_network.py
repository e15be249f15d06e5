"""Names and TCP: classes of what is reachable, whatever is asked."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from docuquery_operator.adapters.clock import SystemClock
from docuquery_operator.adapters.network import SystemNetwork
from tests.adapters import misbehaving as m
from tests.stack.services import free_port

pytestmark = pytest.mark.timeout(30)
TIMEOUT = 1.0
ODD_HOSTS = [
    "",
    ".",
    "a..b",
    "x" * 64 + ".invalid",
    "x" * 5000,
    "a\0b",
    "a b",
    "ü.invalid",
    "a\nb",
    "-",
    "[::1",
    "127.0.0.1:80",
    "%",
    "a/b",
    "u@h",
]


def resolving(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    """A resolver that answers as told."""
    monkeypatch.setattr(socket, "getaddrinfo", answer)


async def test_resolve() -> None:
    async with SystemNetwork() as network:
        assert "127.0.0.1" in (await network.resolve("localhost", TIMEOUT) or [])
        assert await network.resolve("127.0.0.1", TIMEOUT) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), []),
        (socket.gaierror(getattr(socket, "EAI_NODATA", socket.EAI_NONAME), "No address"), []),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), None),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), None),
        (OSError(24, "Too many open files"), None),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_no_such_name_is_not_no_resolver(monkeypatch: pytest.MonkeyPatch, problem: OSError, expected: object) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise problem

    resolving(monkeypatch, fails)
    async with SystemNetwork() as network:
        assert await network.resolve("postgres", TIMEOUT) == expected


async def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    resolving(monkeypatch, lambda *_, **__: end.wait(60))
    began = time.monotonic()
    async with SystemNetwork() as network:
        assert await network.resolve("postgres", 0.1) is None
    assert time.monotonic() - began < 3
    end.set()


async def test_look_ups_that_hang_leave_the_threads_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sick DNS must not hold up other work of the process that needs a thread."""
    end = threading.Event()
    resolving(monkeypatch, lambda *_, **__: end.wait(60))
    async with SystemNetwork() as network:
        hanging = [asyncio.create_task(network.resolve(f"host-{n}", 0.5)) for n in range(40)]
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 3) == "free"
        assert await asyncio.gather(*hanging) == [None] * 40
    end.set()


@pytest.mark.parametrize("host", ODD_HOSTS, ids=lambda h: repr(h)[:20])
async def test_odd_hosts_are_answers(host: str) -> None:
    """No name that anybody writes raises out of a probe, and none is healthy."""
    async with SystemNetwork() as network:
        found = await network.resolve(host, TIMEOUT)
        assert not found or host == "", found
        assert await network.connect(host, 1, TIMEOUT) in ("refused", "timeout", "unreachable")
        answer = await network.http_get(host, 1, "/health", TIMEOUT)
        assert (answer.status, bool(answer.problem)) == (0, True)


@pytest.mark.parametrize("port", [0, -1, 65536, 10**9])
async def test_odd_ports_are_answers(port: int) -> None:
    async with SystemNetwork() as network:
        assert await network.connect("127.0.0.1", port, TIMEOUT) in ("refused", "unreachable")
        assert (await network.http_get("127.0.0.1", port, "/", TIMEOUT)).status == 0


@pytest.mark.parametrize(
    "path", ["", "health", "/a b", "/ü", "/?a=b#c", "/%", "/a\r\nX-Injected: yes", "//other/x", "/../.."]
)
async def test_a_path_is_a_path(path: str) -> None:
    """Nothing in it adds a header or leads to another server."""
    asked: list[bytes] = []

    async def listens(reader: m.Reader, writer: m.Writer) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await m.says(m.http_answer(b"204 No Content"))(reader, writer)

    async with m.serving(listens) as peer, SystemNetwork() as network:
        answer = await network.http_get("127.0.0.1", peer.port, path, TIMEOUT)
        assert answer.status in (204, 0)
        assert bool(answer.problem) == (answer.status == 0)
    for head in asked:
        assert head.count(b"\r\nHost: 127.0.0.1:") == 1
        assert b"\r\nX-Injected" not in head


async def test_a_path_names_no_other_server() -> None:
    async with m.serving(m.answers(m.http_answer(b"200 OK", b"healthy"))) as other, m.serving(m.closes) as peer:
        async with SystemNetwork() as network:
            answer = await network.http_get("127.0.0.1", peer.port, f"@127.0.0.1:{other.port}/", TIMEOUT)
        assert (answer.status, other.connections) == (0, 0)
        assert peer.connections


async def test_connect() -> None:
    async with m.serving(m.silent) as peer:
        before = m.open_sockets()
        assert await SystemNetwork().connect("127.0.0.1", peer.port, TIMEOUT) == "ok"
        assert await m.settled(lambda: peer.connections == 1)
        assert await m.settled(lambda: len(m.open_sockets()) <= len(before) + 1), "only the server's end is open"


async def test_connect_refused() -> None:
    assert await SystemNetwork().connect("127.0.0.1", free_port(), TIMEOUT) == "refused"


async def test_connect_to_a_full_backlog() -> None:
    """Nobody accepts and the queue is full: as with packets that are dropped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            began = time.monotonic()
            assert await SystemNetwork().connect("127.0.0.1", port, 0.3) == "timeout"
            async with SystemNetwork() as network:
                assert "no answer within 0.3 s" in (await network.http_get("127.0.0.1", port, "/", 0.3)).problem
            assert time.monotonic() - began < 5
        finally:
            for client in waiting:
                client.close()


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (OSError(113, "No route"), "unreachable"),
        (OSError(101, "Network"), "unreachable"),
        (OSError(110, "Timed out"), "timeout"),
    ],
    ids=repr,
)
async def test_classes_of_connect(monkeypatch: pytest.MonkeyPatch, problem: OSError, expected: str) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(asyncio, "open_connection", fails)
    assert await SystemNetwork().connect("10.0.0.1", 5432, TIMEOUT) == expected


def speaks_ipv6() -> bool:
    """Whether loopback has an address of version 6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not speaks_ipv6(), reason="no IPv6 on loopback")
async def test_ipv6() -> None:
    """An address of version 6 is put in brackets."""
    async with m.serving(m.answers(m.http_answer(b"200 OK", b"six")), host="::1") as peer, SystemNetwork() as network:
        answer = await network.http_get("::1", peer.port, "/", TIMEOUT)
        assert (answer.status, answer.body) == (200, "six")
        assert await network.connect("::1", peer.port, TIMEOUT) == "ok"


async def test_http_only_as_a_context_manager() -> None:
    with pytest.raises(RuntimeError):
        await SystemNetwork().http_get("127.0.0.1", 1, "/", TIMEOUT)


async def test_http_asks_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would answer for the component."""
    async with m.serving(m.answers(m.http_answer(b"200 OK", b"proxy"))) as proxy, SystemNetwork() as network:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = await network.http_get("127.0.0.1", free_port(), "/", TIMEOUT)
        assert (answer.status, proxy.connections) == (0, 0)


def test_the_clock_is_in_utc() -> None:
    now = SystemClock().now()
    assert now.utcoffset() is not None
    assert not now.utcoffset()


@pytest.mark.parametrize(
    ("size", "limit", "got"), [(100, 100, 100), (101, 100, 100), (200_000, 65536, 65536), (3_000_000, 4 << 20, 3_000_000)]
)
async def test_a_long_answer_says_that_it_was_cut(size: int, limit: int, got: int) -> None:
    """Half a page of metrics is not a page of metrics."""
    async with m.serving(m.answers(m.http_answer(b"200 OK", b"x" * size))) as peer, SystemNetwork() as network:
        answer = await network.http_get("127.0.0.1", peer.port, "/metrics", 5.0, limit)
        assert (answer.status, len(answer.body), answer.cut) == (200, got, size > limit)
