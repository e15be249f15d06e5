"""Ends idle Redis clients, named by id, address *and* age: an id that is another client now is left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.common import Duration, seconds
from ...api.incident import Step
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import ClientIdentity, Ports
from .. import shared
from ..base import Parameters, PlanContext

KILL_TIMEOUT = 10.0


class IdleClientParameters(Parameters):
    """Bounds of killIdleClients."""

    min_idle: Annotated[
        Duration, Field(description="Only clients that nothing was asked through for at least this long")
    ] = "5m"
    max: Annotated[int, Field(ge=1, le=100, description="At most so many in one step, the longest idle first")] = 50


class KillIdleClients:
    """Ends clients that only hold a connection: never the operator's own, a replica, a subscriber or one that waits."""

    name = "killIdleClients"
    doc = "end Redis clients that are idle, wait for nothing and watch nothing, the longest idle first"
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=2)
    repeat = "idempotent"
    parameters: type[Parameters] = IdleClientParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names every client that would be ended."""
        bounds = IdleClientParameters.model_validate(context.spec.parameters or {})
        seen = context.findings.get("connections", {})
        if seen.get("exhausted") and "clients" not in seen:
            text = "who could be ended is not known, as the server does not let the operator in; it looks again each round"
            return Refusal("2-empty-target", "TargetsNotKnown", text)
        found: Sequence[Mapping[str, Any]] = seen.get("clients", [])
        old = sorted(
            (c for c in found if c["idleSeconds"] >= seconds(bounds.min_idle)), key=lambda c: (-c["idleSeconds"], c["id"])
        )
        if not old:
            if found:
                text = f"{len(found)} clients are idle, none for {bounds.min_idle} yet"
                return Refusal("2-empty-target", "NotOldEnough", text)
            return Refusal("2-empty-target", "NothingToDo", "no client is idle")
        chosen = old[: bounds.max]
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=_plan(context, chosen, seconds(bounds.min_idle)),
            summary=f"end {len(chosen)} of {len(old)} clients that are idle for {bounds.min_idle} or more, the first for "
            f"{shared.age_words(chosen[0]['idleSeconds'])}",
            cooldown=self.cooldown,
        )

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when none of the named clients lives and is idle."""
        target, named = await shared.target_of_plan(step, namespace, ports, KILL_TIMEOUT), _clients(step)
        left = await ports.redis.alive(target, named, _min_idle(step), KILL_TIMEOUT)
        if left is None:
            return Effect(EffectState.ABSENT, "the server does not answer")
        if left:
            state = EffectState.ABSENT if left == len(named) else EffectState.IN_PROGRESS
            return Effect(state, f"{left} of {len(named)} clients still there", in_parts=True)
        return Effect(EffectState.DONE, f"{len(named)} clients ended")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """End what is left of the named clients."""
        target = await shared.target_of_plan(step, namespace, ports, KILL_TIMEOUT)
        await ports.redis.kill_clients(target, _clients(step), _min_idle(step), KILL_TIMEOUT)


def _plan(context: PlanContext, clients: Sequence[Mapping[str, Any]], min_idle: float) -> dict[str, Any]:
    component = context.component
    return {
        "service": component.endpoint.service if component.endpoint else "",
        "port": component.endpoint.port if component.endpoint else 0,
        "secret": component.credentials.secret_name if component.credentials else "",
        "minIdleSeconds": min_idle,
        "clients": [{"id": c["id"], "address": c["address"], "ageSeconds": c["ageSeconds"]} for c in clients],
    }


def _clients(step: Step) -> list[ClientIdentity]:
    named = (step.plan or {}).get("clients", [])
    return [(int(c["id"]), str(c["address"]), int(c["ageSeconds"])) for c in named]


def _min_idle(step: Step) -> float:
    return float((step.plan or {}).get("minIdleSeconds", 0))
