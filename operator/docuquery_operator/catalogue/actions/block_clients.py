"""blockClients: keeps the clients that make the flood out for a time, by the enforcer that the Stack names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from ...api.blocking import MOST_ADDRESSES, Block, Blocking, BlockTime, EnforcerName
from ...api.common import seconds
from ...api.incident import Step
from ...api.stack import Component, Stack
from ...domain.remedies.blocking import Choice, Client, Rules, choose, why_not
from ...domain.world import Effect, EffectState, PlannedStep, Refusal, Risk
from ...ports import STACK, Ports, Transient
from ..base import Parameters, PlanContext, Round
from ..enforcers import ENFORCERS
from ..surroundings import known_addresses

TIMEOUT = 5.0


class BlockParameters(Parameters):
    """Bounds of blockClients."""

    max: Annotated[int, Field(ge=1, le=MOST_ADDRESSES, description="At most so many addresses, the busiest first")] = 5
    min_share: Annotated[
        int, Field(ge=5, le=100, description="Only clients that make at least this share of the requests, percent")
    ] = 20
    block_for: Annotated[BlockTime, Field(description="How long; at most blocking.maxFor of the Stack")] = "1h"


class BlockClients:
    """Blocks single addresses, never ranges; what it would do is frozen in the plan, address by address."""

    name = "blockClients"
    doc = "keep the busiest clients out for a time, by the enforcer that the Stack names; it ends by itself"
    risk = Risk.DISRUPTIVE
    cooldown = timedelta(minutes=2)
    repeat = "idempotent"
    parameters: type[Parameters] = BlockParameters

    def plan(self, context: PlanContext) -> PlannedStep | Refusal:
        """Names every address, the enforcer and how long."""
        bounds = BlockParameters.model_validate(context.spec.parameters or {})
        blocking, seen = context.component.blocking, context.findings.get("blocking", {})
        refusal = _unable(context, blocking, seen)
        if refusal is not None or blocking is None:
            return refusal or _refused("BlockingNotSet", "blocking is not set")
        clients = clients_of(context.findings.get("traffic", {}))
        if clients is None:
            return Refusal("2-empty-target", "TargetsNotKnown", "the traffic is not known, so neither is who makes it")
        active = set(seen.get("addresses", []))
        rules = Rules(tuple(blocking.allow), blocking.allow_private, seen.get("never", {}))
        fresh = [c for c in clients if c.address not in active]
        choice = choose(fresh, bounds.max, bounds.min_share, rules)
        if not choice.addresses:
            return _nobody(choice, active, bounds)
        span = min(seconds(bounds.block_for), seconds(blocking.max_for))
        return PlannedStep(
            action=self.name,
            component=context.component_name,
            risk=self.risk,
            plan={
                "enforcer": blocking.enforcer.value,
                "object": seen["object"],
                "addresses": list(choice.addresses),
                "seconds": int(span),
                "stack": context.stack.metadata.name,
                "leftOut": dict(sorted(choice.left_out.items())[:MOST_ADDRESSES]),
            },
            summary=_summary(choice, {c.address: c for c in fresh}, blocking.enforcer, span),
            cooldown=self.cooldown,
        )

    async def effect(self, step: Step, namespace: str, ports: Ports) -> Effect:
        """Done when each address of the Stack's record is kept out."""
        stack = await _stack(step, namespace, ports)
        block = _recorded(stack, step)
        if stack is None or block is None:
            return Effect(EffectState.ABSENT, "not begun")
        if block.over(ports.clock.now()):
            return Effect(EffectState.DONE, "its time was up before it was seen")
        listed = await ENFORCERS[block.enforcer].listed(_round(stack, ports), block)
        if listed is None:
            return Effect(EffectState.IN_PROGRESS, f"{block.enforcer} does not answer")
        if len(listed) < len(block.addresses):
            told = f"{len(listed)} of {len(block.addresses)} addresses are kept out"
            return Effect(EffectState.IN_PROGRESS, told, in_parts=True)
        return Effect(EffectState.DONE, f"{', '.join(block.addresses)} kept out by {block.enforcer}")

    async def advance(self, step: Step, namespace: str, ports: Ports) -> None:
        """Record the block in the Stack's status, then enforce it: what is enforced without a record would not be ended."""
        stack = await _stack(step, namespace, ports)
        if stack is None:
            raise Transient("the Stack is gone", 5.0)
        round_ = _round(stack, ports)
        component = stack.spec.components[step.component or ""]
        block = _recorded(stack, step) or await _record(round_, component, step)
        if not block.over(round_.now):
            await ENFORCERS[block.enforcer].block(round_, component, block)


def clients_of(finding: Mapping[str, Any]) -> list[Client] | None:
    """The top clients of the traffic finding; None without one."""
    found = finding.get("clients")
    if not isinstance(found, list):
        return None
    return [Client(str(c["client"]), float(c["percent"]), _refused_percent(c)) for c in found]


def _refused_percent(client: Mapping[str, Any]) -> float:
    return 100.0 * float(client.get("refused", 0)) / max(1, int(client.get("requests", 0)))


