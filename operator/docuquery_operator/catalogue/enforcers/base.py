"""What an enforcer is: it keeps addresses out for a time, and says where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ...api.blocking import Block
from ...api.stack import Component
from ..base import Round


@dataclass(frozen=True)
class Obstacle:
    """Why it cannot block here, and what to do about it."""

    reason: str
    message: str


class Enforcer(Protocol):
    """Keeps addresses out. Each call may be repeated; none makes a block longer than it was meant to be."""

    def object_name(self, round_: Round, name: str, component: Component) -> str:
        """The object that the blocks are on; '' where there is none."""

    async def obstacle(self, round_: Round, name: str, component: Component) -> Obstacle | None:
        """Why a block would have no effect or do harm; None when it would work."""

    async def block(self, round_: Round, component: Component, block: Block) -> None:
        """Keep the block's addresses out until its end."""

    async def unblock(self, round_: Round, block: Block, addresses: Sequence[str]) -> str:
        """Let these addresses of the block in again; what a person must know about it, '' when all is as before."""

    async def listed(self, round_: Round, block: Block) -> Sequence[str] | None:
        """Which addresses of the block are kept out now; None when that cannot be seen."""
