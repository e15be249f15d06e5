"""B2: a service hangs or dies; how long until it serves again, by us, by the kubelet's rule, and by a bare supervisor.

A keeper stands in for the kubelet: it starts what has ended, at once, and restarts what a new pod template asks for, with SIGTERM, a
grace time, and SIGKILL. The operator does not know that it is no kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.harness.apiserver import ApiServer

from . import subjects
from .api import GROUP, Client
from .detect_rounds import DETECTION, p95
from .report import Row, short, span
from .services import Cache, Database, Servers, alive, freeze, kill
from .watched import Witness, prepare, watch

NAMESPACE = "recover"
GRACE = 2.0
# livenessProbe's defaults.
PERIOD, TIMEOUT, FAILURES = 10.0, 1.0, 3
WITHIN = 60.0
HANG_GOAL, KILL_GOAL, SHARE_GOAL = 0.25, 1.2, 0.05
Store = Database | Cache


@dataclass
class Found:
    """Seconds from the fault to an answer, by fault and subject; ours from the intent to the order; restarts that were not needed."""

    seconds: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    share: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    needless: int = 0

    def add(self, fault: str, service: str, subject: str, seconds: float) -> None:
        """One recovery."""
        self.seconds.setdefault((fault, service, subject), []).append(seconds)


class Keeper:
    """Starts a service that has ended; restarts it when it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Keeper:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def restart(self) -> None:
        """SIGTERM to the first process, SIGKILL after the grace time; the start follows by itself."""
        pids = self._store.pids()
        os.kill(pids[0], signal.SIGTERM)
        end = time.monotonic() + GRACE
        while alive(pids[0]) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        if alive(pids[0]):
            kill(self._store)

    async def _run(self) -> None:
        while True:
            pids = self._store.pids()
            while pids and alive(pids[0]):
                await asyncio.sleep(0.005)
            await asyncio.to_thread(self._store.start)


async def measure(server: ApiServer, servers: Servers, folder: Path, hangs: int, kills: int, by_rule: int) -> Found:
    """Ours, then the others, on the same services."""
    found, stores = Found(), (servers.database, servers.cache)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(server))
        await prepare(client, NAMESPACE, servers.all())
        stack.enter_context(subjects.ours(server, NAMESPACE, folder / "recover.log"))
        witness = await stack.enter_async_context(Witness(client, NAMESPACE))
        for n in range(hangs):
            for store in stores:
                print(f"recover: hang of {store.name} {n + 1} of {hangs}, load {os.getloadavg()[0]:.1f}", flush=True)
                async with _watched(client, witness, servers, f"hang-{store.name}-{n}"):
                    await _ours_hang(witness, store, found)
        for n in range(kills):
            for store in stores:
                print(f"recover: kill of {store.name} {n + 1} of {kills}", flush=True)
                async with _watched(client, witness, servers, f"kill-{store.name}-{n}"):
                    before = len(witness.ordered)
                    await _killed(store, "ours", found)
                    await asyncio.sleep(2.0)
                    found.needless += len(witness.ordered) - before
    for _ in range(kills):
        for store in stores:
            await _killed(store, "supervisor", found)
    await asyncio.gather(*(_rule_hang(store, by_rule, found) for store in stores))
    return found


@contextlib.asynccontextmanager
async def _watched(client: Client, witness: Witness, servers: Servers, name: str) -> AsyncIterator[None]:
    """A Stack of its own: with the same one, budget and cooldown would rightly hold back the next restart."""
    witness.states.clear()
    await watch(client, NAMESPACE, name, servers.all(), DETECTION, "Auto")
    if await witness.until(lambda: witness.well([s.name for s in servers.all()]), WITHIN) is None:
        raise RuntimeError(f"not well before the fault: {witness.states}")
    try:
        yield
    finally:
        await client.write("DELETE", f"{GROUP}/namespaces/{NAMESPACE}/stacks/{name}", "stacks")
        await client.write("DELETE", f"{GROUP}/namespaces/{NAMESPACE}/incidents", "incidents")
        await asyncio.sleep(1.0)


