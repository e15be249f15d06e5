"""One decision: facts → new status, what to do next, and when to look again. Pure; running it twice gives the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ...api.common import HealMode
from ...api.incident import Cause, Incident, IncidentStatus, Notification, Phase, Step, StepState
from ...api.runbook import StepSpec
from .. import rails
from ..diagnosis.causes import Confidence, Diagnosis
from ..paging import answers, outbox
from ..rails import past
from ..rails.candidate import Candidate
from ..world import PlannedStep, Refusal, Risk, World
from . import alerts, approvals, lifecycle, review, verification
from .bounds import bounded
from .draft import Draft, News

IDLE = timedelta(seconds=15)
AT_ONCE = timedelta(milliseconds=20)
SETTLE_WITHIN = timedelta(minutes=10)
# A cause that changes from round to round must not keep the incident from being worked on for ever.
UNSTABLE_ROUNDS = 4
# Figures over several rounds, such as how long searches take, are there from the third one on after a start.
NO_DATA_ROUNDS = 4
# Annotation of an incident: the cause that the operator has opened it for.
FIRST_CAUSE = "ops.docuquery.ai/first-cause"
FIRST_SIGHT: Confidence = "Low"


@dataclass(frozen=True)
class Settle:
    """A verdict that the target's ledger does not know yet."""

    component: str
    action: str
    attempt_id: str
    outcome: str


@dataclass(frozen=True)
class Plan:
    """What follows from the facts.

    advance: begin or carry on this effect. keep: hold the target, as the step is watched or put back. undo: put back what
    this step has changed. send: entries of the outbox whose time has come.
    """

    status: IncidentStatus
    advance: Step | None = None
    keep: Step | None = None
    undo: Step | None = None
    settle: tuple[Settle, ...] = ()
    close: bool = False
    news: tuple[News, ...] = ()
    refused: tuple[str, ...] = ()
    send: tuple[Notification, ...] = ()
    look_again: datetime | None = None


Stage = Callable[[Draft, World], bool]


def decide(incident: Incident, world: World, now: datetime) -> Plan:
    """The whole decision of one pass."""
    d = Draft(incident, now, incident.status or IncidentStatus())
    lifecycle.open_incident(d, world)
    if not lifecycle.resolved_stays(d, world):
        answers.acknowledge(d, world)
        for stage in STAGES:
            if stage(d, world):
                break
    approvals.tidy(d)
    review.earlier(d, world)
    review.keep(d, world)
    outbox.keep(d, world)
    return _plan(d, world)


def _plan(d: Draft, world: World) -> Plan:
    step = verification.in_flight(d)
    over = d.status.phase is Phase.RESOLVED
    undo = verification.to_put_back(d.status) if world.leading and not over else None
    return Plan(
        # What was written is bounded already.
        status=d.status if d.status == d.incident.status else bounded(d.status),
        advance=step if step is not None and verification.may_advance(d, world, step) else None,
        keep=step if step is not None and verification.is_watched(world, step) else undo,
        undo=undo if world.stack is not None and not world.stack.spec.paused else None,
        settle=tuple(_unsettled(d.status, world)),
        close=over and not review.is_reported(d.incident, d.status),
        news=tuple(d.news),
        refused=tuple(d.refused),
        send=tuple(d.outgoing),
        look_again=_look_again(d, world),
    )


def _look_again(d: Draft, world: World) -> datetime | None:
    """Once it is over and everybody was told, only for a reminder; by itself an open one is looked at again soon."""
    telling = world.stack is not None and any(n.unfinished for n in d.status.notifications)
    if d.status.phase is not Phase.RESOLVED or telling or _may_be_open(d, world):
        return min((t for t in d.looks if t > d.now), default=d.now + IDLE)
    return review.next_reminder(d)


def _may_be_open(d: Draft, world: World) -> bool:
    """Over, but a look-up failed, so a ledger may lack the verdict: look again soon, and later only at the resync."""
    ended = d.status.times.resolved_at
    acted = any(s.attempt_id for s in d.status.steps)
    return acted and bool(world.failed_lookups) and ended is not None and d.now - ended < SETTLE_WITHIN


