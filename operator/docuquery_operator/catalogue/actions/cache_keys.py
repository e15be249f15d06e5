"""dropCacheKeys: frees the memory of a Redis by dropping what its owner calls a cache, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from ...api.incident import Step
from ...domain.remedies.cache_keys import clash, work
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import Ports, RedisTarget, Transient
from .. import shared
from ..base import Parameters, PlanContext

# Seconds of one look or one round of dropping; what is left then is dropped in the next pass.
TIMEOUT = 5.0
# How long the server remembers that an attempt is done, seconds.
REMEMBERED = 6 * 3600


class CacheKeyParameters(Parameters):
    """Bounds of dropCacheKeys."""

    max: Annotated[int, Field(ge=1, le=10_000_000, description="At most so many keys for each pattern")] = 1_000_000


class DropCacheKeys:
    """What is dropped can be made again, so to do it twice costs time only; a mark on the server tells that it is done."""

    name = "dropCacheKeys"
    doc = (
        "drop the keys that `cacheKeys` of the Redis component names, by UNLINK in steps of a millisecond; refused where a "
        "pattern would also reach queues, results or counters of limits"
    )
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=10)
    repeat = "idempotent"
    parameters: type[Parameters] = CacheKeyParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names the patterns."""
        bounds = CacheKeyParameters.model_validate(context.spec.parameters or {})
        component, patterns = context.component, sorted(context.component.cache_keys)
        if not patterns or component.endpoint is None:
            text = "no key of this Redis is known to be a cache; name patterns in cacheKeys of the component if some are"
            return Refusal("2-empty-target", "NothingToDo", text)
        reached = clash(patterns, work(context.stack, context.component_name))
        if reached:
            text = f"cacheKeys would reach work: {reached}; write a narrower pattern"
            return Refusal("2-empty-target", "CacheKeysHoldWork", text)
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan={
                "service": component.endpoint.service,
                "port": component.endpoint.port,
                "secret": component.credentials.secret_name if component.credentials else "",
                "patterns": patterns,
                "max": bounds.max,
            },
            summary=f"drop the cache: keys {', '.join(patterns)}",
            cooldown=self.cooldown,
        )

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when the server bears the mark of this attempt, or no key of the cache is left to drop."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        marks = await ports.redis.denied(target, [_mark(step)], TIMEOUT)
        if marks is None:
            return Effect(EffectState.ABSENT, "the server does not answer")
        if marks or await _empty(step, target, ports):
            return Effect(EffectState.DONE, "the cache is dropped")
        return Effect(EffectState.ABSENT)

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Drop what is left, then set the mark: before, a server without memory would not take it."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        plan = step.plan or {}
        for pattern in plan["patterns"]:
            dropped = await ports.redis_keys.drop(target, pattern, plan["max"], TIMEOUT)
            if dropped.problem:
                raise Transient(f"keys {pattern} could not be dropped: {dropped.problem}", 5.0)
            if dropped.at_least and dropped.keys < plan["max"]:
                return
        problem = await ports.redis.deny(target, {_mark(step): "1"}, REMEMBERED, TIMEOUT)
        if problem:
            raise Transient(f"the server did not take the mark: {problem}", 5.0)


async def _empty(step: Step, target: RedisTarget, ports: Ports) -> bool:
    for pattern in (step.plan or {})["patterns"]:
        seen = await ports.redis_keys.count(target, pattern, 0, TIMEOUT)
        if seen.keys or seen.at_least or seen.problem:
            return False
    return True


def _mark(step: Step) -> str:
    return f"docuquery:done:{step.attempt_id}"
