"""B1: a service dies, hangs or gets slow; how long until an independent witness sees it said, by us and by the peers."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from tests.harness.apiserver import ApiServer

from . import subjects
from .api import GROUP, Client
from .detect_peers import Seen, poller, prometheus
from .report import Row, short, span
from .services import Cache, Database, Servers, Stub, freeze, kill, resume, thaw
from .watched import Witness, prepare, watch

INTERVAL, TIMEOUT, FAILURES = 1.0, 1.0, 2
DETECTION = {"interval": "1s", "timeout": "1s", "failures": FAILURES, "recoveries": FAILURES}
NAMESPACE = "detect"
WITHIN = 12.0
KILL_GOAL, KILL_P95, HANG_GOAL, DEFAULTS_GOAL = 0.1, 0.25, 1.1, 0.03
# What a hang costs at most by rounds: so many intervals, and the last probe's time-out.
HANG_LIMIT = FAILURES * INTERVAL + TIMEOUT
# Gatus' defaults: each 60 s, three failures.
DEFAULTS_LIMIT = 60.0 * 3
Service = Database | Cache | Stub
API_WORDS = "; a round of an api also asks for its service level, by requests that wait as well"


@dataclass
class Times:
    """Seconds from the fault to its being said, None where it never was: by subject."""

    by: dict[str, list[float | None]] = field(default_factory=dict)

    def add(self, subject: str, seconds: float | None) -> None:
        """One trial."""
        self.by.setdefault(subject, []).append(seconds)

    def known(self, subject: str) -> list[float]:
        """Where it was said at all."""
        return [t for t in self.by.get(subject, []) if t is not None]


@dataclass
class Found:
    """Of all trials: times by fault and service, and what was said without a fault."""

    times: dict[tuple[str, str], Times] = field(default_factory=dict)
    writes: list[float] = field(default_factory=list)
    false_alarms: dict[str, int] = field(default_factory=dict)
    noise_seconds: float = 0.0
    noises: int = 0


async def measure(server: ApiServer, servers: Servers, folder: Path, kills: int, hangs: int, noise: float) -> Found:
    """All faults in turn, seen by everybody at the same time."""
    found = Found()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(server))
        await prepare(client, NAMESPACE, servers.all())
        stack.enter_context(subjects.ours(server, NAMESPACE, folder / "detect.log"))
        witness = await stack.enter_async_context(Witness(client, NAMESPACE))
        await watch(client, NAMESPACE, "bench", servers.all(), DETECTION, "Observe")
        peers = [
            await stack.enter_async_context(poller(servers.all(), INTERVAL)),
            await stack.enter_async_context(prometheus(servers.all(), folder)),
        ]
        bench = _Bench(client, servers, witness, peers, found)
        await bench.settled()
        for what, count in (("kill", kills), ("hang", hangs), ("slow", hangs)):
            for n in range(1, count + 1):
                print(f"detect: {what} {n} of {count}, load {os.getloadavg()[0]:.1f}", flush=True)
                for service in servers.all():
                    if what != "slow" or service is servers.api:
                        await bench.trial(what, service)
        await bench.noise(noise)
        found.writes = [await bench.write() for _ in range(50)]
    return found


class _Bench:
    def __init__(self, client: Client, servers: Servers, witness: Witness, peers: list[Seen], found: Found) -> None:
        self._client = client
        self._servers = servers
        self._witness = witness
        self._peers = peers
        self._found = found

    async def trial(self, what: str, service: Service) -> None:
        """One fault, its end, and calm."""
        act, mend = self._acts(what, service)
        await asyncio.sleep(random.uniform(0.3, 1.3))
        began = time.monotonic()
        await asyncio.to_thread(act)
        said = self._said(service)
        await self._witness.until(lambda: all(s(service.name, began) for s in said.values()), WITHIN)
        times = self._found.times.setdefault((what, service.name), Times())
        for subject, since in said.items():
            at = since(service.name, began)
            times.add(subject, None if at is None else at - began)
        await asyncio.to_thread(mend)
        await self.settled()

    def _said(self, service: Service) -> dict[str, Callable[[str, float], float | None]]:
        # No shipped runbook opens an Incident for an api that is down alone: there the Stack's state is what is said.
        ours = self._witness.down_since if service is self._servers.api else self._witness.opened_since
        return {"ours": ours} | {peer.name: peer.down_since for peer in self._peers}

    def _acts(self, what: str, service: Service) -> tuple[Callable[[], None], Callable[[], None]]:
        if what == "kill":
            return (lambda: kill(service)), service.start
        if what == "hang":
            return (lambda: freeze(service)), (lambda: thaw(service))
        api = self._servers.api
        return (lambda: api.slow(5.0)), (lambda: api.slow(0.0))

    async def settled(self) -> None:
        """Everybody says that all is well, and no Incident is there."""
        names = [s.name for s in self._servers.all()]
        calm = await self._witness.until(lambda: self._witness.well(names) and not any(
            peer.down.get(n) for peer in self._peers for n in names), 90.0)  # fmt: skip
        if calm is None:
            raise RuntimeError(f"no calm: {self._witness.states}, {[p.down for p in self._peers]}")
        await self._client.write("DELETE", f"{GROUP}/namespaces/{NAMESPACE}/incidents", "incidents")
        await self._witness.until(lambda: not self._witness.incidents, 10.0)

    async def noise(self, seconds: float) -> None:
        """What is no fault: cut connections, a lost probe, slow answers below the time-out."""
        alarms = {peer.name: peer.alarms for peer in self._peers}
        opened, began = len(self._witness.opened), time.monotonic()
        acts: list[Callable[[], None]] = [s.cut for s in self._servers.all()]
        acts += [lambda s=s: _hiccup(s) for s in self._servers.all()]
        acts += [lambda: _slow_while(self._servers.api)]
        while time.monotonic() - began < seconds:
            await asyncio.to_thread(random.choice(acts))
            self._found.noises += 1
            # One at a time: two lost probes in a row are a fault to all.
            await asyncio.sleep(random.uniform(2.0, 4.0))
        self._found.noise_seconds = time.monotonic() - began
        self._found.false_alarms = {p.name: p.alarms - alarms[p.name] for p in self._peers}
        self._found.false_alarms["ours"] = len(self._witness.opened) - opened

    async def write(self) -> float:
        """The limit: one write, until the answer is there."""
        path = f"{GROUP}/namespaces/{NAMESPACE}/stacks/bench"
        began = time.monotonic()
        await self._client.write("PATCH", path, "stacks", {"metadata": {"annotations": {"bench": str(began)}}})
        return time.monotonic() - began


def _hiccup(service: Service) -> None:
    """Stands still for so long that at most one probe is lost."""
    pids = service.pids()
    freeze(service)
    time.sleep(0.7)
    for pid in pids:
        resume(pid)


def _slow_while(api: Stub) -> None:
    api.slow(0.5)
    time.sleep(3.0)
    api.slow(0.0)


def p95(values: list[float]) -> float:
    """Of few values the largest."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def rows(found: Found) -> list[Row]:
    """All figures."""
    limit = median(found.writes)
    rows_ = [row for (what, service), times in found.times.items() for row in _of(what, service, times, limit)]
    minutes = found.noise_seconds / 60
    for peer in sorted({"ours", *found.false_alarms} - {"ours"}):
        what = f"alarms in {minutes:.1f} min of {found.noises} harmless events; peer: {peer}"
        ours, theirs = float(found.false_alarms["ours"]), float(found.false_alarms[peer])
        rows_.append(
            Row(f"detect-false-alarms-{_slug(peer)}", what, ours, theirs, 0.0, None, "== 0", ours == 0, "alarms", 1, {})
        )
    return rows_


