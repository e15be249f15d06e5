"""OptimizeCollections: what the remedy of that name does, for all collections that need it, with figures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ...api.incident import Step, StepState
from ...api.maintenance_window import OptimizeCollectionsTask, TaskType
from ...api.runbook import StepSpec
from ...api.stack import Component, ComponentType
from ...domain.maintenance.task_outcome import Finding, Table, TaskOutcome
from ...domain.world import EffectState, PlannedStep
from .. import shared
from ..actions.optimize_collections import OptimizeCollections
from ..base import PlanContext, ProbeContext, Round
from ..probes import PROBES
from .base import Light, TaskContext, parameters
from .targets import given_back, lost, taken

LOOK_SECONDS, PAUSE_SECONDS, RESERVE_SECONDS = 15.0, 2.0, 10.0
MOST = 16
VERDICTS = {"Succeeded": "Healed", "Failed": "NotHealed"}


async def run(context: TaskContext) -> TaskOutcome:
    """Set what its own figures ask for, start the optimisers, and watch them to their end."""
    wanted: OptimizeCollectionsTask = parameters(context, "optimize_collections", OptimizeCollectionsTask)
    found = [(n, c) for n, c in context.stack.spec.components.items() if c.type is ComponentType.QDRANT]
    if not found:
        return TaskOutcome(state="Skipped", summary="the Stack has no Qdrant component")
    named = [(n, c) for n, c in found if n in context.window.spec.components] or found
    if len(named) > 1:
        names = ", ".join(sorted(n for n, _ in named))
        return TaskOutcome(state="Failed", summary=f"several Qdrant components ({names}): name one in spec.components")
    name, component = named[0]
    action, round_ = OptimizeCollections(), Round(context.stack, context.ports, LOOK_SECONDS, context.ports.clock.now())
    findings = await _findings(round_, name, component, wanted.collections)
    collections = findings["collections"].get("collections")
    if collections is None:
        summary = f"the collections cannot be read: {findings['collections'].get('summary', '')}"
        return TaskOutcome(state="Failed", summary=summary[:512])
    spec = StepSpec(action=action.name, parameters={"max": MOST})
    planned = action.plan(PlanContext(context.stack, name, component, findings, spec, {}))
    if not isinstance(planned, PlannedStep):
        # All of it may have been done by a process that died.
        await given_back(context, name, "Healed")
        return TaskOutcome(state="Succeeded", summary=planned.message[:512], figures={"collections": len(collections)})
    step = Step(name="optimize", kind=action.name, component=name, state=StepState.INTENDED,
                attempt_id=context.attempt_id, plan=dict(planned.plan))  # fmt: skip
    why = await taken(context, name, action.name, action.cooldown, RESERVE_SECONDS)
    if why:
        finding = Finding(rank="Warning", text=f"{name}: not optimised: {why}"[:512])
        return TaskOutcome(state="Skipped", summary=finding.text, findings=(finding,))
    outcome = await _watched(context, action, step, planned.summary, component)
    await given_back(context, name, VERDICTS.get(outcome.state, "Inconclusive"))
    return outcome


async def _findings(round_: Round, name: str, component: Component, only: list[str]) -> dict[str, dict[str, Any]]:
    context = ProbeContext(round_, name, component)
    seen, workload = await asyncio.gather(PROBES["qdrantCollections"].look(context), PROBES["workload"].look(context))
    if only and seen.get("collections") is not None:
        seen = {**seen, "collections": [c for c in seen["collections"] if c.get("name") in only]}
    return {"collections": seen, "workload": workload}


async def _watched(
    context: TaskContext, action: OptimizeCollections, step: Step, said: str, component: Component
) -> TaskOutcome:
    end = context.since.timestamp() + context.timeout - RESERVE_SECONDS
    words, stopped = "", ""
    while context.ports.clock.now().timestamp() < end:
        words = await lost(context, step.component or "")
        if words:
            await context.pause(PAUSE_SECONDS)
            continue
        effect = await action.effect(step, context.namespace, context.ports)
        words = effect.message
        if effect.state is EffectState.DONE:
            return await _outcome(context, step, component, "Succeeded", said, words)
        # What is set stays set: optimisers that have begun end by themselves.
        stopped = context.stopping()
        if stopped:
            return await _outcome(context, step, component, "Aborted", f"{stopped}; {said}", words)
        if effect.state is EffectState.ABSENT or effect.in_parts:
            if not context.ports.leader.leading():
                break
            await action.advance(step, context.namespace, context.ports)
        context.say(words)
        await context.pause(PAUSE_SECONDS)
    return await _outcome(context, step, component, "Failed", f"not at its end in time: {words}; {said}", words)


async def _outcome(
    context: TaskContext, step: Step, component: Component, state: str, summary: str, words: str
) -> TaskOutcome:
    plan = (step.plan or {})["collections"]
    after = {c.name: c for c in await _after(context, component)}
    rows = tuple(
        (p["name"], _settings(p["before"]), _settings(p["after"]), p["segments"], _of(after, p["name"], "segments"),
         p["indexed"], _of(after, p["name"], "indexed"))
        for p in plan
    )  # fmt: skip
    columns = ("collection", "settings before", "settings after", "segments before", "segments after",
               "indexed before (vectors)", "indexed after (vectors)")  # fmt: skip
    lines = [f"{r[0]}: segments {r[3]} → {r[4]}, indexed {r[5]} → {r[6]}"[:512] for r in rows]
    failed = () if state == "Succeeded" else (Finding(rank="Warning", text=words[:512] or summary[:512]),)
    return TaskOutcome.model_validate(
        {
            "state": state, "summary": summary[:512], "evidence": tuple(lines[:12]), "figures": {"changed": len(rows)},
            "tables": (Table(title="Collections", columns=columns, rows=rows),), "findings": failed,
        }
    )  # fmt: skip


async def _after(context: TaskContext, component: Component) -> tuple[Any, ...]:
    round_ = Round(context.stack, context.ports, LOOK_SECONDS, context.ports.clock.now())
    host = await shared.address(round_, component)
    target = await shared.qdrant_target(round_, component, host) if host else None
    if target is None:
        return ()
    return (await context.ports.qdrant.look(target, LOOK_SECONDS)).collections or ()


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}: {v}" for k, v in values.items()) or "unchanged"


def _of(after: Mapping[str, Any], name: str, field: str) -> int | None:
    found = after.get(name)
    return getattr(found, field) if found is not None else None


KIND = Light(TaskType.OPTIMIZE_COLLECTIONS, "optimisers of Qdrant's collections started and watched", run, changes=True)
