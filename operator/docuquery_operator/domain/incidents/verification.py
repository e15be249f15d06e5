"""What became of a step: the verdict rests on the symptom, never on the effect's own success."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.common import delta
from ...api.incident import IncidentStatus, Phase, Step, StepState, UndoState
from ...api.runbook import StepSpec, Verify
from ...api.stack import Stack
from .. import rails
from ..rails.candidate import AUTOMATIC_PHASE
from ..world import Effect, EffectState, Refusal, Streak, World
from . import alerts
from .draft import Draft
from .lifecycle import blocked, close, needs_human

UNSUCCESSFUL = (StepState.NOT_HEALED, StepState.INCONCLUSIVE, StepState.REGRESSED)
# A server that is away for longer, or takes nothing back, must not keep other causes from being worked on.
UNDO_WITHIN, UNDO_AT_MOST = timedelta(minutes=5), timedelta(minutes=30)


def in_flight(d: Draft) -> Step | None:
    """The step between intent and verdict, if any."""
    return next((s for s in d.status.steps if s.state.in_flight), None)


def watch_step(d: Draft, w: World) -> bool:
    """Follow the step in flight to its verdict; True while there is one."""
    step = in_flight(d)
    if step is None or w.stack is None or w.runbook is None:
        return False
    d.look(w.stack.spec.detection.pace)
    if step.effect_at is None:
        step = _before_effect(d, w, w.stack, step) if _absent(w) else _follow_effect(d, w, step)
    if step.effect_at is not None and not step.state.final:
        _at_safe_point(d, w, step, "")
        _judge(d, w, step)
    return True


def _absent(w: World) -> bool:
    return w.effect is None or w.effect.state is EffectState.ABSENT


def may_advance(d: Draft, w: World, step: Step) -> bool:
    """Whether the effect may be begun or carried on now.

    The world may have changed since the intent, most of all while the operator was away: what has not begun needs the
    symptom's quorum again, and every rail that stands. What has begun goes on.
    """
    if w.stack is None or not step.attempt_id or step.effect_at is not None or not w.leading:
        return False
    if not _absent(w):
        return not _waits(w, step)
    if step.state is StepState.RUNNING:
        # It was there, and somebody has taken it back: that is not undone again.
        return False
    stands = rails.standing(w, w.stack, d.status.mode, step, d.now)
    return _quorum(w, True, w.stack.spec.detection.failures) and rails.named(w.stack, step) and stands is None


def _waits(w: World, step: Step) -> bool:
    """At its safe point: a window blocks healing, and what is left of the effect are parts that have not begun."""
    parts = w.effect is not None and w.effect.state is EffectState.IN_PROGRESS and w.effect.in_parts
    return parts and bool(rails.blocked_by(w, step.component or ""))


def is_watched(w: World, step: Step) -> bool:
    """Whether the effect is done and its verdict is still open: nobody else may act on the target meanwhile."""
    return w.leading and w.stack is not None and bool(step.attempt_id) and step.effect_at is not None


def _quorum(w: World, symptom: bool, rounds: int) -> bool:
    return w.streak is not None and w.streak.verdict.symptom is symptom and w.streak.symptom_rounds >= rounds


def _before_effect(d: Draft, w: World, stack: Stack, step: Step) -> Step:
    """Nothing of the effect is seen: it may not be needed any more, be held back, or be overdue."""
    intended = step.state is StepState.INTENDED
    if _quorum(w, False, stack.spec.detection.recoveries):
        finish(d, step, StepState.SKIPPED, "the symptom went away before the step had an effect")
        return step
    if intended and not rails.named(stack, step):
        finish(d, step, StepState.SKIPPED, "the Stack does not name its target any more")
        return step
    refusal = rails.standing(w, stack, d.status.mode, step, d.now) if intended else None
    if refusal is not None:
        blocked(d, refusal, step.name)
        return step
    step = _goes_on(d, step)
    if _overdue(d, w, step):
        entered = any(ledger.find(step.attempt_id or "") for ledger in w.ledgers.values())
        state = _verdict_on_time_out(w.streak) if entered else StepState.SKIPPED
        why = (w.effect.message if w.effect else "") or "no effect found"
        word = "not begun" if intended else "not complete"
        finish(d, step, state, f"{word} after {_words(_timeout(w, step))}: {why}")
    return step


def _goes_on(d: Draft, step: Step) -> Step:
    """What held it back is over; the time before does not count."""
    if not d.status.holds("HealBlocked"):
        return step
    step = step.model_copy(update={"started_at": d.now})
    d.put_step(step)
    d.condition("HealBlocked", False, "Acting", step.summary)
    d.condition("NeedsHuman", False, "Acting", step.summary)
    d.summary(f"{step.name}: {step.summary}")
    return step


def _at_safe_point(d: Draft, w: World, step: Step, message: str) -> bool:
    """A window has opened while the step runs: between parts it stands still, else it goes on to its verdict."""
    name = rails.blocked_by(w, step.component or "")
    if not name:
        return False
    if _waits(w, step):
        text = f"maintenance window '{name}' blocks healing until it ends: {step.name} stands between two parts; {message}"
        blocked(d, Refusal("27-maintenance", "StepHeld", text), step.name)
        return True
    text = f"maintenance window '{name}' has opened: {step.name} had begun and goes on to its verdict, no other step begins"
    d.refuse(Refusal("27-maintenance", "StepFinishes", text), step.name)
    return False


def _overdue(d: Draft, w: World, step: Step) -> bool:
    """Past its timeout, not counting time in which no operator was there; past the automatic phase in any case."""
    started = step.started_at or d.now
    watched = d.now - max(started, w.alive_since or started)
    return watched > _timeout(w, step) or d.now - started > AUTOMATIC_PHASE


def _follow_effect(d: Draft, w: World, step: Step) -> Step:
    effect = w.effect or Effect(EffectState.ABSENT)
    if effect.state is EffectState.DONE:
        step = step.model_copy(update={"state": StepState.RUNNING, "effect_at": d.now, "summary": effect.message[:512]})
        d.put_step(step)
        d.tell("StepDone", f"{step.name}: {effect.message}; now watching the symptom")
        d.summary(f"{step.name} is done; watching whether the fault is gone")
        return step
    if step.state is StepState.INTENDED:
        step = step.model_copy(update={"state": StepState.RUNNING, "summary": effect.message[:512]})
        d.put_step(step)
        d.summary(f"{step.name}: {effect.message}")
    if _at_safe_point(d, w, step, effect.message):
        return step
    step = _goes_on(d, step)
    if effect.state is EffectState.BLOCKED:
        d.refuse(Refusal("11-disruption-budget", "EvictionBlocked", effect.message), step.name)
    if _overdue(d, w, step):
        state = _verdict_on_time_out(w.streak)
        finish(d, step, state, f"not complete after {_words(_timeout(w, step))}: {effect.message}")
    return step


def _judge(d: Draft, w: World, step: Step) -> None:
    verify = w.runbook.verify if w.runbook else Verify()
    assert step.effect_at is not None
    settled = step.effect_at + delta(verify.settle)
    if verify.no_regression and d.now >= settled:
        worse = _regressed(w, step)
        if worse:
            finish(d, step, StepState.REGRESSED, f"{worse} was healthy before and is not any more")
            return
    if mitigated(d, w):
        _hold(d, w, verify, step, settled)
    elif d.now >= _judged_by(w, verify, step, settled) and _sure(d, w, verify, step, settled):
        streak = w.streak
        unknown = streak is None or streak.verdict.symptom is None
        state = StepState.INCONCLUSIVE if unknown else StepState.NOT_HEALED
        why = "no data on the symptom" if unknown else "the symptom is still there"
        finish(d, step, state, f"{why} {_words(d.now - step.effect_at)} after the step")


def _sure(d: Draft, w: World, verify: Verify, step: Step, settled: datetime) -> bool:
    """Whether the rounds allow a verdict against the step: after a restart of the operator one round alone does not."""
    if w.streak is None or w.stack is None:
        return True
    if w.streak.verdict.symptom is False:
        return False
    late = _judged_by(w, verify, step, settled) + delta(verify.within)
    return w.streak.symptom_rounds >= w.stack.spec.detection.failures or d.now >= late


def _judged_by(w: World, verify: Verify, step: Step, settled: datetime) -> datetime:
    """A step without an effect waits for its own timeout; a real one for `within` after settling."""
    if not step.attempt_id and step.effect_at is not None:
        return step.effect_at + _timeout(w, step)
    return settled + delta(verify.within)


def _hold(d: Draft, w: World, verify: Verify, step: Step, settled: datetime) -> None:
    since = d.status.times.mitigated_at
    until = max(clear_until(d, w, verify), settled)
    if d.now < until:
        d.look(until)
        return
    if w.streak is None or w.streak.verdict.symptom is not False:
        return
    finish(d, step, StepState.HEALED, f"the symptom stayed away for {_words(d.now - (since or d.now))}")
    if alerts.hold(d):
        return
    if step.attempt_id:
        over(d)
    else:
        close(d, "Recovered", f"recovered by itself while waiting: {cause_name(d)}")


def over(d: Draft) -> None:
    """The symptom has stayed away: by the last step that has healed in this round, or by itself."""
    mine = [s for s in d.status.steps if s.round == d.status.round and s.attempt_id and s.state is StepState.HEALED]
    if mine:
        close(d, "Healed", f"healed by {mine[-1].name}: {cause_name(d)}")
    else:
        close(d, "Recovered", f"recovered without an action of the operator: {cause_name(d)}")


def clear_until(d: Draft, w: World, verify: Verify) -> datetime:
    """When the symptom has stayed away long enough; one bad round in between starts it anew."""
    since = d.status.times.mitigated_at or d.now
    if w.streak is not None and w.streak.verdict.symptom is False:
        since = max(since, w.streak.since)
    return since + delta(verify.symptom_clear_for)


def mitigated(d: Draft, w: World) -> bool:
    """Move between Identified and Monitoring as the symptom goes and comes, with the Stack's quorum (rule 13)."""
    if w.streak is None or w.stack is None:
        return d.status.phase is Phase.MONITORING
    quorum = w.stack.spec.detection
    streak = w.streak
    gone = streak.verdict.symptom is False and streak.symptom_rounds >= quorum.recoveries
    back = streak.verdict.symptom is True and streak.symptom_rounds >= quorum.failures
    if gone and d.status.phase is not Phase.MONITORING:
        d.times(mitigated_at=d.now)
        d.condition("Mitigated", True, "SymptomGone", "the symptom is gone; watching that it stays away")
        for condition in ("NeedsHuman", "HealBlocked"):
            d.condition(condition, False, "SymptomGone", "the symptom is gone")
        d.phase(Phase.MONITORING, "the symptom is gone; watching that it stays away")
        d.tell("Mitigated", "the symptom is gone; watching that it stays away")
    if back and d.status.phase is Phase.MONITORING:
        d.times(mitigated_at=None)
        d.condition("Mitigated", False, "SymptomBack", "the symptom came back")
        d.phase(Phase.IDENTIFIED if d.status.cause else Phase.INVESTIGATING, "the symptom came back")
        d.tell("SymptomBack", "the symptom came back", warning=True)
    return d.status.phase is Phase.MONITORING


