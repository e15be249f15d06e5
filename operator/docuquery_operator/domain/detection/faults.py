"""Which faults open an incident by themselves: symptoms folded into causes, one incident a fault (rules 10, 13, 14)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.common import Condition, Severity
from ...api.stack import Component, ComponentState, ComponentStatus, ComponentType, Stack
from ..conditions import set_condition
from ..incidents.healing import UNSTABLE_ROUNDS
from ..world import Streak

# A pod that starts, and a rollout that somebody else has begun, get so long before they are a fault.
GRACE = timedelta(minutes=3)
# After the end of an incident those that rest on its component get so long to find back to it.
AFTERMATH = timedelta(minutes=1)
# The same fault within this time is the same incident again; later it is a new one.
REFIRE_WITHIN = timedelta(minutes=30)
STATEFUL = (ComponentType.POSTGRESQL, ComponentType.REDIS, ComponentType.QDRANT)
STORM_ROOTS = 2
STORM_OVER = timedelta(minutes=5)


@dataclass(frozen=True)
class Suspicion:
    """The symptom of one incident type on one component, as its newest rounds of probes show it.

    lag: how long its figures still show a fault that is over. facts: what people should read of it.
    """

    incident_type: str
    component: str
    streak: Streak
    lag: timedelta = timedelta(0)
    facts: str = ""


@dataclass(frozen=True)
class KnownIncident:
    """An incident of the Stack that exists.

    component: '' when it is not known yet. number: which of ours it is, 0 when somebody else opened it. severity: the one in
    force, None when it is not known yet.
    """

    name: str
    incident_type: str
    component: str
    number: int = 0
    ended: datetime | None = None
    by_hand: bool = False
    severity: Severity | None = None


@dataclass(frozen=True)
class Opening:
    """An incident to open, or to open again. severity: None is the runbook's. cause: as it was found."""

    name: str
    incident_type: str
    component: str
    description: str
    again: bool = False
    severity: Severity | None = None
    cause: str = ""


@dataclass(frozen=True)
class Raising:
    """An open incident of ours that has got worse than it was opened for."""

    name: str
    severity: Severity
    description: str


def dependencies(components: Mapping[str, Component], name: str) -> set[str]:
    """All components that one rests on, directly or not."""
    found: set[str] = set()
    todo = [name]
    while todo:
        component = components.get(todo.pop())
        fresh = set(component.depends_on if component else []) - found
        found |= fresh
        todo += sorted(fresh)
    return found - {name}


def roots(stack: Stack, sick: Collection[str]) -> dict[str, list[str]]:
    """Sick components that rest on no sick one, each with those whose sickness is only its symptom.

    Where they rest on one another in a circle nobody can tell, and each counts.
    """
    rests_on = {name: dependencies(stack.spec.components, name) for name in stack.spec.components}
    found = [name for name in sorted(sick) if not rests_on.get(name, set()) & set(sick)] or sorted(sick)
    return {root: [s for s in sorted(sick) if root in rests_on.get(s, set())] for root in found}


def storm(stack: Stack, causes: Collection[str]) -> str:
    """Why nothing should be done by itself: several stores failed at once, so something under them has (rule 10)."""
    stores = [name for name in sorted(causes) if stack.spec.components[name].type in STATEFUL]
    if len(stores) < STORM_ROOTS:
        return ""
    return f"{', '.join(stores)} failed at once: something that they share is the likely cause"


def storm_brake(
    stack: Stack, states: Sequence[ComponentStatus], conditions: Sequence[Condition], now: datetime
) -> list[Condition]:
    """The Stack's condition StormBrake: on in a storm, off when every store was well for five minutes (rule 10)."""
    # What never was well has not failed: a Stack that is being installed is no storm.
    down = [c.name for c in states if c.state is ComponentState.MAJOR_OUTAGE]
    failed = {c.name for c in states if c.operational_until is not None}
    why = storm(stack, failed.intersection(roots(stack, down)))
    before = next((c for c in conditions if c.type == "StormBrake"), None)
    braked = before is not None and before.status == "True"
    stores = [c for c in states if stack.spec.components[c.name].type in STATEFUL]
    well = all(c.state is ComponentState.OPERATIONAL and now - c.since >= STORM_OVER for c in stores)
    if why or (braked and not well):
        text = why or (before.message if before else "")
        return set_condition(conditions, "StormBrake", True, "SeveralStoresFailed", text, now, stack.metadata.generation)
    if before is None:
        return list(conditions)
    return set_condition(conditions, "StormBrake", False, "Calm", "", now, stack.metadata.generation)


def openings(
    stack: Stack,
    suspicions: Sequence[Suspicion],
    sick: Collection[str],
    rolling: Collection[str],
    known: Sequence[KnownIncident],
    now: datetime,
    restarted: Collection[str] = (),
) -> list[Opening]:
    """What is to be opened now. Pure and repeatable: what it opens is known at the next look, and then it opens nothing.

    rolling: components that somebody else has begun to roll out just now; restarted: those that the operator itself has.
    """
    ours = [k for k in known if k.ended is None and k.component in restarted]
    passing = {s.component for s in suspicions if _aftermath(stack, s, known, now)}
    sure = [s for s in suspicions if _sure(stack, s, {*rolling, *passing, *_under_treatment(s, ours)}, now)]
    causes = roots(stack, {*sick, *(s.component for s in sure)})
    unsure = {s.component for s in suspicions if s.streak.verdict.symptom is True and s not in sure}
    roots_of = [
        s for s in sure if s.component in causes and not _explained(stack, s, known, now) and not _waits(stack, s, unsure)
    ]
    found = [_opening(stack, s, causes[s.component], known, now) for s in roots_of]
    return [o for o in found if o is not None]


