"""Opening, acknowledging, reopening and closing an incident: the frame around diagnosis and healing."""

from __future__ import annotations

from datetime import timedelta

from ...api.common import HealMode, Severity, delta, format_time
from ...api.communication import Communication
from ...api.incident import Deadlines, IncidentStatus, Phase, StepState, Times
from ...api.review import ReviewState
from .. import rails
from ..maintenance import effects
from ..paging import escalation
from ..world import Refusal, World
from . import review
from .draft import Draft, as_written

FLAPPING_OPENINGS = 3
FLAPPING_WITHIN = timedelta(minutes=30)

BLOCKED_FOR = timedelta(minutes=5)
WATCHDOG_SILENT = "WatchdogSilent"
# Problems of an incident that only tells people: nothing probes for what it is about.
NO_RUNBOOK = ("RunbookNotFound", WATCHDOG_SILENT)


def open_incident(d: Draft, w: World) -> None:
    """First pass: times, severity, deadlines and the escalation path, all as absolute times."""
    if d.status.times.opened_at is None:
        detected = d.incident.metadata.creation_timestamp or d.now
        d.times(detected_at=min(detected, d.now), opened_at=d.now)
        d.phase(Phase.INVESTIGATING, "looking at the Stack")
        d.condition("Resolved", False, "Open", "the incident is open")
        d.tell("Opened", f"{d.incident.spec.type} on Stack {d.incident.spec.stack_ref.name}", announce=False)
    d.update(observed_generation=d.incident.metadata.generation)
    if d.status.phase is not Phase.RESOLVED:
        _settings(d, w)


def _settings(d: Draft, w: World) -> None:
    before = effects.paged_as(d.status) if d.status.severity is not None else None
    severity = d.incident.spec.severity or (w.runbook.severity if w.runbook else before or _without_runbook(d, w))
    d.update(
        severity=severity,
        component=w.component or d.status.component,
        runbook=w.runbook_source or d.status.runbook,
        mode=effective_mode(d, w) if w.stack else d.status.mode,
    )
    opened = d.status.times.opened_at
    if severity is None or opened is None:
        return
    effects.keep_paging(d, w)
    known, paged = d.status.deadlines, effects.paged_as(d.status)
    talk = w.stack.spec.communication if w.stack else Communication()
    if known is not None:
        if before is not None and paged < before:
            _raised(d, paged, talk, known)
        return
    d.update(deadlines=escalation.deadlines(paged, talk, opened), escalation=escalation.path(paged, talk, opened))


def _without_runbook(d: Draft, w: World) -> Severity | None:
    """Nothing else says how bad an alert is, and without a severity nobody would be told."""
    alone = bool(d.incident.spec.alerts) and w.problem is not None and w.problem.reason in NO_RUNBOOK
    return Severity.P2 if alone else None


def _raised(d: Draft, severity: Severity, talk: Communication, known: Deadlines) -> None:
    """It got worse: less time is left to answer, counted from now, and never more than there was."""
    by = min(known.respond_by, d.now + delta(talk.response_times.of(severity)))
    if known.response == "Pending":
        d.update(deadlines=known.model_copy(update={"respond_by": by}))
    d.update(escalation=escalation.raised(d.status.escalation, severity, talk, d.now))
    d.tell("SeverityRaised", f"{severity} now", warning=True)


def effective_mode(d: Draft, w: World) -> HealMode:
    """The stricter of Stack and Incident; asking for a looser one is recorded (rule 1)."""
    stack_mode = w.stack.spec.healing.mode if w.stack else HealMode.OBSERVE
    wanted = d.incident.spec.mode or stack_mode
    if wanted.strictness < stack_mode.strictness:
        d.refuse(
            Refusal(
                "1-mode",
                "ModeLooser",
                f"mode {wanted} asks for more than the Stack's {stack_mode}; {stack_mode} applies. "
                "Change spec.healing.mode of the Stack if that is meant",
            ),
            None,
        )
        return stack_mode
    return wanted


def resolved_stays(d: Draft, w: World) -> bool:
    """A resolved incident stays as it is, unless the fault was seen again."""
    if d.status.phase is not Phase.RESOLVED:
        return False
    again, times = as_written(d.incident.spec.refired_at), d.status.times
    # A time in the future is later than any end: it begins one round, and not one after the other until it has come.
    if again is None or times.resolved_at is None or again <= times.resolved_at or again == times.detected_at:
        return True
    _reopen(d, w)
    return False


def _reopen(d: Draft, w: World) -> None:
    old = d.status
    d.update(
        round=old.round + 1,
        cause=None,
        acknowledgement=None,
        deadlines=None,
        escalation=[],
        paging=None,
        report=None,
        review=ReviewState(earlier=review.digest(d.incident.spec.review)),
        open_follow_ups=[],
        times=Times(detected_at=as_written(d.incident.spec.refired_at), opened_at=d.now),
    )
    for condition in ("Acknowledged", "Mitigated", "NeedsHuman", "NeedsApproval", "HealBlocked"):
        d.condition(condition, False, "Reopened", "the fault was seen again")
    if d.status.condition("Reviewed") is not None:
        d.condition("Reviewed", False, "Reopened", "the fault was seen again")
    d.condition("Resolved", False, "Reopened", "the fault was seen again")
    d.phase(Phase.INVESTIGATING, "the fault was seen again")
    d.tell("Reopened", f"round {old.round + 1}: the fault was seen again", warning=True)
    _flapping(d)
    _settings(d, w)


