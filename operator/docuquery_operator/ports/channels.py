"""Channels: how a message reaches people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..domain.paging.messages import Message


@dataclass(frozen=True)
class Receipt:
    """What a channel answered.

    note: in words, without anything secret. hard: the same message will be refused again until somebody mends something.
    retry_after: seconds for which the channel wants to be left alone.
    """

    accepted: bool
    note: str = ""
    hard: bool = False
    retry_after: float = 0.0


class Channels(Protocol):
    """Sends messages; never raises for a channel that is sick or wrongly set up."""

    async def send(self, channel: str, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try within so many seconds; secret: the decoded data of the channel's Secret."""


class NoChannels:
    """Nobody can be told."""

    async def send(self, channel: str, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """Refused."""
        return Receipt(False, f"this process knows no channel {channel}", hard=True)
