"""ApiDenySet: one key an address in the Redis that the api rests on, with a time of its own. Its end needs no operator."""

from __future__ import annotations

from collections.abc import Sequence

from ...api.blocking import KEY_PREFIX, Block
from ...api.stack import Component, ComponentType
from ...ports import RedisTarget, Transient
from .. import shared
from ..base import Round
from .base import Obstacle

TIMEOUT = 5.0


class ApiDenySet:
    """The api reads the key with each request; it ends by itself, whatever becomes of the operator."""

    def object_name(self, round_: Round, name: str, component: Component) -> str:
        """The Service of Redis."""
        found = _redis(round_, component)
        return found.endpoint.service if found and found.endpoint else ""

    async def obstacle(self, round_: Round, name: str, component: Component) -> Obstacle | None:
        """No Redis that the api rests on, or several."""
        if self.object_name(round_, name, component):
            return None
        text = (
            f"ApiDenySet needs one component of type Redis in the Stack, or in dependsOn of '{name}' where there are several"
        )
        return Obstacle("NoRedis", text)

    async def block(self, round_: Round, component: Component, block: Block) -> None:
        """SET for each address unless its key exists: a person's own block must not become one of ours that ends."""
        left = (block.until - round_.now).total_seconds()
        if left < 1:
            return
        keys = {_key(component, a): block.attempt_id for a in block.addresses}
        problem = await round_.ports.redis.deny(await _target(round_, component), keys, int(left), TIMEOUT)
        if problem:
            raise Transient(f"Redis did not take the block: {problem}", 2.0)

    async def unblock(self, round_: Round, block: Block, addresses: Sequence[str]) -> str:
        """Delete what is this attempt's."""
        component = round_.stack.spec.components.get(block.component)
        if component is None or _redis(round_, component) is None:
            return "the Stack does not name the Redis any more; its keys end by themselves"
        keys = {_key(component, a): block.attempt_id for a in addresses}
        if await round_.ports.redis.allow(await _target(round_, component), keys, TIMEOUT) is None:
            raise Transient("Redis does not answer", 5.0)
        return ""

    async def listed(self, round_: Round, block: Block) -> Sequence[str] | None:
        """Those whose key is there, whoever wrote it."""
        component = round_.stack.spec.components.get(block.component)
        if component is None or _redis(round_, component) is None:
            return None
        try:
            target = await _target(round_, component)
        except Transient:
            return None
        keys = {_key(component, a): a for a in block.addresses}
        there = await round_.ports.redis.denied(target, list(keys), TIMEOUT)
        return None if there is None else [keys[k] for k in there]


def _key(component: Component, address: str) -> str:
    return f"{component.blocking.key_prefix if component.blocking else KEY_PREFIX}{address}"


def _redis(round_: Round, component: Component) -> Component | None:
    """The one that the api depends on, else the only one of the Stack."""
    components = round_.stack.spec.components
    all_of_type = {n: c for n, c in components.items() if c.type is ComponentType.REDIS}
    near = [c for n, c in all_of_type.items() if n in component.depends_on]
    chosen = near or list(all_of_type.values())
    return chosen[0] if len(chosen) == 1 else None


async def _target(round_: Round, component: Component) -> RedisTarget:
    redis = _redis(round_, component)
    host = await shared.address(round_, redis) if redis else ""
    target = await shared.redis_target(round_, redis, host) if redis and host else None
    if target is None:
        raise Transient("the address or the password of Redis is missing", 5.0)
    return target
