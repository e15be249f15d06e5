"""Conditions in the form of the API conventions: the transition time moves only with the status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..api.common import Condition

MESSAGE_LIMIT = 2048


def set_condition(
    conditions: Sequence[Condition],
    type_: str,
    holds: bool | None,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> list[Condition]:
    """A new list in which the condition of this type is as given; order is kept, so equal input gives equal output."""
    status = {True: "True", False: "False", None: "Unknown"}[holds]
    before = next((c for c in conditions if c.type == type_), None)
    since = before.last_transition_time if before is not None and before.status == status else now
    fresh = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        last_transition_time=since,
        observed_generation=generation,
    )
    if before is None:
        return [*conditions, fresh]
    return [fresh if c.type == type_ else c for c in conditions]
