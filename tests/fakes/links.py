"""Held connections of the simulated world: a test breaks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from docuquery_operator.ports import Key, LinkTarget


@dataclass
class FakeLinks:
    """ports.Links."""

    held: dict[tuple[Key, str], LinkTarget] = field(default_factory=dict)
    broken: dict[tuple[Key, str], Callable[[str], None]] = field(default_factory=dict)

    def want(self, owner: Key, targets: Mapping[str, LinkTarget], broken: Callable[[str], None]) -> None:
        self.held = {at: t for at, t in self.held.items() if at[0] != owner}
        self.held |= {(owner, name): target for name, target in targets.items()}
        self.broken |= {(owner, name): broken for name in targets}

    def names(self) -> list[str]:
        """Of all that are held."""
        return sorted(name for _, name in self.held)

    def break_(self, name: str) -> None:
        """The server, or something on the way, has closed it."""
        for (owner, held), call in list(self.broken.items()):
            if held == name and (owner, held) in self.held:
                call(name)
