"""Faults that are over before they can count as one: none opens an incident, but three within 30m are told (rule 14)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from ...api.common import Condition
from ...api.stack import ComponentStatus, Stack
from ..conditions import set_condition

WITHIN = timedelta(minutes=30)
TOO_MANY = 3
KEPT = 8


def counted(
    states: Sequence[ComponentStatus], before: Sequence[ComponentStatus], fresh: Collection[str], now: datetime
) -> list[ComponentStatus]:
    """The states with the short faults of the last 30m, those of now included."""
    known = {c.name: c.short_faults for c in before}
    found = []
    for state in states:
        times = [t for t in known.get(state.name, []) if now - t < WITHIN] + [now] * (state.name in fresh)
        found.append(state.model_copy(update={"short_faults": times[-KEPT:]}))
    return found


def flapping(
    stack: Stack, states: Sequence[ComponentStatus], conditions: Sequence[Condition], now: datetime
) -> list[Condition]:
    """The Stack's condition Flapping: a component goes away again and again, each time too short for an incident."""
    often = [f"{c.name} {len(c.short_faults)} times" for c in states if len(c.short_faults) >= TOO_MANY]
    if not often and not any(c.type == "Flapping" for c in conditions):
        return list(conditions)
    text = f"went away within {WITHIN // timedelta(minutes=1)}m, and was back at once: {', '.join(often)}" if often else ""
    reason = "ShortFaults" if often else "Calm"
    return set_condition(conditions, "Flapping", bool(often), reason, text, now, stack.metadata.generation)
