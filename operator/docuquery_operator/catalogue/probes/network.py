"""serviceNetwork: can clients reach the component at all? Service, endpoints, DNS, NetworkPolicies, and a TCP connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...api.stack import Component
from ...domain.workloads.netpol import Peer, blocked_by
from ...ports import JSON, NETWORK_POLICY
from .. import shared
from ..base import ProbeContext, Round


class ServiceNetwork:
    """From the operator's point of view by connecting, from the clients' by reading the policies that bind them."""

    name = "serviceNetwork"
    doc = (
        "whether clients can reach the component: its Service, the number of ready `endpoints`, `dns` (ok, missing, down, "
        "unknown), `tcp` (ok, refused, timeout, unreachable), the NetworkPolicy that keeps a client out; `broken` when a "
        "policy, the name or the selector is wrong"
    )
    gives: tuple[str, ...] = ("serviceExists", "endpoints", "dns", "tcp", "clientsBlockedBy", "selectorMatches", "broken")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        round_, component = context.round, context.component
        service = await shared.service(round_, component)
        if service is None or component.endpoint is None:
            name = component.endpoint.service if component.endpoint else "?"
            return {"serviceExists": False, "endpoints": 0, "broken": True, "summary": f"Service {name} does not exist"}
        ready = await shared.endpoints(round_, component)
        address = await shared.address(round_, component)
        finding: dict[str, Any] = {
            "serviceExists": True,
            "endpoints": len(ready),
            "dns": await _dns(round_, component.endpoint.service),
            "tcp": await round_.ports.network.connect(address, component.endpoint.port, round_.timeout)
            if address
            else "unreachable",
            "clientsBlockedBy": await _clients_blocked_by(context, component),
            "selectorMatches": await _selector_matches(round_, component, service),
        }
        finding["broken"] = bool(
            finding["clientsBlockedBy"] or finding["dns"] in ("missing", "down") or not finding["selectorMatches"]
        )
        finding["summary"] = _summary(component.endpoint.service, finding)
        return finding


async def _dns(round_: Round, service: str) -> str:
    """Judged against a name that must exist: outside a cluster's DNS the answer is 'unknown', not 'missing'."""
    resolve = round_.ports.network.resolve
    found = await resolve(f"{service}.{round_.namespace}.svc.cluster.local", round_.timeout / 2)
    if found:
        return "ok"
    control = await resolve("kubernetes.default.svc.cluster.local", round_.timeout / 2)
    if found is None and control is None:
        return "down"
    return "missing" if control else "unknown"


async def _clients_blocked_by(context: ProbeContext, component: Component) -> str:
    round_ = context.round

    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(NETWORK_POLICY, round_.namespace)

    policies: Sequence[JSON] = await round_.once("policies", read)
    servers = await shared.pod_objects(round_, component)
    if not policies or not servers or component.endpoint is None:
        return ""
    for name, client in round_.stack.spec.components.items():
        if context.name not in client.depends_on:
            continue
        for pod in (await shared.pod_objects(round_, client))[:1]:
            policy = blocked_by(policies, _peer(pod), _peer(servers[0]), component.endpoint.port)
            if policy:
                return f"{policy} (keeps {name} out)"
    return ""


def _peer(pod: JSON) -> Peer:
    return Peer(labels=pod.get("metadata", {}).get("labels") or {}, ip=pod.get("status", {}).get("podIP", ""))


async def _selector_matches(round_: Round, component: Component, service: JSON) -> bool:
    """Whether the Service selects the workload's pods; a Service without selector is fed by hand and not judged."""
    selector: Mapping[str, str] = service.get("spec", {}).get("selector") or {}
    pods = await shared.pod_objects(round_, component)
    if not selector or not pods:
        return True
    return any(all((p["metadata"].get("labels") or {}).get(k) == v for k, v in selector.items()) for p in pods)


def _summary(service: str, finding: Mapping[str, Any]) -> str:
    parts = [f"Service {service}: {finding['endpoints']} ready endpoints, tcp {finding['tcp']}, dns {finding['dns']}"]
    if finding["clientsBlockedBy"]:
        parts.append(f"blocked by NetworkPolicy {finding['clientsBlockedBy']}")
    if not finding["selectorMatches"]:
        parts.append("its selector matches none of the workload's pods")
    return "; ".join(parts)
