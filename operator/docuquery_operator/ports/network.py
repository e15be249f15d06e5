"""Plain reachability as controllers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class HttpAnswer:
    """status 0 means no answer; `problem` says why."""

    status: int
    body: str = ""
    problem: str = ""
    latency_ms: float = 0.0


class Network(Protocol):
    """Plain reachability; never raises for a sick peer."""

    async def resolve(self, host: str, timeout: float) -> Sequence[str] | None:
        """Addresses; empty when the name does not exist; None when no resolver answered."""

    async def connect(self, host: str, port: int, timeout: float) -> str:
        """'ok', 'refused', 'timeout', 'unreachable'."""

    async def http_get(self, host: str, port: int, path: str, timeout: float) -> HttpAnswer:
        """GET, at most 64 KiB of the body."""