def finish(d: Draft, step: Step, state: StepState, why: str) -> None:
    """Write the verdict of a step; what it has changed in vain is to be put back (rule 18)."""
    undo = UndoState.PENDING if _in_vain(step, state) else None
    d.put_step(step.model_copy(update={"state": state, "finished_at": d.now, "undo": undo, "summary": why[:512]}))
    d.tell(f"Step{state}", f"{step.name}: {why}", warning=state is not StepState.HEALED)
    if state is StepState.REGRESSED:
        needs_human(d, "Regressed", f"{step.name} made it worse: {why}; nothing more is done automatically")


def _in_vain(step: Step, state: StepState) -> bool:
    """Whether what the step has set is to be put back: `undo` of its plan says after which verdicts."""
    undo = (step.plan or {}).get("undo")
    return bool(undo) and (state is StepState.REGRESSED if undo == "Regressed" else state in UNSUCCESSFUL)


def to_put_back(status: IncidentStatus) -> Step | None:
    """The step whose former values are to be put back, if any."""
    return next((s for s in status.steps if s.undo is UndoState.PENDING), None)


def put_back(d: Draft, w: World) -> bool:
    """Nothing else is begun until the former values are back, or cannot be put back."""
    step = to_put_back(d.status)
    if step is None or w.stack is None:
        return False
    d.look(w.stack.spec.detection.pace)
    waited = d.now - max(step.finished_at or d.now, w.alive_since or d.now)
    if w.undone is not None and w.undone.state is EffectState.DONE:
        d.put_step(step.model_copy(update={"undo": UndoState.DONE}))
        d.tell("PutBack", f"{step.name}: {w.undone.message}")
    elif waited > (UNDO_WITHIN if _gone(w.undone) else UNDO_AT_MOST) and not w.stack.spec.paused:
        d.put_step(step.model_copy(update={"undo": UndoState.NOT_DONE}))
        why = w.undone.message if w.undone else "its action cannot be asked"
        text = f"{step.name} has not helped, and its values could not be put back: {why}; status.steps has the former ones"
        needs_human(d, "NotPutBack", text)
        return False
    return True


