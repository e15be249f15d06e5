"""How far a workload may be scaled out, and through whom (rules 25 and 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fields import value
from .ownership import owner_of
from .temporary import active

JSON = Mapping[str, Any]
SMALL_STEP, STEP_PERCENT = 3, 50
MOST_TIMES = 2
KEDA_PAUSED = "autoscaling.keda.sh/paused-replicas"


def wanted(current: int, baseline: int, bound: int) -> int:
    """Replicas after one step: half as many more, or 3, whichever is more; never above the bound nor twice the baseline."""
    step = max(SMALL_STEP, -(-baseline * STEP_PERCENT // 100))
    return min(current + step, bound, MOST_TIMES * baseline)


def autoscaler_of(autoscalers: Sequence[JSON], kind: str, name: str) -> JSON | None:
    """The HorizontalPodAutoscaler that owns the workload's replicas."""
    target = {"kind": kind, "name": name}
    for found in autoscalers:
        ref = found.get("spec", {}).get("scaleTargetRef", {})
        if target == {k: ref.get(k) for k in target}:
            return found
    return None


def keda_name(autoscaler: JSON | None) -> str:
    """Name of the ScaledObject that made the autoscaler (keda.sh, "Scaling Deployments"), '' when a person did."""
    owners = (autoscaler or {}).get("metadata", {}).get("ownerReferences") or []
    return next((str(o.get("name", "")) for o in owners if o.get("kind") == "ScaledObject"), "")


def scaling_finding(workload: JSON | None, autoscaler: JSON | None, scaled: JSON | None) -> dict[str, Any]:
    """The finding of the scaling probe: present and former replicas, and through which object and field to scale."""
    if workload is None:
        return {"summary": "the workload does not exist"}
    holder, field, most = _holder(workload, autoscaler, scaled)
    replicas = int(workload.get("spec", {}).get("replicas", 1))
    change = active(holder, field)
    former = change.former if change is not None else value(holder, field)
    baseline = replicas if change is None else max(1, int(former or 1))
    meta = holder["metadata"]
    finding: dict[str, Any] = {
        "replicas": replicas,
        "ready": int(workload.get("status", {}).get("readyReplicas", 0)),
        "baseline": baseline,
        "through": holder.get("kind") or "workload",
        "name": meta["name"],
        "uid": meta["uid"],
        "field": field,
        "git": owner_of(holder, field),
        "paused": KEDA_PAUSED in ((scaled or {}).get("metadata", {}).get("annotations") or {}),
        "temporary": change is not None,
    }
    if most is not None:
        finding["ownMost"] = most
    finding["summary"] = _summary(finding)
    return finding


def _holder(workload: JSON, autoscaler: JSON | None, scaled: JSON | None) -> tuple[JSON, str, int | None]:
    if scaled is not None:
        return {"kind": "ScaledObject", **scaled}, "minReplicaCount", int(scaled["spec"].get("maxReplicaCount", 100))
    if autoscaler is not None:
        return {"kind": "HorizontalPodAutoscaler", **autoscaler}, "minReplicas", int(autoscaler["spec"]["maxReplicas"])
    return workload, "replicas", None


def _summary(finding: Mapping[str, Any]) -> str:
    text = f"{finding['ready']} of {finding['replicas']} replicas ready"
    if finding["field"] != "replicas":
        text += f", kept by {finding['through']} {finding['name']}"
    if finding["temporary"]:
        text += f", raised for a while from {finding['baseline']}"
    return text + (f", owned by {finding['git']}" if finding["git"] else "")
