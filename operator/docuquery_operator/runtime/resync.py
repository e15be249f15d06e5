"""Resync: lists the keys now and then, and puts back what the watch has missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from ..ports import ApiError, Cluster, Key, Kind
from .metrics import OperatorMetrics
from .workqueue import WorkQueue

log = logging.getLogger(__name__)


class Resync:
    """Counts what it finds: two rounds in a row with finds mean that the watch is broken."""

    def __init__(self, cluster: Cluster, queue: WorkQueue, metrics: OperatorMetrics, kinds: Collection[Kind]) -> None:
        self._cluster = cluster
        self._queue = queue
        self._metrics = metrics
        self._kinds = kinds
        self._known: set[Key] = set()
        self._bad_rounds = 0

    def seen(self, key: Key, deleted: bool, version: str, new: bool = False) -> None:
        """The watch has shown this resourceVersion of the key."""
        (self._known.discard if deleted else self._known.add)(key)
        self._queue.seen(key, "" if deleted else version, new)

    async def run(self, every: float, namespaces: Collection[str]) -> None:
        """For ever; returns when the watch is surely broken, so that the process ends and starts anew."""
        while self._bad_rounds < 2:
            await asyncio.sleep(every)
            try:
                finds = await self.once(namespaces)
            except ApiError as problem:
                log.warning("resync failed", extra={"problem": str(problem)[:300]})
                continue
            self._bad_rounds = self._bad_rounds + 1 if finds else 0
        log.error("the watch has missed objects in two resyncs in a row")

    async def once(self, namespaces: Collection[str]) -> int:
        """Number of objects that the watch had missed."""
        finds = 0
        for kind in self._kinds:
            for namespace in namespaces or [""]:
                before = {k for k in self._known if k.plural == kind.plural and namespace in ("", k.namespace)}
                metas = await self._cluster.list(kind, namespace, pick=lambda obj: obj["metadata"])
                listed = {Key(kind.plural, meta["namespace"], meta["name"]) for meta in metas}
                finds += sum(self._check(kind, key) for key in sorted(listed))
                self._forget(before - listed)
        return finds

    def _check(self, kind: Kind, key: Key) -> bool:
        missed = key not in self._known
        if missed:
            self._metrics.resync_finds.labels(kind.plural).inc()
            self._known.add(key)
        if not self._queue.knows(key):
            self._queue.add(key)
        return missed

    def _forget(self, gone: Collection[Key]) -> None:
        """Deleted without the watch telling: the controllers look once more, and drop what they remember."""
        for key in sorted(gone):
            self._known.discard(key)
            self._queue.seen(key, "")
