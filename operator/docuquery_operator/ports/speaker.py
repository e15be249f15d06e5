"""Words back to a person who has pressed a button."""

from __future__ import annotations

from typing import Literal, Protocol

Said = Literal["sent", "failed", "refused"]


class Speaker(Protocol):
    """Tells one person; never raises."""

    async def say(self, address: str, text: str, timeout: float) -> Said:
        """One try within so many seconds. address: as the chat gave it with the press; refused: it is not the chat's."""


class Silence:
    """Nobody is told anything."""

    async def say(self, address: str, text: str, timeout: float) -> Said:
        """Refused."""
        return "refused"
