"""restartWorkload: a rolling restart by pod-template annotation, the attempt id in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ...api.common import format_time
from ...api.incident import Step
from ...domain.workloads.pods import ATTEMPT_ANNOTATION, RESTARTED_AT, PodFacts, attempt_of, owned, pod_facts
from ...domain.workloads.rollout import MOST_AT_ONCE, Rollout, rollout
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import CONTROLLER_REVISION, JSON, POD, REPLICA_SET, WORKLOADS, Conflict, Ports
from ..base import Parameters, PlanContext
from ..shared import selector_of


class NoParameters(Parameters):
    """None."""


class RestartWorkload:
    """Restarts the component's workload. Idempotent: the annotation has a fixed value for an attempt."""

    name = "restartWorkload"
    doc = "rolling restart of the component's workload; broken pods of the old revision are evicted"
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=10)
    repeat = "idempotent"
    parameters: type[Parameters] = NoParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """The workload by kind, name and uid: another object of the same name is not touched."""
        return plan_restart(self.name, self.cooldown, context, context.component_name)

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """State of the rollout with this attempt id."""
        state, problem = await _state(step, namespace, ports)
        if not problem:
            return state.effect
        return Effect(EffectState.BLOCKED if state.stuck else EffectState.ABSENT, problem)

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Order the restart once, then evict broken old pods that would hold it up."""
        state, problem = await _state(step, namespace, ports)
        if problem:
            return
        if state.effect.state is EffectState.ABSENT:
            await _order(step, namespace, ports)
            return
        for pod in state.stuck[: max(1, len(state.stuck) * MOST_AT_ONCE // 100)]:
            await ports.cluster.evict(namespace, pod.name, pod.uid)


def plan_restart(action: str, cooldown: timedelta, context: PlanContext, component: str) -> PlannedStep | Refusal:
    """A restart of this component's workload."""
    target = context.stack.spec.components[component].workload
    uid = context.facts.get("uids", {}).get(component, "")
    if not uid:
        return Refusal("2-empty-target", "WorkloadMissing", f"{target.kind} {target.name} does not exist")
    return PlannedStep(
        action=action,
        component=component,
        risk=Risk.DISRUPTIVE,
        plan={"kind": target.kind, "name": target.name, "uid": uid},
        summary=f"restart {target.kind} {target.name}",
        cooldown=cooldown,
        restarts=True,
    )


async def _order(step: Step, namespace: str, ports: Ports) -> None:
    plan = step.plan or {}
    annotations = {ATTEMPT_ANNOTATION: step.attempt_id, RESTARTED_AT: format_time(step.started_at or ports.clock.now())}
    body: JSON = {
        "metadata": {"uid": plan["uid"]},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    }
    if await ports.cluster.patch(WORKLOADS[plan["kind"]], namespace, plan["name"], body) is None:
        raise Conflict(f"{plan['kind']} {plan['name']} is gone")


async def _state(step: Step, namespace: str, ports: Ports) -> tuple[Rollout, str]:
    plan = step.plan or {}
    workload = await ports.cluster.get(WORKLOADS[plan["kind"]], namespace, plan["name"])
    if workload is None or workload["metadata"]["uid"] != plan["uid"]:
        gone = Rollout(Effect(EffectState.ABSENT, "the workload is gone"))
        return gone, f"{plan['kind']} {plan['name']} is gone or is another object now; it is not touched"
    selector = selector_of(workload)
    found = await ports.cluster.list(POD, namespace, selector) if selector else []
    pods = [pod_facts(p) for p in found if owned(p, workload)]
    revision = await _new_revision(workload, plan["kind"], step, namespace, ports)
    state = rollout(workload, pods, step.attempt_id or "", revision)
    return state, await _blocked(state.stuck, namespace, ports)


async def _new_revision(workload: JSON, kind: str, step: Step, namespace: str, ports: Ports) -> str:
    revisions = REPLICA_SET if kind == "Deployment" else CONTROLLER_REVISION
    found = await ports.cluster.list(revisions, namespace, selector_of(workload))
    # status.updateRevision may be the old one until the controller has seen the change; the revision itself tells.
    ours = next((r for r in found if owned(r, workload) and attempt_of(r) == step.attempt_id), None)
    if ours is None:
        return ""
    name: str = ours["metadata"]["labels"].get("pod-template-hash", "") if kind == "Deployment" else ours["metadata"]["name"]
    return name


async def _blocked(stuck: Sequence[PodFacts], namespace: str, ports: Ports) -> str:
    """Whether a disruption budget holds a broken pod: asked by a dry run, which changes nothing."""
    for pod in stuck:
        why = await ports.cluster.evict(namespace, pod.name, pod.uid, dry_run=True)
        if why:
            return f"pod {pod.name} cannot be evicted: {why}"
    return ""