def _unsettled(status: IncidentStatus, world: World) -> list[Settle]:
    """Verdicts in the journal that a ledger still has open; found again after any crash."""
    found = []
    for step in status.steps:
        if not (step.state.final and step.attempt_id and step.component) or step is verification.to_put_back(status):
            continue
        ledger = world.ledgers.get(step.component)
        entry = ledger.find(step.attempt_id) if ledger else None
        if entry is not None and not entry.outcome:
            found.append(Settle(step.component, step.kind, step.attempt_id, step.state.value))
    return found


def watch_recovery(d: Draft, w: World) -> bool:
    """No step is in flight and the symptom is gone: by itself, or by a person's hand."""
    if w.stack is None or w.runbook is None:
        return True
    interval = timedelta(seconds=w.stack.spec.detection.pace)
    watching = d.status.mode is HealMode.OBSERVE and d.status.cause is not None and d.status.phase is Phase.IDENTIFIED
    # Nothing will be done, so nobody waits for the next look: many observed incidents must not keep the process busy.
    d.look(max(interval, IDLE) if watching else interval)
    if not verification.mitigated(d, w):
        return False
    _at_first_sight(d, w)
    until = verification.clear_until(d, w, w.runbook.verify)
    gone = d.now >= until and w.streak is not None and w.streak.verdict.symptom is False
    if gone and not alerts.hold(d):
        verification.over(d)
    return True


def no_data(d: Draft, w: World) -> bool:
    """Rule 16: no data is Inconclusive; after a quorum of empty rounds a person must know."""
    if w.streak is None:
        d.look(AT_ONCE)
        return True
    human = d.status.condition("NeedsHuman")
    if w.streak.verdict.symptom is not None:
        if human is not None and human.reason == "NoData":
            d.condition("NeedsHuman", False, "DataBack", "the probes give an answer again")
        return False
    if w.stack is not None and w.streak.symptom_rounds >= max(w.stack.spec.detection.failures, NO_DATA_ROUNDS):
        lifecycle.needs_human(d, "NoData", "the probes give no answer about the symptom; nothing is done on guesses")
    return True


def identify(d: Draft, w: World) -> bool:
    """Name the cause once a quorum of rounds agrees on it."""
    streak, stack = w.streak, w.stack
    if streak is None or stack is None or streak.verdict.symptom is not True:
        return True
    diagnosis = streak.verdict.diagnosis
    failures = stack.spec.detection.failures
    sure = streak.cause_rounds >= failures or streak.symptom_rounds >= UNSTABLE_ROUNDS * failures
    if not sure or streak.symptom_rounds < failures:
        return True
    if diagnosis is None:
        lifecycle.needs_human(d, "NoCause", "the fault is there, and no cause of the runbook fits the findings")
        return True
    known = d.status.cause
    # What a person does about the cause passes through such states; the report must still name the cause itself.
    # Nor does the cause that only says that none fits take its place.
    says_more = not diagnosis.spec.transient and diagnosis.spec.when.strip() != "true"
    if known is None or (known.name != diagnosis.name and says_more):
        _name_cause(d, diagnosis, observe=d.status.mode is HealMode.OBSERVE)
    if d.status.phase is not Phase.IDENTIFIED:
        d.phase(Phase.IDENTIFIED, d.status.summary)
    return False


def _at_first_sight(d: Draft, w: World) -> None:
    """The operator has opened it for this cause, and the fault is over before rounds an interval apart could agree on one.

    Nothing is done on it, and it is told as unsure: pods and other services take note a little later.
    """
    name = d.incident.metadata.annotations.get(FIRST_CAUSE, "")
    spec = next((c for c in w.runbook.causes if c.name == name), None) if w.runbook else None
    if d.status.cause is not None or spec is None:
        return
    d.update(cause=Cause(name=spec.name, message=spec.message, confidence=FIRST_SIGHT, since=d.now))
    d.times(identified_at=d.now)
    d.tell("Identified", f"{spec.name} ({FIRST_SIGHT}): {spec.message or spec.name}", announce=False)


