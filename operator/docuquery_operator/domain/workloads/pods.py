"""What the API objects of a workload say, as plain facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..ledger import parse_time

JSON = Mapping[str, Any]
ATTEMPT_ANNOTATION = "ops.docuquery.ai/attempt"
# As `kubectl rollout restart` writes it.
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
SINCE_OOM_SECONDS = 600
STARTING_SECONDS = 120
# A Service and its proxies take note of a pod that became ready some seconds later: on a loaded node six were seen.
JUST_READY_SECONDS = 15
OVER = ("Failed", "Succeeded")


@dataclass(frozen=True)
class PodFacts:
    """One pod as far as healing cares."""

    name: str
    uid: str
    ready: bool
    phase: str
    terminating: bool
    state: str
    reason: str
    exit_code: int | None
    last_reason: str
    last_finished: datetime | None
    restarts: int
    revision: str
    node_lost: bool
    unschedulable: str
    ip: str
    container: str
    started: datetime | None
    ready_changed: datetime | None = None


def owned(obj: JSON, workload: JSON) -> bool:
    """Whether a pod or a revision is this workload's own: selectors may overlap, owners do not.

    A pod of a Deployment is owned by a ReplicaSet, which bears the names of both (kubernetes.io, Deployment,
    "Pod-template-hash label").
    """
    meta = obj.get("metadata", {})
    owner: JSON = next((o for o in meta.get("ownerReferences") or [] if o.get("controller")), {})
    name, uid = workload["metadata"].get("name"), workload["metadata"].get("uid")
    if uid and owner.get("uid") == uid:
        return True
    digest = (meta.get("labels") or {}).get("pod-template-hash")
    return bool(digest) and (owner.get("kind"), owner.get("name")) == ("ReplicaSet", f"{name}-{digest}")


def pod_facts(pod: JSON) -> PodFacts:
    """Facts of the pod's first container, which is the service itself."""
    meta, spec, status = pod.get("metadata", {}), pod.get("spec", {}), pod.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    main = containers[0]
    state_name, state = next(iter((main.get("state") or {"waiting": {}}).items()))
    last = (main.get("lastState") or {}).get("terminated") or {}
    conditions = {c.get("type"): c for c in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    labels = meta.get("labels", {})
    return PodFacts(
        name=meta.get("name", ""),
        uid=meta.get("uid", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        phase=status.get("phase", ""),
        terminating=bool(meta.get("deletionTimestamp")),
        state=state_name,
        reason=state.get("reason", "") or "",
        exit_code=state.get("exitCode"),
        last_reason=last.get("reason", "") or "",
        last_finished=_time(last.get("finishedAt")),
        restarts=int(main.get("restartCount", 0)),
        revision=labels.get("controller-revision-hash") or labels.get("pod-template-hash") or "",
        node_lost=_node_lost(status, conditions),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        # The address of a pod that is over may be another pod's by now.
        ip="" if status.get("phase") in OVER else status.get("podIP", ""),
        container=(spec.get("containers") or [{}])[0].get("name", ""),
        started=_time(state.get("startedAt")),
        ready_changed=_time(conditions.get("Ready", {}).get("lastTransitionTime")),
    )


def _node_lost(status: JSON, conditions: Mapping[Any, JSON]) -> bool:
    if status.get("reason") in ("NodeLost", "NodeAffinity", "NodeShutdown"):
        return True
    target = conditions.get("DisruptionTarget", {})
    return target.get("status") == "True" and target.get("reason") == "DeletionByTaintManager"


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def oom_killed(pods: Sequence[PodFacts], now: datetime) -> bool:
    """A container of these was killed for memory just now or lately."""
    return any(
        p.reason == "OOMKilled"
        or (
            p.last_reason == "OOMKilled"
            and p.last_finished is not None
            and (now - p.last_finished).total_seconds() < SINCE_OOM_SECONDS
        )
        for p in pods
    )


def workload_finding(workload: JSON | None, pods: Sequence[PodFacts], now: datetime) -> dict[str, Any]:
    """The finding of the workload probe."""
    if workload is None:
        return {"exists": False, "ready": 0, "summary": "the workload does not exist"}
    wanted = int(workload.get("spec", {}).get("replicas", 1))
    # Pods that are over stay listed until they are collected; they count only while they have no successor.
    pods = [p for p in pods if p.phase not in OVER or p.terminating] or pods
    alive = [p for p in pods if not p.terminating]
    worst = next((p for p in alive if not p.ready), alive[0] if alive else None)
    finding: dict[str, Any] = {
        "exists": True,
        "wanted": wanted,
        "ready": sum(p.ready for p in alive),
        "pods": len(alive),
        "terminating": len(pods) - len(alive),
        "crashLoop": any(_crash_loop(p) for p in alive),
        "oomKilled": oom_killed(alive, now),
        "nodeLost": any(p.node_lost for p in pods),
        "unschedulable": next((p.unschedulable[:200] for p in alive if p.unschedulable), ""),
        "restarts": max((p.restarts for p in alive), default=0),
        "state": worst.state if worst else "absent",
        "reason": worst.reason if worst else "",
        "memoryLimit": limit_of(workload, "memory"),
        "cpuLimit": limit_of(workload, "cpu"),
        "starting": any(_starting(p, now) for p in alive),
        "justReady": any(_just_ready(p, now) for p in alive),
    }
    finding["summary"] = _summary(finding, worst)
    return finding


def _starting(p: PodFacts, now: datetime) -> bool:
    """Its container runs, not for long, and was not ready yet since it began: a frozen one was."""
    if p.ready or p.state != "running" or p.started is None or p.ready_changed is None:
        return False
    return p.ready_changed <= p.started and (now - p.started).total_seconds() < STARTING_SECONDS


def _just_ready(p: PodFacts, now: datetime) -> bool:
    return p.ready and p.ready_changed is not None and (now - p.ready_changed).total_seconds() < JUST_READY_SECONDS


def _crash_loop(p: PodFacts) -> bool:
    failing = p.reason in ("CrashLoopBackOff", "RunContainerError", "CreateContainerConfigError", "CreateContainerError")
    return failing or (p.state == "terminated" and p.restarts >= 2)


def limit_of(workload: JSON, resource: str) -> str:
    """Limit of its first container as it is written, '' when it has none."""
    containers = workload.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    return str((containers[0].get("resources", {}).get("limits") or {}).get(resource, ""))


def _summary(finding: Mapping[str, Any], worst: PodFacts | None) -> str:
    text = f"{finding['ready']} of {finding['wanted']} pods ready"
    if worst is None:
        return text
    detail = f"{worst.name} {worst.state}"
    if worst.reason:
        detail += f" ({worst.reason})"
    if worst.last_reason:
        detail += f", last end {worst.last_reason}"
    return f"{text}; {detail}, {worst.restarts} restarts"


def foreign_rollout(revisions: Sequence[JSON]) -> tuple[datetime, str] | None:
    """When the newest rollout was somebody else's: its time and name. The first revision is an installation, not a rollout.

    Ours are known by the attempt annotation in the pod template, which differs from that of the revision before.
    """
    ordered = sorted(revisions, key=_revision_number)
    if len(ordered) < 2 or attempt_of(ordered[-1]) != attempt_of(ordered[-2]):
        return None
    newest = ordered[-1].get("metadata", {})
    created = _time(newest.get("creationTimestamp"))
    return None if created is None else (created, newest.get("name", ""))


def _revision_number(revision: JSON) -> int:
    annotations = revision.get("metadata", {}).get("annotations", {})
    return int(revision.get("revision") or annotations.get("deployment.kubernetes.io/revision") or 0)


def attempt_of(revision: JSON) -> str:
    """Attempt id in the pod template of a ReplicaSet or ControllerRevision, '' when there is none."""
    template = revision.get("spec", {}).get("template") or revision.get("data", {}).get("spec", {}).get("template", {})
    attempt: str = (template.get("metadata", {}).get("annotations") or {}).get(ATTEMPT_ANNOTATION, "")
    return attempt
