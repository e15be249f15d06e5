"""setTemporaryLimits: another limit of requests in the api's workload for a while, back by itself (rules 18, 24 and 26)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.blocking import BlockTime
from ...api.common import format_time, seconds
from ...api.incident import Step
from ...domain.names import label_of
from ...domain.remedies import temporary
from ...domain.remedies.fields import value
from ...domain.remedies.limits import LEAST_FACTOR, MOST_FACTOR, moved, needed
from ...domain.workloads.pods import ATTEMPT_ANNOTATION, RESTARTED_AT
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import JSON, WORKLOADS, Conflict, Ports
from .. import put_back
from ..base import Parameters, PlanContext
from .restart_workload import RestartWorkload


class LimitParameters(Parameters):
    """How far and how long."""

    factor: Annotated[
        float | None,
        Field(
            ge=LEAST_FACTOR,
            le=MOST_FACTOR,
            description="Times the limit in force; absent: what the busiest client that minds it needs",
        ),
    ] = None
    duration: Annotated[BlockTime, Field(description="Time after which the former limit comes back; at most 24h")] = "1h"


class SetTemporaryLimits(RestartWorkload):
    """A change of the environment is a rolling restart, and is watched like one."""

    name = "setTemporaryLimits"
    doc = (
        "another limit of requests in the api's workload for a while, from a quarter to four times of what it was; a "
        "rolling restart there and back; refused where Git owns it or a reference sets it"
    )
    cooldown = timedelta(minutes=10)
    parameters: type[Parameters] = LimitParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """From which limit to which."""
        wanted = LimitParameters.model_validate(context.spec.parameters or {})
        seen, limits = context.findings.get("setting", {}), context.findings.get("limits", {})
        uid = context.facts.get("uids", {}).get(context.component_name, "")
        ref = context.component.workload
        if not uid or "source" not in seen:
            return Refusal(
                "2-empty-target", "WorkloadMissing", f"{ref.kind} {ref.name} or its finding 'setting' is not there"
            )
        refused = _refused(seen, limits)
        if refused is not None:
            return refused
        limit = int(seen.get("value") or limits["requests"])
        to = moved(limit, int(seen.get("baseline", limit)), wanted.factor, _needed(limit, context.findings))
        if to == limit:
            return Refusal("2-empty-target", "NothingToDo", f"the limit of {limit} is what it would be set to")
        lasts = int(seconds(wanted.duration))
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=Risk.DISRUPTIVE,
            plan={
                "kind": ref.kind,
                "name": ref.name,
                "uid": uid,
                "field": f"env/{seen['container']}/{seen['variable']}",
                "variable": seen["variable"],
                "from": limit,
                "to": to,
                "seconds": lasts,
                "stack": context.stack.metadata.name,
                "undo": True,
            },
            summary=f"{seen['variable']} from {limit} to {to} in {ref.kind} {ref.name} for {lasts // 60}m (rolling restart)",
            cooldown=self.cooldown,
            restarts=True,
        )

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Write the new limit once, then help the rollout as a restart is helped."""
        if (await self.effect(step, namespace, ports)).state is not EffectState.ABSENT:
            await super().advance(step, namespace, ports)
            return
        plan = step.plan or {}
        workload = await ports.cluster.get(WORKLOADS[plan["kind"]], namespace, plan["name"])
        if workload is None or workload["metadata"]["uid"] != plan["uid"]:
            return
        if await ports.cluster.patch(WORKLOADS[plan["kind"]], namespace, plan["name"], _body(step, workload, ports)) is None:
            raise Conflict(f"{plan['kind']} {plan['name']} is gone")

    async def undone(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when the limit is not ours any more."""
        return await put_back.left(step, WORKLOADS[(step.plan or {})["kind"]], namespace, ports)

    async def undo(self, step: Step, namespace: str, ports: Ports) -> None:
        """The former limit, by another rolling restart."""
        await put_back.end(step, WORKLOADS[(step.plan or {})["kind"]], namespace, ports)


def _body(step: Step, workload: JSON, ports: Ports) -> JSON:
    """The change with its record, and the attempt in the template: the rollout is known by it."""
    plan, began = step.plan or {}, step.started_at or ports.clock.now()
    change = temporary.Change(
        id=step.attempt_id or "",
        cause=step.cause,
        until=began + timedelta(seconds=plan["seconds"]),
        field=plan["field"],
        former=value(workload, plan["field"]),
        ours={"name": plan["variable"], "value": str(plan["to"])},
    )
    body: JSON = temporary.applied(workload, change, label_of(plan["stack"]))
    template = body.setdefault("spec", {}).setdefault("template", {}).setdefault("metadata", {})
    annotations = {ATTEMPT_ANNOTATION: step.attempt_id, RESTARTED_AT: format_time(began)}
    template["annotations"] = {**(template.get("annotations") or {}), **annotations}
    body["metadata"]["uid"] = plan["uid"]
    return body


def _refused(seen: Mapping[str, Any], limits: Mapping[str, Any]) -> Refusal | None:
    if seen["git"]:
        text = f"{seen['git']} owns {seen['variable']} and would put it back; change it there"
        return Refusal("26-git", "GitOwnsField", text)
    if seen["source"] == "valueFrom":
        text = (
            f"{seen['variable']} comes from a reference (valueFrom), and the next apply would clash with a value beside it; "
            "change what it refers to, or set a plain value"
        )
        return Refusal("temporary-limits", "LimitByReference", text)
    if limits.get("mixed"):
        return Refusal("2-empty-target", "TargetsNotKnown", "pods have different limits; a rollout may be on its way")
    if "value" not in seen and "requests" not in limits:
        return Refusal(
            "2-empty-target", "TargetsNotKnown", f"the limit in force is not known; set {seen['variable']} in the workload"
        )
    return None


def _needed(limit: int, findings: Mapping[str, Mapping[str, Any]]) -> int:
    traffic, window = findings.get("traffic", {}), findings.get("limits", {}).get("window")
    if not window or "clients" not in traffic:
        return limit
    return needed(limit, int(window), traffic["clients"], float(traffic.get("spanSeconds", 0)))
