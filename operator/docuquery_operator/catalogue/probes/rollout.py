"""rollout: whether somebody has put a new version of a component into service lately."""

from __future__ import annotations

from typing import Any

from ...domain.workloads.pods import foreign_rollout
from .. import shared
from ..base import ProbeContext


class Rollout:
    """The newest rollout that is not the operator's own restart."""

    name = "rollout"
    doc = (
        "the newest rollout by somebody else than the operator: its `ageSeconds` and the name of its `revision`; "
        "only `found` where there was none since the installation"
    )
    gives: tuple[str, ...] = ("found", "ageSeconds", "revision")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; 'found' is always there."""
        newest = foreign_rollout(await shared.revisions(context.round, context.component))
        if newest is None:
            return {"found": False, "summary": "nobody has rolled out a new version"}
        at, revision = newest
        age = max(0, round((context.round.now - at).total_seconds()))
        return {
            "found": True,
            "ageSeconds": age,
            "revision": revision,
            "summary": f"somebody has rolled out {revision} {shared.age_words(age)} ago",
        }
