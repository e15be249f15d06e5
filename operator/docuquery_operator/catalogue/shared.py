"""Reads that several probes need: pods, workload, Service address, credentials. Each is read once a round."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..api.common import ObjectMeta, SecretRef
from ..api.incident import Step
from ..api.stack import CelerySettings, Component, ComponentType, Endpoint, Stack, StackSpec, WorkloadRef
from ..domain.workloads.pods import PodFacts, owned, pod_facts
from ..ports import (
    CONTROLLER_REVISION,
    ENDPOINT_SLICE,
    JSON,
    POD,
    REPLICA_SET,
    SECRET,
    SERVICE,
    WORKLOADS,
    CeleryTarget,
    DatabaseTarget,
    HttpAnswer,
    Ports,
    QdrantTarget,
    RedisTarget,
    Transient,
)
from .base import Round

_EXPRESSIONS = {"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"}
HEALTH_PATH = "/health"
METRICS_PATH, METRICS_LIMIT = "/metrics", 4 * 1024 * 1024
# As Qdrant's own header and its Helm chart's Secret call it.
QDRANT_KEY = "api-key"


async def workload(round_: Round, component: Component) -> JSON | None:
    """The workload object, or None."""
    ref = component.workload

    async def read() -> JSON | None:
        return await round_.ports.cluster.get(WORKLOADS[ref.kind], round_.namespace, ref.name)

    found: JSON | None = await round_.once(("workload", ref.kind, ref.name), read)
    return found


async def pods(round_: Round, component: Component) -> Sequence[PodFacts]:
    """Facts of the workload's pods."""
    return [pod_facts(p) for p in await pod_objects(round_, component)]


async def pod_objects(round_: Round, component: Component) -> Sequence[JSON]:
    """The workload's own pods among those that its selector matches; none when the selector is empty (rule 2)."""
    owner = await workload(round_, component)
    selector = selector_of(owner)
    if owner is None or not selector:
        return []

    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(POD, round_.namespace, selector)

    found: Sequence[JSON] = await round_.once(("pods", selector), read)
    return [p for p in found if owned(p, owner)]


async def revisions(round_: Round, component: Component) -> Sequence[JSON]:
    """The workload's own ReplicaSets or ControllerRevisions."""
    owner, ref = await workload(round_, component), component.workload
    selector = selector_of(owner)
    if owner is None or not selector:
        return []
    kind = CONTROLLER_REVISION if ref.kind == "StatefulSet" else REPLICA_SET

    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(kind, round_.namespace, selector)

    found: Sequence[JSON] = await round_.once(("revisions", ref.kind, selector), read)
    return [r for r in found if owned(r, owner)]


def selector_of(owner: JSON | None) -> str:
    """Label selector of a workload as the API takes it; '' when it has none."""
    selector: JSON = (owner or {}).get("spec", {}).get("selector") or {}
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions = [_EXPRESSIONS[e["operator"]].format(e["key"], ",".join(e.get("values") or [])) for e in
                   selector.get("matchExpressions") or []]  # fmt: skip
    return ",".join([*(f"{k}={v}" for k, v in sorted(labels.items())), *expressions])


async def service(round_: Round, component: Component) -> JSON | None:
    """The component's Service."""
    if component.endpoint is None:
        return None
    name = component.endpoint.service

    async def read() -> JSON | None:
        return await round_.ports.cluster.get(SERVICE, round_.namespace, name)

    found: JSON | None = await round_.once(("service", name), read)
    return found


async def _slices(round_: Round, component: Component) -> Sequence[JSON]:
    if component.endpoint is None:
        return []
    name = component.endpoint.service

    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(ENDPOINT_SLICE, round_.namespace, f"kubernetes.io/service-name={name}")

    found: Sequence[JSON] = await round_.once(("endpoints", name), read)
    return found