def _gone(effect: Effect | None) -> bool:
    return effect is None or effect.state is EffectState.ABSENT


def _regressed(w: World, step: Step) -> str:
    failures = w.stack.spec.detection.failures if w.stack else 3
    for name in step.neighbours:
        seen = w.neighbours.get(name)
        if seen is not None and seen.healthy is False and seen.rounds >= failures:
            return name
    return ""


def _timeout(w: World, step: Step) -> timedelta:
    return delta(_spec(w, step).timeout)


def _spec(w: World, step: Step) -> StepSpec:
    causes = w.runbook.causes if w.runbook else []
    specs = (s for c in causes if c.name == step.cause for s in c.remediate)
    return next((s for s in specs if (s.name or s.action) == step.name), StepSpec(action=step.kind))


def _verdict_on_time_out(streak: Streak | None) -> StepState:
    unknown = streak is None or streak.verdict.symptom is None
    return StepState.INCONCLUSIVE if unknown else StepState.NOT_HEALED


def cause_name(d: Draft) -> str:
    """Name of the cause for messages."""
    return f"cause {d.status.cause.name}" if d.status.cause else "no cause was named"


def _words(span: timedelta) -> str:
    whole = int(span.total_seconds())
    return f"{whole}s" if whole < 120 else f"{whole // 60}m{whole % 60:02d}s"
