"""Connections that are held open only to notice at once that they break."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .cluster import Key


@dataclass(frozen=True)
class LinkTarget:
    """Where a connection is held. http: path to ask for now and then, as such a server hangs up on silence; '' plain TCP."""

    host: str
    port: int
    http: str = ""


class Links(Protocol):
    """Holds connections in the background; never raises for a sick peer."""

    def want(self, owner: Key, targets: Mapping[str, LinkTarget], broken: Callable[[str], None]) -> None:
        """Hold exactly these for the owner, by name, and call with the name when one breaks; none lets all go.

        Level-triggered: one that is broken, or could not be had, is tried again at the next call and not before.
        """


class NoLinks:
    """Holds nothing."""

    def want(self, owner: Key, targets: Mapping[str, LinkTarget], broken: Callable[[str], None]) -> None:
        """Nothing is held."""