async def _ours_hang(witness: Witness, store: Store, found: Found) -> None:
    known, steps = set(witness.ordered), set(witness.steps)
    async with Keeper(store) as keeper:
        began = time.monotonic()
        freeze(store)
        if await witness.until(lambda: set(witness.ordered) - known, WITHIN) is None:
            incidents = {n: (i.get("status") or {}).get("decisions") for n, i in witness.incidents.items()}
            raise RuntimeError(f"no restart was ordered: {incidents}")
        ordered = min(witness.ordered[k] for k in set(witness.ordered) - known)
        await witness.until(lambda: set(witness.steps) - steps, 5.0)
        intended = min((witness.steps[k] for k in set(witness.steps) - steps), default=ordered)
        found.share.append(max(0.0, ordered - intended))
        await keeper.restart()
        found.add("hang", store.name, "ours", await _serves(store) - began)


async def _killed(store: Store, subject: str, found: Found) -> None:
    async with Keeper(store):
        began = time.monotonic()
        kill(store)
        await asyncio.sleep(0.02)
        seconds = await _serves(store) - began
        found.add("kill", store.name, subject, seconds)
        if subject == "supervisor":
            found.starts.append(seconds)


async def _rule_hang(store: Store, times: int, found: Found) -> None:
    """A liveness probe by the kubelet's defaults, from a moment of the interval that chance chooses: half of it on average."""
    for n in range(times):
        print(f"recover: hang of {store.name} by the kubelet's rule {n + 1} of {times}", flush=True)
        async with Keeper(store) as keeper:
            began = time.monotonic()
            freeze(store)
            await asyncio.sleep(PERIOD / 2)
            for failure in range(FAILURES):
                await asyncio.sleep(TIMEOUT)
                if failure + 1 < FAILURES:
                    await asyncio.sleep(PERIOD - TIMEOUT)
            await keeper.restart()
            found.add("hang", store.name, "rule", await _serves(store) - began)


async def _serves(store: Store) -> float:
    """The moment at which it answers."""
    end = time.monotonic() + WITHIN
    while not await asyncio.to_thread(store.answers):
        if time.monotonic() > end:
            raise RuntimeError(f"{store.name} did not come back")
        await asyncio.sleep(0.005)
    return time.monotonic()


def rows(found: Found) -> list[Row]:
    """All figures."""
    limit = median(found.starts)
    made = []
    for (fault, service, subject), ours in found.seconds.items():
        if subject != "ours":
            continue
        peer, bound = ("rule", HANG_GOAL) if fault == "hang" else ("supervisor", KILL_GOAL)
        theirs = found.seconds[fault, service, peer]
        ratio = median(ours) / median(theirs)
        words = {"hang": f"the kubelet's rule ({PERIOD:g} s x {FAILURES}), grace {GRACE:g} s in both",
                 "kill": "a supervisor that restarts at once; beside us a keeper does the same, as the kubelet would"}[fault]  # fmt: skip
        made.append(Row(f"recover-{fault}-{service}", f"{fault} of {service} to an answer; peer: {words}", short(median(ours)),
                        short(median(theirs)), short(limit), short(ratio), f"<= {bound} of the peer", ratio <= bound, "s",
                        len(ours), {"ours": span(ours), "peer": span(theirs)}))  # fmt: skip
    share = p95(found.share)
    made.append(Row("recover-own-share", "intent in status to the accepted order, as a witness sees both, 95th percentile; evidence of the hung server comes "
                    "between (rail 32) and waits for its time-out",
                    short(share), None, None, None, f"<= {SHARE_GOAL} s", share <= SHARE_GOAL, "s", len(found.share),
                    {"ours": span(found.share)}))  # fmt: skip
    needless = float(found.needless)
    made.append(Row("recover-needless", "restarts ordered though the service came back by itself", needless, None, 0.0, None,
                    "== 0", needless == 0, "restarts", 1, {}))  # fmt: skip
    return made
