"""Ends blocks of clients when their time has come or their reason is gone. Level-triggered: the Stack holds the record.

Without blocks it costs nothing but a look each 15 s at an Ingress or a policy that the Stack names, where a block might have
lost its record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..api.blocking import Block, EnforcerName
from ..api.stack import Stack
from ..catalogue.actions.block_clients import keep_blocks, rules_of
from ..catalogue.base import Round
from ..catalogue.enforcers import ENFORCERS
from ..catalogue.surroundings import known_addresses
from ..domain.remedies import blocklists
from ..domain.remedies.blocking import why_not
from ..ports import INCIDENT, INGRESS, JSON, NETWORK_POLICY, STACK, ApiError, Conflict, Key, Ports, Transient

LOOK_SECONDS = 15.0
TIMEOUT = 5.0
BEGINS_WITHIN = 60.0
FAILED = ("NotHealed", "Regressed", "Inconclusive")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """Addresses of a block that are let in again, and why."""

    addresses: tuple[str, ...]
    reason: str
    message: str


class BlockKeeper:
    """One for the Stack controller."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._looked: dict[Key, float] = {}

    async def look(self, stack: Stack, obj: JSON) -> None:
        """End what is due. Also while the Stack is paused: a block is never longer than it was meant to be."""
        now = self._ports.clock.now()
        key = Key(STACK.plural, stack.metadata.namespace, stack.metadata.name)
        if not self._ports.leader.leading() or 0 <= now.timestamp() - self._looked.get(key, 0.0) < LOOK_SECONDS:
            return
        self._looked[key] = now.timestamp()
        try:
            await self._look(stack, obj)
        except (Transient, Conflict) as later:
            # Somebody wrote first, or an enforcer is away: what is due stays due.
            log.info("blocks are looked at again", extra={"stack": key.name, "why": str(later)})

    async def _look(self, stack: Stack, obj: JSON) -> None:
        round_ = Round(stack, self._ports, TIMEOUT, self._ports.clock.now())
        known = list(stack.status.blocks if stack.status else [])
        lost = await _lost(round_, known)
        if not known and not lost:
            return
        blocks = [*known, *lost]
        verdicts = await self._verdicts(stack) if any(not b.over(round_.now) for b in blocks) else {}
        kept: list[Block] = []
        for block in blocks:
            left = await self._one(round_, obj, block, verdicts)
            if left is not None:
                kept.append(left)
        if kept != known:
            await keep_blocks(await self._fresh(stack, round_), kept)

    async def _fresh(self, stack: Stack, round_: Round) -> Round:
        """The pass has written the Stack's status just now."""
        obj = await self._ports.cluster.get(STACK, stack.metadata.namespace, stack.metadata.name)
        if obj is None:
            raise Transient("the Stack is gone", 5.0)
        found = Stack.model_validate(obj)
        recorded = stack.status.blocks if stack.status else []
        if (found.status.blocks if found.status else []) != recorded:
            raise Transient("a block was recorded meanwhile", 1.0)
        return Round(found, self._ports, TIMEOUT, round_.now)

    async def _one(self, round_: Round, obj: JSON, block: Block, verdicts: Mapping[str, str]) -> Block | None:
        end = await _due(round_, block, verdicts.get(block.attempt_id, ""))
        if end is None:
            return block
        enforcer = ENFORCERS[block.enforcer]
        try:
            note = await enforcer.unblock(round_, block, end.addresses)
        except Transient:
            if not (block.over(round_.now) and block.enforcer is EnforcerName.API_DENY_SET):
                return block
            # Its keys have ended by themselves, whether or not Redis answers now.
            note = ""
        text = f"{', '.join(end.addresses)}: {end.message}"
        await self._ports.events.post(
            STACK, obj, "Warning" if note else "Normal", end.reason, f"{text}; {note}" if note else text
        )
        left = [a for a in block.addresses if a not in end.addresses]
        return block.model_copy(update={"addresses": left}) if left else None

    async def _verdicts(self, stack: Stack) -> dict[str, str]:
        """State of each step that has an attempt."""
        try:
            incidents = await self._ports.cluster.list(INCIDENT, stack.metadata.namespace)
        except ApiError:
            return {}
        steps = [s for i in incidents for s in (i.get("status") or {}).get("steps") or []]
        return {s["attemptId"]: s.get("state", "") for s in steps if s.get("attemptId")}


async def _due(round_: Round, block: Block, verdict: str) -> End | None:
    """Its end, in the order of what is surest."""
    everything = tuple(block.addresses)
    if block.over(round_.now):
        return End(everything, "BlockEnded", f"no longer blocked by {block.enforcer}: its time is up")
    if verdict in FAILED:
        return End(everything, "BlockUndone", f"let in again: the block has not helped ({verdict})")
    component = round_.stack.spec.components.get(block.component)
    if component is None or component.blocking is None or component.blocking.enforcer is not block.enforcer:
        return End(everything, "BlockUndone", "let in again: the Stack does not allow this blocking any more")
    rules = rules_of(round_.stack, component, await known_addresses(round_, services=True))
    wrong = {a: why for a in block.addresses if (why := why_not(a, rules))}
    if wrong:
        return End(tuple(wrong), "BlockUndone", f"let in again: it {next(iter(wrong.values()))}")
    obstacle = await ENFORCERS[block.enforcer].obstacle(round_, block.component, component)
    if obstacle is not None and block.enforcer is EnforcerName.NETWORK_POLICY:
        return End(everything, "BlockUndone", f"let in again: {obstacle.message}")
    if (round_.now - block.since).total_seconds() < BEGINS_WITHIN:
        # Recorded first, enforced then: it may be on its way.
        return None
    listed = await ENFORCERS[block.enforcer].listed(round_, block)
    gone = tuple(a for a in block.addresses if a not in listed) if listed is not None else ()
    return (
        End(gone, "BlockGone", f"not blocked any more by {block.enforcer}: somebody has taken it out, or it was lost")
        if gone
        else None
    )


async def _lost(round_: Round, known: Sequence[Block]) -> list[Block]:
    """Blocks that an object of the Stack still has and the Stack's record has not, such as after a restore of the Stack."""
    found: list[Block] = []
    for name, component in round_.stack.spec.components.items():
        blocking = component.blocking
        if blocking is None or blocking.enforcer is EnforcerName.API_DENY_SET:
            continue
        kind = INGRESS if blocking.enforcer is EnforcerName.INGRESS_NGINX else NETWORK_POLICY
        object_name = ENFORCERS[blocking.enforcer].object_name(round_, name, component)
        obj = await round_.ports.cluster.get(kind, round_.namespace, object_name) if object_name else None
        found += [b for b in blocklists.held(obj).blocks if b.component == name]
    attempts = {b.attempt_id for b in known}
    return [b for b in found if b.attempt_id not in attempts]
