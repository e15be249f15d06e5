"""Figures of an api's traffic that can be added up: those of several pods, or of several minutes, are the figures of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from .frequent import Frequent

REFUSED = 429
# How logs write that there is no name.
NOBODY = ("", "-")
BUCKETS = 4096
REPEATS_KEPT = 8192
# Whoever is refused and asks for the same again within so many seconds has not waited.
AGAIN_SECONDS = 2
BURST = 3
NAMES_TOLD = 10
FEW = 5

# Client, path, user agent, second: one place where requests were refused.
Place = tuple[str, str, str, int]


@dataclass(slots=True)
class Timeline:
    """Requests a second; over long spans the buckets widen to 2, 4, 8 … seconds, so that there are never too many."""

    counts: dict[int, int] = field(default_factory=dict)
    width: int = 1

    def add(self, second: int, times: int) -> None:
        """Count requests of one second."""
        bucket = second // self.width
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self._widen()

    def merge(self, other: Timeline) -> None:
        """Take in what another one has seen."""
        while self.width < other.width:
            self._double()
        share = self.width // other.width
        for bucket, times in other.counts.items():
            self.counts[bucket // share] = self.counts.get(bucket // share, 0) + times
        self._widen()

    def _widen(self) -> None:
        while len(self.counts) > BUCKETS:
            self._double()

    def _double(self) -> None:
        self.width *= 2
        narrow, self.counts = self.counts, {}
        for bucket, times in narrow.items():
            self.counts[bucket // 2] = self.counts.get(bucket // 2, 0) + times

    @property
    def span(self) -> int:
        """Seconds from the first to the last, both counted."""
        return (max(self.counts) - min(self.counts) + 1) * self.width if self.counts else 0

    def shape(self) -> dict[str, Any]:
        """mean and peak in requests a second, their ratio, and the seconds in buckets above three times the mean."""
        if not self.counts:
            return {}
        mean = sum(self.counts.values()) / self.span
        peak = max(self.counts.values()) / self.width
        over = sum(self.width for n in self.counts.values() if n / self.width > BURST * mean)
        told = {"meanPerSecond": round(mean, 2), "peakPerSecond": round(peak, 2), "peakToMean": round(peak / mean, 2)}
        return {**told, "burstSeconds": over}


@dataclass(slots=True)
class Repeats:
    """Where and when requests were refused, to see who asks again at once.

    All of it while it is little. Then clients are drawn by a hash of their name, half as many each time it is too much,
    so which are kept rests on the traffic alone and not on its order.
    """

    places: dict[Place, int] = field(default_factory=dict)
    level: int = 0

    def draws(self, client: str) -> bool:
        """Whether this client is among those that are kept."""
        return not self.level or _drawn(client, self.level)

    def add(self, place: Place, times: int) -> None:
        """Count refused requests."""
        if place[0] in NOBODY or not self.draws(place[0]):
            return
        self.places[place] = self.places.get(place, 0) + times
        self._thin()

    def merge(self, other: Repeats) -> None:
        """Take in what another one has seen."""
        if other.level > self.level:
            self._thin(other.level)
        for place, times in other.places.items():
            self.add(place, times)

    def _thin(self, level: int = 0) -> None:
        while len(self.places) > REPEATS_KEPT or self.level < level:
            self.level += 1
            self.places = {p: n for p, n in self.places.items() if _drawn(p[0], self.level)}

    def report(self) -> dict[str, Any]:
        """Share of refused requests that came again at once, the user agent behind most of them, and its clients."""
        seen: dict[tuple[str, str, str], dict[int, int]] = {}
        for (client, path, agent, second), times in self.places.items():
            seen.setdefault((client, path, agent), {})[second] = times
        agents: Counter[str] = Counter()
        clients: dict[str, set[str]] = {}
        for (client, _, agent), seconds in seen.items():
            again = sum(_again(seconds, second) for second in seconds)
            if again:
                agents[agent] += again
                clients.setdefault(agent, set()).add(client)
        total, again = sum(self.places.values()), agents.total()
        if not total:
            return {}
        told: dict[str, Any] = {"retryPercent": _percent(again, total)}
        if agents:
            agent, times = min(agents.items(), key=lambda pair: (-pair[1], pair[0]))
            told |= {"retryAgent": agent, "retryAgentPercent": _percent(times, again)}
            told["retryClients"] = len(clients[agent]) << self.level
        return told | ({"retrySample": 1 << self.level} if self.level else {})


def _drawn(client: str, level: int) -> bool:
    return crc32(client.encode(errors="replace")) & ((1 << level) - 1) == 0


def _again(seconds: dict[int, int], second: int) -> int:
    followed = any(second + later in seconds for later in range(1, AGAIN_SECONDS + 1))
    return seconds[second] - (not followed)


@dataclass(slots=True)
class Traffic:
    """What the lines of a log say. garbage: lines that are no request."""

    requests: int = 0
    garbage: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    clients: Frequent = field(default_factory=Frequent)
    users: Frequent = field(default_factory=Frequent)
    paths: Frequent = field(default_factory=Frequent)
    agents: Frequent = field(default_factory=Frequent)
    refused_clients: Frequent = field(default_factory=Frequent)
    refused_paths: Frequent = field(default_factory=Frequent)
    refused_agents: Frequent = field(default_factory=Frequent)
    seconds: Timeline = field(default_factory=Timeline)
    repeats: Repeats = field(default_factory=Repeats)

    def merge(self, other: Traffic) -> None:
        """Take in what another one has seen."""
        self.requests += other.requests
        self.garbage += other.garbage
        for status, times in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + times
        for mine, theirs in zip(self._frequent(), other._frequent(), strict=True):
            mine.merge(theirs)
        self.seconds.merge(other.seconds)
        self.repeats.merge(other.repeats)

    def of(self, column: str) -> Frequent:
        """Names of a column: client, user, path or agent."""
        found: Frequent = getattr(self, f"{column}s")
        return found

    def of_refused(self, column: str) -> Frequent:
        """Names of a column in refused requests: client, path or agent."""
        found: Frequent = getattr(self, f"refused_{column}s")
        return found

    def _frequent(self) -> tuple[Frequent, ...]:
        whole = (self.clients, self.users, self.paths, self.agents)
        return (*whole, self.refused_clients, self.refused_paths, self.refused_agents)

    def prune(self) -> None:
        """Keep the memory bound."""
        for part in self._frequent():
            part.prune()

    @property
    def refused(self) -> int:
        """Requests answered with 429."""
        return self.statuses.get(REFUSED, 0)


def merged(parts: Iterable[Traffic]) -> Traffic:
    """The figures of all parts; the parts stay as they are."""
    whole = Traffic()
    for part in parts:
        whole.merge(part)
    return whole


def report(traffic: Traffic) -> dict[str, Any]:
    """Plain figures of the traffic, of whoever is refused, and of the burst; shares in percent.

    What cannot be said is left out, such as clients in a log that names none. Without requests only their number is there.
    """
    told: dict[str, Any] = {"requests": traffic.requests, "garbage": traffic.garbage}
    if not traffic.requests:
        return told
    failed = sum(n for status, n in traffic.statuses.items() if status >= 500)
    told |= {
        "statuses": {str(s): n for s, n in sorted(traffic.statuses.items())},
        "refusedPercent": _percent(traffic.refused, traffic.requests),
        "failedPercent": _percent(failed, traffic.requests),
        "clients": _clients(traffic),
        "topUsers": _top(traffic.users, traffic.requests),
        "topPaths": _top(traffic.paths, traffic.requests),
        "topAgents": _top(traffic.agents, traffic.requests),
    }
    if told["clients"]:
        told |= {"clientCount": len(_named(traffic.clients).counts), "countsExact": traffic.clients.exact}
    if traffic.seconds.counts:
        told |= {"spanSeconds": traffic.seconds.span, **traffic.seconds.shape()}
    return told | _refusals(traffic) | traffic.repeats.report()


def _refusals(traffic: Traffic) -> dict[str, Any]:
    """Who is refused. `…OwnPercent` is how much of their own requests that is: an abuser does not care, a neighbour does."""
    refused = _named(traffic.refused_clients)
    if not refused.counts:
        return {}
    few = refused.top(FEW)
    (top, times), own = few[0], traffic.clients.counts
    asked = sum(own.get(client, 0) for client, _ in few)
    told: dict[str, Any] = {
        "refusedClients": len(refused.counts),
        "refusedOwnPercent": _percent(refused.total, max(refused.total, sum(own.get(c, 0) for c in refused.counts))),
        "topRefused": top,
        "topRefusedRequests": own.get(top, times),
        "topRefusedPercent": _percent(times, refused.total),
        "topRefusedOwnPercent": _percent(times, max(times, own.get(top, 0))),
        "fewRefused": [client for client, _ in few],
        "fewRefusedPercent": _percent(sum(n for _, n in few), refused.total),
        "fewRefusedOwnPercent": _percent(sum(n for _, n in few), max(asked, sum(n for _, n in few))),
        "topRefusedPaths": _top(traffic.refused_paths, refused.total),
        "topRefusedAgents": _top(traffic.refused_agents, refused.total),
    }
    return told


def _clients(traffic: Traffic) -> list[dict[str, Any]]:
    """The busiest clients, with the share of all requests, and of their own that were refused."""
    own = traffic.refused_clients.counts
    return [
        {"client": c, "requests": n, "percent": _percent(n, traffic.requests), "refused": own.get(c, 0),
         "refusedPercent": _percent(min(n, own.get(c, 0)), n)}
        for c, n in _named(traffic.clients).top(NAMES_TOLD)
    ]  # fmt: skip


def _named(frequent: Frequent) -> Frequent:
    return frequent.without(NOBODY)


def _top(frequent: Frequent, whole: int) -> list[dict[str, Any]]:
    return [{"name": n, "requests": t, "percent": _percent(t, whole)} for n, t in _named(frequent).top(NAMES_TOLD)]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
