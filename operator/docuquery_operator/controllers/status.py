"""The one write of a pass: a conditional patch of the status, only where something has changed."""

from __future__ import annotations

from ..api.common import ObjectMeta
from ..domain.patching import merge_patch
from ..ports import JSON, Kind, Ports


async def write_status(ports: Ports, kind: Kind, meta: ObjectMeta, before: JSON, after: JSON) -> tuple[JSON, JSON | None]:
    """What was changed, and the object as it is now: None where nothing was to be changed, or it is gone.

    Conflict when somebody wrote since `meta` was read.
    """
    changes: JSON = merge_patch(before, after)
    if not changes:
        return {}, None
    body: JSON = {"metadata": {"resourceVersion": meta.resource_version}, "status": changes}
    return changes, await ports.cluster.patch(kind, meta.namespace, meta.name, body, "status")
