"""The rate limiter's counter in Redis."""

import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

# While Redis is away each request would otherwise wait for a time-out of its own.
_PAUSE_AFTER_FAILURE = 2.0


class RedisCounter:
    """Counts in Redis; without Redis it lets everybody through, since a limit must not be an outage."""

    def __init__(self, client: Redis) -> None:
        """Count on the server of `client`."""
        self._client = client
        self._paused_until = float("-inf")

    async def hit(self, key: str, ttl: int, client: str) -> tuple[int, bool]:
        """Add one to `key`, and look up `blocked_client:<client>`."""
        if time.monotonic() < self._paused_until:
            return 0, False
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, ttl)
                pipeline.exists(f"blocked_client:{client}")
                count, _, blocked = await pipeline.execute()
        except (RedisError, OSError):
            self._paused_until = time.monotonic() + _PAUSE_AFTER_FAILURE
            return 0, False
        return int(count), bool(blocked)
