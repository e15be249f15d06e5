"""limitSetting: where the workload of an api sets its rate limit, and who would put another value back."""

from __future__ import annotations

from typing import Any

from ...api.stack import RateLimitSettings
from ...domain.remedies import temporary
from ...domain.remedies.limits import number, setting
from ...domain.remedies.ownership import owner_of
from .. import shared
from ..base import ProbeContext


class LimitSetting:
    """What setTemporaryLimits plans from; reads the workload only."""

    name = "limitSetting"
    doc = (
        "where the workload sets the limit of requests: `source` (value, envFrom, valueFrom, absent) in `container`, the "
        "`value` there, `baseline`, what it was before a temporary change, and `git`, who would put it back, '' for nobody; "
        "only `summary` without a workload. `setTemporaryLimits` reads it"
    )
    gives: tuple[str, ...] = ("variable", "container", "source", "value", "baseline", "git", "changed")

    async def look(self, context: ProbeContext) -> dict[str, Any]:
        """The finding."""
        workload = await shared.workload(context.round, context.component)
        if workload is None:
            return {"summary": "the workload does not exist"}
        variable = (context.component.rate_limit or RateLimitSettings()).requests_env
        found = setting(workload, variable)
        field = f"env/{found.container}/{variable}"
        finding: dict[str, Any] = {
            "variable": variable,
            "container": found.container,
            "source": found.source,
            "git": owner_of(workload, field),
        }
        finding |= {"value": found.value} if found.value is not None else {}
        finding |= _change(workload, field)
        finding["summary"] = f"{variable} by {found.source}" + ("; changed for a while" if finding["changed"] else "")
        return finding


def _change(workload: dict[str, Any], field: str) -> dict[str, Any]:
    try:
        known = temporary.active(workload, field)
    except ValueError:
        return {"changed": True}
    if known is None:
        return {"changed": False}
    former = number((known.former or {}).get("value"))
    return {"changed": True} | ({"baseline": former} if former is not None else {})
