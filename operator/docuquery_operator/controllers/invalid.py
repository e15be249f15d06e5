"""An object that the API server takes and the model does not, such as a time in the year 0: the object says so itself."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from ..api.common import Condition
from ..domain.conditions import set_condition
from ..domain.patching import merge_patch
from ..ports import JSON, Kind, Ports

log = logging.getLogger(__name__)
REASON = "InvalidSpec"


async def say_invalid(ports: Ports, kind: Kind, obj: JSON, condition: str, error: ValidationError) -> None:
    """Write the first mistake as a condition, with an Event the first time."""
    meta, status = obj["metadata"], obj.get("status") or {}
    first = error.errors()[0]
    message = f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}; nothing is done until it is corrected"
    log.warning("not understood", extra={"kind": kind.kind, "object": f"{meta['namespace']}/{meta['name']}", "why": message})
    now, generation = ports.clock.now(), meta.get("generation")
    conditions = set_condition(_known(status), condition, True, REASON, message, now, generation)
    if any(c.type == "Ready" for c in conditions):
        conditions = set_condition(conditions, "Ready", False, REASON, message, now, generation)
    changes = merge_patch(status, {**status, "conditions": [c.to_wire() for c in conditions]})
    if changes:
        body: JSON = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": changes}
        await ports.cluster.patch(kind, meta["namespace"], meta["name"], body, "status")
        await ports.events.post(kind, obj, "Warning", REASON, message)


def _known(status: JSON) -> list[Condition]:
    """The conditions so far; none when they themselves are what cannot be read."""
    try:
        return [Condition.model_validate(c) for c in status.get("conditions") or []]
    except ValidationError:
        return []
