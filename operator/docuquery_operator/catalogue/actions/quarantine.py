"""Sets the messages of a queue aside, gives them back, or drops them. A person asks for it by the Incident's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ...api.incident import Step
from ...api.stack import CelerySettings
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import Batch, CeleryTarget, Ports, Transient
from .. import shared
from ..base import Parameters, PlanContext, Round
from .restart_workload import NoParameters

TIMEOUT = 10.0
# Each call gives back at least some thousand messages; what is left then is for the next pass.
CALLS_A_PASS = 50


class _OnBatches:
    """What the three have in common: the proof is a count, kept on the broker under the attempt's id."""

    name = ""
    word = ""
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=2)
    repeat = "idempotent"
    parameters: type[Parameters] = NoParameters

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when as many messages were moved as the plan has named."""
        done = await ports.quarantine.done(await _target(step, namespace, ports), step.attempt_id or "", TIMEOUT)
        wanted = sum(b.messages for b in _batches(step))
        if done is None:
            return Effect(EffectState.ABSENT, "not begun")
        state = EffectState.DONE if done == wanted else EffectState.IN_PROGRESS
        return Effect(state, f"{done} of {wanted} messages {self.word}", in_parts=True)

    def _planned(self, context: PlanContext, batches: Sequence[Mapping[str, Any]], summary: str) -> PlannedStep | Refusal:
        where = _where(context)
        if where is None:
            return Refusal("2-empty-target", "TargetsNotKnown", "the Stack does not say which Redis the broker is")
        plan = {**where, "messages": sum(b["messages"] for b in batches), "batches": list(batches)}
        # No backup holds a queue: the plan itself names what would be lost, and two persons must want it.
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan=plan,
            summary=summary,
            cooldown=self.cooldown,
            backup=False,
            two_persons=self.risk is Risk.DATA,
        )


class QuarantineQueue(_OnBatches):
    """Moves all that waits in the worker's queues into a quarantine on the broker, in one atomic step."""

    name = "quarantineQueue"
    doc = "move all messages that wait in the worker's queues into a quarantine on the broker, in one atomic step"
    word = "moved into quarantine"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """The queues; how many messages they hold at the moment of the move is known only then."""
        waiting = context.findings.get("queue", {}).get("waiting")
        if waiting is None:
            return Refusal("2-empty-target", "TargetsNotKnown", "how many messages wait is not known")
        if not waiting:
            return Refusal("2-empty-target", "NothingToDo", "no message waits")
        celery = context.component.celery
        queues = ", ".join(celery.queues) if celery else ""
        return self._planned(context, [], f"move all messages of {queues} into quarantine; about {waiting} wait now")

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when each message that was moved is found in the batch of this attempt."""
        target, attempt = await _target(step, namespace, ports), step.attempt_id or ""
        done = await ports.quarantine.done(target, attempt, TIMEOUT)
        if done is None:
            return Effect(EffectState.ABSENT, "not begun")
        held = await ports.quarantine.held(target, TIMEOUT)
        found = sum(b.messages for b in held or () if b.attempt == attempt)
        if held is None or found != done:
            return Effect(EffectState.IN_PROGRESS, f"{done} messages were moved, {found} are found in quarantine")
        return Effect(EffectState.DONE, f"{done} messages moved into quarantine, and found there as batch {attempt}")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """One script of the server; what comes later stays in the queue, also when this is called again."""
        await ports.quarantine.move(await _target(step, namespace, ports), step.attempt_id or "", TIMEOUT)


class PutBackQuarantine(_OnBatches):
    """Gives back what is held, in order, and before what has come since."""

    name = "putBackQuarantine"
    doc = "give all messages in quarantine back to their queues, in order, before what has come since"
    word = "put back"

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names each batch."""
        batches: Sequence[Mapping[str, Any]] = context.findings.get("quarantine", {}).get("batches", [])
        if not batches:
            return Refusal("2-empty-target", "NothingToDo", "nothing is in quarantine")
        total = sum(b["messages"] for b in batches)
        return self._planned(context, batches, f"put {total} messages of {len(batches)} batches back into their queues")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Scripts of the server, each with a bounded share; carried on where it stands."""
        target = await _target(step, namespace, ports)
        for _ in range(CALLS_A_PASS):
            if await ports.quarantine.put_back(target, step.attempt_id or "", _batches(step), TIMEOUT):
                return


class DropQuarantine(_OnBatches):
    """Deletes what is held, after approval of a plan that names number and digest of each batch."""

    name = "dropQuarantine"
    doc = "delete the messages in quarantine, after approval of a plan with their numbers and digests"
    word = "dropped"
    risk = Risk.DATA

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names each batch with its digest: what is approved is exactly this."""
        batches: Sequence[Mapping[str, Any]] = context.findings.get("quarantine", {}).get("batches", [])
        if not batches:
            return Refusal("2-empty-target", "NothingToDo", "nothing is in quarantine")
        named = ", ".join(f"{b['messages']} of {b['queue']!r} ({b['digest'][:12]})" for b in batches[:3])
        more = f" and {len(batches) - 3} more batches" if len(batches) > 3 else ""
        return self._planned(context, batches, f"delete for ever the messages in quarantine: {named}{more}")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """All or nothing; nothing when one is another by now."""
        target = await _target(step, namespace, ports)
        if not await ports.quarantine.drop(target, step.attempt_id or "", _batches(step), TIMEOUT):
            raise Transient("what is in quarantine is not what was approved; nothing is deleted", 30.0)


def _where(context: PlanContext) -> dict[str, Any] | None:
    broker, celery = shared.broker_of(context.stack, context.component), context.component.celery
    if broker is None or celery is None or broker[1].endpoint is None:
        return None
    endpoint, credentials = broker[1].endpoint, broker[1].credentials
    return {
        "service": endpoint.service,
        "port": endpoint.port,
        "secret": credentials.secret_name if credentials else "",
        "celery": celery.to_wire(),
    }


def _batches(step: Step) -> list[Batch]:
    named = (step.plan or {}).get("batches", [])
    return [Batch(b["attempt"], b["queue"], int(b["messages"]), float(b["since"]), b["digest"]) for b in named]


async def _target(step: Step, namespace: str, ports: Ports) -> CeleryTarget:
    """Address, password and queues from the written plan, so that a Stack edited meanwhile moves nothing."""
    plan = step.plan or {}
    component = shared.plain_redis(plan["service"], plan["port"], plan["secret"])
    round_ = Round(shared.bare_stack(namespace), ports, TIMEOUT, ports.clock.now())
    host = await shared.address(round_, component)
    target = await shared.celery_target(round_, component, CelerySettings.model_validate(plan["celery"]), host)
    if target is None or not host:
        raise Transient("the broker's address or password is missing", 5.0)
    return target
