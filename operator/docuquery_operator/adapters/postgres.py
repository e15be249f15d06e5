"""PostgreSQL through psycopg. A sick server is an answer, not an error."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import errors, sql, waiting
from psycopg.abc import PQGen
from psycopg.rows import DictRow, dict_row

from ..domain.redaction import redact
from ..ports import Blocker, DatabaseFacts, DatabaseTarget, Session

T = TypeVar("T")
# SQLSTATE: postgresql.org/docs/current/errcodes-appendix.html
BY_STATE = {
    "28P01": "auth",
    "28000": "auth",
    "3D000": "missing_database",
    "53300": "too_many_connections",
    "53100": "disk_full",
    "57P03": "starting",
    "57P01": "starting",
    "57P02": "starting",
    "25006": "read_only",
}
# libpq gives no SQLSTATE while connecting, only the server's words.
BY_WORDS = (
    ("password authentication failed", "auth"),
    ("no pg_hba.conf entry", "auth"),
    ("authentication failed", "auth"),
    ("no password supplied", "auth"),
    ("too many clients", "too_many_connections"),
    ("remaining connection slots", "too_many_connections"),
    ("too many connections", "too_many_connections"),
    ('role "', "auth"),
    ("does not exist", "missing_database"),
    ("the database system is", "starting"),
    ("not yet accepting connections", "starting"),
    ("No space left on device", "disk_full"),
    ("SSL", "tls"),
    ("certificate", "tls"),
    ("Connection refused", "refused"),
    ("could not translate host name", "dns"),
    ("No route to host", "unreachable"),
    ("Network is unreachable", "unreachable"),
    ("timeout expired", "timeout"),
    ("timed out", "timeout"),
)
# Names of hosts, databases and roles are not the server's words.
_ADDRESS = re.compile(r'connection to server at "[^"\n]*"[^\n]*? failed: ')
_NAMES = re.compile(r'"[^\n]*"')
# What reading a nonsensical answer raises, besides psycopg's own errors.
NONSENSE = (LookupError, TypeError, ValueError)

SETTINGS = """
select current_setting('max_connections')::int as max_connections,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true), '0')::int as reserved,
       pg_is_in_recovery() as in_recovery,
       current_setting('default_transaction_read_only')::bool as read_only,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as used,
       pg_database_size(current_database()) as database_bytes,
       (select pg_get_userbyid(datdba) from pg_database where datname = current_database()) as owner
"""
WAL = "select coalesce(sum(size), 0)::bigint as bytes from pg_ls_waldir()"
IDLE = """
select pid, backend_start::text as started, usename as role, application_name as application,
       coalesce(host(client_addr), '') as address,
       extract(epoch from clock_timestamp() - state_change)::float as idle_seconds
  from pg_stat_activity
 where backend_type = 'client backend' and state like 'idle in transaction%%' and usename = any(%(roles)s)
   and pid <> pg_backend_pid()
 order by state_change limit 500
"""
WAITING = """
select pid, pg_blocking_pids(pid) as blocked_by,
       extract(epoch from clock_timestamp() - query_start)::float as waited
  from pg_stat_activity where wait_event_type = 'Lock' limit 500
"""
BY_PID = """
select pid, backend_start::text as started, coalesce(usename, '') as role, application_name as application
  from pg_stat_activity where pid = any(%(pids)s)
"""
# Text of another database may be in another encoding, and is none of our business.
ACTIVITY = """
select pid, usename, application_name, host(client_addr) as client, state, wait_event_type, wait_event,
       backend_start::text, state_change::text,
       left(case when datname = current_database() then query else '' end, 200) as query
  from pg_stat_activity where backend_type = 'client backend' order by state_change limit 100
"""
TERMINATE = """
select count(*) filter (where pg_terminate_backend(pid))::int as ended from pg_stat_activity
 where pid = %(pid)s and backend_start::text = %(started)s and (not %(idle)s or state like 'idle in transaction%%')
"""
ALIVE = """
select count(*)::int as alive from pg_stat_activity
 where (pid, backend_start::text) in (select * from unnest(%(pids)s::int[], %(starts)s::text[]))
   and (not %(idle)s or state like 'idle in transaction%%')
