"""Probes of PostgreSQL: one look at the server a round, told as five findings."""

from __future__ import annotations

import re
from typing import Any

from ...ports import CLAIM, DatabaseFacts
from .. import shared
from ..base import ProbeContext

DISK_FULL_LOG = re.compile(r"No space left on device", re.IGNORECASE)
FULL_PERCENT = 95.0
STORM_WAITERS = 5
STORM_SECONDS = 60.0
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}


async def facts(context: ProbeContext) -> DatabaseFacts:
    """One look at the server through its Service."""

    async def read() -> DatabaseFacts:
        host = await shared.address(context.round, context.component)
        if not host:
            return DatabaseFacts("no_address", "the Service is missing or has no endpoint")
        return await _look(context, host)

    found: DatabaseFacts = await context.round.once(("postgres", context.name), read)
    return found


async def _look(context: ProbeContext, host: str) -> DatabaseFacts:
    target = await shared.database_target(context.round, context.component, host)
    if target is None:
        return DatabaseFacts("no_credentials", "the Secret with username and password is missing")
    return await context.round.ports.database.look(target, context.round.timeout)


class PostgresReady:
    """Connects anew, SELECT 1, a write that is rolled back; on failure also straight to the pod."""

    name = "postgresReady"
    doc = (
        "a new connection, SELECT 1, and a write that is rolled back: `ok`, `outcome` (ok, refused, timeout, unreachable, "
        "dns, auth, tls, starting, too_many_connections, missing_database, disk_full, no_address, no_credentials, error), "
        "`write` (ok, disk_full, read_only), and `direct`, the outcome at the pod's own address"
    )
    gives: tuple[str, ...] = ("ok", "outcome", "sqlstate", "write", "direct")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'ok' and 'outcome' are always there."""
        seen = await facts(context)
        ok = seen.outcome == "ok" and seen.write in ("", "ok")
        finding: dict[str, Any] = {"ok": ok, "outcome": seen.outcome, "sqlstate": seen.sqlstate, "write": seen.write}
        finding["direct"] = "" if seen.outcome == "ok" else await self._direct(context)
        text = f"{seen.outcome} in {seen.latency_ms:.0f} ms" if seen.outcome == "ok" else f"{seen.outcome}: {seen.message}"
        if seen.write not in ("", "ok"):
            text += f", writing: {seen.write}"
        if finding["direct"]:
            text += f"; at the pod's own address: {finding['direct']}"
        finding["summary"] = text
        return finding

    async def _direct(self, context: ProbeContext) -> str:
        pods = await shared.pods(context.round, context.component)
        host = next((p.ip for p in pods if p.ip and not p.terminating), "")
        if not host:
            return ""
        seen = await _look(context, host)
        # A replica that answers is no proof that the server lives which clients need.
        return seen.write if seen.outcome == "ok" and seen.write not in ("", "ok") else seen.outcome


class PostgresConnections:
    """Connections in use, and who is idle in a transaction."""

    name = "postgresConnections"
    doc = (
        "connections in use and who is idle in a transaction; only `exhausted` when the server has none left, "
        "nothing when it does not answer"
    )
    gives: tuple[str, ...] = (
        *("used", "max", "limit", "usedPercent", "exhausted", "idleInTransaction", "oldestIdleSeconds"),
        *("sessions", "byComponent"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; only 'exhausted' when the server let nobody in."""
        seen = await facts(context)
        if seen.outcome == "too_many_connections":
            return {"exhausted": True, "summary": "the server has no connection left, not even a reserved one"}
        if seen.used is None or seen.max_connections is None:
            return {"summary": "no figures"}
        limit = max(1, seen.max_connections - (seen.reserved or 0))
        idle = sorted(seen.idle_in_transaction, key=lambda s: -s.idle_seconds)
        return {
            "used": seen.used,
            "max": seen.max_connections,
            "limit": limit,
            "usedPercent": round(100 * seen.used / limit, 1),
            "exhausted": seen.used >= limit,
            "idleInTransaction": len(idle),
            "oldestIdleSeconds": round(idle[0].idle_seconds) if idle else 0,
            "sessions": [
                {"pid": s.pid, "started": s.started, "role": s.role, "application": s.application[:64], "address": s.address,
                 "idleSeconds": round(s.idle_seconds)}
                for s in idle[:200]
            ],
            "byComponent": await shared.client_counts(context.round, [s.address for s in idle]),
            "summary": f"{seen.used} of {limit} connections for applications in use, {len(idle)} idle in transaction"
            + (f", the oldest for {shared.age_words(idle[0].idle_seconds)}" if idle else ""),
        }  # fmt: skip