def _name_cause(d: Draft, diagnosis: Diagnosis, observe: bool) -> None:
    changed = d.status.cause
    d.update(
        cause=Cause(
            name=diagnosis.name,
            message=diagnosis.message,
            evidence=list(diagnosis.evidence),
            confidence=diagnosis.confidence,
            since=d.now,
        )
    )
    d.times(identified_at=d.status.times.identified_at or d.now)
    text = diagnosis.message or diagnosis.name
    d.phase(Phase.IDENTIFIED, f"{diagnosis.name}: {text}")
    for step in d.status.steps:
        if step.state in (StepState.PENDING, StepState.AWAITING_APPROVAL) and step.cause != diagnosis.name:
            d.put_step(step.model_copy(update={"state": StepState.SKIPPED, "finished_at": d.now, "summary": "other cause"}))
    human = d.status.condition("NeedsHuman")
    if changed is not None and human is not None and human.reason == changed.name:
        d.condition("NeedsHuman", False, "CauseChanged", f"the cause is {diagnosis.name} now")
    # In Observe mode the status alone carries the finding: nothing was refused, one write is enough.
    d.tell("Identified", f"{diagnosis.name} ({diagnosis.confidence}): {text}", announce=not observe)


def remedy(d: Draft, w: World) -> bool:
    """Choose the next step of the cause's remedy and hold it against the rails."""
    diagnosis = w.streak.verdict.diagnosis if w.streak else None
    if diagnosis is None or w.stack is None or w.planner is None:
        return True
    spec = next_step(d.status, diagnosis)
    if spec is None:
        _nothing_left(d, diagnosis)
        return True
    planned = w.planner(spec)
    name = spec.name or spec.action
    if isinstance(planned, Refusal):
        _no_plan(d, planned, spec, diagnosis)
        return True
    if d.status.mode is HealMode.OBSERVE:
        _observe(d, planned, name)
        return True
    candidate = Candidate(
        stack=w.stack,
        world=w,
        status=d.status,
        incident_uid=d.incident.metadata.uid,
        cause=diagnosis.name,
        forbidden=tuple(diagnosis.spec.forbid),
        spec=spec,
        planned=planned,
        now=d.now,
        unsure=diagnosis.would_worsen(planned.action),
    )
    planned = approvals.as_asked(d, _asking_first(d, candidate, name), name, diagnosis.name)
    candidate = replace(candidate, planned=planned)
    refusal = rails.first_refusal(candidate)
    if refusal is not None:
        lifecycle.blocked(d, refusal, name)
    elif approvals.approved(d, planned, name, diagnosis.name, w.stack.spec.approvers):
        _intend(d, w, planned, name, diagnosis.name)
    return True


def _asking_first(d: Draft, candidate: Candidate, name: str) -> PlannedStep:
    """A remedy that has mostly failed on this cause is no longer automatic: it asks, and says why."""
    why = past.demoted(candidate)
    if not why or approvals.needed(d, candidate.planned):
        return candidate.planned
    d.refuse(Refusal("1-mode", "Demoted", why), name)
    return replace(candidate.planned, needs_approval=True)


def next_step(status: IncidentStatus, diagnosis: Diagnosis) -> StepSpec | None:
    """The first step of the remedy that has no verdict yet in this round."""
    done = {s.name for s in status.steps if s.round == status.round and s.cause == diagnosis.name and s.state.final}
    if any(s.round == status.round and s.state is StepState.REGRESSED for s in status.steps):
        return None
    return next((s for s in diagnosis.spec.remediate if (s.name or s.action) not in done), None)


