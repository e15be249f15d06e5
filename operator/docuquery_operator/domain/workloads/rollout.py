"""How a restart by rollout stands, read from the workload and its pods by the attempt id in the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..ledger import parse_time
from ..world import Effect, EffectState
from .pods import ATTEMPT_ANNOTATION, RESTARTED_AT, PodFacts

JSON = Mapping[str, Any]
MOST_AT_ONCE = 25


@dataclass(frozen=True)
class Rollout:
    """Effect seen, and the broken pods of the old revision that hold the rollout up."""

    effect: Effect
    stuck: tuple[PodFacts, ...] = ()


def rollout(workload: JSON | None, pods: Sequence[PodFacts], attempt_id: str, new_revision: str) -> Rollout:
    """State of the restart that carries this attempt id.

    A StatefulSet with OrderedReady pods waits for ever for a broken pod before it replaces it
    (kubernetes.io, StatefulSet, "Forced rollback"; kubernetes/kubernetes#67250), so those pods are named.
    """
    if workload is None:
        return Rollout(Effect(EffectState.ABSENT, "the workload is gone"))
    template = workload.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations") or {}
    if template.get(ATTEMPT_ANNOTATION) != attempt_id:
        return Rollout(Effect(EffectState.ABSENT, "not ordered yet"))
    status, meta = workload.get("status", {}), workload.get("metadata", {})
    if int(status.get("observedGeneration", 0)) < int(meta.get("generation", 0)) or not new_revision:
        return Rollout(Effect(EffectState.IN_PROGRESS, "ordered; waiting for the controller to see it"))
    wanted = int(workload.get("spec", {}).get("replicas", 1))
    old = [p for p in pods if p.revision != new_revision]
    fresh = [p for p in pods if p.revision == new_revision and not p.terminating]
    ready = sum(p.ready for p in fresh)
    if not old and ready >= wanted:
        return Rollout(Effect(EffectState.DONE, f"{ready} new pods are ready"))
    stuck = tuple(p for p in old if not p.ready and not p.terminating)
    text = f"{ready} of {wanted} new pods ready, {len(old)} old pods left"
    return Rollout(Effect(EffectState.IN_PROGRESS, text), stuck)


def restarted_at(workload: JSON) -> datetime | None:
    """When the operator itself last ordered a restart; None when it never has."""
    template = workload.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations") or {}
    return parse_time(template[RESTARTED_AT]) if {ATTEMPT_ANNOTATION, RESTARTED_AT} <= set(template) else None


def gap(workload: JSON) -> str:
    """Why a rolling restart leaves no pod serving for a while; '' when one stays (kubernetes.io, Deployment, "Strategy")."""
    spec = workload.get("spec", {})
    replicas = int(spec.get("replicas", 1))
    if _is_stateful_set(workload):
        return "it is a StatefulSet with one pod" if replicas <= 1 else ""
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        return "its strategy is Recreate"
    down, text = _taken_at_once(workload)
    return f"{text} allows all {replicas} pods to go at once" if down >= replicas else ""


def share(workload: JSON) -> str:
    """What a rolling restart would take at once, where that is more than one pod and more than a quarter (rule 12).

    '' also when no pod serves: then there is nothing to lose.
    """
    replicas = int(workload.get("spec", {}).get("replicas", 1))
    serving = int(workload.get("status", {}).get("readyReplicas", 0))
    down, text = _taken_at_once(workload)
    if serving < 1 or down <= max(1, replicas * MOST_AT_ONCE // 100):
        return ""
    return f"its rolling update takes {down} of {replicas} pods at once ({text})"


def _is_stateful_set(workload: JSON) -> bool:
    return workload.get("kind") == "StatefulSet" or "serviceName" in workload.get("spec", {})


def _taken_at_once(workload: JSON) -> tuple[int, str]:
    """Pods that a rolling update may have down at the same time, and the setting that says so."""
    spec = workload.get("spec", {})
    replicas = int(spec.get("replicas", 1))
    if _is_stateful_set(workload):
        update = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return _absolute(update.get("maxUnavailable", 1), replicas)
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return replicas, "strategy Recreate"
    return _absolute((strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%"), replicas)


def _absolute(setting: Any, replicas: int) -> tuple[int, str]:
    text = str(setting)
    return replicas * int(text[:-1]) // 100 if text.endswith("%") else int(text), f"maxUnavailable {text}"