async def pod_port(round_: Round, component: Component) -> int:
    """The port of the component's pods behind the port of its Service; the latter where nothing else is told."""
    assert component.endpoint is not None
    port = component.endpoint.port
    ours = await service(round_, component)
    entries: Sequence[JSON] = (ours or {}).get("spec", {}).get("ports") or []
    name = next((e.get("name") or "" for e in entries if e.get("port") == port), None)
    if name is None:
        return port
    behind = [p for s in await _slices(round_, component) for p in s.get("ports") or [] if (p.get("name") or "") == name]
    return int(next((p["port"] for p in behind if p.get("port")), port))


def metrics_path(component: Component) -> str:
    """Where its pods tell their metrics."""
    return component.metrics.path if component.metrics else METRICS_PATH


async def metrics_page(round_: Round, component: Component, pod: PodFacts) -> HttpAnswer:
    """A pod's page of metrics."""
    port, path = await pod_port(round_, component), metrics_path(component)

    async def read() -> HttpAnswer:
        return await round_.ports.network.http_get(pod.ip, port, path, round_.timeout, METRICS_LIMIT)

    found: HttpAnswer = await round_.once(("metrics", pod.ip, port, path), read)
    return found


async def endpoints(round_: Round, component: Component) -> Sequence[str]:
    """Addresses of the Service's ready endpoints."""
    return [
        address
        for s in await _slices(round_, component)
        for e in s.get("endpoints") or []
        if (e.get("conditions") or {}).get("ready", True)
        for address in e.get("addresses") or []
    ]


async def address(round_: Round, component: Component) -> str:
    """Where to connect: the Service's address from the API, so that a sick cluster DNS does not blind the operator."""
    found = await service(round_, component)
    ip: str = (found or {}).get("spec", {}).get("clusterIP", "")
    if ip and ip != "None":
        return ip
    ready = await endpoints(round_, component)
    return ready[0] if ready else ""


def readiness_path(component: Component) -> str:
    """Path at which a component that speaks HTTP says that it is well."""
    if component.type is ComponentType.QDRANT:
        return "/readyz"
    return component.health.path if component.health else HEALTH_PATH


async def database_target(round_: Round, component: Component, host: str) -> DatabaseTarget | None:
    """Address and credentials of a PostgreSQL component; None when its Secret is missing or incomplete."""
    if component.credentials is None or component.endpoint is None or component.database is None:
        return None
    secret = await credentials(round_, component.credentials.secret_name)
    if "username" not in secret or "password" not in secret:
        return None
    return DatabaseTarget(
        host=host,
        port=component.endpoint.port,
        database=component.database,
        user=secret["username"],
        password=secret["password"],
        roles=tuple(component.session_roles),
    )


async def redis_target(round_: Round, component: Component, host: str) -> RedisTarget | None:
    """Address of a Redis component, and its password where it names a Secret; None when that Secret has none."""
    port = component.endpoint.port if component.endpoint else 0
    if component.credentials is None:
        return RedisTarget(host, port)
    secret = await credentials(round_, component.credentials.secret_name)
    if not secret.get("password"):
        return None
    return RedisTarget(host, port, secret.get("username", ""), secret["password"])


async def target_of_plan(step: Step, namespace: str, ports: Ports, timeout: float) -> RedisTarget:
    """Address and password by a step's written plan, so that a Stack edited meanwhile moves nothing."""
    plan = step.plan or {}
    component = plain_redis(plan["service"], plan["port"], plan["secret"])
    round_ = Round(bare_stack(namespace), ports, timeout, ports.clock.now())
    host = await address(round_, component)
    target = await redis_target(round_, component, host)
    if target is None or not host:
        raise Transient("the server's address or password is missing", 5.0)
    return target


def broker_of(stack: Stack, worker: Component) -> tuple[str, Component] | None:
    """The Redis that a worker takes its tasks from: the one that it names, else the only one that it depends on."""
    components = stack.spec.components
    named = worker.celery.broker if worker.celery else None
    candidates = [named] if named else worker.depends_on or list(components)
    found = [(n, components[n]) for n in candidates if n in components and components[n].type is ComponentType.REDIS]
    return found[0] if len(found) == 1 else None