def raisings(
    stack: Stack, suspicions: Sequence[Suspicion], rolling: Collection[str], known: Sequence[KnownIncident], now: datetime
) -> list[Raising]:
    """Open incidents of ours whose findings now say a higher severity; none is ever lowered."""
    found = []
    for s in suspicions:
        wanted = s.streak.verdict.severity
        if wanted is None or not _sure(stack, s, rolling, now):
            continue
        for k in known:
            ours = k.number and k.ended is None and (k.incident_type, k.component) == (s.incident_type, s.component)
            if ours and k.severity is not None and wanted < k.severity:
                found.append(Raising(k.name, wanted, _description(s, [])))
    return found


def _waits(stack: Stack, s: Suspicion, unsure: Collection[str]) -> bool:
    """Something below it has begun to show a symptom too: it may be the cause, and has one quorum more to show it."""
    below = dependencies(stack.spec.components, s.component)
    return bool(below & set(unsure)) and _rounds(s) < 2 * stack.spec.detection.failures


def _rounds(s: Suspicion) -> int:
    return max(s.streak.symptom_rounds, s.streak.looks)


def _explained(stack: Stack, s: Suspicion, known: Sequence[KnownIncident], now: datetime) -> bool:
    """Figures of a window that still show, or begin to show, a fault below which has its own incident."""
    if not s.lag:
        return False
    below = dependencies(stack.spec.components, s.component)
    return any(k.component in below and (k.ended is None or now - k.ended < s.lag) for k in known)


def _sure(stack: Stack, s: Suspicion, rolling: Collection[str], now: datetime) -> bool:
    """Rule 13, and what is only on its way to be well again is no fault yet."""
    diagnosis, failures = s.streak.verdict.diagnosis, stack.spec.detection.failures
    rounds = _rounds(s)
    if s.streak.verdict.symptom is not True or rounds < failures or diagnosis is None:
        return False
    if max(s.streak.cause_rounds, s.streak.cause_looks) < failures and rounds < UNSTABLE_ROUNDS * failures:
        return False
    on_its_way = diagnosis.spec.transient or s.component in rolling
    return not on_its_way or now - s.streak.since >= GRACE


def _under_treatment(s: Suspicion, ours: Sequence[KnownIncident]) -> set[str]:
    """Its component, while a remedy of an incident of another type restarts it: what that feels like is its work."""
    return {k.component for k in ours if k.component == s.component and k.incident_type != s.incident_type}


def _aftermath(stack: Stack, s: Suspicion, known: Sequence[KnownIncident], now: datetime) -> bool:
    """Something below it has an incident, or had one just now: clients take their time to come back to a server."""
    below = dependencies(stack.spec.components, s.component)
    return any(k.component in below and (k.ended is None or now - k.ended < AFTERMATH) for k in known)


def _opening(
    stack: Stack, s: Suspicion, symptoms: Sequence[str], known: Sequence[KnownIncident], now: datetime
) -> Opening | None:
    same = [k for k in known if k.incident_type == s.incident_type and k.component in ("", s.component)]
    if any(k.ended is None for k in same):
        return None
    last = max(same, key=lambda k: (k.ended, k.name), default=None)
    lately = last is not None and last.ended is not None and now - last.ended < REFIRE_WITHIN
    if last is not None and lately and last.by_hand:
        # A person has said that it is over; to open it again at once would be to argue.
        return None
    text = _description(s, symptoms)
    if last is not None and lately and last.number:
        return Opening(last.name, s.incident_type, s.component, text, True, s.streak.verdict.severity, s.streak.cause_name)
    number = 1 + max((k.number for k in known if k.incident_type == s.incident_type), default=0)
    name = incident_name(stack.metadata.name, s.incident_type, number)
    return Opening(name, s.incident_type, s.component, text, False, s.streak.verdict.severity, s.streak.cause_name)


def incident_name(stack: str, incident_type: str, number: int) -> str:
    """Deterministic, so that two who see the same fault open the same incident."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", incident_type).lower()
    return f"{stack}-{words}-{number}"


def number_of(name: str, stack: str, incident_type: str) -> int:
    """Which of ours an incident of this name is, 0 when the name is none of ours."""
    prefix, _, last = name.rpartition("-")
    fits = last.isdecimal() and incident_name(stack, incident_type, int(last)) == name
    return int(last) if prefix and fits else 0


def _description(s: Suspicion, symptoms: Sequence[str]) -> str:
    diagnosis = s.streak.verdict.diagnosis
    cause = f"{diagnosis.name}: {diagnosis.message}" if diagnosis else s.incident_type
    # Quick rounds come before pods and other services have taken note; what the cause is, the status says a little later.
    sight = "Its connection broke; at first sight " if s.streak.looks > s.streak.symptom_rounds else ""
    also = f" Only its symptoms: {', '.join(symptoms)}." if symptoms else ""
    facts = f" {s.facts}." if s.facts else ""
    return f"Found by the operator on {s.component}. {sight}{cause}.{facts}{also}"[:1024]
