"""Servers that misbehave: each probe ends in time with a typed result, is never 'ok', and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from docuquery_operator.adapters.network import BODY_LIMIT, SystemNetwork
from docuquery_operator.adapters.postgres import PsycopgDatabase
from docuquery_operator.ports import DatabaseFacts, DatabaseTarget, HttpAnswer
from tests.adapters import misbehaving as m

pytestmark = pytest.mark.timeout(60)
TIMEOUT = 0.5
# A probe may take its timeout and a second; three times that on a busy machine.
BOUND = (TIMEOUT + 1) * 3
PASSWORD = "marker-3f9c1d"
Result = TypeVar("Result")

ERROR, TIMED_OUT = frozenset({"error"}), frozenset({"timeout"})
# A server that speaks another language fails either in the negotiation of TLS or after it.
BABBLE = frozenset({"error", "tls"})
LOST = frozenset({"error", "tls", "refused"})


def pg_refusal(state: str, text: bytes) -> m.Behaviour:
    """The server says no at the door."""
    return m.after_startup(m.pg_error(state, text))


LATIN = "Paßwort".encode("latin-1")
ENDLESS_ROWS = m.row(b"x" * 60000)

POSTGRES: dict[str, tuple[m.Behaviour, frozenset[str]]] = {
    # Anything but PostgreSQL.
    "says nothing": (m.silent, TIMED_OUT),
    "closes at once": (m.closes, LOST),
    "RST": (m.resets, LOST),
    "garbage": (m.says(bytes(range(128, 256)) * 8), BABBLE),
    "NUL bytes": (m.says(b"\0" * 1024), BABBLE),
    "HTTP": (m.answers(m.http_answer(b"400 Bad Request")), BABBLE),
    "Redis": (m.answers(b"-ERR unknown command\r\n"), BABBLE),
    "SSH": (m.says(b"SSH-2.0-OpenSSH_9.2\r\n"), BABBLE),
    "TLS alert": (m.says(m.TLS_ALERT), BABBLE),
    "endless garbage": (m.endless(m.CHUNK), BABBLE),
    # While TLS is negotiated.
    "TLS promised, then silence": (m.answers(b"S", m.silent), TIMED_OUT),
    "TLS promised, then garbage": (m.answers(b"S", m.answers(b"\xff" * 512)), BABBLE),
    "TLS promised, then closed": (m.answers(b"S"), LOST),
    "TLS promised and plain text smuggled in": (m.answers(b"S" + m.AUTH_OK), BABBLE),
    # While logging in.
    "no answer to the startup message": (m.after_startup(b"", m.silent), TIMED_OUT),
    "closed after the startup message": (m.after_startup(b""), LOST),
    "RST after the startup message": (m.after_startup(b"", m.resets), LOST),
    "half an error, then silence": (m.after_startup(m.pg_error("57P03", b"starting up")[:9], m.silent), TIMED_OUT),
    "half an error, then closed": (m.after_startup(m.pg_error("57P03", b"starting up")[:9]), LOST),
    "error, a byte at a time": (m.after_startup(b"", m.drips(m.pg_error("28P01", b"no" * 99))), TIMED_OUT),
    "error without an end": (
        m.after_startup(b"E" + (2**30).to_bytes(4) + b"SFATAL\0", m.endless(m.CHUNK)),
        ERROR | TIMED_OUT,
    ),
    "negative length": (m.after_startup(b"R\xff\xff\xff\xff"), BABBLE),
    "unknown kind of login": (m.after_startup(m.packet(b"R", (99).to_bytes(4)), m.silent), BABBLE | {"auth"}),
    "unknown SASL mechanism": (
        m.after_startup(m.packet(b"R", (10).to_bytes(4) + b"SCRAM-NONE\0\0"), m.silent),
        BABBLE | {"auth"},
    ),
    "SASL garbage": (
        m.after_startup(
            m.packet(b"R", (10).to_bytes(4) + b"SCRAM-SHA-256\0\0"), m.answers(m.packet(b"R", (11).to_bytes(4) + b"r=x"))
        ),
        BABBLE | {"auth"},
    ),
    "let in, then silence": (m.after_startup(m.AUTH_OK, m.silent), TIMED_OUT),
    "endless parameters": (m.after_startup(m.AUTH_OK, m.endless(m.PARAMETERS * 100)), TIMED_OUT),
    "endless notices": (
        m.after_startup(m.AUTH_OK, m.endless(m.pg_error("01000", b"x").replace(b"E", b"N", 1) * 100)),
        TIMED_OUT,
    ),
    # Refusals.
    "57P03 starting up": (pg_refusal("57P03", b"the database system is starting up"), frozenset({"starting"})),
    "57P03 shutting down": (pg_refusal("57P03", b"the database system is shutting down"), frozenset({"starting"})),
    "57P03 recovery": (
        pg_refusal("57P03", b"the database system is not yet accepting connections"),
        frozenset({"starting"}),
    ),
    "53300 too many clients": (pg_refusal("53300", b"sorry, too many clients already"), frozenset({"too_many_connections"})),
    "53300 reserved slots": (
        pg_refusal("53300", b"remaining connection slots are reserved for roles with the SUPERUSER attribute"),
        frozenset({"too_many_connections"}),
    ),
    "53300 role": (pg_refusal("53300", b'too many connections for role "docuquery"'), frozenset({"too_many_connections"})),
    "53300 database": (pg_refusal("53300", b'too many connections for database "a"'), frozenset({"too_many_connections"})),
    "53300 in the words of version 2": (
        m.after_startup(b"EFATAL:  sorry, too many clients already\n\0"),
        frozenset({"too_many_connections"}),
    ),
    "28P01": (pg_refusal("28P01", b'password authentication failed for user "docuquery"'), frozenset({"auth"})),
    "28000 pg_hba": (pg_refusal("28000", b'no pg_hba.conf entry for host "127.0.0.1"'), frozenset({"auth"})),
    "28000 role": (pg_refusal("28000", b'role "docuquery" does not exist'), frozenset({"auth"})),
    "28000 login": (pg_refusal("28000", b'role "docuquery" is not permitted to log in'), frozenset({"auth"})),
    "3D000": (pg_refusal("3D000", b'database "docuquery_ai" does not exist'), frozenset({"missing_database"})),
    "53100": (
        pg_refusal("53100", b"could not write init file: No space left on device"),
        frozenset({"disk_full"}),
    ),
    "XX000": (pg_refusal("XX000", b"cache lookup failed for relation 1"), ERROR),
    "no SQLSTATE at all": (m.after_startup(m.packet(b"E", b"MFATAL\0\0")), ERROR),
    "empty error": (m.after_startup(m.packet(b"E", b"\0")), ERROR),
    "error that is not UTF-8": (pg_refusal("28P01", LATIN + b"\xff\xfe"), ERROR | {"auth"}),
    "error of 25 KB": (pg_refusal("XX000", b"long " * 5000), ERROR),
    "error that repeats the password": (pg_refusal("XX000", b"bad password=" + PASSWORD.encode()), ERROR),
    # After logging in.
    "query without an answer": (m.on_query(b"", m.silent), TIMED_OUT),
    "closed on the query": (m.on_query(b"", m.closes), ERROR),
    "RST on the query": (m.on_query(b"", m.resets), ERROR),
    "killed on the query": (
        m.on_query(m.pg_error("57P01", b"terminating connection due to administrator command"), m.closes),
        frozenset({"starting", "error"}),
    ),
    "disk full on the query": (m.on_query(m.pg_error("53100", b"No space", b"ERROR") + m.READY), frozenset({"disk_full"})),
    "rows of another query": (m.on_query(m.row_description((b"x", m.INT4)) + m.row(b"1") + m.DONE), ERROR),
    "no rows": (m.on_query(m.row_description((b"x", m.INT4)) + m.packet(b"C", b"SELECT 0\0") + m.READY), ERROR),
    "rows without columns": (m.on_query(m.row_description() + m.row() + m.DONE), ERROR),
    "NULL everywhere": (
        m.on_query(m.row_description((b"max_connections", m.INT4), (b"owner", m.TEXT)) + m.row(None, None) + m.DONE),
        ERROR,
    ),
    "a number that is none": (m.on_query(m.row_description((b"max_connections", m.INT4)) + m.row(b"many") + m.DONE), ERROR),
    "text that is not UTF-8": (m.on_query(m.row_description((b"owner", m.TEXT)) + m.row(b"\xff\xfe") + m.DONE), ERROR),
    "half a row, then silence": (m.on_query(m.row_description((b"x", m.TEXT)) + m.row(b"abc")[:-2], m.silent), TIMED_OUT),
    "endless rows": (m.on_query(m.row_description((b"x", m.TEXT)), m.endless(ENDLESS_ROWS)), TIMED_OUT),
    "rows, a byte at a time": (m.on_query(m.row_description((b"x", m.TEXT)), m.drips(ENDLESS_ROWS)), TIMED_OUT),
    "garbage on the query": (m.on_query(b"\xff" * 64, m.silent), ERROR | TIMED_OUT),
    "COPY on the query": (m.on_query(m.packet(b"G", b"\0\0\0"), m.silent), ERROR | TIMED_OUT),
}

AFTER_LOGIN = [*POSTGRES][[*POSTGRES].index("query without an answer") :]

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# Status of the answer; 0 is no answer.
HTTP: dict[str, tuple[m.Behaviour, frozenset[int]]] = {
    "says nothing": (m.silent, frozenset({0})),
    "closes at once": (m.closes, frozenset({0})),
    "RST": (m.resets, frozenset({0})),
    "closes on the request": (m.answers(b""), frozenset({0})),
    "garbage": (m.answers(bytes(range(128, 256)) * 8), frozenset({0})),
    "NUL bytes": (m.answers(b"\0" * 64 + b"\r\n\r\n"), frozenset({0})),
    "Redis": (m.answers(b"-ERR wrong number of arguments for 'get' command\r\n"), frozenset({0})),
    "PostgreSQL": (m.answers(m.pg_error("0A000", b"unsupported frontend protocol")), frozenset({0})),
    "TLS alert": (m.answers(m.TLS_ALERT), frozenset({0})),
    "body only, as in HTTP/0.9": (m.answers(b'{"status": "healthy"}'), frozenset({0})),
    "wrong status line": (m.answers(b"HTTP/1.1 OK 200\r\n\r\n"), frozenset({0})),
    "status of five digits": (m.answers(b"HTTP/1.1 20000 OK\r\n\r\n"), frozenset({0})),
    "HTTP version 9.9": (m.answers(b"HTTP/9.9 200 OK\r\n\r\n"), frozenset({0})),
    "half a status line, then silence": (m.answers(b"HTTP/1.1 20", m.silent), frozenset({0})),
    "headers, a byte at a time": (m.answers(b"", m.drips(OK_HEAD + b"X-Long: " + b"x" * 100)), frozenset({0})),
    "endless headers": (m.answers(OK_HEAD, m.endless(b"X-More: yes\r\n" * 1000)), frozenset({0})),
    "header without an end": (m.answers(OK_HEAD + b"X-Long: ", m.endless(m.CHUNK)), frozenset({0})),
    "endless 100 Continue": (m.answers(b"", m.endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)), frozenset({0})),
    "smuggled header": (m.answers(OK_HEAD + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\nokok"), frozenset({0})),
    "negative length": (m.answers(OK_HEAD + b"Content-Length: -1\r\n\r\n"), frozenset({0})),
    "half a body, then silence": (m.answers(OK_HEAD + b'Content-Length: 40\r\n\r\n{"status": ', m.silent), frozenset({0})),
    "half a body, then closed": (m.answers(OK_HEAD + b'Content-Length: 40\r\n\r\n{"status": '), frozenset({0})),
    "half a body, then RST": (m.answers(OK_HEAD + b'Content-Length: 40\r\n\r\n{"status": ', m.resets), frozenset({0})),
    "body, a byte at a time": (m.answers(OK_HEAD + b"Content-Length: 99\r\n\r\n", m.drips(b"x" * 99)), frozenset({0})),
    "chunk that is no number": (m.answers(CHUNKED + b"zz\r\nabc\r\n"), frozenset({0})),
    "chunk longer than said": (m.answers(CHUNKED + b"2\r\nabcdef\r\n0\r\n\r\n"), frozenset({0})),
    "chunk of absurd length": (m.answers(CHUNKED + b"f" * 40 + b"\r\nabc"), frozenset({0})),
    "chunks without an end": (m.answers(CHUNKED + b"3\r\nabc\r\n", m.silent), frozenset({0})),
    "gzip that is none": (
        m.answers(m.http_answer(b"200 OK", b"plain", b"Content-Encoding: gzip")),
        frozenset({0}),
    ),
    "301": (m.answers(m.http_answer(b"301 Moved", b"", b"Location: /elsewhere")), frozenset({301})),
    "302 to nowhere": (m.answers(m.http_answer(b"302 Found", b"", b"Location: http://[")), frozenset({302})),
    "307": (m.answers(m.http_answer(b"307 Temporary", b"", b"Location: /elsewhere")), frozenset({307})),
    "401": (m.answers(m.http_answer(b"401 Unauthorized", b"", b"WWW-Authenticate: Basic")), frozenset({401})),
    "404": (m.answers(m.http_answer(b"404 Not Found", b"no such page")), frozenset({404})),
    "429": (m.answers(m.http_answer(b"429 Too Many Requests", b"", b"Retry-After: 9999")), frozenset({429})),
    "500": (m.answers(m.http_answer(b"500 Internal Server Error", b"Traceback")), frozenset({500})),
    "503": (m.answers(m.http_answer(b"503 Service Unavailable", b'{"status": "unhealthy"}')), frozenset({503})),
    "503, and more bytes after it": (m.answers(m.http_answer(b"503 No", b"") + b"\xff" * 999), frozenset({0, 503})),
    "101 Switching Protocols": (
        m.answers(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        frozenset({0, 101}),
    ),
}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """No task and no socket more than before."""
    tasks, sockets = asyncio.all_tasks(), m.open_sockets()
    yield
    assert await m.settled(lambda: asyncio.all_tasks() <= tasks), asyncio.all_tasks() - tasks
    gc.collect()
    assert await m.settled(lambda: m.open_sockets() <= sockets), m.open_sockets() - sockets


async def in_time(behaviour: m.Behaviour, probe: Callable[[int], Awaitable[Result]]) -> Result:
    """The result of a probe of a server with this behaviour; the server lives on after the probe."""
    async with nothing_left(), m.serving(behaviour) as peer:
        before = asyncio.all_tasks() - peer.tasks
        began = time.monotonic()
        result = await probe(peer.port)
        took = time.monotonic() - began
        assert took < BOUND, f"took {took:.1f} s with a timeout of {TIMEOUT} s"
        assert peer.connections, "the probe never came here"
        left = asyncio.all_tasks() - peer.tasks - before
        assert await m.settled(lambda: all(t.done() for t in left)), left
    return result


def target(port: int) -> DatabaseTarget:
    return DatabaseTarget("127.0.0.1", port, "docuquery_ai", "docuquery", PASSWORD)


def test_the_tables_are_long_enough() -> None:
    assert min(len(POSTGRES), len(HTTP)) >= 30


@pytest.mark.parametrize("name", POSTGRES)
async def test_postgres(name: str, caplog: pytest.LogCaptureFixture) -> None:
    behaviour, expected = POSTGRES[name]
    caplog.set_level(logging.DEBUG)
    found = await in_time(behaviour, lambda port: PsycopgDatabase().look(target(port), TIMEOUT))
    assert isinstance(found, DatabaseFacts)
    assert found.outcome in expected, found
    assert len(found.message) <= 300
    assert PASSWORD not in repr(found) + caplog.text
    # No half-read figure may look like a fact.
    assert (found.used, found.max_connections, found.read_only, found.write) == (None, None, None, "")


@pytest.mark.parametrize("name", ["says nothing", "closes at once", "garbage", *AFTER_LOGIN])
async def test_postgres_sessions_of_a_sick_server(name: str) -> None:
    """Nothing ended, and 'no answer' rather than 'none left'."""

    async def ask(port: int) -> tuple[int, int | None]:
        sessions, database = [(4711, "2026-01-01 00:00:00+00")], PsycopgDatabase()
        ended, alive = await asyncio.gather(
            database.terminate(target(port), sessions, True, TIMEOUT / 2),
            database.alive(target(port), sessions, True, TIMEOUT / 2),
        )
        return ended, alive

    assert await in_time(POSTGRES[name][0], ask) == (0, None)


async def get(port: int, path: str = "/health") -> HttpAnswer:
    async with SystemNetwork() as network:
        return await network.http_get("127.0.0.1", port, path, TIMEOUT)


@pytest.mark.parametrize("name", HTTP)
async def test_http(name: str) -> None:
    behaviour, expected = HTTP[name]
    answer = await in_time(behaviour, get)
    assert isinstance(answer, HttpAnswer)
    assert answer.status in expected, answer
    assert bool(answer.problem) == (answer.status == 0), "no answer needs a reason, and an answer has none"
    assert len(answer.problem) <= 200
    assert len(answer.body) <= BODY_LIMIT


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (m.http_answer(b"200 OK", b"a" * 10 * 2**20), "a" * BODY_LIMIT),
        (
            m.http_answer(b"200 OK", b'{"status": "\xff\xfe"}'),
            '{"status": "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"}',
        ),
        (m.http_answer(b"200 OK", b"a\0b\0"), "a\0b\0"),
        (m.http_answer(b"200 OK", gzip.compress(b"b" * 64 * 2**20), b"Content-Encoding: gzip"), "b" * BODY_LIMIT),
        (OK_HEAD + b"\r\nuntil the end", "until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", "old"),
        (CHUNKED + b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\nTrailer: x\r\n\r\n", "abc"),
        (OK_HEAD + b"Content-Type: text/html; charset=hex\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ],
    ids=["10 MiB", "not UTF-8", "NUL", "gzip bomb", "no length", "HTTP/1.0", "chunks", "odd charset"],
)
async def test_http_odd_but_valid(data: bytes, kept: str) -> None:
    """An answer is an answer; of its body at most 64 KiB are kept."""
    answer = await in_time(m.answers(data), get)
    assert (answer.status, answer.problem) == (200, "")
    assert answer.body == kept


async def test_http_endless_body_is_cut() -> None:
    answer = await in_time(m.answers(OK_HEAD + b"\r\n", m.endless(b"abcd" * 4096)), get)
    assert (answer.status, len(answer.body)) == (200, BODY_LIMIT)


async def test_http_body_in_several_packets_is_read_whole() -> None:
    """A health answer that comes in two packets is not half an answer."""
    body = b'{"status": "healthy", "dependencies": {"database": {"status": "up"}}}'

    async def pieces(_: m.Reader, writer: m.Writer) -> None:
        writer.write(m.http_answer(b"200 OK", body)[: -len(body)])
        for start in range(0, len(body), 10):
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(body[start : start + 10])

    answer = await in_time(pieces, get)
    assert (answer.status, answer.body) == (200, body.decode())


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 Other", b"307 Temporary", b"308 Permanent"])
async def test_http_redirects_are_not_followed(status: bytes) -> None:
    async with m.serving(m.answers(m.http_answer(b"200 OK", b"healthy"))) as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/".encode()
        answer = await in_time(m.answers(m.http_answer(status, b"", location)), get)
        assert answer.status == int(status[:3])
        assert elsewhere.connections == 0


async def test_http_keeps_no_cookies() -> None:
    """A component cannot put anything into the next request."""
    asked: list[bytes] = []

    async def cookies(reader: m.Reader, writer: m.Writer) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(m.http_answer(b"200 OK", b"", f"Set-Cookie: c{len(asked)}=1; Path=/".encode()))
        await writer.drain()

    async with m.serving(cookies) as peer, SystemNetwork() as network:
        for _ in range(3):
            assert (await network.http_get("localhost", peer.port, "/", TIMEOUT)).status == 200
    assert len(asked) == 3
    assert b"cookie" not in b"".join(asked).lower()
