"""A fixed-window request limit in Redis, shared by all replicas of the api."""

import ipaddress
import math
from dataclasses import dataclass
from typing import Protocol

EXEMPT_PATHS = frozenset({"/health", "/livez", "/readyz", "/metrics"})


class Counter(Protocol):
    """Counts a request against a key and says whether the client is blocked."""

    async def hit(self, key: str, ttl: int, client: str) -> tuple[int, bool]:
        """Return the count in this window and whether the client is on the deny list."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What to do with one request."""

    allowed: bool
    blocked: bool = False
    remaining: int = 0
    retry_after: int = 0


@dataclass(frozen=True)
class Window:
    """The window that a moment falls into."""

    index: int
    seconds_left: int


def window_at(now: float, length: int) -> Window:
    """The fixed window of `length` seconds around `now`; at least one second is left."""
    index = int(now // length)
    return Window(index, max(1, math.ceil((index + 1) * length - now)))


def client_of(forwarded_for: str | None, peer: str | None) -> str:
    """The first forwarded address when it is one, else the peer; never free text in a Redis key."""
    first = (forwarded_for or "").split(",")[0].strip()
    for candidate in (first, peer or ""):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return "unknown"


class RateLimiter:
    """Decides from the shared counter; the arithmetic has no clock of its own."""

    def __init__(self, counter: Counter, limit: int, length: int) -> None:
        """Allow `limit` requests per client in each `length` seconds; 0 switches the limit off."""
        self._counter = counter
        self._limit = limit
        self._length = max(1, length)

    async def check(self, client: str, now: float) -> Verdict:
        """Count this request and judge it."""
        if self._limit <= 0:
            return Verdict(allowed=True)
        window = window_at(now, self._length)
        count, blocked = await self._counter.hit(f"rate_limit:{client}:{window.index}", self._length * 2, client)
        if blocked:
            return Verdict(allowed=False, blocked=True)
        if count > self._limit:
            return Verdict(allowed=False, retry_after=window.seconds_left)
        return Verdict(allowed=True, remaining=self._limit - count)
