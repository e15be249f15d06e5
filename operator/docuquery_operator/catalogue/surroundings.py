"""Which addresses around a Stack are something that must never be blocked: pods, nodes, Services, the operator itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ports import JSON, POD
from . import shared
from .base import Round


async def known_addresses(round_: Round, services: bool = False) -> dict[str, str]:
    """Address and what it is. Nodes are those that carry pods of the namespace; rights on nodes are not asked for."""

    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(POD, round_.namespace)

    found: dict[str, str] = {}
    for pod in await round_.once("all-pods", read):
        found.update(_of_pod(pod))
    if services:
        for component in round_.stack.spec.components.values():
            found.update(_of_service(await shared.service(round_, component)))
    own = round_.ports.self.address
    return found | ({own: "the operator itself"} if own else {})


def _of_pod(pod: JSON) -> Iterator[tuple[str, str]]:
    """Its own addresses, and those of its node, which probe and proxy from there."""
    status: JSON = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for address in _addresses(status, "podIP"):
        yield address, f"pod {name} of the Stack's namespace"
    for address in _addresses(status, "hostIP"):
        yield address, "a node, from which probes and translated connections come"


def _of_service(service: JSON | None) -> Iterator[tuple[str, str]]:
    if service is None:
        return
    spec, name = service.get("spec") or {}, service["metadata"]["name"]
    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    addresses = [spec.get("clusterIP"), *(spec.get("clusterIPs") or []), *(spec.get("externalIPs") or [])]
    for address in [*addresses, *(b.get("ip") for b in balancers)]:
        if address and address != "None":
            yield address, f"Service {name}"


def _addresses(status: JSON, key: str) -> set[str]:
    many = {entry.get("ip", "") for entry in status.get(f"{key}s") or []}
    return {a for a in {status.get(key) or "", *many} if a}
