"""Would the NetworkPolicies of a namespace let a connection in? Read from the objects, without sending a packet.

Rules: kubernetes.io/docs/concepts/services-networking/network-policies. Peers given by namespaceSelector are judged by the
labels of the namespace that is given; ipBlock peers by address. Named ports are matched by the name given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """One end of a connection. same_namespace: whether it lives in the policy's namespace."""

    labels: Mapping[str, str]
    ip: str = ""
    same_namespace: bool = True
    namespace_labels: Mapping[str, str] | None = None


def matches(selector: JSON | None, labels: Mapping[str, str]) -> bool:
    """Kubernetes label selector; an empty one selects everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_expression(e, labels) for e in selector.get("matchExpressions") or [])


def _expression(expression: JSON, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression.get("key", ""), expression.get("operator"), expression.get("values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    return key not in labels


def blocked_by(policies: Sequence[JSON], client: Peer, server: Peer, port: int) -> str:
    """Name of the policy that keeps the client from the server's port, '' when none does."""
    return _direction(policies, "Ingress", server, client, port) or _direction(policies, "Egress", client, server, port)


def _direction(policies: Sequence[JSON], direction: str, subject: Peer, other: Peer, port: int) -> str:
    if not subject.same_namespace:
        return ""
    selecting = [p for p in policies if _applies(p, direction) and matches(p["spec"].get("podSelector", {}), subject.labels)]
    if not selecting:
        return ""
    rules_key, peers_key = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for policy in selecting:
        for rule in policy["spec"].get(rules_key) or []:
            if _peer_allowed(rule.get(peers_key), other) and _port_allowed(rule.get("ports"), port):
                return ""
    name: str = selecting[0].get("metadata", {}).get("name", "?")
    return name


def _applies(policy: JSON, direction: str) -> bool:
    spec = policy.get("spec", {})
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return direction in types


def _peer_allowed(peers: Sequence[JSON] | None, other: Peer) -> bool:
    if not peers:
        return True
    return any(_peer(p, other) for p in peers)


def _peer(peer: JSON, other: Peer) -> bool:
    block = peer.get("ipBlock")
    if block:
        return _in_block(block, other.ip)
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if namespaces is None:
        return other.same_namespace and matches(pods or {}, other.labels)
    if other.namespace_labels is None and namespaces:
        return other.same_namespace
    return matches(namespaces, other.namespace_labels or {}) and (pods is None or matches(pods, other.labels))


def _in_block(block: JSON, ip: str) -> bool:
    try:
        address = ipaddress.ip_address(ip)
        inside = address in ipaddress.ip_network(block.get("cidr", ""), strict=False)
        return inside and not any(address in ipaddress.ip_network(e, strict=False) for e in block.get("except") or [])
    except ValueError:
        return False


def _port_allowed(ports: Sequence[JSON] | None, port: int) -> bool:
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != "TCP":
            continue
        wanted = entry.get("port")
        if wanted is None or isinstance(wanted, str):
            return True
        if int(wanted) <= port <= int(entry.get("endPort", wanted)):
            return True
    return False
