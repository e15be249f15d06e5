"""clientBlocking: whether clients can be kept out, who never may be, and who is kept out now."""

from __future__ import annotations

from typing import Any

from ..base import ProbeContext
from ..enforcers import ENFORCERS, Obstacle
from ..surroundings import known_addresses
from .ratelimit import NOT_LOOKED, quiet

NOT_SET = "BlockingNotSet"


class ClientBlocking:
    """What blockClients plans from."""

    name = "clientBlocking"
    doc = (
        "whether clients can be kept out: the `enforcer` and its `object`, the `obstacle` in its way with a word for it in "
        "`reason` (both empty where there is none), `never`, the addresses around that are no clients, and `active`, the "
        "number of addresses that are kept out now; only these while nothing is refused"
    )
    gives: tuple[str, ...] = ("enforcer", "object", "obstacle", "reason", "never", "active", "addresses")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        round_, component = context.round, context.component
        blocks = round_.stack.status.blocks if round_.stack.status else []
        mine = [b for b in blocks if b.component == context.name and not b.over(round_.now)]
        addresses = sorted({a for b in mine for a in b.addresses})
        finding: dict[str, Any] = {"active": len(addresses), "addresses": addresses, "enforcer": "", "object": ""}
        if component.blocking is None:
            text = (
                f"set spec.components.{context.name}.blocking in the Stack, such as {{enforcer: ApiDenySet}}, to let the "
                f"operator keep clients out"
            )
            return finding | {"reason": NOT_SET, "obstacle": text, "summary": "blocking is not set up"}
        if await quiet(context):
            return finding | {"summary": NOT_LOOKED}
        enforcer = ENFORCERS[component.blocking.enforcer]
        found = await enforcer.obstacle(round_, context.name, component) or Obstacle("", "")
        finding |= {
            "enforcer": component.blocking.enforcer.value,
            "object": enforcer.object_name(round_, context.name, component),
            "reason": found.reason,
            "obstacle": found.message,
            "never": await known_addresses(round_),
        }
        state = found.message or "ready"
        finding["summary"] = f"{finding['enforcer']}: {state}; {len(addresses)} addresses are kept out now"
        return finding
