"""The connections of one api process, opened and closed together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from redis.asyncio import Redis

from app import qdrant
from app.background.worker import celery
from app.config import Settings
from app.counter import RedisCounter
from app.database import Documents, make_pool
from app.health import Check, DatabaseCheck, Health, QdrantCheck, RedisCheck
from app.metrics import Metrics
from app.queue import TaskQueue
from app.ratelimit import RateLimiter
from app.upkeep import Upkeep

_REDIS_TIMEOUT = 1.0


@dataclass(frozen=True)
class Resources:
    """What the routes work with."""

    settings: Settings
    documents: Documents
    queue: TaskQueue
    redis: Redis
    vectors: httpx.AsyncClient
    health: Health
    metrics: Metrics

    async def ask_qdrant(self, call: qdrant.Call) -> httpx.Response:
        """Send one request to Qdrant."""
        answer = await self.vectors.request(call.method, call.path, json=call.json, params=call.params)
        answer.raise_for_status()
        return answer


def make_redis(settings: Settings) -> Redis:
    """A client that gives up on a silent server."""
    return Redis.from_url(
        settings.redis_url,
        socket_timeout=_REDIS_TIMEOUT,
        socket_connect_timeout=_REDIS_TIMEOUT,
        max_connections=20,
        client_name="docuquery-api",
    )


def make_limiter(settings: Settings, redis: Redis) -> RateLimiter:
    """The limit in force, counted in Redis."""
    return RateLimiter(RedisCounter(redis), settings.rate_limit_requests, settings.rate_limit_window)


def _checks(settings: Settings, redis: Redis, client: httpx.AsyncClient) -> dict[str, Check]:
    checks: dict[str, Check] = {"database": DatabaseCheck(settings), "redis": RedisCheck(redis)}
    if settings.qdrant_url:
        checks["qdrant"] = QdrantCheck(client, settings.qdrant_collection)
    return checks


@contextlib.asynccontextmanager
async def opened(settings: Settings, redis: Redis, metrics: Metrics) -> AsyncIterator[Resources]:
    """Open everything without waiting for any server, and close it at the end."""
    pool = make_pool(settings)
    await pool.open()
    documents = Documents(pool)
    queue = TaskQueue(celery, documents)
    async with httpx.AsyncClient(base_url=settings.qdrant_url, timeout=settings.health_timeout) as client:
        health = Health(_checks(settings, redis, client), settings.health_timeout)
        upkeep = asyncio.create_task(Upkeep(settings, documents, queue, client).run())
        try:
            yield Resources(settings, documents, queue, redis, client, health, metrics)
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            await pool.close(timeout=2)
            await redis.aclose()
