"""PostgreSQL as controllers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Session:
    """One idle PostgreSQL session; pid and start together are its identity."""

    pid: int
    started: str
    role: str
    application: str
    address: str
    idle_seconds: float


@dataclass(frozen=True)
class Blocker:
    """A session at the root of a chain of locks."""

    pid: int
    started: str
    role: str
    application: str
    waiting: int
    age_seconds: float


@dataclass(frozen=True)
class DatabaseTarget:
    """Where and as whom to connect."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatabaseFacts:
    """What one look at a database gives.

    outcome: ok, refused, timeout, unreachable, dns, auth, tls, starting, too_many_connections, missing_database,
    disk_full, no_address, no_credentials, error.
    """

    outcome: str
    message: str = ""
    sqlstate: str = ""
    latency_ms: float = 0.0
    in_recovery: bool | None = None
    read_only: bool | None = None
    write: str = ""
    max_connections: int | None = None
    reserved: int | None = None
    used: int | None = None
    idle_in_transaction: tuple[Session, ...] = ()
    waiting_on_locks: int | None = None
    blockers: tuple[Blocker, ...] = ()
    database_bytes: int | None = None
    wal_bytes: int | None = None
    activity: tuple[Mapping[str, Any], ...] = ()


class Database(Protocol):
    """PostgreSQL, read with one limited role; never raises for a sick server: the outcome says it."""

    async def look(self, target: DatabaseTarget, timeout: float) -> DatabaseFacts:
        """Connect anew and read the facts within `timeout` seconds."""

    async def terminate(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int:
        """End sessions given by (pid, start); a pid that is another session by now is left alone. Number ended."""

    async def alive(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int | None:
        """How many of these sessions still live (and are still idle in transaction); None without an answer."""
