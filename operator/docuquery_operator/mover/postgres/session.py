"""Sessions with PostgreSQL. The only file of the movers that knows psycopg."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row, tuple_row

from ...domain.backups.request import Server
from ..contracts import MoverError
from .words import explain

CONNECT_SECONDS = 20
WARNINGS = 20
Row = dict[str, Any]
# How values are written must depend on nobody's settings, nor may they end a session that only holds a snapshot.
SETTINGS = (
    "search_path=pg_catalog",
    "datestyle=ISO,YMD",
    "intervalstyle=postgres",
    "timezone=UTC",
    "extra_float_digits=3",
    "bytea_output=hex",
    "xmlbinary=base64",
    "lc_monetary=C",
    "row_security=off",
    "statement_timeout=0",
    "lock_timeout=0",
    "idle_in_transaction_session_timeout=0",
    "idle_session_timeout=0",
    "max_parallel_workers_per_gather=0",
    "jit=off",
)


@dataclass(frozen=True)
class Login:
    """Who connects where. host: an address, or the folder of a socket."""

    host: str
    port: int
    user: str
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"
    authority: str = ""
    # What the server calls the session.
    application: str = "docuquery-mover"

    def environment(self, passfile: str) -> dict[str, str]:
        """For the tools of PostgreSQL: nothing of ours but where and who; the password is in the file."""
        named = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGSSLMODE": self.sslmode,
            "PGAPPNAME": self.application,
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        }
        if passfile:
            named["PGPASSFILE"] = passfile
        if self.authority:
            named["PGSSLROOTCERT"] = self.authority
        return named


def login(server: Server, secrets: Path) -> Login:
    """From the mounted Secret; with ca.crt in it the server's name is checked as well."""
    folder = secrets / "postgres"
    authority = folder / "ca.crt"
    secure = "verify-full" if authority.is_file() else "require"
    return Login(
        host=server.host,
        port=server.port,
        user=_secret(folder / "username"),
        password=_secret(folder / "password"),
        sslmode=secure if server.tls else "prefer",
        authority=str(authority) if server.tls and authority.is_file() else "",
    )


def _secret(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as problem:
        text = f"cannot read {file.name} of the PostgreSQL Secret ({problem}); it needs the keys username and password"
        raise MoverError("NoCredentials", text, retry=False) from None


@contextmanager
def passfile(who: Login) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A password file that lies in memory only, and the descriptors that a child has to inherit to read it."""
    if not who.password:
        yield "", ()
        return
    number = os.memfd_create("passfile", 0)
    try:
        # libpq refuses a file that others can read.
        os.fchmod(number, 0o600)
        word = re.sub(r"([\\:])", r"\\\1", who.password)
        os.write(number, f"*:*:*:*:{word}\n".encode())
        yield f"/proc/self/fd/{number}", (number,)
    finally:
        os.close(number)


class Session:
    """One session. All that goes wrong is a MoverError in words."""

    def __init__(self, connection: psycopg.AsyncConnection[Row], database: str) -> None:
        self._connection = connection
        self.database = database
        self.version = connection.info.server_version
        # Of statements that go on all the same, such as a VACUUM that skips a table.
        self.warnings: list[str] = []
        connection.add_notice_handler(self._noticed)

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING" and len(self.warnings) < WARNINGS:
            self.warnings.append(notice.message_primary or "")

    async def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """All rows; parameters are $1, $2, …."""
        with translated(f"a query in database {self.database}"):
            async with psycopg.AsyncRawCursor(self._connection, row_factory=dict_row) as cursor:
                await cursor.execute(query.encode(), values or None)
                return await cursor.fetchall() if cursor.description else []

    async def one(self, query: str, values: Sequence[Any] = ()) -> Row:
        """The first row, {} when there is none."""
        return next(iter(await self.rows(query, values)), {})

    async def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Rows changed, -1 where that has no meaning."""
        with translated(f"a statement in database {self.database}"):
            async with psycopg.AsyncRawCursor(self._connection) as cursor:
                await cursor.execute(statement.encode(), values or None)
                return cursor.rowcount

    async def single(self, statement: str, values: Sequence[Any] = ()) -> int:
        """One statement of somebody else's: the server refuses text that holds several. Rows changed."""
        with translated(f"a statement in database {self.database}"):
            async with psycopg.AsyncRawCursor(self._connection) as cursor:
                await cursor.execute(statement.encode(), values, prepare=True)
                return cursor.rowcount

    async def columns(self, query: str) -> int:
        """Number of columns that a query of somebody else's gives."""
        with translated(f"a query in database {self.database}"):
            async with psycopg.AsyncRawCursor(self._connection) as cursor:
                await cursor.execute(f"select * from ({query}\n) as t limit 0".encode(), prepare=True)
                return len(cursor.description or ())

    async def stream(self, query: str) -> AsyncIterator[tuple[Any, ...]]:
        """Rows of one query of somebody else's, one at a time; the server refuses text that holds several."""
        with translated(f"a query in database {self.database}"):
            async with psycopg.AsyncRawCursor(self._connection, row_factory=tuple_row) as cursor:
                async for row in cursor.stream(query.encode()):
                    yield row

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing."""
        with translated(f"a transaction in database {self.database}"):
            async with self._connection.transaction():
                yield


@contextmanager
def translated(what: str) -> Iterator[None]:
    """psycopg's errors in words."""
    try:
        yield
    except psycopg.Error as problem:
        code = f" (SQLSTATE {problem.sqlstate})" if problem.sqlstate else ""
        raise explain(what, f"{problem}{code}") from problem


@asynccontextmanager
async def connect(who: Login, database: str) -> AsyncIterator[Session]:
    """A session in autocommit, with fixed settings."""
    with translated(f"connecting to database {database} on {who.host}"):
        connection: psycopg.AsyncConnection[Row] = await psycopg.AsyncConnection.connect(
            host=who.host,
            port=who.port,
            user=who.user,
            password=who.password or None,
            dbname=database,
            sslmode=who.sslmode,
            sslrootcert=who.authority or None,
            application_name=who.application,
            client_encoding="UTF8",
            connect_timeout=CONNECT_SECONDS,
            keepalives_idle=60,
            options=" ".join(f"-c {setting}" for setting in SETTINGS),
            # The operator's environment must not choose for us.
            passfile="/nonexistent/passfile",
            autocommit=True,
            row_factory=dict_row,
        )
    try:
        session = Session(connection, database)
        if session.version >= 170000:
            await session.execute("set transaction_timeout = 0")
        yield session
    finally:
        await connection.close()


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL writes it, with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"
