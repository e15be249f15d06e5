"""backups: whether the Stack's backups are made and stand their checks, as its BackupJobs say."""

from __future__ import annotations

from typing import Any

from ...ports import BACKUP_JOB, JSON
from ..base import ProbeContext


class Backups:
    """Counts BackupJobs of the Stack by their conditions Stale and Verified."""

    name = "backups"
    doc = (
        "the BackupJobs of the Stack: how many there are, how many are `stale` (a good run is missing) and how many have a "
        "newest set that is `unproved` (it did not stand its check)"
    )
    gives: tuple[str, ...] = ("jobs", "stale", "unproved")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding; all keys are always there."""
        round_ = context.round

        async def read() -> list[JSON]:
            found = await round_.ports.cluster.list(BACKUP_JOB, round_.namespace)
            return [o for o in found if _stack(o) == round_.stack.metadata.name]

        jobs: list[JSON] = await round_.once(("backup jobs",), read)
        stale = [o["metadata"]["name"] for o in jobs if _is(o, "Stale", "True")]
        unproved = [o["metadata"]["name"] for o in jobs if _is(o, "Verified", "False")]
        words = [f"no good run in time: {', '.join(stale)}"] if stale else []
        words += [f"not proved: {', '.join(unproved)}"] if unproved else []
        summary = "; ".join(words) or f"{len(jobs)} BackupJobs, none stale, no newest set that failed its check"
        return {"jobs": len(jobs), "stale": len(stale), "unproved": len(unproved), "summary": summary[:512]}


def _stack(obj: JSON) -> str:
    return str(((obj.get("spec") or {}).get("stackRef") or {}).get("name"))


def _is(obj: JSON, type_: str, status: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(c.get("type") == type_ and c.get("status") == status for c in conditions)
