"""Whether a pass has said all there is to say about what it has just written, so that nobody need look at it at once. Pure.

The watch shows each write of ours again. A pass on that would decide on the same object with the same facts; here it is
decided without reading anything. Only where that comes to nothing new may the event be left out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ...api.incident import Incident
from ..world import World
from .healing import Plan, decide


def settled(before: Incident, written: Incident, world: World, plan: Plan, now: datetime) -> Plan | None:
    """What a pass on the written incident would decide, None when it would do anything.

    What a pass does to the world is seen only by another look, and with steps come facts that were not read: with either,
    nothing is settled. Results of messages that were just written are no facts any more.
    """
    steps = (before.status.steps if before.status else []), plan.status.steps
    if _acts(plan) or steps[0] != steps[1]:
        return None
    again = decide(written, replace(world, deliveries={}), now)
    sent = {note.key for note in plan.send}
    quiet = not (_acts(again) or again.news or again.refused) and all(note.key in sent for note in again.send)
    return again if quiet and again.status == written.status else None


def _acts(plan: Plan) -> bool:
    return bool(plan.advance or plan.keep or plan.undo or plan.settle or plan.close)
