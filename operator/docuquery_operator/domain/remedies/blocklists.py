"""What a NetworkPolicy or an Ingress says while clients are blocked, and what it says afterwards. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ...api.blocking import Block
from ..patching import merge_patch
from .blocking import single

JSON = dict[str, Any]
# What the object's blocks are, until when, and what stood there before them: it survives the operator.
HELD = "ops.docuquery.ai/blocked"
UNTIL = "ops.docuquery.ai/blocked-until"
DENY_LIST = "nginx.ingress.kubernetes.io/denylist-source-range"
MANAGED = {"app.kubernetes.io/managed-by": "docuquery-operator"}
# No pod bears it: a policy that selects it applies to nothing.
NO_POD = {"matchLabels": {"ops.docuquery.ai/selects": "nothing"}}
NAME_LIMIT = 253


@dataclass(frozen=True)
class Held:
    """The record on an object. former: what stood there before; ours: what was written."""

    blocks: tuple[Block, ...] = ()
    former: str | None = None
    ours: str | None = None


def held(obj: Mapping[str, Any] | None) -> Held:
    """The record; an empty one where there is none or somebody has spoilt it."""
    text = _annotations(obj).get(HELD, "")
    try:
        found = json.loads(text) if text else {}
        blocks = tuple(Block.model_validate(b) for b in found.get("blocks") or [])
        return Held(blocks, found.get("former"), found.get("ours"))
    except (ValueError, AttributeError, TypeError, ValidationError):
        return Held()


def with_block(blocks: Sequence[Block], block: Block) -> tuple[Block, ...]:
    """The blocks with this one, once."""
    return (*(b for b in blocks if b.attempt_id != block.attempt_id), block)


def without(blocks: Sequence[Block], attempt_id: str, addresses: Sequence[str]) -> tuple[Block, ...]:
    """The blocks without these addresses of one attempt."""
    left = (_less(b, addresses) if b.attempt_id == attempt_id else b for b in blocks)
    return tuple(b for b in left if b.addresses)


def _less(block: Block, addresses: Sequence[str]) -> Block:
    return block.model_copy(update={"addresses": [a for a in block.addresses if a not in addresses]})


def policy_name(stack: str, component: str) -> str:
    """Name of the one policy of a component: two would each let in what the other keeps out."""
    name = f"docuquery-block-{stack}-{component}"
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def policy(selector: JSON, blocks: Sequence[Block], pods_too: bool) -> JSON:
    """Spec that lets everybody in but the blocked, from all sources and to all ports; without blocks it selects no pod.

    pods_too: blocked addresses may be pods. Else every pod is named as a source of its own, for some agents (Cilium) do not
    take a pod for part of an ipBlock.
    """
    addresses = sorted({a for b in blocks for a in b.addresses}, key=_order)
    if not addresses:
        return {"podSelector": NO_POD, "policyTypes": ["Ingress"], "ingress": []}
    peers: list[JSON] = [
        {"ipBlock": _block("0.0.0.0/0", [a for a in addresses if ":" not in a])},
        {"ipBlock": _block("::/0", [a for a in addresses if ":" in a])},
    ]
    if not pods_too:
        peers.append({"namespaceSelector": {}})
    return {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]}


def _block(cidr: str, addresses: Sequence[str]) -> JSON:
    return {"cidr": cidr} | ({"except": [single(a) for a in addresses]} if addresses else {})


def _order(address: str) -> tuple[int, int]:
    found = ipaddress.ip_address(address)
    return found.version, int(found)


def policy_patch(obj: JSON, selector: JSON, blocks: Sequence[Block], pods_too: bool) -> JSON:
    """Merge patch that makes the policy say this; empty when it does."""
    after: JSON = {**obj, "spec": policy(selector, blocks, pods_too)}
    return _patched(obj, after, _record(Held(tuple(blocks))) if blocks else None, blocks)


def deny_list_patch(obj: JSON, block: Block) -> JSON:
    """Merge patch that adds the block to the Ingress's deny list; what a person wrote there stays."""
    before, current = held(obj), _annotations(obj).get(DENY_LIST)
    former = before.former if before.blocks and current == before.ours else current
    blocks = with_block(before.blocks, block)
    return _deny_list(obj, blocks, former)


def deny_list_end(obj: JSON, attempt_id: str, addresses: Sequence[str]) -> tuple[JSON, bool]:
    """Merge patch that takes these addresses out, and whether the list was still ours; else only the record goes."""
    before, current = held(obj), _annotations(obj).get(DENY_LIST)
    blocks = without(before.blocks, attempt_id, addresses)
    if not before.blocks or blocks == before.blocks:
        return {}, True
    if current == before.ours:
        return _deny_list(obj, blocks, before.former), True
    record = _record(Held(blocks, before.former, before.ours)) if blocks else None
    return _patched(obj, obj, record, blocks), False


def _deny_list(obj: JSON, blocks: Sequence[Block], former: str | None) -> JSON:
    listed = [part.strip() for part in (former or "").split(",") if part.strip()]
    known = {_plain(part) for part in listed}
    addresses = sorted({a for b in blocks for a in b.addresses} - known, key=_order)
    ours = ",".join([*listed, *(single(a) for a in addresses)]) if blocks else former
    meta = {**obj.get("metadata", {}), "annotations": {**_annotations(obj)}}
    meta["annotations"].pop(DENY_LIST, None)
    if ours is not None:
        meta["annotations"][DENY_LIST] = ours
    record = _record(Held(tuple(blocks), former, ours)) if blocks else None
    return _patched(obj, {**obj, "metadata": meta}, record, blocks)


def _plain(part: str) -> str:
    address, _, length = part.partition("/")
    return address if length in ("", "32", "128") else part


def _record(found: Held) -> str:
    blocks = [b.to_wire() for b in found.blocks]
    return json.dumps({"blocks": blocks, "former": found.former, "ours": found.ours}, separators=(",", ":"), sort_keys=True)


def _patched(obj: JSON, after: JSON, record: str | None, blocks: Sequence[Block]) -> JSON:
    meta = {**after.get("metadata", {}), "annotations": {**_annotations(after)}}
    for key, value in ((HELD, record), (UNTIL, _last(blocks))):
        meta["annotations"].pop(key, None)
        if value is not None:
            meta["annotations"][key] = value
    patch = merge_patch({"annotations": {}, **obj.get("metadata", {})}, meta)
    body: JSON = {"metadata": patch} if patch else {}
    spec = merge_patch(obj.get("spec") or {}, after.get("spec") or {})
    body |= {"spec": spec} if spec else {}
    if body:
        body.setdefault("metadata", {})["resourceVersion"] = obj["metadata"]["resourceVersion"]
    return body


def _last(blocks: Sequence[Block]) -> str | None:
    last: str | None = max((b.to_wire()["until"] for b in blocks), default=None)
    return last


def _annotations(obj: Mapping[str, Any] | None) -> JSON:
    found: JSON = ((obj or {}).get("metadata") or {}).get("annotations") or {}
    return found
