"""scaleWorkload: more replicas for a while, through whoever owns their number, and back by itself (rules 18, 25 and 26)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.common import Duration, seconds
from ...api.incident import Step
from ...api.stack import ComponentType
from ...domain.names import label_of
from ...domain.remedies import scaling, temporary
from ...domain.remedies.fields import value
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import HORIZONTAL_POD_AUTOSCALER, JSON, SCALED_OBJECT, WORKLOADS, Kind, Ports
from .. import put_back
from ..base import Parameters, PlanContext

SCALED_OUT = (ComponentType.API, ComponentType.CELERY_WORKER)
SHORTEST, LONGEST = 600.0, 86400.0
THROUGH = {"HorizontalPodAutoscaler": HORIZONTAL_POD_AUTOSCALER, "ScaledObject": SCALED_OBJECT}


class ScaleParameters(Parameters):
    """How long."""

    duration: Annotated[Duration, Field(description="Time after which the former number comes back; 10m to 24h")] = "1h"


class ScaleWorkload:
    """Adds half as many replicas again, at most 3 where that is more, never above scaling.max nor twice what it was."""

    name = "scaleWorkload"
    doc = (
        "more replicas of an Api or CeleryWorker for a while, within `scaling.max` of the Stack, through its autoscaler "
        "where it has one; refused where Git owns the number; needs the probe `scaling` in diagnose"
    )
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=5)
    repeat = "idempotent"
    parameters: type[Parameters] = ScaleParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """From how many to how many, through which object and field."""
        seen = _finding(context)
        if seen is None:
            text = f"replicas of {context.component_name} are not known; the runbook needs the probe scaling on it"
            return Refusal("2-empty-target", "TargetsNotKnown", text)
        refused = _refused(context, seen)
        if refused is not None:
            return refused
        most = min(_most(context), int(seen.get("ownMost", 10**6)))
        to = scaling.wanted(int(seen["replicas"]), int(seen["baseline"]), most)
        if to <= int(seen["replicas"]):
            text = (
                f"{context.component_name} has {seen['replicas']} replicas, {seen['baseline']} before; at most {most}, "
                f"and at most {scaling.MOST_TIMES} times what it was"
            )
            return Refusal("25-scaling", "AtMaximum", text)
        lasts = _lasts(context)
        ref = context.component.workload
        plan = {
            "workload": {"kind": ref.kind, "name": ref.name},
            "through": ref.kind if seen["field"] == "replicas" else seen["through"],
            "name": seen["name"],
            "uid": seen["uid"],
            "field": seen["field"],
            "from": int(seen["replicas"]),
            "to": to,
            "seconds": int(lasts),
            "stack": context.stack.metadata.name,
            # More replicas that have not helped enough do no harm until their time; fewer at once might.
            "undo": "Regressed",
        }
        whom = f"{ref.kind} {ref.name}" if seen["field"] == "replicas" else f"{plan['through']} {plan['name']}"
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=plan,
            summary=f"scale {ref.kind} {ref.name} from {plan['from']} to {to} replicas for {int(lasts // 60)}m, "
            f"by {plan['field']} of {whom}",
            cooldown=self.cooldown,
            git=str(seen["git"]),
        )

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when so many replicas are ready."""
        holder, problem = await _holder(step, namespace, ports)
        plan = step.plan or {}
        if holder is None:
            return Effect(EffectState.ABSENT, problem)
        if not any(c.id == step.attempt_id for c in temporary.changes(holder)):
            return Effect(EffectState.ABSENT, "not ordered yet")
        ref = plan["workload"]
        workload = await ports.cluster.get(WORKLOADS[ref["kind"]], namespace, ref["name"])
        ready = int((workload or {}).get("status", {}).get("readyReplicas", 0))
        state = EffectState.DONE if ready >= int(plan["to"]) else EffectState.IN_PROGRESS
        return Effect(state, f"{ready} of {plan['to']} replicas ready")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Order the number once; the object keeps what was there before, and until when."""
        holder, _ = await _holder(step, namespace, ports)
        if holder is None or any(c.id == step.attempt_id for c in temporary.changes(holder)):
            return
        plan, began = step.plan or {}, step.started_at or ports.clock.now()
        change = temporary.Change(
            id=step.attempt_id or "",
            cause=step.cause,
            until=began + timedelta(seconds=plan["seconds"]),
            field=plan["field"],
            former=value(holder, plan["field"]),
            ours=int(plan["to"]),
        )
        body: JSON = temporary.applied(holder, change, label_of(plan["stack"]))
        await ports.cluster.patch(_kind(plan), namespace, plan["name"], body)

    async def undone(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when the number is not ours any more."""
        return await put_back.left(step, _kind(step.plan or {}), namespace, ports)

    async def undo(self, step: Step, namespace: str, ports: Ports) -> None:
        """The former number: a neighbour was well before and is not any more."""
        await put_back.end(step, _kind(step.plan or {}), namespace, ports)


def _finding(context: PlanContext) -> Mapping[str, Any] | None:
    found = (f for f in context.findings.values() if f.get("component") == context.component_name and "baseline" in f)
    return next(found, None)


def _refused(context: PlanContext, seen: Mapping[str, Any]) -> Refusal | None:
    name, component = context.component_name, context.component
    if component.type not in SCALED_OUT:
        text = f"{name} is a {component.type.value}: another pod of it takes over no load by itself"
        return Refusal("25-scaling", "ScalingNotAllowed", text)
    if component.scaling is None:
        text = f"the Stack does not allow it; set spec.components.{name}.scaling.max"
        return Refusal("25-scaling", "ScalingNotAllowed", text)
    if seen.get("paused"):
        return Refusal("25-scaling", "AutoscalerPaused", f"somebody has paused {seen['through']} {seen['name']}")
    return None


def _most(context: PlanContext) -> int:
    return context.component.scaling.max if context.component.scaling else 0


def _lasts(context: PlanContext) -> float:
    wanted = seconds(ScaleParameters.model_validate(context.spec.parameters or {}).duration)
    return min(max(wanted, SHORTEST), LONGEST)


def _kind(plan: Mapping[str, Any]) -> Kind:
    return THROUGH.get(plan["through"]) or WORKLOADS[plan["through"]]


async def _holder(step: Step, namespace: str, ports: Ports) -> tuple[JSON | None, str]:
    plan = step.plan or {}
    found = await ports.cluster.get(_kind(plan), namespace, plan["name"])
    if found is None or found["metadata"]["uid"] != plan["uid"]:
        return None, f"{plan['through']} {plan['name']} is gone or is another object now; it is not touched"
    known = temporary.changes(found)
    mine = any(c.id == step.attempt_id for c in known)
    if not mine and plan["field"] == "replicas" and value(found, "replicas") != plan["from"]:
        return None, f"somebody has set replicas of {plan['name']} to {value(found, 'replicas')} meanwhile; left as it is"
    return found, ""