class PostgresLocks:
    """Sessions that wait for locks, and the one at the root."""

    name = "postgresLocks"
    doc = "sessions that wait for locks and those at the root; nothing when the server does not answer"
    gives: tuple[str, ...] = ("waiting", "oldestSeconds", "storm", "blockers")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; only a summary when the server let nobody in."""
        seen = await facts(context)
        if seen.waiting_on_locks is None:
            return {"summary": "no figures"}
        roots = sorted(seen.blockers, key=lambda b: -b.waiting)
        oldest = max((b.age_seconds for b in roots), default=0.0)
        return {
            "waiting": seen.waiting_on_locks,
            "oldestSeconds": round(oldest),
            "storm": seen.waiting_on_locks >= STORM_WAITERS and oldest >= STORM_SECONDS,
            "blockers": [
                {"pid": b.pid, "started": b.started, "role": b.role, "application": b.application[:64],
                 "waiting": b.waiting, "ageSeconds": round(b.age_seconds)}
                for b in roots[:10]
            ],
            "summary": f"{seen.waiting_on_locks} sessions wait for locks"
            + (f", {roots[0].waiting} behind pid {roots[0].pid} ({roots[0].application})" if roots else ""),
        }  # fmt: skip


class PostgresRecovery:
    """Replica, read-only, or still replaying its log."""

    name = "postgresRecovery"
    doc = "`starting` while the server replays its log; the others only when it answers"
    gives: tuple[str, ...] = ("starting", "inRecovery", "readOnly")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'starting' is always there."""
        seen = await facts(context)
        finding: dict[str, Any] = {"starting": seen.outcome == "starting"}
        if seen.in_recovery is not None:
            finding["inRecovery"] = seen.in_recovery
            finding["readOnly"] = bool(seen.read_only) or seen.write == "read_only"
            finding["summary"] = f"in recovery: {seen.in_recovery}, read-only: {finding['readOnly']}"
        else:
            finding["summary"] = seen.message[:200] if finding["starting"] else "no figures"
        return finding


class PostgresDisk:
    """Whether the volume is full, from three witnesses: a write, the server's log, and its own sizes against the claim."""

    name = "postgresDisk"
    doc = (
        "whether the volume is `full`, and the `source` that says so (write, log, sizes, none); `usedPercent` is database "
        "and WAL against the claim"
    )
    gives: tuple[str, ...] = ("full", "usedPercent", "capacity", "claim", "source")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'full' is always there."""
        seen = await facts(context)
        claim, capacity = await self._claim(context)
        finding: dict[str, Any] = {"full": False, "claim": claim, "capacity": capacity, "source": "none"}
        if seen.database_bytes is not None and quantity(capacity):
            used = seen.database_bytes + (seen.wal_bytes or 0)
            finding["usedPercent"] = round(100 * used / quantity(capacity), 1)
            finding["source"] = "sizes"
            # More than the claim can hold: the claim does not bound this volume, so its size proves nothing.
            finding["full"] = FULL_PERCENT <= finding["usedPercent"] <= 100.0
        if seen.write == "disk_full" or seen.outcome == "disk_full":
            finding.update(full=True, source="write")
        elif seen.outcome != "ok" and await self._log_says_full(context):
            finding.update(full=True, source="log")
        share = f", database and WAL take {finding['usedPercent']}%" if "usedPercent" in finding else ""
        state = f"full (seen by {finding['source']})" if finding["full"] else "not full as far as can be seen"
        finding["summary"] = f"volume {claim or '?'} of {capacity or '?'}: {state}{share}"
        return finding

    async def _claim(self, context: ProbeContext) -> tuple[str, str]:
        for pod in await shared.pod_objects(context.round, context.component):
            for volume in pod.get("spec", {}).get("volumes") or []:
                name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
                if name:
                    found = await context.round.ports.cluster.get(CLAIM, context.round.namespace, name)
                    return name, ((found or {}).get("status", {}).get("capacity") or {}).get("storage", "")
        return "", ""

    async def _log_says_full(self, context: ProbeContext) -> bool:
        for pod in await shared.pods(context.round, context.component):
            for previous in (False, True):
                if previous and not pod.restarts:
                    continue
                text = await context.round.ports.cluster.logs(context.round.namespace, pod.name, pod.container, previous, 40)
                if DISK_FULL_LOG.search(text):
                    return True
        return False


def quantity(text: str) -> float:
    """Bytes of a Kubernetes quantity, 0 when it is none."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]i|[kMGT]?)", text or "")
    return float(found.group(1)) * _UNITS[found.group(2)] if found else 0.0
