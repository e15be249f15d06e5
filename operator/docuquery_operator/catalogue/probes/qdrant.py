"""Probes of Qdrant: one look at the server a round, told as findings, and a search as a client would make it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...domain.workloads.pods import limit_of
from ...ports import QdrantCollection, QdrantFacts, QdrantTarget
from .. import shared
from ..base import ProbeContext
from .postgres import quantity

NOBODY = ("refused", "timeout", "unreachable", "no_address", "no_credentials")
TOLD = 32
SEARCHED = 4
SAMPLES, FEWEST_SAMPLES = 20, 3
# What is older must not hide that searches are fast again: a verdict waits for minutes, not longer.
SAMPLES_SECONDS, SAMPLES_ROUNDS = 30.0, 4
# A collection that was not looked at for so long may have been green meanwhile.
FORGOTTEN_SECONDS = 60.0
FULL = ("no space left", "wal buffer size exceeds available disk space")


async def facts(context: ProbeContext) -> QdrantFacts:
    """One look at the server through its Service."""

    async def read() -> QdrantFacts:
        host = await shared.address(context.round, context.component)
        if not host:
            return QdrantFacts("no_address", "the Service is missing or has no endpoint")
        return await _look(context, host)

    found: QdrantFacts = await context.round.once(("qdrant", context.name), read)
    return found


async def _look(context: ProbeContext, host: str) -> QdrantFacts:
    target = await shared.qdrant_target(context.round, context.component, host)
    if target is None:
        return QdrantFacts("no_credentials", "the Secret with the key is missing")
    return await context.round.ports.qdrant.look(target, context.round.timeout)


class QdrantReady:
    """Health path, and whether the storage behind it answers; where nobody does also straight at the pod."""

    name = "qdrantReady"
    doc = (
        "the health path *and* the collections, for /readyz alone stays true once it was: `ok`, `outcome` (ok, refused, "
        "timeout, unreachable, auth, not_ready, stalled, no_address, no_credentials, error), `direct`, the outcome at the "
        "pod's own address where nobody answers, and `server`, whichever of both is the server's own word; stalled: its "
        "health path answers and its storage does not; `memoryPercent` of the memory limit where both are known"
    )
    gives: tuple[str, ...] = ("ok", "outcome", "direct", "server", "version", "memoryBytes", "memoryPercent")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; the first four are always there."""
        seen = await facts(context)
        direct = await self._direct(context) if seen.outcome in NOBODY else ""
        said = next((o for o in (seen.outcome, direct) if o and o not in NOBODY), "")
        finding: dict[str, Any] = {"ok": seen.outcome == "ok", "outcome": seen.outcome, "direct": direct, "server": said}
        text = f"{seen.outcome} in {seen.latency_ms:.0f} ms" if finding["ok"] else f"{seen.outcome}: {seen.message}"
        if seen.version:
            finding["version"] = seen.version
        if seen.memory_bytes is not None:
            finding |= await self._memory(context, seen.memory_bytes)
            text += f", {seen.memory_bytes / 2**20:.0f} MiB of memory"
        finding["summary"] = text + (f"; at the pod's own address: {direct}" if direct else "")
        return finding

    async def _memory(self, context: ProbeContext, used: int) -> dict[str, Any]:
        owner = await shared.workload(context.round, context.component)
        limit = quantity(limit_of(owner or {}, "memory"))
        return {"memoryBytes": used} | ({"memoryPercent": round(100 * used / limit, 1)} if limit else {})

    async def _direct(self, context: ProbeContext) -> str:
        pods = await shared.pods(context.round, context.component)
        host = next((p.ip for p in pods if p.ip and not p.terminating), "")
        return (await _look(context, host)).outcome if host else ""


@dataclass
class _State:
    """Since when a collection is as it is."""

    status: str
    since: datetime
    seen: datetime


