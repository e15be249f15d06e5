"""The state of each dependency: measured side by side, each within its own time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import psycopg
import psycopg.errors
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app import qdrant
from app.config import Settings
from app.database import create_schema
from app.failures import Failure, database_failure, redis_failure
from app.http_failures import qdrant_failure

WRITE_EVERY = 5.0
# One answer serves every poller for this long, so that health checks cannot become the load.
FRESH = 1.0

Report = dict[str, Any]

_BEAT = "INSERT INTO heartbeat (id, beat_at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET beat_at = now()"
# The heartbeat row fits on a page that exists. Only this sort, which is larger than its 64 kB of memory, asks
# for new space on the volume, and it leaves neither WAL nor bloat behind.
_SPILL = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 5000) AS g ORDER BY md5(g::text) OFFSET 0) AS sorted"


class DatabaseCheck:
    """Opens a new connection each time: a pool that still holds old ones would hide a full or closed server."""

    def __init__(self, settings: Settings) -> None:
        """Check the database of `settings`."""
        self._parameters = settings.connection("docuquery-api-health")
        self._written = float("-inf")

    async def __call__(self) -> Failure | None:
        """Connect, ask for the role, and write when the last good write is old."""
        try:
            return await self._check()
        except (psycopg.Error, OSError) as error:
            return database_failure(error)

    async def _check(self) -> Failure | None:
        connection = await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)  # type: ignore[arg-type]
        async with connection:
            cursor = await connection.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")
            if await cursor.fetchone() != (False, "off"):
                return Failure("read_only", "25006")
            if time.monotonic() - self._written >= WRITE_EVERY:
                await self._write(connection)
                self._written = time.monotonic()
        return None

    @staticmethod
    async def _write(connection: psycopg.AsyncConnection) -> None:
        try:
            await connection.execute(_BEAT)
        except psycopg.errors.UndefinedTable:
            await create_schema(connection)
            await connection.execute(_BEAT)
        await connection.execute("SET work_mem = '64kB'")
        await connection.execute(_SPILL)


class RedisCheck:
    """A small write: PING alone succeeds on a Redis that refuses every command that matters."""

    def __init__(self, client: Redis) -> None:
        """Check the server of `client`."""
        self._client = client

    async def __call__(self) -> Failure | None:
        """Write a key that goes away by itself."""
        try:
            await self._client.set("health:heartbeat", "1", ex=60)
        except (RedisError, OSError) as error:
            return redis_failure(error)
        return None


class QdrantCheck:
    """Counts the points of the collection."""

    def __init__(self, client: httpx.AsyncClient, collection: str) -> None:
        """Check `collection` through `client`."""
        self._client = client
        self._call = qdrant.count(collection)

    async def __call__(self) -> Failure | None:
        """Ask for the exact number of points."""
        try:
            answer = await self._client.request(self._call.method, self._call.path, json=self._call.json)
            answer.raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            return qdrant_failure(error)
        return None


Check = Callable[[], Awaitable[Failure | None]]


class Health:
    """All checks together."""

    def __init__(self, checks: dict[str, Check], limit: float) -> None:
        """Run `checks` by name, each for `limit` seconds at most."""
        self._checks = checks
        self._limit = limit
        self._lock = asyncio.Lock()
        self._report: Report = {}
        self._at = float("-inf")

    async def report(self) -> Report:
        """The state of every dependency and the sum of it."""
        async with self._lock:
            if time.monotonic() - self._at >= FRESH:
                answers = await asyncio.gather(*(self._one(check) for check in self._checks.values()))
                self._report = summarise(dict(zip(self._checks, answers, strict=True)))
                self._at = time.monotonic()
            return self._report

    async def _one(self, check: Check) -> Report:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limit):
                failure = await check()
        except TimeoutError:
            failure = Failure("timeout")
        state: Report = {
            "status": "down" if failure else "up",
            "latencyMs": round((time.monotonic() - started) * 1000, 1),
        }
        if failure:
            state["error"] = failure.kind
            state |= {"sqlstate": failure.sqlstate} if failure.sqlstate else {}
        return state


def summarise(dependencies: dict[str, Report]) -> Report:
    """Without the database nothing works; without the others some things do."""
    down = {name for name, state in dependencies.items() if state["status"] == "down"}
    status = "unhealthy" if "database" in down else "degraded" if down else "healthy"
    return {"status": status, "dependencies": dependencies}