"""


class PsycopgDatabase:
    """ports.Database."""

    async def look(self, target: DatabaseTarget, timeout: float) -> DatabaseFacts:
        """Connect anew, as clients do, and read the facts."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                answered = (time.monotonic() - began) * 1000
                row = await _one(connection, SETTINGS)
                write = await _write(connection)
                return await _facts(connection, target, row, write, answered)
        except TimeoutError:
            return DatabaseFacts("timeout", f"no answer within {timeout:g} s")
        except psycopg.Error as problem:
            outcome = classify(problem)
            return DatabaseFacts(outcome, _first_line(problem), problem.sqlstate or "")
        except NONSENSE as problem:
            return DatabaseFacts("error", f"the answer makes no sense: {type(problem).__name__}")

    async def terminate(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int:
        """pg_terminate_backend for each session that is still the one that was meant."""
        ended = 0
        with suppress(TimeoutError, psycopg.Error, *NONSENSE):
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                for pid, started in sessions:
                    # A session that we may not end does not protect the others.
                    with suppress(errors.InsufficientPrivilege):
                        row = await _one(connection, TERMINATE, {"pid": pid, "started": started, "idle": only_idle})
                        ended += row["ended"]
        return ended

    async def alive(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int | None:
        """Number of these sessions that are still there."""
        values = {"pids": [p for p, _ in sessions], "starts": [s for _, s in sessions], "idle": only_idle}
        try:
            async with asyncio.timeout(timeout), _connected(target, timeout) as connection:
                alive: int = (await _one(connection, ALIVE, values))["alive"]
                return alive
        except (TimeoutError, psycopg.Error, *NONSENSE):
            return None


async def asked(
    target: DatabaseTarget, timeout: float, read: Callable[[Connection], Awaitable[T]], limit: float
) -> T | DatabaseFacts:
    """What `read` makes of a new connection within `limit` seconds, else facts whose outcome says why not."""
    try:
        async with asyncio.timeout(limit), _connected(target, timeout) as connection:
            return await read(connection)
    except TimeoutError:
        return DatabaseFacts("timeout", f"no answer within {limit:g} s")
    except psycopg.Error as problem:
        return DatabaseFacts(classify(problem), _first_line(problem), problem.sqlstate or "")
    except NONSENSE as problem:
        return DatabaseFacts("error", f"the answer makes no sense: {type(problem).__name__}")


async def rows_of(connection: Connection, query: Any, values: Mapping[str, Any] | None = None) -> list[DictRow] | str:
    """Rows, or what the server says against this question; others may still be asked."""
    try:
        return await _all(connection, query, values)
    except (psycopg.DatabaseError, UnicodeDecodeError) as problem:
        if connection.closed or not isinstance(problem, psycopg.Error):
            return "the connection was lost" if connection.closed else "text that is not readable"
        return _first_line(problem)


def in_schema(query: LiteralString, schema: str) -> sql.Composed:
    """A query with this schema's name, quoted, for `{schema}`."""
    return sql.SQL(query).format(schema=sql.Identifier(schema))


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection that is dropped when time is up.

    psycopg would ask the server to cancel the query and wait for that up to ten seconds; a server that is frozen never does.
    The statement_timeout ends a query that goes on.
    """

    async def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Run one exchange with the server."""
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


@asynccontextmanager
async def _connected(target: DatabaseTarget, timeout: float) -> AsyncIterator[Connection]:
    milliseconds = max(100, int(timeout * 1000))
    connection = await Connection.connect(
        host=target.host,
        port=target.port,
        dbname=target.database,
        user=target.user,
        password=target.password,
        application_name="docuquery-operator",
        client_encoding="UTF8",
        connect_timeout=max(2, int(timeout)),
        # A tenant must not steer our queries: CNPG CVE-2026-55769.
        # Nor how a session's start is written, as that is half of its identity.
        options=f"-c search_path=pg_catalog -c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        " -c timezone=UTC -c datestyle=ISO,YMD",
        autocommit=True,
        row_factory=dict_row,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _one(connection: Connection, query: Any, values: Mapping[str, Any] | None = None) -> DictRow:
    cursor = await connection.execute(query, values)
    row = await cursor.fetchone()
    return row if row is not None else {}


async def _all(connection: Connection, query: Any, values: Mapping[str, Any] | None = None) -> list[DictRow]:
    cursor = await connection.execute(query, values)
    return await cursor.fetchall()


async def _texts(connection: Connection, query: Any, values: Mapping[str, Any] | None = None) -> list[DictRow]:
    """Rows with other people's text, which may not be readable at all where the database has no encoding (SQL_ASCII)."""
    try:
        return await _all(connection, query, values)
    except (psycopg.DataError, UnicodeDecodeError):
        return []


async def _write(connection: Connection) -> str:
    """A row in a temporary table, rolled back: the only proof that the server can write. '' when it may not try."""
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(sql.SQL("create temporary table {} (x text)").format(sql.Identifier("docuquery_probe")))
            await connection.execute(
                sql.SQL("insert into pg_temp.{} values ('x')").format(sql.Identifier("docuquery_probe"))
            )
        return "ok"
    except psycopg.Error as problem:
        outcome = BY_STATE.get(problem.sqlstate or "", "")
        return outcome if outcome in ("disk_full", "read_only") else ""


async def _facts(connection: Connection, target: DatabaseTarget, row: DictRow, write: str, latency: float) -> DatabaseFacts:
    roles = list(target.roles) or [row["owner"]]
    idle = await _all(connection, IDLE, {"roles": roles})
    waiting = await _all(connection, WAITING)
    try:
        wal: int | None = (await _one(connection, WAL))["bytes"]
    except psycopg.Error:
        wal = None
    return DatabaseFacts(
        outcome="ok",
        latency_ms=latency,
        in_recovery=row["in_recovery"],
        read_only=row["read_only"],
        write=write,
        max_connections=row["max_connections"],
        reserved=row["reserved"],
        # Our own connection is not one of the applications'.
        used=row["used"] - 1,
        idle_in_transaction=tuple(Session(**r) for r in idle),
        waiting_on_locks=len(waiting),
        blockers=await _blockers(connection, waiting),
        database_bytes=row["database_bytes"],
        wal_bytes=wal,
        activity=tuple(dict(r) for r in await _texts(connection, ACTIVITY)),
    )


async def _blockers(connection: Connection, waiting: Sequence[DictRow]) -> tuple[Blocker, ...]:
    """Sessions that block others and are not blocked themselves."""
    blocked = {r["pid"]: set(r["blocked_by"]) for r in waiting}
    behind: dict[int, set[int]] = {}
    for pid in blocked:
        for root in _roots(pid, blocked):
            behind.setdefault(root, set()).add(pid)
    rows = await _texts(connection, BY_PID, {"pids": list(behind)}) if behind else []
    waited = {r["pid"]: float(r["waited"] or 0) for r in waiting}
    return tuple(
        Blocker(waiting=len(behind[r["pid"]]), age_seconds=max(waited[p] for p in behind[r["pid"]]), **r) for r in rows
    )


def _roots(pid: int, blocked: Mapping[int, set[int]]) -> set[int]:
    seen, queue, roots = {pid}, list(blocked[pid]), set()
    while queue:
        current = queue.pop()
        if current in seen:
            continue
        seen.add(current)
        if blocked.get(current):
            queue += blocked[current]
        else:
            roots.add(current)
    return roots


def _first_line(problem: psycopg.Error) -> str:
    """What the server or libpq said, without libpq's guesses in the lines after."""
    return redact(str(problem)).strip().partition("\n")[0][:300]


def classify(problem: psycopg.Error) -> str:
    """Outcome class of an error, by SQLSTATE where there is one, else by the server's words."""
    if problem.sqlstate in BY_STATE:
        return BY_STATE[problem.sqlstate]
    text = _NAMES.sub('""', _ADDRESS.sub("", str(problem)))
    return next((outcome for words, outcome in BY_WORDS if words in text), "error")
