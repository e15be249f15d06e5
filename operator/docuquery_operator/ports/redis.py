"""Redis as controllers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# One Redis client: id, address with port, and its age in seconds when it was seen. Ids begin anew with the server.
ClientIdentity = tuple[int, str, int]


@dataclass(frozen=True)
class RedisClient:
    """A client that waits for nothing and is watched by nobody; its identity is (id, address, age)."""

    id: int
    address: str
    name: str
    command: str
    age_seconds: int
    idle_seconds: int


@dataclass(frozen=True)
class RedisTarget:
    """Where and as whom to connect."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0


@dataclass(frozen=True)
class RedisFacts:
    """What one look at a Redis gives.

    outcome: ok, refused, timeout, unreachable, auth, loading, readonly, masterdown, misconf, oom, maxclients, busy,
    no_address, no_credentials, error. clients: those that may be ended, longest idle first; None when they were not listed.
    """

    outcome: str
    message: str = ""
    latency_ms: float = 0.0
    role: str = ""
    used: int | None = None
    max_clients: int | None = None
    blocked: int | None = None
    clients: tuple[RedisClient, ...] | None = None
    memory_bytes: int | None = None
    memory_limit: int | None = None
    policy: str = ""
    evicted: int | None = None
    loading: bool | None = None
    rdb_error: bool | None = None
    aof_error: bool | None = None
    slow_commands: int | None = None
    info: str = ""


class Redis(Protocol):
    """Redis; never raises for a sick server: the outcome says it."""

    async def look(self, target: RedisTarget, timeout: float) -> RedisFacts:
        """Connect anew, PING, try a write that changes nothing, and read the facts within `timeout` seconds."""

    async def kill_clients(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int:
        """End these clients; one that is another by now, or was used since, is left alone. Number ended."""

    async def alive(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int | None:
        """How many of these still live and are idle for so long; None without an answer."""

    async def deny(self, target: RedisTarget, keys: Mapping[str, str], seconds: int, timeout: float) -> str:
        """Set each key to its value for so many seconds, unless it is there already; '' or why it was not done."""

    async def denied(self, target: RedisTarget, keys: Sequence[str], timeout: float) -> Sequence[str] | None:
        """Which of the keys are there; None without an answer."""

    async def allow(self, target: RedisTarget, keys: Mapping[str, str], timeout: float) -> int | None:
        """Delete the keys that still hold this value; how many, None without an answer."""


@dataclass(frozen=True)
class KeyCount:
    """Keys that match a pattern. highest: those with the highest numbers, if numbers they are; problem: why it failed."""

    keys: int = 0
    at_least: bool = False
    highest: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    calls: int = 0


class RedisKeys(Protocol):
    """Many keys, in steps so short that nobody else waits; never raises for a sick server."""

    async def count(self, target: RedisTarget, pattern: str, highest: int, timeout: float) -> KeyCount:
        """Count the keys that match within `timeout` seconds, and tell so many of the highest; else at least so many."""

    async def drop(self, target: RedisTarget, pattern: str, most: int, timeout: float) -> KeyCount:
        """UNLINK the keys that match, at most so many and within `timeout` seconds; at_least: some may be left."""


@dataclass(frozen=True)
class Aside:
    """What lies in the spare database of a server, and how much is in the one in use.

    state: none, aside (all that was there, set aside), replaced (what a put-back has replaced), foreign (somebody else's
    keys). attempt: who has put it there. keys, live: numbers of keys. since: Unix time.
    """

    state: str
    live: int = 0
    keys: int = 0
    attempt: str = ""
    since: float = 0.0


class RedisAside(Protocol):
    """All data of a server exchanged at once with an empty spare database. Repeating a call of one attempt changes nothing.

    Nothing is copied and nothing is lost: both databases change their numbers in one step of the server.
    """

    async def look(self, target: RedisTarget, timeout: float) -> Aside | None:
        """What is there; None without an answer, or where the server has no spare database."""

    async def done(self, target: RedisTarget, attempt: str, timeout: float) -> bool | None:
        """Whether this attempt has had its effect; None without an answer."""

    async def set_aside(self, target: RedisTarget, attempt: str, timeout: float) -> str:
        """Exchange both; '' or why nothing was done."""

    async def put_back(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        """Exchange both again, if what lies aside is still this; what has come since then lies aside."""

    async def drop(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        """Delete what lies aside, if it is still this."""
