"""NetworkPolicy: one policy of the operator's own that lets everybody in but the blocked.

Policies only add up (kubernetes.io, NetworkPolicy, "The two sorts of pod isolation"): where another one selects the
api's pods for ingress, ours would keep nobody out and let in whom the other keeps out. So it stands only where it is alone,
names all sources and ports, and touches no egress. When nobody is blocked it selects no pod; it is not deleted, as the
operator may delete nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...api.blocking import Block
from ...api.common import API_VERSION
from ...api.stack import Component
from ...domain.remedies import blocklists
from ...domain.workloads.netpol import matches
from ...ports import JSON, NETWORK_POLICY, Transient
from .. import shared
from ..base import Round
from .base import Obstacle


class NetworkPolicy:
    """Works on addresses as the pods see them, so not behind a proxy or a NAT."""

    def object_name(self, round_: Round, name: str, component: Component) -> str:
        """One a component."""
        return blocklists.policy_name(round_.stack.metadata.name, name)

    async def obstacle(self, round_: Round, name: str, component: Component) -> Obstacle | None:
        """Another policy, pods on the node's network, or nothing to select."""
        workload = await shared.workload(round_, component)
        pod: JSON = ((workload or {}).get("spec") or {}).get("template") or {}
        if workload is None or not shared.selector_of(workload):
            return Obstacle("WorkloadMissing", f"{component.workload.kind} {component.workload.name} selects no pods")
        if (pod.get("spec") or {}).get("hostNetwork"):
            text = (
                "the api's pods are on the node's own network, where no NetworkPolicy holds; use ApiDenySet or IngressNginx"
            )
            return Obstacle("HostNetwork", text)
        labels = (pod.get("metadata") or {}).get("labels") or {}
        other = await _other(round_, self.object_name(round_, name, component), labels)
        if other:
            text = (
                f"NetworkPolicy '{other}' selects the api's pods as well, and policies only add up: one more would keep "
                f"nobody out and open what it closes; name the addresses in its except, or use ApiDenySet or IngressNginx"
            )
            return Obstacle("OtherPolicies", text)
        return None

    async def block(self, round_: Round, component: Component, block: Block) -> None:
        """Create or change the policy; a policy of somebody else that bears its name is not touched."""
        found = await self.obstacle(round_, block.component, component)
        if found is not None:
            raise Transient(found.message, 5.0)
        workload = await shared.workload(round_, component)
        selector: JSON = (workload or {})["spec"]["selector"]
        pods_too = component.blocking is not None and component.blocking.allow_private
        obj = await round_.ports.cluster.get(NETWORK_POLICY, round_.namespace, block.object)
        if obj is None:
            meta = _meta(round_, block)
            empty: JSON = {"metadata": {**meta, "resourceVersion": ""}, "spec": blocklists.policy({}, (), False)}
            made = blocklists.policy_patch(empty, selector, (block,), pods_too)
            meta["annotations"] = made["metadata"]["annotations"]
            spec = blocklists.policy(selector, (block,), pods_too)
            await round_.ports.cluster.create(NETWORK_POLICY, round_.namespace, {"metadata": meta, "spec": spec})
            return
        if not _is_ours(obj):
            raise Transient(f"NetworkPolicy {block.object} is not the operator's; rename it", 5.0)
        blocks = blocklists.with_block(blocklists.held(obj).blocks, block)
        await _patch(round_, obj, blocklists.policy_patch(obj, selector, blocks, pods_too))

    async def unblock(self, round_: Round, block: Block, addresses: Sequence[str]) -> str:
        """Take the addresses out; with the last one the policy selects no pod any more."""
        obj = await round_.ports.cluster.get(NETWORK_POLICY, round_.namespace, block.object)
        if obj is None or not _is_ours(obj):
            return ""
        blocks = blocklists.without(blocklists.held(obj).blocks, block.attempt_id, addresses)
        selector: JSON = obj["spec"].get("podSelector") or {}
        pods_too = not any("namespaceSelector" in p for p in _peers(obj))
        await _patch(round_, obj, blocklists.policy_patch(obj, selector, blocks, pods_too))
        return ""

    async def listed(self, round_: Round, block: Block) -> Sequence[str] | None:
        """Those that the policy excepts."""
        obj = await round_.ports.cluster.get(NETWORK_POLICY, round_.namespace, block.object)
        if obj is None or not _is_ours(obj):
            return []
        excepted = {e.partition("/")[0] for p in _peers(obj) for e in (p.get("ipBlock") or {}).get("except") or []}
        return [a for a in block.addresses if a in excepted]


async def _other(round_: Round, own: str, labels: dict[str, str]) -> str:
    async def read() -> Sequence[JSON]:
        return await round_.ports.cluster.list(NETWORK_POLICY, round_.namespace)

    for policy in await round_.once("policies", read):
        name: str = policy["metadata"]["name"]
        spec: JSON = policy.get("spec") or {}
        ingress = "Ingress" in (spec.get("policyTypes") or ["Ingress"])
        if not (name == own and _is_ours(policy)) and ingress and matches(spec.get("podSelector") or {}, labels):
            return name
    return ""


def _meta(round_: Round, block: Block) -> JSON:
    stack = round_.stack.metadata
    owner: JSON = {"apiVersion": API_VERSION, "kind": "Stack", "name": stack.name, "uid": stack.uid}
    # Its block ends with the Stack: the garbage collector takes it away.
    return {"name": block.object, "labels": dict(blocklists.MANAGED), "annotations": {}, "ownerReferences": [owner]}


def _is_ours(obj: JSON) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(k) == v for k, v in blocklists.MANAGED.items())


def _peers(obj: JSON) -> list[dict[str, Any]]:
    return [p for rule in (obj.get("spec") or {}).get("ingress") or [] for p in rule.get("from") or []]


async def _patch(round_: Round, obj: JSON, patch: JSON) -> None:
    if patch:
        await round_.ports.cluster.patch(NETWORK_POLICY, round_.namespace, obj["metadata"]["name"], patch)
