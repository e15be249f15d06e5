"""Kubernetes Events: Normal or Warning, one a transition, counted up where it repeats within ten minutes."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from datetime import datetime, timedelta

from ..api.common import format_time
from ..domain.redaction import redact
from ..ports import EVENT, JSON, ApiError, Clock, Cluster, Kind

SAME_FOR = timedelta(minutes=10)
REMEMBERED = 1000
# The API server counts bytes and takes 1024.
NOTE_BYTES = 1000
PER_HOUR = 20
log = logging.getLogger(__name__)


class EventRecorder:
    """ports.Events. What it remembers is only for counting; losing it costs one more Event."""

    def __init__(self, cluster: Cluster, clock: Clock, controller: str, instance: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._controller = controller
        self._instance = instance
        self._seen: OrderedDict[str, tuple[str, datetime, int]] = OrderedDict()
        self._budget: OrderedDict[str, list[datetime]] = OrderedDict()

    async def post(self, kind: Kind, obj: JSON, type_: str, reason: str, message: str) -> None:
        """Never raises: an Event that cannot be posted is logged; the status holds the truth."""
        meta = obj["metadata"]
        now = self._clock.now()
        key = hashlib.sha256(f"{meta.get('uid')}/{reason}/{message}".encode(errors="replace")).hexdigest()[:16]
        try:
            if not await self._count_up(key, meta["namespace"], now) and self._within_budget(meta.get("uid", ""), now):
                await self._create(key, kind, obj, type_, reason, message, now)
        except ApiError as problem:
            log.warning("event not posted", extra={"reason": reason, "problem": str(problem)})

    def _within_budget(self, uid: str, now: datetime) -> bool:
        """At most 20 Events an object and hour, so that a storm stays readable."""
        recent = [t for t in self._budget.get(uid, []) if now - t < timedelta(hours=1)]
        free = len(recent) < PER_HOUR
        # Only what is posted counts, or a lasting storm would silence the object for ever.
        self._budget[uid] = [*recent, now] if free else recent
        self._budget.move_to_end(uid)
        while len(self._budget) > REMEMBERED:
            self._budget.popitem(last=False)
        return free

    async def _count_up(self, key: str, namespace: str, now: datetime) -> bool:
        known = self._seen.get(key)
        if known is None or now - known[1] > SAME_FOR:
            return False
        name, first, count = known[0], known[1], known[2] + 1
        self._seen[key] = (name, first, count)
        series = {"series": {"count": count, "lastObservedTime": _micro(now)}}
        return await self._cluster.patch(EVENT, namespace, name, series) is not None

    async def _create(self, key: str, kind: Kind, obj: JSON, type_: str, reason: str, message: str, now: datetime) -> None:
        meta = obj["metadata"]
        name = f"{meta['name'][:200].rstrip('-.')}.{key[:8]}{int(now.timestamp() * 1000):x}"
        api_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
        body: JSON = {
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "eventTime": _micro(now),
            "type": type_,
            "reason": reason[:128],
            "action": reason[:128],
            "note": redact(message).encode(errors="replace")[:NOTE_BYTES].decode(errors="ignore"),
            "reportingController": self._controller,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": api_version,
                "kind": kind.kind,
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta.get("uid", ""),
            },
        }
        await self._cluster.create(EVENT, meta["namespace"], body)
        self._seen[key] = (name, now, 1)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _micro(now: datetime) -> str:
    return format_time(now).replace("Z", "000Z")