def _flapping(d: Draft) -> None:
    """Rule 14: opened again and again within a short time; nothing more is done, a person is told once."""
    opened = [e for e in d.status.timeline if e.event in ("Opened", "Reopened") and d.now - e.at <= FLAPPING_WITHIN]
    text = f"opened {len(opened)} times within {FLAPPING_WITHIN // timedelta(minutes=1)}m"
    d.condition("Flapping", len(opened) >= FLAPPING_OPENINGS, "OpenedAgain", text)


def closed_by_hand(d: Draft, w: World) -> bool:
    """A person says that it is over."""
    by = d.incident.spec.resolved
    opened = d.status.times.opened_at
    if by is None or (d.status.round > 1 and (by.at is None or opened is None or by.at < opened)):
        return False
    for step in d.status.steps:
        if not step.state.final:
            state = StepState.INCONCLUSIVE if step.attempt_id else StepState.SKIPPED
            d.put_step(step.model_copy(update={"state": state, "finished_at": d.now, "summary": "closed by hand"}))
    close(d, "ResolvedByHand", f"closed by {by.by}: {by.note}" if by.note else f"closed by {by.by}")
    return True


def close(d: Draft, reason: str, message: str) -> None:
    """End of the incident; a response that is still pending is not needed any more."""
    due = d.status.deadlines
    if due is not None and due.response == "Pending":
        d.update(deadlines=due.model_copy(update={"response": "NotNeeded"}))
    for step in d.status.steps:
        if step.state in (StepState.PENDING, StepState.AWAITING_APPROVAL):
            update = {"state": StepState.SKIPPED, "finished_at": d.now, "summary": "not needed any more"}
            d.put_step(step.model_copy(update=update))
    d.times(resolved_at=d.now)
    d.condition("Resolved", True, reason, message)
    for condition in ("NeedsHuman", "NeedsApproval", "HealBlocked"):
        d.condition(condition, False, "Resolved", "the incident is over")
    d.phase(Phase.RESOLVED, message)
    d.tell("Resolved", message)


def needs_human(d: Draft, reason: str, message: str) -> None:
    """A person must act; said once for each reason."""
    known = d.status.condition("NeedsHuman")
    fresh = known is None or known.status != "True" or known.reason != reason
    d.condition("NeedsHuman", True, reason, message)
    d.summary(message)
    if fresh:
        # Where the operator only observes, a person is at work already: the status carries it, one write is enough.
        d.tell("NeedsHuman", f"{reason}: {message}", warning=True, announce=d.status.mode is not HealMode.OBSERVE)


def blocked(d: Draft, refusal: Refusal, step: str, announce: bool = True) -> None:
    """A step is held back. A person is asked for where only a person can help, and where it lasts."""
    until = f"; next try at {format_time(refusal.next_allowed_at)}" if refusal.next_allowed_at else ""
    text = f"{step} is not done: {refusal.message}{until}"
    d.refuse(refusal, step, announce)
    d.condition("HealBlocked", True, refusal.reason, refusal.message)
    d.summary(text)
    if refusal.next_allowed_at is not None:
        d.look(refusal.next_allowed_at)
    since, human = d.status.condition("HealBlocked"), d.status.condition("NeedsHuman")
    lasts = since is not None and d.now - since.last_transition_time >= BLOCKED_FOR
    if refusal.reason in rails.NEEDS_HUMAN or (lasts and refusal.reason not in rails.ENDS_BY_ITSELF):
        needs_human(d, refusal.reason, text)
    elif human is not None and human.reason in rails.NEEDS_HUMAN:
        d.condition("NeedsHuman", False, refusal.reason, text)


def problem(d: Draft, w: World) -> bool:
    """What a person must mend before anything can be done."""
    if w.problem is None:
        mended = d.status.condition("NeedsHuman")
        if mended is not None and mended.status == "True" and mended.reason in SETUP_PROBLEMS:
            d.condition("NeedsHuman", False, "Mended", f"{mended.reason} is mended")
        return False
    needs_human(d, w.problem.reason, w.problem.message)
    d.look(timedelta(seconds=15))
    return True


SETUP_PROBLEMS = (
    "StackNotFound",
    "StackInvalid",
    "RunbookNotFound",
    "RunbookInvalid",
    "ComponentNotFound",
    "ParameterInvalid",
    "SecretNotFound",
    "InvalidSpec",
)


def switched_off(d: Draft, w: World) -> bool:
    """Mode Off: nothing is probed."""
    if d.status.mode is not HealMode.OFF:
        return False
    d.summary("healing is Off: nothing is probed or done; a person works on it")
    # The Stack may be switched on again; a deadline far away must not put that off.
    d.look(timedelta(seconds=15))
    return True


def severity_of(status: IncidentStatus) -> Severity:
    """Severity in force, P2 when none is known yet."""
    return status.severity or Severity.P2
