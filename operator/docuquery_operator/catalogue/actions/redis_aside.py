"""All data of a Redis set aside, put back or dropped: FLUSHALL in two halves, of which the first loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ...api.incident import Step
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import Aside, Ports, Transient
from .. import shared
from ..base import Parameters, PlanContext
from .restart_workload import NoParameters

TIMEOUT = 10.0


class _OnAside:
    """What the three have in common: two persons must want it, and the proof is the server's mark of the attempt."""

    name = ""
    word = ""
    risk = Risk.DATA
    cooldown = timedelta(minutes=10)
    repeat = "idempotent"
    parameters: type[Parameters] = NoParameters

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when the server bears the mark."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        done = await ports.aside.done(target, step.attempt_id or "", TIMEOUT)
        if done is None:
            return Effect(EffectState.ABSENT, "the server does not answer")
        return Effect(EffectState.DONE, self.word) if done else Effect(EffectState.ABSENT, "not begun")

    def _planned(self, context: PlanContext, aside: Mapping[str, Any], summary: str) -> PlannedStep:
        endpoint, credentials = context.component.endpoint, context.component.credentials
        plan = {
            "service": endpoint.service if endpoint else "",
            "port": endpoint.port if endpoint else 0,
            "secret": credentials.secret_name if credentials else "",
            **aside,
        }
        # No backup holds what Redis holds: the data that is set aside is the copy.
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=plan,
            summary=summary,
            cooldown=self.cooldown,
            backup=False,
            two_persons=True,
        )


class SetAsideRedis(_OnAside):
    """The server begins with nothing, at once; what it held lies in its spare database."""

    name = "setAsideRedis"
    doc = "exchange all data of a Redis with its empty spare database 15, in one step, after approval; nothing is deleted"
    word = "the data lies aside in database 15"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """How much there is."""
        seen = context.findings.get("aside", {})
        if "state" not in seen:
            text = "what the spare database holds is not known; the probe redisAside gave no figures"
            return Refusal("2-empty-target", "TargetsNotKnown", text)
        if seen["state"] != "none":
            text = f"the spare database holds {seen['keys']} keys ({seen['state']}): put them back or drop them first"
            return Refusal("2-empty-target", "AsideTaken", text)
        if not seen["liveKeys"]:
            return Refusal("2-empty-target", "NothingToDo", "there is no key")
        return self._planned(context, {}, f"set all data aside, about {seen['liveKeys']} keys now, queues among them")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """One script of the server."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        _done(await ports.aside.set_aside(target, step.attempt_id or "", TIMEOUT))


class PutBackRedis(_OnAside):
    """What was set aside is in use again; what has come since lies aside then."""

    name = "putBackRedis"
    doc = "take what was set aside into use again, in one step, after approval; what has come since lies aside then"
    word = "the data is in use again"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names exactly what lies there."""
        seen = context.findings.get("aside", {})
        if seen.get("state") != "aside":
            return Refusal("2-empty-target", "NothingToDo", "nothing of ours was set aside")
        text = f"put {seen['keys']} keys back into use; {seen['liveKeys']} that have come since lie aside then"
        return self._planned(context, _named(seen), text)

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """One script of the server."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        _done(await ports.aside.put_back(target, step.attempt_id or "", _aside(step), TIMEOUT))


class DropRedisAside(_OnAside):
    """The only deletion, of what the approved plan names by its attempt and number of keys."""

    name = "dropRedisAside"
    doc = "delete what lies aside, after approval of a plan with its number of keys; the second half of a flush"
    word = "what lay aside is deleted"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names exactly what would be lost."""
        seen = context.findings.get("aside", {})
        if seen.get("state") not in ("aside", "replaced"):
            return Refusal("2-empty-target", "NothingToDo", "nothing of ours was set aside")
        text = f"delete for ever {seen['keys']} keys, aside since {shared.age_words(seen['sinceSeconds'])}"
        return self._planned(context, _named(seen), text)

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """One script of the server."""
        target = await shared.target_of_plan(step, namespace, ports, TIMEOUT)
        _done(await ports.aside.drop(target, step.attempt_id or "", _aside(step), TIMEOUT))


def _named(seen: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": seen["state"], "attempt": seen["attempt"], "keys": seen["keys"]}


def _aside(step: Step) -> Aside:
    plan = step.plan or {}
    return Aside(plan["state"], keys=int(plan["keys"]), attempt=plan["attempt"])


def _done(problem: str) -> None:
    if problem:
        raise Transient(problem[:300], 10.0)
