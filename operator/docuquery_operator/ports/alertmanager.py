"""Alertmanager's silences as controllers see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..domain.maintenance.silences import Seen


@dataclass(frozen=True)
class AlertmanagerTarget:
    """Where it listens; prefix: the path before /api/v2."""

    host: str
    port: int
    prefix: str = ""


class Alertmanager(Protocol):
    """Silences by API v2; never raises for a sick server."""

    async def silences(self, target: AlertmanagerTarget, label: tuple[str, str], timeout: float) -> Sequence[Seen] | str:
        """Those that match this label, expired ones too; or why there is no answer."""

    async def put(self, target: AlertmanagerTarget, silence: Mapping[str, Any], timeout: float) -> str:
        """Make it, or change the one with its id; '' or why not."""

    async def expire(self, target: AlertmanagerTarget, silence_id: str, timeout: float) -> str:
        """End it; '' also when it has ended already or is not known, else why not."""


class NoAlertmanager:
    """Where nothing is wired: it says so."""

    async def silences(self, target: AlertmanagerTarget, label: tuple[str, str], timeout: float) -> Sequence[Seen] | str:
        """No answer."""
        return "no client for Alertmanager"

    async def put(self, target: AlertmanagerTarget, silence: Mapping[str, Any], timeout: float) -> str:
        """Not done."""
        return "no client for Alertmanager"

    async def expire(self, target: AlertmanagerTarget, silence_id: str, timeout: float) -> str:
        """Not done."""
        return "no client for Alertmanager"
