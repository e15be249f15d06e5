"""Names that messages may go to: all addresses that a name has now are held against adapters/addresses.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from ..addresses import Addresses
from .base import SetupError


class Guard(Addresses):
    """Resolves a name and lets only addresses through that may be sent to."""

    async def addresses(self, host: str, port: int) -> Sequence[tuple[int, str]]:
        """Family and address of each that the name has now. One that is refused refuses the name."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as problem:
            raise SetupError("the host is no name that can be looked up") from problem
        for entry in found:
            why = self.refuses(str(entry[4][0]))
            if why:
                raise SetupError(f"the address is refused: {why}")
        return [(int(entry[0]), str(entry[4][0])) for entry in found]