class QdrantCollections:
    """States of the collections, and for how long they are so."""

    name = "qdrantCollections"
    doc = (
        "numbers of collections that are `green`, `yellow`, `grey` and `red`; `yellowSeconds` and `greySeconds`, how long "
        "the one that is so for longest was seen so (a snapshot shows yellow too, that time does not count); "
        "`optimizerFailed` and the first `optimizerError`; `snapshotRunning` where the server tells; `diskFull` when it "
        "says so; `indexedPercent`; `collections` with figures and settings in force, 32 at most; only `diskFull` when the "
        "server does not answer"
    )
    gives: tuple[str, ...] = (
        *("total", "green", "yellow", "grey", "red", "yellowSeconds", "greySeconds", "optimizerFailed", "optimizerError"),
        *("snapshotRunning", "diskFull", "points", "segments", "indexedPercent", "collections"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; only 'diskFull' without an answer."""
        seen = await facts(context)
        if seen.collections is None:
            return {"diskFull": _says_full(seen.message), "summary": "no figures"}
        found = seen.collections
        since = self._since(context, seen)
        errors = [f"{c.name[:64]}: {c.optimizer_error}" for c in found if c.optimizer_error]
        finding: dict[str, Any] = {
            "total": seen.total or 0,
            **{status: sum(c.status == status for c in found) for status in ("green", "yellow", "grey", "red")},
            **{f"{status}Seconds": _longest(since, status, context.round.now) for status in ("yellow", "grey")},
            "optimizerFailed": len(errors),
            "optimizerError": errors[0][:300] if errors else "",
            "diskFull": any(_says_full(c.optimizer_error) for c in found),
            "points": sum(c.points or 0 for c in found),
            "segments": sum(c.segments or 0 for c in found),
            "collections": [_told(c, since[c.name], context.round.now) for c in _worst_first(found)[:TOLD]],
        }
        if seen.snapshots_running is not None:
            finding["snapshotRunning"] = seen.snapshots_running > 0
        if finding["points"] and all(c.indexed is not None for c in found):
            share = sum(min(c.indexed or 0, c.points or 0) for c in found) / finding["points"]
            finding["indexedPercent"] = round(100 * share, 1)
        finding["summary"] = _summary(finding, found)
        return finding

    def _since(self, context: ProbeContext, seen: QdrantFacts) -> Mapping[str, _State]:
        now, kept = context.round.now, context.round.memory.setdefault(("qdrant states", context.name), {})
        pause = max(FORGOTTEN_SECONDS, 3 * context.round.stack.spec.detection.pace)
        states = {}
        for c in seen.collections or ():
            before = kept.get(c.name)
            same = before is not None and before.status == c.status and 0 <= _seconds(before.seen, now) <= pause
            explained = c.status == "yellow" and bool(seen.snapshots_running)
            states[c.name] = _State(c.status, before.since if same and not explained else now, now)
        kept.clear()
        kept.update(states)
        return states


class QdrantSearch:
    """How long a search takes."""

    name = "qdrantSearch"
    doc = (
        "one nearest neighbour of a constant vector in each of the up to four largest collections, each round: `p50Ms` and "
        "`p95Ms` of the slowest one in the last half minute, four rounds at least and 20 at most, one outlier left aside, "
        "not before the third; a search without an answer counts as one that took the whole time-out; `searchable` is false "
        "where no collection has a point; nothing when the server does not answer"
    )
    gives: tuple[str, ...] = ("searchable", "p50Ms", "p95Ms", "samples", "collection")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; without an answer of the server nothing, and what was measured before is forgotten."""
        seen = await facts(context)
        samples: dict[str, deque[tuple[datetime, float]]] = context.round.memory.setdefault(
            ("qdrant searches", context.name), {}
        )
        target = await self._target(context) if seen.collections is not None else None
        if target is None:
            samples.clear()
            return {"summary": "no search"}
        filled = [c for c in seen.collections or () if c.size and c.points]
        chosen = sorted(filled, key=lambda c: (-(c.points or 0), c.name))[:SEARCHED]
        took = await asyncio.gather(*(self._took(context, target, c) for c in chosen))
        for gone in set(samples) - {c.name for c in chosen}:
            del samples[gone]
        for collection, milliseconds in zip(chosen, took, strict=True):
            if milliseconds is not None:
                samples.setdefault(collection.name, deque(maxlen=SAMPLES)).append((context.round.now, milliseconds))
        return _latency(self._fresh(context, samples), bool(chosen))

    def _fresh(self, context: ProbeContext, samples: Mapping[str, deque[tuple[datetime, float]]]) -> dict[str, list[float]]:
        now, limit = context.round.now, max(SAMPLES_SECONDS, SAMPLES_ROUNDS * context.round.stack.spec.detection.pace)
        for kept in samples.values():
            while kept and not 0 <= _seconds(kept[0][0], now) <= limit:
                kept.popleft()
        return {name: [took for _, took in kept] for name, kept in samples.items()}

    async def _target(self, context: ProbeContext) -> QdrantTarget | None:
        host = await shared.address(context.round, context.component)
        return await shared.qdrant_target(context.round, context.component, host) if host else None

    async def _took(self, context: ProbeContext, target: QdrantTarget, collection: QdrantCollection) -> float | None:
        limit = context.round.timeout
        answer = await context.round.ports.qdrant.search(target, collection, limit)
        if answer.outcome in ("missing", "auth"):
            # Dropped meanwhile, or not this key's to search.
            return None
        return answer.latency_ms if answer.outcome == "ok" else max(answer.latency_ms, 1000 * limit)


class QdrantClusterState:
    """Whether there is more than one node, and how the shards are."""

    name = "qdrantCluster"
    doc = (
        "`enabled`: whether the server is part of a cluster; then `peers`, peers that messages `failing` to reach, and "
        "`localShards`, `remoteShards` and `inactiveShards` of up to 16 collections; nothing when it does not tell"
    )
    gives: tuple[str, ...] = ("enabled", "peers", "failing", "localShards", "remoteShards", "inactiveShards")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        cluster = (await facts(context)).cluster
        if cluster is None:
            return {"summary": "no figures"}
        if not cluster.enabled:
            return {"enabled": False, "peers": 1, "summary": "a single node"}
        shards = {
            "localShards": cluster.local_shards,
            "remoteShards": cluster.remote_shards,
            "inactiveShards": cluster.inactive_shards,
        }
        finding: dict[str, Any] = {"enabled": True, "peers": cluster.peers, "failing": cluster.failing}
        finding |= {k: v for k, v in shards.items() if v is not None}
        finding["summary"] = f"{cluster.peers} peers, {cluster.failing} of them not reached by messages"
        return finding


def percentile(samples: Sequence[float], share: float) -> float:
    """By nearest rank; the single largest is left aside, as one lost answer is no slowness."""
    ordered = sorted(samples)
    rank = min(math.ceil(share * len(ordered)), max(1, len(ordered) - 1))
    return ordered[rank - 1]


def _latency(samples: Mapping[str, Sequence[float]], searchable: bool) -> dict[str, Any]:
    finding: dict[str, Any] = {"searchable": searchable, "summary": "no collection has a point to search for"}
    if not searchable:
        return finding
    finding["summary"] = "not measured often enough yet"
    enough = {name: s for name, s in samples.items() if len(s) >= FEWEST_SAMPLES}
    if not enough:
        return finding
    slowest = max(sorted(enough), key=lambda n: percentile(enough[n], 0.95))
    known = enough[slowest]
    finding |= {
        "p50Ms": round(percentile(known, 0.5), 1),
        "p95Ms": round(percentile(known, 0.95), 1),
        "samples": len(known),
        "collection": slowest,
    }
    text = f"search in {slowest[:64]}: p50 {finding['p50Ms']} ms, p95 {finding['p95Ms']} ms of {len(known)}"
    finding["summary"] = text
    return finding


def _says_full(text: str) -> bool:
    return any(words in text.lower() for words in FULL)


def _seconds(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def _longest(since: Mapping[str, _State], status: str, now: datetime) -> float:
    return max(((now - s.since).total_seconds() for s in since.values() if s.status == status), default=0.0)


def _worst_first(found: Sequence[QdrantCollection]) -> list[QdrantCollection]:
    """Those that are not green, then the largest."""
    return sorted(found, key=lambda c: (c.status == "green", -(c.points or 0), c.name))


def _told(c: QdrantCollection, state: _State, now: datetime) -> dict[str, Any]:
    return {
        "name": c.name,
        "status": c.status,
        "seconds": (now - state.since).total_seconds(),
        "points": c.points,
        "indexed": c.indexed,
        "segments": c.segments,
        "shards": c.shards,
        "bytesPerPoint": c.bytes_per_point,
        "optimizers": dict(c.optimizers),
    }


def _summary(finding: Mapping[str, Any], found: Sequence[QdrantCollection]) -> str:
    counts = ", ".join(f"{finding[s]} {s}" for s in ("green", "yellow", "grey", "red") if finding[s])
    text = f"{finding['total']} collections: {counts or 'none'}"
    others = [c.name[:64] for c in found if c.status != "green"][:4]
    if others:
        text += f" ({', '.join(others)})"
    if finding["optimizerError"]:
        text += f"; {finding['optimizerError']}"
    return text + ("; a snapshot runs" if finding.get("snapshotRunning") else "")
