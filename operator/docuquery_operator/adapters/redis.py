"""Redis through redis-py: one PING."""

from __future__ import annotations

import asyncio

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, "auth"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.ReadOnlyError, "readonly"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (exceptions.ConnectionError, "refused"),
    (OSError, "refused"),
    (exceptions.RedisError, "error"),
    # redis-py trusts its server: on nonsense its parser fails with any of these.
    *((kind, "error") for kind in (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)),
    *((kind, "error") for kind in (RuntimeError, EOFError)),
)


async def ping(host: str, port: int, password: str, timeout: float) -> str:
    """'ok' or the class of what went wrong."""
    client = Redis(
        host=host,
        port=port,
        password=password or None,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        async with asyncio.timeout(timeout):
            pong = await client.ping()
        return "ok" if pong is True else "error"
    except tuple(kind for kind, _ in CLASSES) as problem:
        return next(name for kind, name in CLASSES if isinstance(problem, kind))
    finally:
        await client.aclose()
