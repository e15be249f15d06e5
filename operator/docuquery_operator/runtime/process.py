"""The life of the process: lead, watch, work, drain, end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ..ports import ApiError, Cluster, Key, Kind
from ..settings import Settings
from . import kopf_app
from .health import Health
from .lease import LeaderLease
from .metrics import OperatorMetrics
from .resync import Resync
from .workqueue import WorkQueue

log = logging.getLogger(__name__)
Reconcile = Callable[[Key], Awaitable[float | None]]
MISSING_CRDS = "the CRDs of {} are missing; apply crds/ or install the chart with crds.enabled=true"


@dataclass
class Process:
    """All parts of the running operator, built by __main__."""

    settings: Settings
    cluster: Cluster
    lease: LeaderLease
    health: Health
    metrics: OperatorMetrics
    queue: WorkQueue
    resync: Resync
    controllers: Mapping[Kind, Reconcile]

    async def run(self) -> int:
        """Exit code: 0 after SIGTERM, 1 when something essential ended by itself."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        runner, port = await self.health.serve(self.settings.http_host, self.settings.http_port)
        log.info("serving health", extra={"port": port})
        crds, served, synced = ["not looked for yet"], asyncio.Event(), asyncio.Event()
        self.health.readiness = {
            "crds": lambda: crds[0],
            "lease": lambda: "" if self.lease.reached is not None else "the Lease was not reached yet",
            "sync": lambda: "the watch is not running yet" if self.lease.leading() and not synced.is_set() else "",
        }
        background = [asyncio.create_task(self.health.beat()), asyncio.create_task(self._check_crds(crds, served))]
        try:
            # kopf looks only once, at its start, for the kinds that it is to watch.
            if not await _first(served.wait(), stopping) or not await _first(self.lease.acquire(), stopping):
                return 0
            return await self._lead(stopping, synced)
        finally:
            for task in background:
                task.cancel()
            await self.lease.release()
            await runner.cleanup()

    async def _check_crds(self, state: list[str], served: asyncio.Event) -> None:
        """Readiness: all our kinds must be served; the first look is at once, then each 10 s."""
        while True:
            try:
                state[0] = await self._missing_crds()
                if state[0]:
                    log.error(state[0])
                else:
                    served.set()
            except ApiError as problem:
                state[0] = str(problem)[:200]
                log.warning("the CRDs could not be looked for", extra={"problem": state[0]})
            await asyncio.sleep(10.0 if not state[0] else 2.0)

    async def _missing_crds(self) -> str:
        namespace = self.settings.watch_namespaces[0] if self.settings.watch_namespaces else ""
        missing = [kind.plural for kind in self.controllers if not await self.cluster.served(kind, namespace)]
        return MISSING_CRDS.format(", ".join(missing)) if missing else ""

    async def _lead(self, stopping: asyncio.Event, synced: asyncio.Event) -> int:
        self.lease.guard()
        self.metrics.leader.set(1)
        stop, ready = asyncio.Event(), asyncio.Event()
        config = kopf_app.settings(self.settings.lease_name, self.settings.drain_seconds)
        handlers = kopf_app.registry(
            list(self.controllers), self._seen, self.health.canary_seen, self.settings.kubeconfig, self._child_seen
        )
        own = [asyncio.create_task(self.queue.run(self._reconcile)) for _ in range(self.settings.workers)]
        own.append(asyncio.create_task(self._watch_queue()))
        essential = [
            asyncio.create_task(self._keep_lease(), name="lease"),
            asyncio.create_task(
                self.resync.run(self.settings.resync_seconds, self.settings.watch_namespaces), name="resync"
            ),
        ]
        tasks = await kopf_app.start(handlers, config, self._namespaces(), stop, ready)
        # kopf puts its own handlers on the signals, which would stop it before our passes have ended.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        everything = frozenset(asyncio.all_tasks()) - frozenset(tasks)
        watching = asyncio.create_task(kopf_app.run(tasks, ignored=everything), name="watch")
        essential.append(watching)
        synced.set()
        ended = await _any_of(essential, stopping)
        if ended:
            log.error("stopping because a part ended", extra={"part": ended})
        self.queue.stop()
        if not await self.queue.drained(self.settings.drain_seconds):
            log.warning("passes were still running at the end of the drain time")
        await self.lease.release()
        self.metrics.leader.set(0)
        stop.set()
        await asyncio.wait([watching], timeout=8.0)
        for task in [*own, *essential]:
            task.cancel()
        return 1 if ended else 0

    def _namespaces(self) -> list[str]:
        """Watched namespaces, and our own for the canary; none means all."""
        watched = self.settings.watch_namespaces
        return sorted({*watched, self.settings.namespace}) if watched else []

    def _seen(self, key: Key, type_: str | None, version: str) -> None:
        """Our own namespace is watched for the canary's sake; its objects are served only when it is named."""
        watched = self.settings.watch_namespaces
        if not watched or key.namespace in watched:
            self.resync.seen(key, type_ == "DELETED", version, type_ == "ADDED")

    def _child_seen(self, owner: Key) -> None:
        """A Job has changed: whoever it was made for looks at it."""
        watched = self.settings.watch_namespaces
        if not watched or owner.namespace in watched:
            self.queue.add(owner)

    async def _keep_lease(self) -> None:
        keeper = asyncio.create_task(self.lease.keep())
        while not keeper.done():
            await asyncio.sleep(self.settings.retry_seconds)
            if self.lease.leading():
                self.health.canary_sent()
        await keeper

    async def _watch_queue(self) -> None:
        while True:
            self.metrics.queue.set(len(self.queue))
            await asyncio.sleep(1.0)

    async def _reconcile(self, key: Key) -> float | None:
        for kind, reconcile in self.controllers.items():
            if kind.plural == key.plural:
                return await reconcile(key)
        return None


async def _first(work: Awaitable[object], stopping: asyncio.Event) -> bool:
    """True when the work ended before the stop."""
    task, stop = asyncio.ensure_future(work), asyncio.create_task(stopping.wait())
    done, pending = await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    for other in pending:
        other.cancel()
    if task in done:
        task.result()
    return task in done


async def _any_of(essential: list[asyncio.Task[None]], stopping: asyncio.Event) -> str:
    """Name of the essential part that ended first, '' when we were asked to stop."""
    stop = asyncio.create_task(stopping.wait(), name="")
    done, _ = await asyncio.wait([*essential, stop], return_when=asyncio.FIRST_COMPLETED)
    if stop in done:
        return ""
    stop.cancel()
    first = done.pop()
    problem = None if first.cancelled() else first.exception()
    if problem is not None:
        log.error("part failed", extra={"part": first.get_name()}, exc_info=problem)
    return first.get_name()
