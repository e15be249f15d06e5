"""Starts the optimisers of Qdrant's collections, with settings computed from their own figures where those do not fit.

The answer to a PATCH proves nothing, nor does a collection that is green right after it: the optimisers begin later. The
end is seen when the settings are in force and several looks in a row show it green, the optimisers well and nothing queued,
after it was seen at work or its figures have moved; where nothing moves at all, half a minute of quiet says that there was
nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.incident import Step, StepState
from ...domain.remedies.optimisation import former, improved
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import Ports, QdrantCollection, QdrantTarget
from .. import shared
from ..base import Parameters, PlanContext, Round
from ..probes.postgres import quantity

PATCH_TIMEOUT = 10.0
LOOK_TIMEOUT = 5.0
QUIET_LOOKS = 3
LOOKS_APART = timedelta(seconds=1)
QUIET_FOR = timedelta(seconds=30)
REMEMBERED = 64


class OptimizeParameters(Parameters):
    """Bounds of optimizeCollections."""

    max: Annotated[int, Field(ge=1, le=16, description="At most so many collections in one step, the worst first")] = 4


@dataclass
class _Quiet:
    """How often it was seen quiet in a row, since when, and whether it was seen at work before."""

    looks: int = 0
    since: datetime | None = None
    last: datetime | None = None
    worked: bool = False


class OptimizeCollections:
    """PATCHes optimizers_config; the former values are in the plan, and are put back where the step has not helped."""

    name = "optimizeCollections"
    doc = (
        "start the optimisers of collections that are grey, and give others settings computed from their own figures; "
        "watched to the end, and put back where it has not helped"
    )
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=30)
    repeat = "idempotent"
    parameters: type[Parameters] = OptimizeParameters

    def __init__(self) -> None:
        # Lost with the process, which costs some looks more.
        self._quiet: dict[tuple[str, int], _Quiet] = {}

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names each collection with its settings before and after."""
        bounds = OptimizeParameters.model_validate(context.spec.parameters or {})
        found: Sequence[Mapping[str, Any]] = context.findings.get("collections", {}).get("collections", [])
        cpus = cores(str(context.findings.get("workload", {}).get("cpuLimit", "")))
        chosen = [c for c in (_changes(c, cpus) for c in found) if c is not None][: bounds.max]
        if not chosen:
            return Refusal("2-empty-target", "NothingToDo", "the settings of the collections fit their figures already")
        component = context.component
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan={
                "service": component.endpoint.service if component.endpoint else "",
                "port": component.endpoint.port if component.endpoint else 0,
                "secret": component.credentials.secret_name if component.credentials else "",
                "undo": any(c["before"] for c in chosen),
                "collections": chosen,
            },
            summary="; ".join(_words(c) for c in chosen),
            cooldown=self.cooldown,
        )

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when the optimisers of all of them have ended."""
        _, planned, found, problem = await _state(step, namespace, ports)
        quiet = self._remembered(step, ports)
        if problem:
            quiet.looks = 0
            state = EffectState.ABSENT if step.state is StepState.INTENDED else EffectState.IN_PROGRESS
            return Effect(state, problem)
        waiting = [p["name"] for p, c in zip(planned, found, strict=True) if c and not _ordered(p, c)]
        if waiting:
            state = EffectState.IN_PROGRESS if len(waiting) < len(planned) else EffectState.ABSENT
            return Effect(state, f"not set yet: {', '.join(waiting)}"[:200], in_parts=True)
        pairs = [(p, c) for p, c in zip(planned, found, strict=True) if c]
        return _progress(quiet, pairs, ports.clock.now())

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Set what is not set yet; an empty change only starts the optimisers."""
        target, planned, found, problem = await _state(step, namespace, ports)
        if target is None or problem:
            return
        for p, c in zip(planned, found, strict=True):
            if c is not None and not _ordered(p, c):
                await ports.qdrant.reconfigure(target, p["name"], p["after"], PATCH_TIMEOUT)

    async def undone(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when no value is left that this step has set."""
        _, planned, found, problem = await _state(step, namespace, ports)
        if problem:
            return Effect(EffectState.ABSENT, problem)
        left = [p["name"] for p, c in zip(planned, found, strict=True) if c and _ours(p, c)]
        if left:
            return Effect(EffectState.IN_PROGRESS, f"still as it was set: {', '.join(left)}"[:200])
        return Effect(EffectState.DONE, "the former optimiser settings are back, but for what somebody else has set since")

    async def undo(self, step: Step, namespace: str, ports: Ports) -> None:
        """The former values, for each setting that still has ours."""
        target, planned, found, problem = await _state(step, namespace, ports)
        if target is None or problem:
            return
        for p, c in zip(planned, found, strict=True):
            ours = _ours(p, c) if c else {}
            if ours:
                await ports.qdrant.reconfigure(target, p["name"], ours, PATCH_TIMEOUT)

    def _remembered(self, step: Step, ports: Ports) -> _Quiet:
        key = (step.attempt_id or "", id(ports.qdrant))
        known = self._quiet.pop(key, None) or _Quiet()
        self._quiet = {**dict(list(self._quiet.items())[-REMEMBERED:]), key: known}
        return known


def cores(limit: str) -> float:
    """Cores of a CPU limit such as 500m or 2, 0 when there is none."""
    return quantity(limit.removesuffix("m")) / 1000 if limit.endswith("m") else quantity(limit)


def _changes(collection: Mapping[str, Any], cpus: float) -> dict[str, Any] | None:
    """What is to be changed of one; None where nothing is."""
    after = improved(collection, cpus)
    grey = collection.get("status") == "grey"
    if not after and not grey:
        return None
    now = collection.get("optimizers") or {}
    return {
        "name": collection["name"],
        "grey": grey,
        "before": {k: former(now, k) for k in after},
        "after": after,
        "segments": collection.get("segments"),
        "indexed": collection.get("indexed"),
    }


def _words(change: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{k} from {change['before'][k]} to {v}" for k, v in change["after"].items())
    return f"collection {change['name'][:64]}: {settings or 'start its optimisers'}"


def _whole(planned: Mapping[str, Any]) -> dict[str, Any]:
    """The API keeps no empty object: a collection that is only started has no settings there."""
    return {"before": {}, "after": {}, **planned}


State = tuple[QdrantTarget | None, list[dict[str, Any]], list[QdrantCollection | None], str]


async def _state(step: Step, namespace: str, ports: Ports) -> State:
    """Target, plan, each collection (None where it is gone), and why they cannot be read."""
    target, planned = await _target(step, namespace, ports), [_whole(p) for p in (step.plan or {}).get("collections", [])]
    if target is None:
        return None, planned, [], "the server's address or key is missing"
    told = await asyncio.gather(*(ports.qdrant.collection(target, p["name"], LOOK_TIMEOUT) for p in planned))
    bad = next((a for a in told if a.outcome not in ("ok", "missing")), None)
    return target, planned, [a.collection for a in told], f"{bad.outcome}: {bad.message}"[:200] if bad else ""


def _in_force(collection: QdrantCollection, key: str) -> Any:
    return former(collection.optimizers, key)


def _ordered(planned: Mapping[str, Any], collection: QdrantCollection) -> bool:
    """All is set; without a setting, it is grey no more."""
    if planned["after"]:
        return all(_in_force(collection, k) == v for k, v in planned["after"].items())
    return collection.status != "grey"


def _ours(planned: Mapping[str, Any], collection: QdrantCollection) -> dict[str, Any]:
    """Former values of those settings that are still as this step has set them."""
    return {k: planned["before"][k] for k, v in planned["after"].items() if _in_force(collection, k) == v}


def _progress(quiet: _Quiet, pairs: Sequence[tuple[Mapping[str, Any], QdrantCollection]], now: datetime) -> Effect:
    busy = [_work(c) for _, c in pairs if _work(c)]
    if busy:
        quiet.worked, quiet.looks, quiet.since = True, 0, None
        return Effect(EffectState.IN_PROGRESS, "; ".join(busy)[:300])
    moved = quiet.worked or any((c.segments, c.indexed) != (p["segments"], p["indexed"]) for p, c in pairs)
    if quiet.last is None or quiet.looks == 0 or now - quiet.last >= LOOKS_APART:
        quiet.looks, quiet.last = quiet.looks + 1, now
    quiet.since = quiet.since or now
    if quiet.looks < QUIET_LOOKS or not (moved or now - quiet.since >= QUIET_FOR):
        return Effect(EffectState.IN_PROGRESS, f"all is set and quiet; watched whether it stays so ({quiet.looks})")
    figures = ", ".join(f"{c.name[:64]}: {c.segments} segments, {c.indexed} of {c.points} indexed" for _, c in pairs)
    return Effect(EffectState.DONE, f"the optimisers have ended; {figures}"[:500])


def _work(c: QdrantCollection) -> str:
    """What keeps this collection from being done, '' when nothing does."""
    if c.optimizer_error:
        return f"{c.name[:64]}: its optimisers fail: {c.optimizer_error}"
    if c.status != "green" or c.pending or c.queue:
        return f"{c.name[:64]} is {c.status}, {c.pending or 0} optimisations and {c.queue or 0} updates are waiting"
    return ""


async def _target(step: Step, namespace: str, ports: Ports) -> QdrantTarget | None:
    """Address and key from the written plan, so that a Stack edited meanwhile moves nothing."""
    plan = step.plan or {}
    component = shared.plain_qdrant(plan["service"], plan["port"], plan["secret"])
    round_ = Round(shared.bare_stack(namespace), ports, PATCH_TIMEOUT, ports.clock.now())
    host = await shared.address(round_, component)
    return await shared.qdrant_target(round_, component, host) if host else None
