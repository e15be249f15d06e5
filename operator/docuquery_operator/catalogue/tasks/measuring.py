"""One look at all that can run out: pods, databases, connections, memory of stores, claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...api.stack import Component, ComponentType
from ...domain.upkeep.measures import Measure, Measured, PodUse, of_pods
from ...domain.workloads.pods import PodFacts, pod_facts
from ...ports import CLAIM, JSON, POD_METRICS, ApiError
from .. import shared
from ..base import ProbeContext, Round
from ..probes import postgres, qdrant, redis
from ..resources import amount

MAX_PODS = 50


async def measured(round_: Round, components: Mapping[str, Component]) -> Measured:
    """Everything that can be had; what cannot is told in problems."""
    problems: list[str] = []
    usage = await _usage(round_, problems)
    pods: list[PodUse] = []
    stores: list[Measure] = []
    for name, component in components.items():
        objects = await shared.pod_objects(round_, component)
        pods += [_pod(name, p, usage) for p in objects[:MAX_PODS] if pod_facts(p).phase not in ("Succeeded", "Failed")]
        stores += await _store(round_, name, component, objects)
    problems += [f"{m.component}: {m.what}: {m.problem}" for m in stores if m.problem]
    return Measured(round_.now, tuple(pods), (*stores, *of_pods(pods)), tuple(problems))


async def _usage(round_: Round, problems: list[str]) -> Mapping[str, JSON]:
    """What metrics.k8s.io says, by pod."""
    try:
        found = await round_.ports.cluster.list(POD_METRICS, round_.namespace)
    except ApiError as problem:
        problems.append(
            f"processor and memory of pods: metrics.k8s.io cannot be read ({problem}); metrics-server gives it"[:300]
        )
        return {}
    if not found:
        problems.append("processor and memory of pods: metrics.k8s.io is not served or empty; metrics-server gives it")
    return {(m.get("metadata") or {}).get("name", ""): m for m in found}


def _pod(component: str, pod: JSON, usage: Mapping[str, JSON]) -> PodUse:
    facts = pod_facts(pod)
    spec: JSON = next(iter((pod.get("spec") or {}).get("containers") or []), {})
    resources = spec.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    used = _used(facts, usage)
    return PodUse(
        component,
        facts,
        amount(used.get("cpu")),
        amount(used.get("memory")),
        (amount(requests.get("cpu")), amount(requests.get("memory"))),
        (amount(limits.get("cpu")), amount(limits.get("memory"))),
    )


def _used(pod: PodFacts, usage: Mapping[str, JSON]) -> JSON:
    containers = (usage.get(pod.name) or {}).get("containers") or []
    found: JSON = next((c.get("usage") or {} for c in containers if c.get("name") == pod.container), {})
    return found


async def _store(round_: Round, name: str, component: Component, pods: Sequence[JSON]) -> list[Measure]:
    context = ProbeContext(round_, name, component)
    match component.type:
        case ComponentType.POSTGRESQL:
            return await _postgres(context, await _claim(round_, pods))
        case ComponentType.REDIS:
            return await _redis(context, _memory_limit(pods))
        case ComponentType.QDRANT:
            return await _qdrant(context, _memory_limit(pods))
        case _:
            return []


async def _postgres(context: ProbeContext, claim: float | None) -> list[Measure]:
    seen, name = await postgres.facts(context), context.name
    problem = "" if seen.outcome == "ok" else f"{seen.outcome}: {seen.message}"[:200]
    size = None if seen.database_bytes is None else float(seen.database_bytes + (seen.wal_bytes or 0))
    if claim is not None and size is not None and size > claim:
        # More than the claim can hold: this claim does not bound the volume.
        claim = None
    places = None if seen.max_connections is None else float(max(1, seen.max_connections - (seen.reserved or 0)))
    used = None if seen.used is None else float(seen.used)
    volume = f"the claim of {name}" if claim else ""
    return [
        Measure(f"{name}/bytes", name, "database and WAL", "bytes", size, claim, volume, problem, at_least=True),
        Measure(f"{name}/connections", name, "connections", "connections", used, places, "max_connections", problem),
    ]


async def _redis(context: ProbeContext, container: float | None) -> list[Measure]:
    seen, name = await redis.facts(context), context.name
    problem = "" if seen.outcome == "ok" else f"{seen.outcome}: {seen.message}"[:200]
    bound = float(seen.memory_limit) if seen.memory_limit else container
    limit_name = "maxmemory" if seen.memory_limit else f"the memory limit of {name}" if container else ""
    value = None if seen.memory_bytes is None else float(seen.memory_bytes)
    clients = None if seen.used is None else float(seen.used)
    places = None if seen.max_clients is None else float(seen.max_clients)
    return [
        Measure(f"{name}/bytes", name, "data in memory", "bytes", value, bound, limit_name, problem),
        Measure(f"{name}/clients", name, "clients", "clients", clients, places, "maxclients", problem),
    ]


async def _qdrant(context: ProbeContext, container: float | None) -> list[Measure]:
    seen, name = await qdrant.facts(context), context.name
    problem = "" if seen.outcome == "ok" else f"{seen.outcome}: {seen.message}"[:200]
    collections = seen.collections
    points = (
        None
        if collections is None or any(c.points is None for c in collections)
        else sum(c.points or 0 for c in collections)
    )
    vectors = None if points is None else sum((c.points or 0) * c.bytes_per_point for c in collections or ())
    memory = None if seen.memory_bytes is None else float(seen.memory_bytes)
    limit_name = f"the memory limit of {name}" if container else ""
    more = seen.total is not None and collections is not None and seen.total > len(collections)
    return [
        Measure(f"{name}/rss", name, "resident memory", "bytes", memory, container, limit_name, problem),
        Measure(f"{name}/points", name, "points", "points", _float(points), None, "", problem, at_least=more),
        Measure(f"{name}/vectors", name, "raw vectors", "bytes", _float(vectors), None, "", problem, at_least=more),
    ]


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


def _memory_limit(pods: Sequence[JSON]) -> float | None:
    """The least of its pods' main containers."""
    limits = [
        amount(((c.get("resources") or {}).get("limits") or {}).get("memory"))
        for p in pods
        for c in ((p.get("spec") or {}).get("containers") or [])[:1]
    ]
    return min((limit for limit in limits if limit is not None), default=None)


async def _claim(round_: Round, pods: Sequence[JSON]) -> float | None:
    """The size of the only claim of a pod; None where it has none, or several."""
    volumes = [(p.get("spec") or {}).get("volumes") or [] for p in pods[:1]]
    names = [c["claimName"] for vs in volumes for v in vs if (c := v.get("persistentVolumeClaim")) and c.get("claimName")]
    if len(names) != 1:
        return None
    claim = await round_.ports.cluster.get(CLAIM, round_.namespace, names[0]) or {}
    granted = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    return amount(granted)
