"""State of a component in the words of public status pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..api.common import Condition
from ..api.stack import ComponentState, ComponentStatus, Stack
from .conditions import set_condition
from .world import Neighbour

MISSING = "the workload does not exist"


def judge_component(workload: Mapping[str, Any], answer: str) -> Neighbour:
    """Healthy means: the service answers, or, where nothing can be asked, all its pods are ready."""
    pods = str(workload.get("summary", ""))
    if not workload.get("exists", False):
        return Neighbour(False, 1, MISSING)
    if answer == "":
        ready = workload.get("ready", 0) >= max(1, workload.get("wanted", 1))
        return Neighbour(ready, 1, pods)
    if answer == "ok":
        return Neighbour(True, 1, pods)
    return Neighbour(False, 1, f"{answer}; {pods}"[:500])


def component_statuses(
    stack: Stack, seen: Mapping[str, Neighbour], before: Sequence[ComponentStatus], now: datetime
) -> list[ComponentStatus]:
    """States after quorum (rule 13): a state changes only when enough rounds in a row agree; 'since' moves only then."""
    known = {c.name: c for c in before}
    return [_status(stack, name, seen.get(name), known.get(name), now) for name in sorted(stack.spec.components)]


def _status(
    stack: Stack, name: str, seen: Neighbour | None, before: ComponentStatus | None, now: datetime
) -> ComponentStatus:
    quorum = stack.spec.detection
    if seen is None:
        return before or ComponentStatus(name=name, state=ComponentState.UNKNOWN, since=now, summary="not probed yet")
    wanted = {True: ComponentState.OPERATIONAL, False: ComponentState.MAJOR_OUTAGE, None: ComponentState.UNKNOWN}[
        seen.healthy
    ]
    needed = quorum.recoveries if seen.healthy else quorum.failures
    if before is None and seen.rounds < needed:
        return ComponentStatus(name=name, state=ComponentState.UNKNOWN, since=now, summary="being probed")
    if before is not None and before.state is wanted and (MISSING in before.summary) != (MISSING in seen.summary):
        # Still down, but not for the same reason: a workload that came or went is what a person has to know.
        return before.model_copy(update={"summary": seen.summary[:512]})
    if before is not None and (before.state is wanted or seen.rounds < needed):
        return before
    left = before is not None and before.state is ComponentState.OPERATIONAL
    until = now if left else (before.operational_until if before else None)
    return ComponentStatus(name=name, state=wanted, since=now, summary=seen.summary[:512], operational_until=until)


def stack_conditions(
    stack: Stack, states: Sequence[ComponentStatus], before: Sequence[Condition], now: datetime
) -> list[Condition]:
    """Ready, Reconciling, Stalled in kstatus' sense, and Paused."""
    generation = stack.metadata.generation
    bad = [c.name for c in states if c.state is ComponentState.MAJOR_OUTAGE]
    unknown = [c.name for c in states if c.state is ComponentState.UNKNOWN]
    if bad:
        ready: tuple[bool | None, str, str] = (False, "ComponentDown", f"down: {', '.join(bad)}")
    elif unknown:
        ready = (None, "Probing", f"not known yet: {', '.join(unknown)}")
    else:
        ready = (True, "AllOperational", f"all {len(states)} components are operational")
    conditions = set_condition(before, "Ready", *ready, now, generation)
    conditions = set_condition(
        conditions, "Reconciling", bool(unknown) and not bad, "Probing" if unknown else "Observed", "", now, generation
    )
    missing = [c.name for c in states if MISSING in c.summary and c.state is ComponentState.MAJOR_OUTAGE]
    text = f"{MISSING}: {', '.join(missing)}" if missing else ""
    conditions = set_condition(
        conditions, "Stalled", bool(missing), "WorkloadMissing" if missing else "None", text, now, generation
    )
    paused = stack.spec.paused
    why = (stack.spec.pause_reason or "") if paused else ""
    return set_condition(conditions, "Paused", paused, "PausedByUser" if paused else "NotPaused", why, now, generation)
