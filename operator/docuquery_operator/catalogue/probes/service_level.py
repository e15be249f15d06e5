"""serviceLevel: an api's response time, failures, throughput and queue over the Stack's window, against its thresholds."""

from __future__ import annotations

from typing import Any

from ...domain.traffic.counters import Quantile
from ...domain.traffic.http_metrics import Figures
from .. import resources
from ..base import ProbeContext
from ..service_levels import ServiceLevel, service_level


class ServiceLevelProbe:
    """`level` only where the data say one; figures only where they are known."""

    name = "serviceLevel"
    doc = (
        "an api's figures over the Stack's `thresholds.window`: `level` (none, info, warning, critical) once it holds for "
        "some readings, and whether it is `slow` or `failing`; `source` (prometheus, pods, synthetic), users' `requests`, "
        "those `failed` (5xx) and `limited` (429), times, the path with most failures and the one that takes most of the "
        "time with their shares; `inProgress` a pod, `queueLength`, `cpuPercent` and `memoryPercent` of the limits where "
        "the cluster measures them; without data only what is known"
    )
    gives: tuple[str, ...] = (
        *("level", "slow", "failing", "source", "requests", "failed", "limited", "errorPercent", "limitedPercent"),
        *("requestsPerSecond", "p50Ms", "p95Ms", "p99Ms", "paths", "failingPath", "failingPathPercent"),
        *("slowPath", "slowPathPercent", "inProgress", "queueLength", "cpuPercent", "memoryPercent"),
    )

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'summary' says why there is no level."""
        seen = await service_level(context.round, context.name, context.component)
        finding: dict[str, Any] = {"summary": seen.words}
        if seen.level is not None:
            finding |= {"level": seen.level.value, "slow": seen.judged.slow, "failing": seen.judged.failing}
        if seen.kind:
            finding["source"] = seen.kind
        if seen.reading.figures is not None:
            finding |= _figures(seen.reading.figures, seen.kind)
        finding |= _now(seen)
        finding |= await resources.usage(context.round, context.component)
        return finding


def _figures(found: Figures, kind: str) -> dict[str, Any]:
    finding: dict[str, Any] = {"requests": round(found.requests)}
    for name, q in (("p50Ms", found.p50), ("p95Ms", found.p95), ("p99Ms", found.p99)):
        if isinstance(q, Quantile):
            finding[name] = round(q.value * 1000)
    if found.failed is not None:
        finding["failed"] = round(found.failed)
    if found.error_rate is not None:
        finding["errorPercent"] = found.error_rate * 100
    if found.limited is not None:
        finding["limited"] = round(found.limited)
        finding["limitedPercent"] = found.limited / found.requests * 100 if found.requests else 0.0
    if kind != "synthetic":
        finding["requestsPerSecond"] = found.per_second
    return finding | _paths(found)


def _paths(found: Figures) -> dict[str, Any]:
    if not found.paths:
        return {}
    finding: dict[str, Any] = {"paths": len(found.paths)}
    failing, slow = max(found.paths, key=lambda p: p.failed), max(found.paths, key=lambda p: p.seconds)
    failed, taken = sum(p.failed for p in found.paths), sum(p.seconds for p in found.paths)
    if failed > 0:
        finding |= {"failingPath": failing.path, "failingPathPercent": round(failing.failed / failed * 100)}
    if taken > 0:
        finding |= {"slowPath": slow.path, "slowPathPercent": round(slow.seconds / taken * 100)}
    return finding


def _now(seen: ServiceLevel) -> dict[str, Any]:
    finding: dict[str, Any] = {}
    if seen.in_progress is not None:
        finding["inProgress"] = round(seen.in_progress)
    if seen.queues:
        finding["queueLength"] = round(sum(seen.queues.values()))
    return finding
