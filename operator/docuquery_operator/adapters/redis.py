"""Redis through redis-py. A sick server is an answer, not an error."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from redis import exceptions
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..domain.redaction import redact
from ..ports import ClientIdentity, RedisClient, RedisFacts, RedisTarget

NAME = b"docuquery-operator"
# XX: only where it exists, and it never does; the server says all the same whether it would take a write.
PROBE_WRITE = ("SET", "docuquery:operator:probe", "1", "XX", "PX", "1")
SECTIONS = ("clients", "memory", "persistence", "stats", "replication")
INFO_KEPT = 16 * 1024
CLIENTS_KEPT = 500
# The list of clients has some 300 bytes for each: it is read while they are few, or when they are the matter.
FEW_CLIENTS, MANY_CLIENTS, MATTER_PERCENT = 500, 20_000, 50
GREETING_SECONDS = 0.3
FULL = "max number of clients"

CLASSES: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.AuthenticationError, "auth"),
    (exceptions.NoPermissionError, "auth"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.ReadOnlyError, "readonly"),
    (exceptions.MasterDownError, "masterdown"),
    (exceptions.OutOfMemoryError, "oom"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (exceptions.ConnectionError, "refused"),
    (OSError, "refused"),
    (exceptions.RedisError, "error"),
    # redis-py trusts its server: on nonsense its parser fails with any of these.
    *((kind, "error") for kind in (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)),
    *((kind, "error") for kind in (RuntimeError, EOFError)),
)
FAILURES = tuple(kind for kind, _ in CLASSES)
# redis-py has no class for these.
BY_WORDS = (("MISCONF", "misconf"), ("BUSY ", "busy"), (FULL, "maxclients"))
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
# Whoever waits for work or for news is not idle, however long the server has heard nothing from it.
WAITING_COMMANDS = {
    *(b"blpop", b"brpop", b"brpoplpush", b"blmove", b"blmpop", b"bzpopmin", b"bzpopmax", b"bzmpop", b"xread", b"xreadgroup"),
    *(b"subscribe", b"psubscribe", b"ssubscribe", b"sync", b"psync", b"replconf", b"monitor", b"wait", b"waitaof"),
}


@dataclass(frozen=True)
class _Failed:
    """One command that the server refused."""

    outcome: str
    message: str


class RedisPy:
    """ports.Redis."""

    async def look(self, target: RedisTarget, timeout: float) -> RedisFacts:
        """One connection, as clients make it."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                return await self._look(target, timeout, began)
        except TimeoutError:
            return RedisFacts("timeout", f"no answer within {timeout:g} s")

    async def _look(self, target: RedisTarget, timeout: float, began: float) -> RedisFacts:
        try:
            async with _connected(target, timeout) as connection:
                facts = await _facts(connection)
                message = redact(facts.message, (target.password,))
                return replace(facts, message=message, latency_ms=(time.monotonic() - began) * 1000)
        except FAILURES as problem:
            failed = _failed(problem, target)
        if failed.outcome in ("refused", "error") and await _is_full(target):
            failed = _Failed("maxclients", FULL)
        return RedisFacts(failed.outcome, failed.message)

    async def kill_clients(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int:
        """CLIENT KILL by id and address together, for each that is still the one that was meant."""
        ended = 0
        with suppress(*FAILURES):
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                for client in _meant(await _listed(connection), clients, min_idle):
                    filters = ("ID", str(client.id), "ADDR", client.address, "TYPE", "normal", "SKIPME", "yes")
                    answer = await _ask(connection, "CLIENT", "KILL", *filters)
                    ended += answer if isinstance(answer, int) else 0
        return ended

    async def alive(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int | None:
        """Number of these that are still there and idle."""
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                return len(_meant(await _listed(connection), clients, min_idle))
        except FAILURES:
            return None

    async def deny(self, target: RedisTarget, keys: Mapping[str, str], seconds: int, timeout: float) -> str:
        """SET NX EX for each; whatever a person has set there himself stays as it is."""
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                for key, value in keys.items():
                    answer = await _ask(connection, "SET", key, value, "NX", "EX", str(seconds))
                    if isinstance(answer, _Failed):
                        return f"{answer.outcome}: {answer.message}"
                return ""
        except FAILURES as problem:
            failed = _failed(problem, target)
            return f"{failed.outcome}: {failed.message}"

    async def denied(self, target: RedisTarget, keys: Sequence[str], timeout: float) -> Sequence[str] | None:
        """EXISTS for each."""
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                answers = [(key, await _ask(connection, "EXISTS", key)) for key in keys]
        except FAILURES:
            return None
        return None if any(not isinstance(a, int) for _, a in answers) else [k for k, a in answers if a]

    async def allow(self, target: RedisTarget, keys: Mapping[str, str], timeout: float) -> int | None:
        """DEL for each that is still ours; one component's blocks have one actor, so nobody else writes in between."""
        deleted = 0
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                for key, value in keys.items():
                    answer = await _ask(connection, "GET", key)
                    if isinstance(answer, _Failed):
                        return None
                    if answer == value.encode():
                        deleted += int(await _ask(connection, "DEL", key) == 1)
        except FAILURES:
            return None
        return deleted


@asynccontextmanager
async def _connected(target: RedisTarget, timeout: float) -> AsyncIterator[Connection]:
    connection = Connection(
        host=target.host,
        port=target.port,
        db=target.database,
        username=target.user or None,
        password=target.password or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        encoding_errors="replace",
        protocol=2,
        driver_info=None,
    )
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        yield connection
    finally:
        await connection.disconnect(nowait=True)
        # The socket is closed in the loop's next turn.
        await asyncio.sleep(0)


async def _ask(connection: Connection, *command: str | bytes) -> Any:
    """The server's answer, or _Failed where it refuses this command; raises where the connection is of no use."""
    await connection.send_packed_command(connection.pack_command(*command))
    return await _answer(connection)


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except (exceptions.ResponseError, exceptions.AuthenticationError, exceptions.BusyLoadingError) as problem:
        return _failed(problem)


async def _facts(connection: Connection) -> RedisFacts:
    first = (("CLIENT", "SETNAME", NAME), ("PING",), ("INFO", *SECTIONS), PROBE_WRITE)
    await connection.send_packed_command(connection.pack_commands(first))
    await _answer(connection)
    pong = await _answer(connection)
    if pong != b"PONG" and not isinstance(pong, _Failed):
        return RedisFacts("error", "the answer to PING makes no sense")
    try:
        figures, write = _figures(_info(await _answer(connection))), await _answer(connection)
    except FAILURES:
        # What it has said of itself counts, though it hangs up then.
        if isinstance(pong, _Failed):
            return RedisFacts(pong.outcome, pong.message)
        raise
    failed = pong if isinstance(pong, _Failed) else _write_failed(write)
    facts = replace(figures, outcome=failed.outcome, message=failed.message) if failed else figures
    return facts if facts.used is None else await _more(connection, facts)


async def _more(connection: Connection, facts: RedisFacts) -> RedisFacts:
    """What may be left out where the server does not allow it."""
    maximum = await _ask(connection, "CONFIG", "GET", "maxclients")
    if isinstance(maximum, list) and len(maximum) == 2:
        facts = replace(facts, max_clients=_number(maximum[1]))
    slow = await _ask(connection, "SLOWLOG", "LEN")
    facts = replace(facts, slow_commands=slow if isinstance(slow, int) else None)
    return replace(facts, clients=await _clients(connection, facts))


def _write_failed(answer: Any) -> _Failed | None:
    """Not being allowed to try, or another node's key, says nothing about the server."""
    if answer is None or answer == b"OK":
        return None
    if not isinstance(answer, _Failed):
        return _Failed("error", "the answer to a write makes no sense")
    elsewhere = answer.message.startswith(("MOVED", "ASK"))
    return None if answer.outcome == "auth" or elsewhere else answer


async def _clients(connection: Connection, facts: RedisFacts) -> tuple[RedisClient, ...] | None:
    used = facts.used or 0
    matter = 100 * used >= MATTER_PERCENT * (facts.max_clients or 0)
    if used > MANY_CLIENTS or not (used <= FEW_CLIENTS or matter):
        return None
    try:
        idle = sorted(await _listed(connection), key=lambda c: -c.idle_seconds)
    except exceptions.ResponseError:
        return None
    return tuple(idle[:CLIENTS_KEPT])


async def _listed(connection: Connection) -> list[RedisClient]:
    """Clients that may be ended: a client with any flag, a watcher, a waiting worker and the operator are not among them."""
    answer = await _ask(connection, "CLIENT", "LIST", "TYPE", "normal")
    if not isinstance(answer, bytes):
        raise exceptions.ResponseError("no list of clients")
    return [c for line in answer.splitlines() if (c := _client(line)) is not None]


def _client(line: bytes) -> RedisClient | None:
    fields = dict(part.partition(b"=")[::2] for part in line.split(b" "))
    command = fields.get(b"cmd", b"").partition(b"|")[0]
    watches = any(fields.get(k, b"0") != b"0" for k in (b"sub", b"psub", b"ssub"))
    if fields.get(b"flags") != b"N" or watches or fields.get(b"multi", b"-1") != b"-1":
        return None
    if command in WAITING_COMMANDS or fields.get(b"name") == NAME:
        return None
    number, age, idle = (_number(fields.get(k)) for k in (b"id", b"age", b"idle"))
    if number is None or age is None or idle is None or not fields.get(b"addr"):
        return None
    address, name, said = (_text(fields.get(k, b""))[:128] for k in (b"addr", b"name", b"cmd"))
    return RedisClient(number, address, name[:64], said[:32], age, idle)


def _meant(listed: Sequence[RedisClient], wanted: Sequence[ClientIdentity], min_idle: float) -> list[RedisClient]:
    """Those of the wanted that are still the same: a server that has started anew gives old ids to younger clients."""
    known = {(number, address): age for number, address, age in wanted}
    return [c for c in listed if c.age_seconds >= known.get((c.id, c.address), float("inf")) and c.idle_seconds >= min_idle]


def _info(answer: Any) -> str:
    return _text(answer)[:INFO_KEPT] if isinstance(answer, bytes) else ""


def _figures(info: str) -> RedisFacts:
    """What INFO says; without it no figure."""
    said = dict(_pairs(info))
    used = _number(said.get("connected_clients"))
    return RedisFacts(
        outcome="ok",
        role=said.get("role", "")[:16],
        # Our own connection is not one of the applications'.
        used=None if used is None else max(0, used - 1),
        max_clients=_number(said.get("maxclients")),
        blocked=_number(said.get("blocked_clients")),
        memory_bytes=_number(said.get("used_memory")),
        memory_limit=_number(said.get("maxmemory")),
        policy=said.get("maxmemory_policy", "")[:32],
        evicted=_number(said.get("evicted_keys")),
        loading=_flag(said, "loading", "1"),
        rdb_error=_flag(said, "rdb_last_bgsave_status", "err"),
        aof_error=_either(_flag(said, "aof_last_write_status", "err"), _flag(said, "aof_last_bgrewrite_status", "err")),
        info=info,
    )


def _pairs(info: str) -> Iterator[tuple[str, str]]:
    for line in info.splitlines():
        key, sign, value = line.partition(":")
        if sign and not line.startswith("#"):
            yield key, value.strip()


def _flag(said: Mapping[str, str], key: str, bad: str) -> bool | None:
    return said[key] == bad if key in said else None


def _either(one: bool | None, other: bool | None) -> bool | None:
    return other if one is None else one or bool(other)


def _number(value: str | bytes | None) -> int | None:
    try:
        return int(value) if value is not None and len(value) <= 20 else None
    except ValueError:
        return None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _failed(problem: BaseException, target: RedisTarget | None = None) -> _Failed:
    """Outcome class and the server's words, without secrets."""
    text = redact(str(problem), (target.password,) if target else ())
    message = " ".join(text.split())[:300]
    for words, outcome in BY_WORDS:
        if (words in message) if words == FULL else message.startswith(words):
            return _Failed(outcome, message)
    outcome = next(name for kind, name in CLASSES if isinstance(problem, kind))
    if outcome == "refused" and _errno(problem) in UNREACHABLE:
        outcome = "unreachable"
    return _Failed(outcome, message or type(problem).__name__)


def _errno(problem: BaseException) -> int | None:
    """What the kernel said; redis-py keeps it only as the context of its own error."""
    origin = problem.__context__ if isinstance(problem, exceptions.RedisError) else problem
    return origin.errno if isinstance(origin, OSError) else None


async def _is_full(target: RedisTarget) -> bool:
    """Whether the server shows a new client the door: it says so at once, and what a client has sent may hide it."""
    greeting = b""
    with suppress(OSError, ValueError, OverflowError):
        async with asyncio.timeout(GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                greeting = await reader.read(128)
            finally:
                writer.transport.abort()
    return greeting.startswith(b"-") and FULL.encode() in greeting


# For the adapters of what is built on Redis: one file knows its client.
connected, ask, failed = _connected, _ask, _failed
Failed = _Failed
