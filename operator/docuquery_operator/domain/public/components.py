"""Components under their public titles, with their states and ninety days."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...api.maintenance_window import MaintenanceWindow
from ...api.stack import ComponentState, Stack
from ..detection import uptime
from .windows import covered
from .words import STATE_CODES, STATE_SHAPES, STATES, TITLES, clean

Where = tuple[str, str]


@dataclass(frozen=True)
class PublicComponent:
    """As it is shown. id: of its page, feeds and badge, from its title."""

    id: str
    title: str
    state: ComponentState
    since: datetime
    created_at: datetime
    days: tuple[uptime.Day, ...]

    @property
    def word(self) -> str:
        """Its state, for people."""
        return STATES[self.state]

    @property
    def code(self) -> str:
        """Its state, in Statuspage's words."""
        return STATE_CODES[self.state]

    @property
    def shape(self) -> str:
        """Which sign stands beside the word."""
        return STATE_SHAPES[self.state]

    @property
    def availability(self) -> float | None:
        """Of all days shown."""
        return uptime.availability(self.days)

    @property
    def bad_days(self) -> int:
        """Days with an outage or degradation."""
        return sum(1 for d in self.days if d.down or d.partial)

    @property
    def known_days(self) -> int:
        """Days that there are data of."""
        return sum(1 for d in self.days if d.measured)


def titles_of(stacks: Iterable[Stack]) -> dict[Where, str]:
    """A title for each component of each Stack; one that comes again is numbered."""
    found: dict[Where, str] = {}
    taken: dict[str, int] = {}
    for stack in stacks:
        for name, component in sorted(stack.spec.components.items()):
            title = " ".join(clean(component.public_title).split()) or TITLES[component.type]
            taken[title] = taken.get(title, 0) + 1
            found[stack.metadata.name, name] = title if taken[title] == 1 else f"{title} {taken[title]}"
    return found


def ids_of(titles: Mapping[Where, str]) -> dict[Where, str]:
    """A part of an address for each title: letters of the Latin alphabet and digits, never twice the same."""
    found: dict[Where, str] = {}
    taken: set[str] = set()
    for where, title in titles.items():
        base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "service"
        number, id_ = 1, base
        while id_ in taken:
            number += 1
            id_ = f"{base}-{number}"
        taken.add(id_)
        found[where] = id_
    return found


def shown_components(
    stacks: Sequence[Stack], windows: Iterable[MaintenanceWindow], titles: Mapping[Where, str], now: datetime
) -> list[PublicComponent]:
    """In the order of Stacks and names."""
    ids, listed = ids_of(titles), list(windows)
    return [
        _shown(stack, name, ids[stack.metadata.name, name], titles[stack.metadata.name, name], listed, now)
        for stack in stacks
        for name in sorted(stack.spec.components)
    ]


def _shown(
    stack: Stack, name: str, id_: str, title: str, windows: Iterable[MaintenanceWindow], now: datetime
) -> PublicComponent:
    status = next((c for c in stack.status.components if c.name == name), None) if stack.status else None
    record = next((u for u in stack.status.uptime if u.name == name), None) if stack.status else None
    state = status.state if status else ComponentState.UNKNOWN
    if any(w.spec.stack_ref.name == stack.metadata.name and covered(w, name, now) for w in windows):
        state = ComponentState.UNDER_MAINTENANCE
    created = stack.metadata.creation_timestamp or now
    since = status.since if status else created
    return PublicComponent(id_, title, state, since, created, tuple(uptime.shown(record, now)))