def _of(what: str, service: str, times: Times, write: float) -> list[Row]:
    ours, missed = times.known("ours"), times.by["ours"].count(None)
    found = []
    for peer in [name for name in times.by if name != "ours"]:
        theirs = times.known(peer)
        ratio = median(ours) / median(theirs) if ours and theirs else None
        words = f"{what} of {service} to its being said, median; ours missed {missed}; peer: {peer}"
        words += "" if theirs else ", which never noticed"
        goal, met = "", None
        if what == "kill" and peer.startswith("poller"):
            goal, met = f"<= {KILL_GOAL} of the peer", ratio is not None and ratio <= KILL_GOAL and not missed
        floor = write if what == "kill" else HANG_LIMIT
        spread = {"ours": span(ours) if ours else [], "peer": span(theirs) if theirs else []}
        found.append(Row(f"detect-{what}-{service}-{_slug(peer)}", words, short(median(ours)) if ours else -1.0,
                         short(median(theirs)) if theirs else None, short(floor), None if ratio is None else short(ratio),
                         goal, met, "s", len(times.by["ours"]), spread))  # fmt: skip
    if ours:
        bound = KILL_P95 if what == "kill" else HANG_GOAL * HANG_LIMIT
        words = (
            f"{what} of {service}: 95th percentile"
            + (API_WORDS if service == "api" and what != "kill" else "")
            + ("" if what == "kill" else "; limit: failures x interval + time-out")
        )
        found.append(Row(f"detect-{what}-{service}-p95", words, short(p95(ours)), None, short(write if what == "kill" else HANG_LIMIT),
                         None, f"<= {bound:g} s", p95(ours) <= bound and not missed, "s", len(ours), {"ours": span(ours)}))  # fmt: skip
    if ours and what == "hang":
        ratio = median(ours) / DEFAULTS_LIMIT
        words = f"hang of {service}; peer: Gatus' defaults by its documentation, 3 x 60 s, computed and not run"
        found.append(Row(f"detect-hang-{service}-gatus-defaults", words, short(median(ours)), DEFAULTS_LIMIT, HANG_LIMIT, short(ratio),
                         f"<= {DEFAULTS_GOAL} of the peer", ratio <= DEFAULTS_GOAL, "s", len(ours), {"ours": span(ours)}))  # fmt: skip
    return found


def _slug(peer: str) -> str:
    return "poller" if peer.startswith("poller") else "prometheus"
