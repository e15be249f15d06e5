"""Leader election on a Lease: monotonic clock, fencing by the number of transitions, hard stop when the clock runs out.

As client-go says of its own elector, a Lease alone does not prove that only one acts; that is why every effect also carries
an attempt id and every status write the resource version it was decided on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ..domain.names import LOOKED_ANNOTATION
from ..ports import JSON, LEASE, ApiError, Cluster, Conflict

log = logging.getLogger(__name__)
CALL_SECONDS = 3.0
EXIT_CODE = 70


class LeaderLease:
    """Take the Lease, keep it, give it back. `leading()` is true only while renewal was surely in time."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, duration: float, deadline: float, retry: float
    ) -> None:
        self._cluster = cluster
        self._namespace, self._name, self._identity = namespace, name, identity
        self._duration, self._deadline, self._retry = duration, deadline, retry
        self._term = 0
        self._renewed: float | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._highest = 0
        self._asked = False
        self._over = False
        self._calling = asyncio.Lock()
        self._looked: datetime | None = None
        self._predecessor: datetime | None = None
        self.reached: float | None = None

    @property
    def term(self) -> int:
        """Number of this leadership."""
        return self._term

    def leading(self) -> bool:
        """True while the last renewal is younger than the renew deadline."""
        return self._renewed is not None and time.monotonic() - self._renewed < self._deadline

    @property
    def predecessor_looked(self) -> datetime | None:
        """See ports.Leader. Rests on the wall clock of whoever led before; uptime alone is counted by it."""
        return self._predecessor

    def looked(self, at: datetime) -> None:
        """See ports.Leader."""
        self._looked = at

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self._try():
            await asyncio.sleep(self._retry)
        log.info("leading", extra={"term": self._term, "instance": self._identity})

    async def keep(self) -> None:
        """Renew for ever; returns when the Lease is lost."""
        while self._renewed is not None and time.monotonic() - self._renewed < self._duration:
            await asyncio.sleep(self._retry)
            if not await self._try() and not self.leading():
                log.error("the leader Lease is lost", extra={"instance": self._identity})
                return

    async def release(self) -> None:
        """Give the Lease back, so that the other replica need not wait for its end; it is not taken again."""
        self._over, self._renewed = True, None
        if not self._asked:
            return
        body: JSON = {"spec": {"holderIdentity": "", "renewTime": _now()}}
        try:
            async with asyncio.timeout(CALL_SECONDS), self._calling:
                lease = await self._cluster.get(LEASE, self._namespace, self._name)
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    body["metadata"] = self._metadata(lease)
                    await self._cluster.patch(LEASE, self._namespace, self._name, body)
                self._asked = False
        except (ApiError, TimeoutError) as problem:
            log.warning("the leader Lease was not given back", extra={"problem": str(problem)})

    def guard(self, ends: Callable[[], None] | None = None) -> threading.Thread:
        """A thread that ends the process when the Lease has run out, even while the event loop hangs."""
        finish = ends or (lambda: os._exit(EXIT_CODE))

        def watch() -> None:
            while True:
                time.sleep(0.5)
                renewed = self._renewed
                if renewed is not None and time.monotonic() - renewed > self._duration:
                    finish()
                    return

        thread = threading.Thread(target=watch, name="lease-guard", daemon=True)
        thread.start()
        return thread

    async def _try(self) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS), self._calling:
                held = not self._over and await self._take(began)
        except (ApiError, TimeoutError) as problem:
            if not isinstance(problem, Conflict):
                log.warning("leader Lease not reached", extra={"problem": str(problem)[:200]})
            return False
        self.reached = time.monotonic()
        return held

    async def _take(self, began: float) -> bool:
        lease = await self._cluster.get(LEASE, self._namespace, self._name)
        if lease is None:
            # Somebody may have deleted it: the terms that we know of must not come again.
            fresh = self._claim(self._highest + 1) | {"acquireTime": _now()}
            await self._cluster.create(LEASE, self._namespace, {"metadata": {"name": self._name}, "spec": fresh})
            return self._taken(self._highest + 1, began)
        spec: JSON = lease.get("spec") or {}
        self._highest = max(self._highest, int(spec.get("leaseTransitions") or 0))
        holder = spec.get("holderIdentity") or ""
        mine = holder == self._identity and self._renewed is not None
        if not mine and not self._free(holder, str(spec.get("renewTime")), float(spec.get("leaseDurationSeconds") or 0)):
            # Whatever we believed: it is somebody else's.
            self._renewed, self._asked = None, False
            return False
        term = self._highest + (0 if mine else 1)
        change = self._claim(term) | ({} if mine else {"acquireTime": _now()})
        if not mine:
            self._predecessor = _looked_at(lease)
        body = {"metadata": self._metadata(lease), "spec": change}
        if await self._cluster.patch(LEASE, self._namespace, self._name, body) is None:
            return False
        return self._taken(term, began)

    def _metadata(self, lease: JSON) -> JSON:
        """Who has looked at nothing yet leaves the word of its predecessor."""
        version: JSON = {"resourceVersion": lease["metadata"]["resourceVersion"]}
        return version | ({"annotations": {LOOKED_ANNOTATION: _written(self._looked)}} if self._looked else {})

    def _claim(self, term: int) -> JSON:
        """What is written to take or keep the Lease; from now on it may be ours, whatever the answer."""
        self._asked = True
        claim: JSON = {"holderIdentity": self._identity, "leaseTransitions": term, "renewTime": _now()}
        return claim | {"leaseDurationSeconds": math.ceil(self._duration)}

    def _taken(self, term: int, began: float) -> bool:
        if self._over:
            return False
        self._term = self._highest = term
        self._renewed = began
        return True

    def _free(self, holder: str, renew_time: str, duration: float) -> bool:
        """Given back, our own from an earlier life, or not renewed for its duration by our own monotonic clock."""
        if holder in ("", self._identity):
            return True
        stamp = f"{holder}/{renew_time}"
        if self._seen[0] != stamp:
            self._seen = (stamp, time.monotonic())
            return False
        return time.monotonic() - self._seen[1] > max(duration, self._duration)


def _now() -> str:
    # Only for people who read the Lease: no decision rests on it.
    return _written(datetime.fromtimestamp(time.time_ns() / 1e9, UTC))


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _looked_at(lease: JSON) -> datetime | None:
    text = (lease["metadata"].get("annotations") or {}).get(LOOKED_ANNOTATION, "")
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None
