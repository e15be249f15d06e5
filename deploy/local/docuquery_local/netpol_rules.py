"""NetworkPolicies rendered as nftables rules: pure, no I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
TABLE = "docuquery_netpol"
ANY = "0.0.0.0/0"


@dataclass(frozen=True)
class Pod:
    """A pod as the rules see it."""

    namespace: str
    name: str
    ip: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class Cluster:
    """What is in the cluster at one moment."""

    pods: tuple[Pod, ...]
    namespaces: dict[str, dict[str, str]]
    policies: tuple[Object, ...]


def render(cluster: Cluster, node_sources: Iterable[str]) -> str:
    """A complete nftables script that replaces the table in one step."""
    chains: list[str] = []
    jumps: dict[str, list[str]] = {"ingress": [], "egress": []}
    for pod in sorted(cluster.pods, key=lambda pod: ipaddress.ip_address(pod.ip)):
        for direction in ("ingress", "egress"):
            rules = _pod_rules(cluster, pod, direction)
            if rules is None:
                continue
            name = f"{direction}_{pod.ip.replace('.', '_')}"
            chains.append(_chain(name, [*rules, "drop"], comment=f"{pod.namespace}/{pod.name}"))
            side = "daddr" if direction == "ingress" else "saddr"
            jumps[direction].append(f"ip {side} {pod.ip} jump {name}")
    return _table(chains, jumps, sorted(node_sources))


def _table(chains: list[str], jumps: dict[str, list[str]], node_sources: list[str]) -> str:
    known = "ct state established,related accept"
    from_node = [f"ip saddr {{ {', '.join(node_sources)} }} accept"] if node_sources else []
    # Egress first, and both must agree; a chain returns when it allows and drops when it does not.
    forward = [_hook("forward"), known, *jumps["egress"], *from_node, *jumps["ingress"]]
    # The API server and other programs of the node are reached through its input, not by forwarding.
    to_node = [_hook("input"), known, *jumps["egress"]]
    body = [*chains, _chain("forward", forward), _chain("input", to_node)]
    return f"table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n" + "\n".join(body) + "\n}\n"


def _hook(name: str) -> str:
    return f"type filter hook {name} priority 0; policy accept;"


def _chain(name: str, rules: list[str], comment: str = "") -> str:
    note = [f"    # {comment}"] if comment else []
    return "\n".join([f"  chain {name} {{", *note, *(f"    {rule}" for rule in rules), "  }"])


def _pod_rules(cluster: Cluster, pod: Pod, direction: str) -> list[str] | None:
    """What is allowed for one pod in one direction; None when no policy isolates it."""
    policies = [p for p in cluster.policies if _isolates(p, pod, direction)]
    if not policies:
        return None
    found: dict[str, None] = {}
    for policy in policies:
        for rule in policy["spec"].get(direction) or []:
            found.update(dict.fromkeys(_rule(cluster, policy, rule, pod, direction)))
    return list(found)


def _isolates(policy: Object, pod: Pod, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    same = policy["metadata"]["namespace"] == pod.namespace
    return same and direction.capitalize() in types and selects(spec.get("podSelector"), dict(pod.labels))


def _rule(cluster: Cluster, policy: Object, rule: Object, pod: Pod, direction: str) -> list[str]:
    peers = rule.get("from" if direction == "ingress" else "to") or []
    namespace = policy["metadata"]["namespace"]
    matches = [match for peer in peers for match in _peer(cluster, namespace, peer, direction)] if peers else [""]
    ports = _ports(rule.get("ports") or [], pod if direction == "ingress" else None)
    return [" ".join(part for part in (match, port, "return") if part) for match in matches for port in ports]


def _peer(cluster: Cluster, namespace: str, peer: Object, direction: str) -> list[str]:
    side = "saddr" if direction == "ingress" else "daddr"
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if ":" in block["cidr"]:
            return []  # the node has no IPv6
        excepted = ", ".join(block.get("except") or [])
        inside = f"ip {side} {block['cidr']}"
        return [f"{inside} ip {side} != {{ {excepted} }}" if excepted else inside]
    addresses = [pod.ip for pod in cluster.pods if _peer_selects(cluster, namespace, peer, pod)]
    return [f"ip {side} {{ {', '.join(sorted(addresses, key=ipaddress.ip_address))} }}"] if addresses else []


def _peer_selects(cluster: Cluster, namespace: str, peer: Object, pod: Pod) -> bool:
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], cluster.namespaces.get(pod.namespace, {})):
            return False
    elif pod.namespace != namespace:
        return False
    return selects(peer.get("podSelector"), dict(pod.labels))


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    wanted = (selector or {}).get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(e, labels) for e in (selector or {}).get("matchExpressions") or [])


def _expression(expression: Object, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    operators = {
        "In": key in labels and labels[key] in values,
        "NotIn": key not in labels or labels[key] not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return operators[expression["operator"]]


def _ports(ports: list[Object], pod: Pod | None) -> list[str]:
    if not ports:
        return [""]
    return [match for port in ports for match in _port(port, pod)]


def _port(port: Object, pod: Pod | None) -> list[str]:
    protocol = port.get("protocol", "TCP").lower()
    number = port.get("port")
    if number is None:
        return [f"meta l4proto {protocol}"]
    if isinstance(number, str):
        return [f"{protocol} dport {n}" for n in _named(pod, number, protocol)]
    end = port.get("endPort")
    return [f"{protocol} dport {number}-{end}" if end else f"{protocol} dport {number}"]


def _named(pod: Pod | None, name: str, protocol: str) -> list[int]:
    return [number for named, kind, number in pod.ports if named == name and kind == protocol] if pod else []
