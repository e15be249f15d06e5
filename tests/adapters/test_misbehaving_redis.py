"""Servers that misbehave where Redis is looked for: each look ends in time, is never 'ok', and gives no half-read figure."""

from __future__ import annotations

import asyncio
import logging

import pytest

from docuquery_operator.adapters.redis import RedisPy
from docuquery_operator.ports import RedisFacts, RedisTarget
from tests.adapters import misbehaving as m
from tests.adapters.test_misbehaviours import ERROR, PASSWORD, TIMED_OUT, TIMEOUT, in_time

pytestmark = pytest.mark.timeout(60)

REDIS_LOST = frozenset({"refused", "error"})
ANYTHING = REDIS_LOST | TIMED_OUT | {"auth"}
REDIS: dict[str, tuple[m.Behaviour, frozenset[str]]] = {
    "says nothing": (m.silent, TIMED_OUT),
    "closes at once": (m.closes, REDIS_LOST),
    "RST": (m.resets, REDIS_LOST),
    "closes on the command": (m.answers(b""), REDIS_LOST),
    "garbage": (m.says(bytes(range(128, 256)) * 8), REDIS_LOST),
    "inline garbage": (m.says(b"hello there\r\n" * 8), REDIS_LOST),
    "NUL bytes": (m.says(b"\0" * 64 + b"\r\n", m.silent), REDIS_LOST),
    "HTTP": (m.answers(m.http_answer(b"400 Bad Request", b"no")), REDIS_LOST),
    "TLS alert": (m.answers(m.TLS_ALERT), REDIS_LOST),
    "half a reply, then silence": (m.answers(b"+PON", m.silent), TIMED_OUT),
    "half a reply, then closed": (m.answers(b"+PON"), REDIS_LOST),
    "a byte at a time": (m.drips(b"+" + b"P" * 100), TIMED_OUT),
    "a line without an end": (m.says(b"+", m.endless(m.CHUNK)), REDIS_LOST | TIMED_OUT),
    "endless lines": (m.endless(b"+OK\r\n" * 1000), REDIS_LOST | TIMED_OUT),
    "huge bulk": (m.says(b"$2147483647\r\n", m.endless(m.CHUNK)), REDIS_LOST | TIMED_OUT),
    "bulk of absurd length": (m.says(b"$" + b"9" * 40 + b"\r\n", m.silent), REDIS_LOST | TIMED_OUT),
    "length that is no number": (m.says(b"$abc\r\n", m.silent), REDIS_LOST),
    "number that is none": (m.says(b":abc\r\n", m.silent), REDIS_LOST),
    "negative array": (m.says(b"*-5\r\n", m.silent), REDIS_LOST | TIMED_OUT),
    "absurd array": (m.says(b"*999999999\r\n", m.silent), REDIS_LOST | TIMED_OUT),
    "array in array in array": (m.says(b"*1\r\n" * 5000, m.silent), REDIS_LOST | TIMED_OUT),
    "another word than PONG": (m.answers(b"+HELLO\r\n" * 8, m.silent), REDIS_LOST),
    "OK instead of PONG": (m.answers(b"+OK\r\n" * 8, m.silent), REDIS_LOST),
    "number instead of PONG": (m.answers(b":1\r\n" * 8, m.silent), REDIS_LOST),
    "nil instead of PONG": (m.answers(b"$-1\r\n" * 8, m.silent), REDIS_LOST),
    "-LOADING": (m.answers(b"-LOADING Redis is loading the dataset in memory\r\n" * 8, m.silent), frozenset({"loading"})),
    "-READONLY": (m.answers(b"-READONLY You can't write against a read only replica.\r\n" * 8), frozenset({"readonly"})),
    "-NOAUTH": (m.answers(b"-NOAUTH Authentication required.\r\n" * 8), frozenset({"auth"})),
    "-WRONGPASS": (m.answers(b"-WRONGPASS invalid username-password pair\r\n" * 8), frozenset({"auth"})),
    "-NOPERM": (
        m.answers(b"-NOPERM this user has no permissions to run the 'ping' command\r\n" * 8),
        frozenset({"auth", "error"}),
    ),
    "-MISCONF": (m.answers(b"-MISCONF Redis is configured to save RDB snapshots\r\n" * 8), frozenset({"misconf"})),
    "-MASTERDOWN": (m.answers(b"-MASTERDOWN Link with MASTER is down\r\n" * 8), frozenset({"masterdown"})),
    "-CLUSTERDOWN": (m.answers(b"-CLUSTERDOWN Hash slot not served\r\n" * 8), ERROR),
    "-OOM": (m.answers(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n" * 8), frozenset({"oom"})),
    "-BUSY": (m.answers(b"-BUSY Redis is busy running a script.\r\n" * 8), frozenset({"busy"})),
    "-BUSYGROUP": (m.answers(b"-BUSYGROUP Consumer Group name already exists\r\n" * 8), ERROR),
    "-ERR max clients": (m.says(b"-ERR max number of clients reached\r\n"), frozenset({"maxclients"})),
    "-ERR max clients, then RST": (
        m.says(b"-ERR max number of clients reached\r\n", m.resets),
        REDIS_LOST | {"maxclients"},
    ),
    "an error for each command": (m.answers(b"-ERR unknown command\r\n" * 8), ERROR),
    "error that repeats the password": (m.answers(b"-ERR no such user " + PASSWORD.encode() + b"\r\n", m.silent), ANYTHING),
    "error of 25 KB": (m.answers(b"-ERR " + b"long " * 5000 + b"\r\n" * 8, m.silent), REDIS_LOST | TIMED_OUT),
    # PING is answered; what comes after it is not to be believed.
    "PONG to everything": (m.answers(b"+PONG\r\n" * 8, m.silent), ERROR),
    "PONG, then silence": (m.answers(b"+OK\r\n+PONG\r\n", m.silent), TIMED_OUT),
    "PONG, then closed": (m.answers(b"+OK\r\n+PONG\r\n"), REDIS_LOST),
    "INFO that is a number": (m.answers(b"+OK\r\n+PONG\r\n:7\r\n+HELLO\r\n", m.silent), ERROR),
    "INFO that is an array": (m.answers(b"+OK\r\n+PONG\r\n*1\r\n:7\r\n:1\r\n", m.silent), ERROR),
    "INFO that is not UTF-8": (m.answers(b"+OK\r\n+PONG\r\n$4\r\n\xff\xfe:1\r\n*0\r\n", m.silent), ERROR),
    "INFO without an end": (m.answers(b"+OK\r\n+PONG\r\n$2147483647\r\n", m.endless(m.CHUNK)), REDIS_LOST | TIMED_OUT),
    "figures that are none": (
        m.answers(b"+OK\r\n+PONG\r\n$27\r\nconnected_clients:many\r\na:b\r\n-OOM x\r\n", m.silent),
        frozenset({"oom"}),
    ),
    "-MOVED": (m.answers(b"-MOVED 3999 127.0.0.1:6381\r\n" * 8), ERROR),
    "error without words": (m.answers(b"-\r\n" * 8), ERROR),
    "error that is not UTF-8": (m.answers(b"-ERR \xff\xfe\xfd\r\n" * 8), ERROR),
    "endless array of errors": (m.endless(b"*3\r\n-ERR a\r\n-ERR b\r\n:c\r\n"), REDIS_LOST | TIMED_OUT),
}

# Those that answer the first commands as Redis would; one with a password is another first command.
ANSWERED = [*REDIS][[*REDIS].index("PONG to everything") : [*REDIS].index("-MOVED")]


def test_the_table_is_long_enough() -> None:
    assert len(REDIS) >= 50


@pytest.mark.parametrize("name", REDIS)
async def test_redis(name: str, caplog: pytest.LogCaptureFixture) -> None:
    behaviour, expected = REDIS[name]
    caplog.set_level(logging.DEBUG)

    async def look(port: int) -> list[RedisFacts]:
        targets = (RedisTarget("127.0.0.1", port, "", password) for password in ("", PASSWORD))
        return await asyncio.gather(*(RedisPy().look(t, TIMEOUT) for t in targets))

    without, with_password = await in_time(behaviour, look)
    assert without.outcome in expected, without
    # With a password the first answer is one to AUTH, and a refusal of AUTH may be told as such.
    assert with_password.outcome in expected | {"auth"} | (REDIS_LOST if name in ANSWERED else frozenset()), with_password
    assert max(len(without.message), len(with_password.message)) <= 300
    assert PASSWORD not in repr(with_password) + caplog.text
    # No half-read figure may look like a fact.
    for found in (without, with_password):
        assert (found.used, found.max_clients, found.memory_bytes, found.clients) == (None, None, None, None)


@pytest.mark.parametrize("name", ["says nothing", "closes at once", "garbage", "-LOADING", "-NOAUTH", *ANSWERED])
async def test_redis_clients_of_a_sick_server(name: str) -> None:
    """Nothing ended, and 'no answer' rather than 'none left'."""

    async def ask(port: int) -> tuple[int, int | None]:
        clients, server, where = [(7, "10.0.0.1:5000", 600)], RedisPy(), RedisTarget("127.0.0.1", port)
        ended, alive = await asyncio.gather(
            server.kill_clients(where, clients, 300, TIMEOUT / 2), server.alive(where, clients, 300, TIMEOUT / 2)
        )
        return ended, alive

    ended, alive = await in_time(REDIS[name][0], ask)
    assert ended == 0
    assert alive is None or name in ANSWERED
