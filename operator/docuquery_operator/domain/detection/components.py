"""State of a component in the words of public status pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ...api.common import Condition
from ...api.stack import ComponentState, ComponentStatus, ComponentType, Stack
from ..conditions import set_condition
from ..world import Neighbour
from .thresholds import Level

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
    wanted, summary = _wanted(seen, before)
    needed = quorum.recoveries if seen.healthy else quorum.failures
    rounds = seen.rounds if seen.healthy else max(seen.rounds, seen.looks)
    if before is None and rounds < needed:
        return ComponentStatus(name=name, state=ComponentState.UNKNOWN, since=now, summary="being probed")
    if before is not None and before.state is wanted and (MISSING in before.summary) != (MISSING in seen.summary):
        # Still down, but not for the same reason: a workload that came or went is what a person has to know.
        return before.model_copy(update={"summary": seen.summary[:512]})
    if before is not None and before.state is wanted is ComponentState.DEGRADED and _level(before) != _words(summary):
        # It got worse or better, and is degraded still.
        return before.model_copy(update={"summary": summary[:512]})
    if before is not None and (before.state is wanted or rounds < needed):
        return before
    left = before is not None and before.state is ComponentState.OPERATIONAL
    until = now if left else (before.operational_until if before else None)
    return ComponentStatus(name=name, state=wanted, since=now, summary=summary[:512], operational_until=until)


def _wanted(seen: Neighbour, before: ComponentStatus | None) -> tuple[ComponentState, str]:
    """A service that answers but breaks its warning or critical thresholds is degraded, until figures say otherwise."""
    if seen.healthy is None:
        return ComponentState.UNKNOWN, seen.summary
    if not seen.healthy:
        return ComponentState.MAJOR_OUTAGE, seen.summary
    if seen.level is not None and seen.level.rank >= Level.WARNING.rank:
        return ComponentState.DEGRADED, seen.level_words
    if seen.level is None and before is not None and before.state is ComponentState.DEGRADED:
        return ComponentState.DEGRADED, before.summary
    return ComponentState.OPERATIONAL, seen.summary


def _words(summary: str) -> str:
    return summary.partition(":")[0]


def _level(status: ComponentStatus) -> str:
    return _words(status.summary)


def service_level_condition(
    stack: Stack, seen: Mapping[str, Neighbour], before: Sequence[Condition], now: datetime
) -> list[Condition]:
    """ServiceLevelMet of a Stack with an api: False names the worst level, Unknown is no data; the text stays with it."""
    apis = {n: seen[n] for n, c in sorted(stack.spec.components.items()) if c.type is ComponentType.API and n in seen}
    if not apis:
        return [c for c in before if c.type != "ServiceLevelMet"]
    known = [n.level for n in apis.values() if n.level is not None]
    worst = max(known, key=lambda level: level.rank, default=None)
    met: bool | None
    if worst is not None and worst is not Level.NONE:
        met, reason = False, f"{worst.value.capitalize()}ThresholdBreached"
        text = "; ".join(f"{name}: {n.level_words}" for name, n in apis.items() if n.level is worst)
    elif len(known) < len(apis):
        met, reason, text = None, "NoData", f"no figures yet, or too few requests: {', '.join(apis)}"
    else:
        met, reason, text = True, "WithinThresholds", f"all figures over {stack.spec.thresholds.window} are within bounds"
    old = next((c for c in before if c.type == "ServiceLevelMet"), None)
    if old is not None and old.reason == reason:
        # Figures move all the time; a write is for what has changed.
        text = old.message
    return set_condition(before, "ServiceLevelMet", met, reason, text, now, stack.metadata.generation)


def stack_conditions(
    stack: Stack, states: Sequence[ComponentStatus], before: Sequence[Condition], now: datetime
) -> list[Condition]:
    """Ready, Reconciling, Stalled in kstatus' sense, and Paused."""
    generation = stack.metadata.generation
    bad = [c.name for c in states if c.state is ComponentState.MAJOR_OUTAGE]
    unknown = [c.name for c in states if c.state is ComponentState.UNKNOWN]
    degraded = [c.name for c in states if c.state is ComponentState.DEGRADED]
    if bad:
        ready: tuple[bool | None, str, str] = (False, "ComponentDown", f"down: {', '.join(bad)}")
    elif unknown:
        ready = (None, "Probing", f"not known yet: {', '.join(unknown)}")
    elif degraded:
        ready = (True, "Degraded", f"they answer, but break their thresholds: {', '.join(degraded)}")
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
