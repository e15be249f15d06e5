"""How large the status of an incident may become, and what goes first."""

from __future__ import annotations

import json

from ...api.incident import IncidentStatus

STATUS_LIMIT = 64 * 1024


def bounded(status: IncidentStatus) -> IncidentStatus:
    """Rule 34: at most 64 KiB. Plans of steps that are over go first, then the oldest lines of the timeline."""
    for index, step in enumerate(status.steps):
        if _fits(status):
            return status
        if step.state.final and step.plan and not step.plan.get("note") and not step.undo:
            steps = [*status.steps]
            steps[index] = step.model_copy(update={"plan": None})
            status = status.model_copy(update={"steps": steps})
    while not _fits(status) and len(status.timeline) > 1:
        status = status.model_copy(update={"timeline": status.timeline[len(status.timeline) // 4 + 1 :]})
    return status


def _fits(status: IncidentStatus) -> bool:
    return len(json.dumps(status.to_wire()).encode()) <= STATUS_LIMIT