async def celery_target(round_: Round, broker: Component, celery: CelerySettings, host: str) -> CeleryTarget | None:
    """Where the queues of this application are; None when the broker's Secret is missing."""
    target = await redis_target(round_, broker, host)
    if target is None:
        return None
    return CeleryTarget(
        replace(target, database=celery.database), tuple(celery.queues), celery.key_prefix, celery.result_prefix
    )


async def qdrant_target(round_: Round, component: Component, host: str) -> QdrantTarget | None:
    """Address of a Qdrant component, and its key where it names a Secret; None when that Secret has none."""
    port = component.endpoint.port if component.endpoint else 0
    if component.credentials is None:
        return QdrantTarget(host, port)
    key = (await credentials(round_, component.credentials.secret_name)).get(QDRANT_KEY, "")
    return QdrantTarget(host, port, key) if key else None


async def client_counts(round_: Round, addresses: Sequence[str]) -> dict[str, int]:
    """How many of these addresses are pods of each component."""
    if not addresses:
        return {}
    owners: dict[str, set[str]] = {}
    for name, component in round_.stack.spec.components.items():
        for pod in await pods(round_, component):
            owners.setdefault(pod.ip, set()).add(name)
    # Pods on the node's own network share its address: whose such a client is cannot be said.
    known = [name for address in addresses if address and len(owners.get(address, ())) == 1 for name in owners[address]]
    return dict(Counter(known))


async def credentials(round_: Round, name: str) -> Mapping[str, str]:
    """Decoded data of a Secret, empty when it is missing."""

    async def read() -> Mapping[str, str]:
        found = await round_.ports.cluster.get(SECRET, round_.namespace, name)
        data: Mapping[str, str] = (found or {}).get("data") or {}
        return {k: base64.b64decode(v).decode(errors="replace") for k, v in data.items()}

    found: Mapping[str, str] = await round_.once(("secret", name), read)
    return found


def plain_database(service_name: str, port: int, database: str, secret: str) -> Component:
    """A PostgreSQL component as far as connecting goes."""
    return Component(
        type=ComponentType.POSTGRESQL,
        workload=WorkloadRef(kind="StatefulSet", name=service_name),
        endpoint=Endpoint(service=service_name, port=port),
        database=database,
        credentials=SecretRef(secret_name=secret),
    )


def plain_redis(service_name: str, port: int, secret: str) -> Component:
    """A Redis component as far as connecting goes."""
    return Component(
        type=ComponentType.REDIS,
        workload=WorkloadRef(kind="StatefulSet", name=service_name),
        endpoint=Endpoint(service=service_name, port=port),
        credentials=SecretRef(secret_name=secret) if secret else None,
    )


def plain_qdrant(service_name: str, port: int, secret: str) -> Component:
    """A Qdrant component as far as asking it goes."""
    return Component(
        type=ComponentType.QDRANT,
        workload=WorkloadRef(kind="StatefulSet", name=service_name),
        endpoint=Endpoint(service=service_name, port=port),
        credentials=SecretRef(secret_name=secret) if secret else None,
    )


def bare_stack(namespace: str) -> Stack:
    """A Stack without components: carries only the namespace of a round."""
    return Stack(metadata=ObjectMeta(name="-", namespace=namespace), spec=StackSpec(components={}))


def component_named(stack: Stack, wanted: str) -> tuple[str, Component] | None:
    """A component by its name, else by the alias of its type when the Stack has exactly one of that type."""
    exact = stack.spec.components.get(wanted)
    if exact is not None:
        return wanted, exact
    same = [(n, c) for n, c in stack.spec.components.items() if ALIASES.get(wanted) == c.type.value]
    return same[0] if len(same) == 1 else None


ALIASES: Mapping[str, str] = {
    "api": "Api",
    "worker": "CeleryWorker",
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "qdrant": "Qdrant",
}


def age_words(seconds: Any) -> str:
    """'95s' or '12m' for people."""
    whole = int(float(seconds))
    return f"{whole}s" if whole < 120 else f"{whole // 60}m"
