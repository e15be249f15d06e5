"""Plain reachability as controllers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

BODY_LIMIT = 64 * 1024


@dataclass(frozen=True)
class HttpAnswer:
    """status 0 means no answer; `problem` says why. cut: there was more than the limit."""

    status: int
    body: str = ""
    problem: str = ""
    latency_ms: float = 0.0
    cut: bool = False


class Network(Protocol):
    """Plain reachability; never raises for a sick peer."""

    async def resolve(self, host: str, timeout: float) -> Sequence[str] | None:
        """Addresses; empty when the name does not exist; None when no resolver answered."""

    async def connect(self, host: str, port: int, timeout: float) -> str:
        """'ok', 'refused', 'timeout', 'unreachable'."""

    async def http_get(self, host: str, port: int, path: str, timeout: float, limit: int = BODY_LIMIT) -> HttpAnswer:
        """GET, at most `limit` bytes of the body, 64 KiB where none is said."""
