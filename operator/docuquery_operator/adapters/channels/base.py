"""What a channel is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ...domain.paging.messages import Message
from ...ports import Receipt


class SetupError(Exception):
    """The channel's Secret is not right; the text says what to write instead and holds no value of it."""


class Channel(Protocol):
    """One way to reach people. May raise SetupError, OSError and TimeoutError."""

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""


def needed(secret: Mapping[str, str], key: str, what: str) -> str:
    """A value of the Secret, without the line end that `echo` leaves."""
    value = secret.get(key, "").strip()
    if not value:
        raise SetupError(f"the Secret has no key '{key}': {what}")
    return value