def _nothing_left(d: Draft, diagnosis: Diagnosis) -> None:
    d.condition("HealBlocked", False, "NothingLeft", "no step is left that could be held back")
    human = d.status.condition("NeedsHuman")
    if human is not None and human.status == "True" and human.reason == "Regressed":
        return
    steps = [s for s in d.status.steps if s.round == d.status.round]
    notes = "; ".join(s.summary for s in steps if (s.plan or {}).get("note"))
    tried = [
        s.name for s in steps if (s.effect_at or s.state in verification.UNSUCCESSFUL) and not (s.plan or {}).get("note")
    ]
    if tried:
        text = diagnosis.spec.human or "every step of the remedy was tried; a person must look"
        # A person is called below; this says why nothing more is done, where all such reasons stand.
        refusal = Refusal("22-ladder", "RemedyUsedUp", f"{', '.join(tried)} did not help; no step is left")
        d.refuse(refusal, None, announce=False)
        lifecycle.needs_human(d, "RemedyUsedUp", f"{diagnosis.name}: {text}" + (f"; {notes}" if notes else ""))
    else:
        text = diagnosis.spec.human or diagnosis.message or "no automatic remedy"
        lifecycle.needs_human(d, diagnosis.name, text + (f"; {notes}" if notes else ""))


def _no_plan(d: Draft, refusal: Refusal, spec: StepSpec, diagnosis: Diagnosis) -> None:
    """A step that finds nothing to do is passed over; any other reason blocks the ladder."""
    name, announce = spec.name or spec.action, d.status.mode is not HealMode.OBSERVE
    if refusal.reason != "NothingToDo":
        lifecycle.blocked(d, refusal, name, announce)
        return
    d.refuse(refusal, name, announce)
    d.put_step(
        Step(
            name=name,
            kind=spec.action,
            cause=diagnosis.name,
            round=d.status.round,
            state=StepState.SKIPPED,
            finished_at=d.now,
            summary=refusal.message[:512],
        )
    )
    d.look(timedelta(seconds=1))


def _observe(d: Draft, planned: PlannedStep, name: str) -> None:
    refusal = Refusal("1-mode", "ObserveMode", f"would do: {planned.summary}")
    d.refuse(refusal, name, announce=False)
    d.summary(f"{d.status.cause.name if d.status.cause else ''}: observing only; would do: {planned.summary}")


def _intend(d: Draft, w: World, planned: PlannedStep, name: str, cause: str) -> None:
    """Rule 23: the intent, with its attempt id, is written before anything is touched."""
    before = next((s for s in d.status.steps if (s.name, s.cause, s.round) == (name, cause, d.status.round)), None)
    healthy = [n for n, seen in w.neighbours.items() if seen.healthy and n != planned.component]
    step = Step(
        name=name,
        kind=planned.action,
        component=planned.component,
        cause=cause,
        round=d.status.round,
        state=StepState.INTENDED,
        attempt_id=approvals.attempt_id(d.incident.metadata.uid, d.status.round, cause, name),
        fence=w.fence,
        plan=dict(planned.plan),
        plan_digest=approvals.plan_digest(d, planned, name, cause),
        approval_by=before.approval_by if before else None,
        neighbours=sorted(healthy)[:16],
        started_at=d.now,
        summary=planned.summary[:512],
    )
    if planned.risk is Risk.NONE:
        _passive(d, step, planned)
        return
    d.put_step(step)
    d.times(acted_at=d.status.times.acted_at or d.now)
    d.condition("HealBlocked", False, "Acting", planned.summary)
    d.condition("NeedsHuman", False, "Acting", planned.summary)
    d.tell("StepStarted", f"{name}: {planned.summary}")
    d.summary(f"{name}: {planned.summary}")
    d.look(timedelta(seconds=1))


def _passive(d: Draft, step: Step, planned: PlannedStep) -> None:
    """A step without an effect has no attempt id: a proposal is over at once, a wait is judged like any other step."""
    changes: dict[str, object] = {"attempt_id": None, "fence": None, "effect_at": d.now, "state": StepState.RUNNING}
    if planned.plan.get("note"):
        changes |= {"state": StepState.SKIPPED, "finished_at": d.now}
        d.tell("Proposal", planned.summary, warning=True)
    else:
        d.tell("Waiting", planned.summary)
        d.summary(planned.summary)
    d.put_step(step.model_copy(update=changes))
    d.look(timedelta(seconds=1))


STAGES: tuple[Stage, ...] = (
    lifecycle.closed_by_hand,
    outbox.channel_back,
    alerts.all_ended,
    lifecycle.problem,
    verification.watch_step,
    verification.put_back,
    lifecycle.switched_off,
    watch_recovery,
    no_data,
    identify,
    remedy,
)