def rules_of(stack: Stack, component: Component, known: Mapping[str, str]) -> Rules:
    """What the Stack allows now."""
    blocking = component.blocking
    return Rules(tuple(blocking.allow), blocking.allow_private, known) if blocking else Rules(known=known)


def _unable(context: PlanContext, blocking: Blocking | None, seen: Mapping[str, Any]) -> Refusal | None:
    name = context.component_name
    if blocking is None:
        text = (
            f"set spec.components.{name}.blocking in the Stack, such as {{enforcer: ApiDenySet}}, to let the operator keep "
            f"clients out"
        )
        return _refused("BlockingNotSet", text)
    if "never" not in seen or seen.get("enforcer") != blocking.enforcer.value:
        text = (
            "what must not be blocked is not known: nothing is refused, or diagnose lacks "
            "{name: blocking, probe: clientBlocking, component: api}"
        )
        return Refusal("28-lookup", "SurroundingsNotKnown", text)
    if seen["obstacle"]:
        return _refused(str(seen["reason"]), str(seen["obstacle"]))
    return None


def _refused(reason: str, message: str) -> Refusal:
    """Each reason by its name, as docs/safety.md lists them."""
    known = (
        Refusal("26-git", "GitOwnsField", message),
        Refusal("block-clients", "BlockingNotSet", message),
        Refusal("block-clients", "NoRedis", message),
        Refusal("block-clients", "OtherPolicies", message),
        Refusal("block-clients", "HostNetwork", message),
        Refusal("block-clients", "IngressMissing", message),
        Refusal("2-empty-target", "WorkloadMissing", message),
    )
    return next(r for r in known if r.reason == reason)


def _nobody(choice: Choice, active: set[str], bounds: BlockParameters) -> Refusal:
    if choice.left_out:
        text = "; ".join(f"{a} {why}" for a, why in list(choice.left_out.items())[:5])
        # The cause's word to a person follows; what it is about stands in the decision.
        return Refusal("2-empty-target", "NothingToDo", f"nobody may be blocked: {text}")
    # Shares are of minutes: a flood that has just begun grows into its share, so this is looked at again each round.
    kept = f"{len(active)} addresses are kept out already, and " if active else ""
    text = f"{kept}no client that ignores the limit makes {bounds.min_share} % of the requests yet"
    return Refusal("block-clients", "NotBusyEnough", text)


def _summary(choice: Choice, clients: Mapping[str, Client], enforcer: EnforcerName, span: float) -> str:
    named = ", ".join(f"{a} ({clients[a].percent:.0f} %)" for a in choice.addresses)
    left = f"; left out: {', '.join(f'{a} {why}' for a, why in choice.left_out.items())}" if choice.left_out else ""
    return f"keep out {named} by {enforcer} for {_words(span)}{left}"


def _words(span: float) -> str:
    return f"{span / 3600:g}h" if span >= 3600 else f"{span / 60:g}m" if span >= 60 else f"{span:g}s"


async def _stack(step: Step, namespace: str, ports: Ports) -> Stack | None:
    name = (step.plan or {}).get("stack", "")
    obj = await ports.cluster.get(STACK, namespace, name)
    return Stack.model_validate(obj) if obj is not None else None


def _round(stack: Stack, ports: Ports) -> Round:
    return Round(stack, ports, TIMEOUT, ports.clock.now())


def _recorded(stack: Stack | None, step: Step) -> Block | None:
    blocks = stack.status.blocks if stack is not None and stack.status else []
    return next((b for b in blocks if b.attempt_id == step.attempt_id), None)


async def _record(round_: Round, component: Component, step: Step) -> Block:
    """The plan's addresses but those that have become something else since, such as a pod: never others."""
    plan = step.plan or {}
    known = await known_addresses(round_, services=True)
    rules = rules_of(round_.stack, component, known)
    addresses: Sequence[str] = [a for a in plan["addresses"] if not why_not(a, rules)]
    if not addresses or component.blocking is None or component.blocking.enforcer != plan["enforcer"]:
        raise Transient("none of the planned addresses may be blocked any more, or by another enforcer", 5.0)
    now = round_.now
    block = Block(
        attempt_id=step.attempt_id or "",
        component=step.component or "",
        enforcer=EnforcerName(plan["enforcer"]),
        object=plan["object"],
        addresses=list(addresses),
        since=now,
        # From the intent on, not from now: an operator that was away makes no block longer.
        until=(step.started_at or now) + timedelta(seconds=plan["seconds"]),
    )
    await keep_blocks(round_, [*(round_.stack.status.blocks if round_.stack.status else []), block])
    return block


async def keep_blocks(round_: Round, blocks: Sequence[Block]) -> None:
    """Write the Stack's record; Conflict when somebody wrote the Stack first."""
    meta = round_.stack.metadata
    body = {"metadata": {"resourceVersion": meta.resource_version}, "status": {"blocks": [b.to_wire() for b in blocks]}}
    await round_.ports.cluster.patch(STACK, meta.namespace, meta.name, body, "status")
