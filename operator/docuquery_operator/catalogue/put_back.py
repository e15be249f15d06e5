"""Ends the temporary changes of one attempt before their time (rule 18), for actions that are `Undoable`."""

from __future__ import annotations

from ..api.incident import Step
from ..domain.remedies import temporary
from ..domain.world import Effect, EffectState
from ..ports import Kind, Ports


async def left(step: Step, kind: Kind, namespace: str, ports: Ports) -> Effect:
    """What is left of the attempt on the object that the plan names: nothing is Done, a spoilt record Absent."""
    plan = step.plan or {}
    found = await ports.cluster.get(kind, namespace, plan["name"])
    if found is None or found["metadata"]["uid"] != plan["uid"]:
        return Effect(EffectState.DONE, f"{kind.kind} {plan['name']} is gone or is another object now")
    try:
        over = temporary.undone(found, step.attempt_id or "")
    except ValueError as spoilt:
        return Effect(EffectState.ABSENT, str(spoilt)[:200])
    if over is not None:
        return Effect(EffectState.IN_PROGRESS, f"still as it was set: {plan['field']} of {kind.kind} {plan['name']}")
    return Effect(EffectState.DONE, f"{plan['field']} of {kind.kind} {plan['name']} is not as this step has set it any more")


async def end(step: Step, kind: Kind, namespace: str, ports: Ports) -> None:
    """The former value, where the field still has ours. Conflict when somebody wrote meanwhile: then look again."""
    plan = step.plan or {}
    found = await ports.cluster.get(kind, namespace, plan["name"])
    if found is None or found["metadata"]["uid"] != plan["uid"]:
        return
    over = temporary.undone(found, step.attempt_id or "")
    if over is not None:
        await ports.cluster.patch(kind, namespace, plan["name"], over.patch)
