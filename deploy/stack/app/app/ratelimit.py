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


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Proxies:
    """Whose word about the client is believed: everybody can write X-Forwarded-For."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Proxies":
        """From addresses and CIDR ranges with commas between them; ValueError names the wrong one."""
        return cls(tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()))

    def client(self, forwarded_for: str | None, peer: str | None) -> str:
        """The last address that no trusted proxy has; never free text in a Redis key, and always canonical."""
        found = _address(peer)
        for hop in reversed((forwarded_for or "").split(",")):
            known = _address(hop)
            if known is None or found is None or not self._trusts(found):
                break
            found = known
        return str(found) if found else "unknown"

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _address(text: str | None) -> Address | None:
    """An address, an IPv4 one also where it comes dressed as IPv6."""
    try:
        found = ipaddress.ip_address((text or "").strip())
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


class RateLimiter:
    """Decides from the shared counter; the arithmetic has no clock of its own."""

    def __init__(self, counter: Counter, limit: int, length: int) -> None:
        """Allow `limit` requests per client in each `length` seconds; 0 switches the limit off, not the deny list."""
        self._counter = counter
        self._limit = limit
        self._length = max(1, length)

    async def check(self, client: str, now: float) -> Verdict:
        """Count this request and judge it."""
        window = window_at(now, self._length)
        count, blocked = await self._counter.hit(f"rate_limit:{client}:{window.index}", self._length * 2, client)
        if blocked:
            return Verdict(allowed=False, blocked=True)
        if 0 < self._limit < count:
            return Verdict(allowed=False, retry_after=window.seconds_left)
        return Verdict(allowed=True, remaining=max(0, self._limit - count))
