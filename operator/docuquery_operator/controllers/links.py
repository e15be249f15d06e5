"""Which connections are held for a Stack, and what follows when one breaks: rounds of probes at once, and nothing else.

The break itself opens nothing. It makes the first round come now and the next ones quickly, until all is well again or a
quorum of them has failed; faults that are over before that are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ..api.common import HealMode
from ..api.stack import ComponentType, Stack
from ..catalogue import shared
from ..domain.world import Neighbour
from ..ports import Key, LinkTarget, Ports

log = logging.getLogger(__name__)
QUICK_SECONDS = 0.05
MOST_ROUNDS = 10
# What a dying server says last may look like another cause: some rounds more than the quorum, until they agree.
MORE_ROUNDS = 2
# Connections that break one after the other must not make the operator probe without end.
REST_SECONDS = 1.0


@dataclass
class Burst:
    """Quick rounds after a break. bad: components that were down in one of them. counted: in a whole quorum of rounds."""

    at: float
    broken: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    rounds: int = 0
    over: bool = False


class LinkKeeper:
    """One connection for each component that listens."""

    def __init__(self, ports: Ports, nudge: Callable[[Key], None]) -> None:
        self._ports = ports
        self._nudge = nudge
        self._bursts: dict[Key, Burst] = {}

    def keep(self, key: Key, stack: Stack, health: Mapping[str, Neighbour]) -> None:
        """Hold what the newest round says is there; called each round, as addresses change."""
        detection = stack.spec.detection
        wanted = detection.held_connections and detection.open_incidents and stack.spec.healing.mode is not HealMode.OFF
        held = _targets(stack, health) if wanted and self._ports.leader.leading() else {}
        self._ports.links.want(key, held, lambda name: self._broken(key, name))

    def drop(self, key: Key) -> None:
        """The Stack is gone."""
        self._bursts.pop(key, None)
        self._ports.links.want(key, {}, lambda _name: None)

    def suspects(self, key: Key) -> Collection[str]:
        """Components whose connection broke, while quick rounds are due; none most of the time."""
        burst = self._bursts.get(key)
        return frozenset(burst.broken) if burst is not None and not burst.over else frozenset()

    def judge(self, key: Key, stack: Stack, health: Mapping[str, Neighbour]) -> list[str]:
        """Components that were down in a quick round and are well in this one, without having been down for a quorum."""
        burst = self._bursts.get(key)
        if burst is None or burst.over:
            return []
        burst.rounds += 1
        down = {name for name in burst.broken if name in health and health[name].healthy is not True}
        looks = {name: health[name].looks for name in down if health[name].healthy is False}
        burst.bad |= set(looks)
        quorum = min(stack.spec.detection.failures, MOST_ROUNDS)
        burst.counted |= {name for name, seen in looks.items() if seen >= quorum}
        enough = burst.rounds >= quorum + MORE_ROUNDS
        # What ends in good order may close the connections first and its door a moment later: one good round is not enough.
        burst.over = enough or (not down and (burst.rounds > 1 or bool(burst.bad)))
        return sorted(burst.bad - burst.counted) if not down else []

    def _broken(self, key: Key, name: str) -> None:
        now = self._ports.clock.now().timestamp()
        log.info("a held connection broke", extra={"stack": str(key), "component": name})
        burst = self._bursts.get(key)
        if burst is None or (burst.over and not 0 <= now - burst.at < REST_SECONDS):
            self._bursts[key] = Burst(now, {name})
        elif burst.over:
            # So soon after the last: the round at the usual interval looks at it.
            return
        else:
            burst.broken.add(name)
        self._nudge(key)


def _targets(stack: Stack, health: Mapping[str, Neighbour]) -> dict[str, LinkTarget]:
    """Only of what is well: who connects to a server that is about to end may keep it from ending."""
    found = {}
    for name, component in stack.spec.components.items():
        seen = health.get(name)
        if component.endpoint is not None and seen is not None and seen.healthy and seen.host:
            path = shared.readiness_path(component) if component.type in (ComponentType.API, ComponentType.QDRANT) else ""
            found[name] = LinkTarget(seen.host, component.endpoint.port, path)
    return found
