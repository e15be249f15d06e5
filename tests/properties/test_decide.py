"""Properties of the decision over random stories: whatever the world shows, it is decided once, and no rail is passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import HealMode, LocalRef, ObjectMeta
from docuquery_operator.api.detection import Detection
from docuquery_operator.api.incident import (
    DECISIONS_KEPT,
    TIMELINE_KEPT,
    Acknowledged,
    Approval,
    Decision,
    Incident,
    IncidentSpec,
    IncidentStatus,
    Phase,
    ResolvedByHand,
    Step,
    StepState,
    TimelineEntry,
    Times,
)
from docuquery_operator.api.runbook import StepSpec
from docuquery_operator.api.stack import Component, Endpoint, Healing, Stack, StackSpec, WorkloadRef
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.domain.diagnosis.causes import Diagnosis, Verdict
from docuquery_operator.domain.incidents.bounds import STATUS_LIMIT
from docuquery_operator.domain.incidents.healing import IDLE, Plan, decide
from docuquery_operator.domain.ledger import Attempt, Ledger
from docuquery_operator.domain.world import (
    Effect,
    EffectState,
    Neighbour,
    PlannedStep,
    Problem,
    Refusal,
    Risk,
    Streak,
    Target,
    World,
)

# A hundred stories each; two seconds are for single cases.
pytestmark = pytest.mark.timeout(120)
RUNBOOK = shipped()["DatabaseConnectionFailure"]
CLEAR_FOR, SETTLE = timedelta(minutes=2), timedelta(seconds=30)
START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
PASSES_TO_REST = 10
EFFECTS = {"restartWorkload", "restartLeakingClient", "terminateIdleSessions", "terminateBlocker"}
NOTES = {"proposeMemory", "proposeVolume"}
UNPLANNED = {
    "nothing": Refusal("2-empty-target", "NothingToDo", "no session is idle"),
    "gone": Refusal("2-empty-target", "WorkloadMissing", "the workload does not exist"),
    "foreign": Refusal("3-own-targets", "TargetNotInStack", "the Stack has no such component"),
}


@dataclass(frozen=True)
class Moment:
    """What the world shows at one time, and what people do just before it."""

    wait: float = 5.0
    symptom: bool | None = True
    probed: bool = True
    rounds: int = 3
    cause_rounds: int = 3
    since: float = 15.0
    cause: str = "ProcessDown"
    planned: str = "step"
    effect: EffectState | None = None
    mode: HealMode = HealMode.AUTO
    own_mode: HealMode | None = None
    paused: bool = False
    window: str = ""
    failed: tuple[str, ...] = ()
    leading: bool = True
    problem: bool = False
    stack_gone: bool = False
    foreign_rollout: float | None = None
    held_by_other: bool = False
    api_healthy: bool | None = True
    api_rounds: int = 3
    answer: str = ""
    refired: bool = False
    closed: bool = False
    acknowledged: bool = False


def rarely(value: Any, default: Any) -> st.SearchStrategy[Any]:
    """The value in about one of eight moments."""
    return st.sampled_from([value, *[default] * 7])


NOISE = st.builds(
    Moment,
    wait=st.sampled_from([0.0, 0.02, 1.0, 5.0, 5.0, 31.0, 65.0, 125.0, 400.0, 1000.0, 3700.0]),
    symptom=st.sampled_from([True, True, True, False, False, None]),
    probed=rarely(False, True),
    rounds=st.integers(1, 9),
    cause_rounds=st.integers(1, 9),
    since=st.sampled_from([0.0, 5.0, 15.0, 119.0, 121.0, 500.0]),
    cause=st.sampled_from([*(c.name for c in RUNBOOK.causes), *["ProcessDown", "TooManyConnections", "OOMKilled"] * 5]),
    planned=st.sampled_from([*["step"] * 8, "big", "data", *UNPLANNED]),
    effect=st.sampled_from([None, *EffectState, EffectState.DONE, EffectState.DONE]),
    mode=st.sampled_from([HealMode.AUTO, HealMode.AUTO, HealMode.AUTO, *HealMode]),
    own_mode=st.sampled_from([None, None, None, None, *HealMode]),
    paused=rarely(True, False),
    window=rarely("sunday", ""),
    failed=rarely(("the rollouts",), ()),
    leading=rarely(False, True),
    problem=rarely(True, False),
    stack_gone=rarely(True, False),
    foreign_rollout=st.sampled_from([None, None, None, None, 30.0, 599.0, 601.0]),
    held_by_other=rarely(True, False),
    api_healthy=st.sampled_from([True, True, False, None]),
    api_rounds=st.integers(1, 5),
    answer=st.sampled_from(["", "", "Approve", "Reject", "wrong"]),
    refired=rarely(True, False),
    closed=st.sampled_from([True, *[False] * 20]),
    acknowledged=rarely(True, False),
)
WAITS = st.sampled_from([0.0, 0.02, 5.0, 31.0, 65.0, 125.0, 400.0])
COMMON_CAUSES = st.sampled_from(["ProcessDown", "ProcessDown", "TooManyConnections", "OOMKilled", "LockStorm", "Starting"])
# Without a coherent part hardly any story would reach an action and its verdict.
FAULT = st.builds(
    Moment,
    wait=WAITS,
    cause=COMMON_CAUSES,
    effect=st.sampled_from([None, EffectState.IN_PROGRESS, EffectState.DONE, EffectState.DONE]),
    planned=st.sampled_from(["step", "step", "step", "big", "data"]),
    mode=st.sampled_from([HealMode.AUTO, HealMode.AUTO, HealMode.APPROVE]),
    answer=st.sampled_from(["", "Approve", "Approve"]),
    api_healthy=st.sampled_from([True, True, True, False]),
    refired=st.booleans(),
)
RECOVERY = st.builds(
    Moment,
    wait=WAITS,
    symptom=st.just(False),
    rounds=st.sampled_from([1, 3, 30]),
    since=st.sampled_from([5.0, 121.0, 300.0]),
    effect=st.sampled_from([EffectState.DONE, EffectState.DONE, None]),
)
# One thing speaks against acting, everything else for it: a rail that is missing shows here.
OBJECTIONS: list[dict[str, Any]] = [
    {"paused": True},
    {"window": "sunday"},
    {"failed": ("the rollouts",)},
    {"held_by_other": True},
    {"leading": False},
    {"mode": HealMode.OBSERVE},
    {"own_mode": HealMode.OBSERVE},
    {"own_mode": HealMode.OFF},
    {"foreign_rollout": 30.0},
    {"rounds": 2, "cause_rounds": 2},
    {"rounds": 3, "cause_rounds": 1},
    {"symptom": None},
    {"symptom": None, "rounds": 1},
    {"rounds": 1, "cause_rounds": 1, "since": 0.0},
    {"problem": True},
    {"wait": 1000.0, "mode": HealMode.APPROVE, "answer": "Approve"},
    {"mode": HealMode.APPROVE, "answer": "wrong"},
    {"mode": HealMode.APPROVE, "answer": "Reject"},
]
HINDERED = st.builds(lambda moment, against: replace(moment, **against), FAULT, st.sampled_from(OBJECTIONS))
MOMENTS = st.one_of(HINDERED, FAULT, RECOVERY, HINDERED, FAULT, RECOVERY, NOISE)
ATTEMPTS = st.builds(
    lambda n, ago, action, cause, outcome: Attempt(
        f"old-{n}",
        START - timedelta(minutes=ago),
        action,
        cause,
        "other-uid",
        outcome,
        START - timedelta(minutes=ago) + timedelta(seconds=50) if outcome else None,
    ),
    st.integers(0, 10**6),
    st.floats(1.0, 1400.0),
    st.sampled_from(sorted(EFFECTS)),
    st.sampled_from(["ProcessDown", "TooManyConnections", "CrashLoop"]),
    st.sampled_from(["Healed", "Healed", "NotHealed", "Inconclusive", "Regressed", ""]),
)


def stack_of(m: Moment) -> Stack:
    components = {
        name: Component.model_construct(
            type=type_, workload=WorkloadRef(kind="Deployment", name=name), endpoint=Endpoint(service=name, port=1)
        )
        for name, type_ in (("postgres", "PostgreSQL"), ("api", "Api"))
    }
    spec = StackSpec.model_construct(
        components=components,
        healing=Healing(mode=m.mode),
        paused=m.paused,
        pause_reason="why not",
        detection=Detection(failures=3, recoveries=3),
    )
    return Stack.model_construct(metadata=ObjectMeta(name="s", namespace="n"), spec=spec)


def planner_of(m: Moment) -> Callable[[StepSpec], PlannedStep | Refusal]:
    def plan(spec: StepSpec) -> PlannedStep | Refusal:
        if m.planned in UNPLANNED:
            return UNPLANNED[m.planned]
        if spec.action in NOTES:
            return PlannedStep(spec.action, "postgres", Risk.NONE, {"note": True}, "proposal: more of it")
        if spec.action not in EFFECTS:
            return PlannedStep(spec.action, "postgres", Risk.NONE, {}, "wait")
        data = {"sessions": [[n, "2026-11-24T02:00:00.000000+00:00"] for n in range(100)]} if m.planned == "big" else {}
        target = "api" if spec.action == "restartLeakingClient" else "postgres"
        risk = Risk.DATA if m.planned == "data" else Risk.DISRUPTIVE
        asks = spec.approval == "Always" or risk is Risk.DATA
        return PlannedStep(spec.action, target, risk, data, f"do {spec.action}", timedelta(minutes=10), asks)

    return plan


def diagnosis_of(name: str) -> Diagnosis:
    spec = next(c for c in RUNBOOK.causes if c.name == name)
    return Diagnosis(name, spec.message, ("ready: refused",), "High", spec)


@dataclass
class Story:
    """One incident through its moments; ledgers are kept as the controller keeps them."""

    attempts: Sequence[Attempt]
    now: datetime = START
    status: IncidentStatus | None = None
    spec: IncidentSpec = field(
        default_factory=lambda: IncidentSpec(stack_ref=LocalRef(name="s"), type="DatabaseConnectionFailure")
    )
    began: list[tuple[str, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.attempts, key=lambda a: a.at))
        self.ledgers = {"postgres": Ledger(ordered)}

    def world(self, m: Moment) -> World:
        if m.stack_gone:
            return World(problem=Problem("StackNotFound", "there is no such Stack"), leading=m.leading, fence=7)
        stack = stack_of(m)
        base = World(
            stack=stack, runbook=RUNBOOK, runbook_source="shipped/x", component="postgres", leading=m.leading, fence=7
        )
        if m.problem:
            return replace(base, problem=Problem("SecretNotFound", "Secret 'x' is missing"))
        if not m.probed:
            return base
        diagnosis = diagnosis_of(m.cause) if m.symptom is True else None
        since = self.now - timedelta(seconds=m.since)
        streak = Streak(Verdict(m.symptom, diagnosis), m.rounds, min(m.cause_rounds, m.rounds), since)
        ledgers = dict(self.ledgers)
        if m.held_by_other:
            for name in ("postgres", "api"):
                ledgers[name] = replace(ledgers.get(name, Ledger()), holder="other-uid", renewed=self.now)
        rollout = Target(self.now - timedelta(seconds=m.foreign_rollout), "r-2") if m.foreign_rollout else Target()
        return replace(
            base,
            streak=streak,
            planner=planner_of(m),
            effect=Effect(m.effect, "seen") if m.effect else None,
            ledgers=ledgers,
            neighbours={"api": Neighbour(m.api_healthy, m.api_rounds), "postgres": Neighbour(m.symptom is False, m.rounds)},
            targets={"postgres": rollout, "api": rollout},
            blocking_windows={"*": m.window} if m.window else {},
            failed_lookups=m.failed,
        )

    def people(self, m: Moment) -> None:
        changes: dict[str, Any] = {"mode": m.own_mode}
        if m.acknowledged:
            changes["acknowledged"] = Acknowledged(by="eve")
        if m.refired:
            changes["refired_at"] = self.now - timedelta(milliseconds=1)
        if m.closed:
            changes["resolved"] = ResolvedByHand(by="ann", note="x" * 2000, at=self.now)
        waiting = [s for s in (self.status.steps if self.status else []) if s.state is StepState.AWAITING_APPROVAL]
        if m.answer and waiting:
            digest = waiting[-1].plan_digest if m.answer != "wrong" else "0" * 12
            decision: Any = "Reject" if m.answer == "Reject" else "Approve"
            answer = Approval(step=waiting[-1].name, plan_digest=str(digest), by="eve", decision=decision)
            changes["approvals"] = [*self.spec.approvals, answer][-16:]
        self.spec = self.spec.model_copy(update=changes)

    def decide(self, world: World) -> Plan:
        meta = ObjectMeta(name="i", namespace="n", uid="my-uid", generation=1, creation_timestamp=START)
        return decide(Incident(metadata=meta, spec=self.spec, status=self.status), world, self.now)

    def act(self, plan: Plan) -> None:
        """What the controller does with the ledgers after the write."""
        for item in plan.settle:
            self.ledgers[item.component] = self.ledgers[item.component].finish(item.attempt_id, item.outcome, self.now)
        step = plan.advance
        if step is not None and step.component and step.attempt_id:
            ledger = self.ledgers.get(step.component, Ledger())
            if ledger.find(step.attempt_id) is None:
                self.began.append((step.component, step.started_at or self.now))
            entry = Attempt(step.attempt_id, step.started_at or self.now, step.kind, step.cause, "my-uid")
            self.ledgers[step.component] = ledger.keep(entry, self.now)


def stored(status: IncidentStatus) -> IncidentStatus:
    """As it is read back from the API server; the schema must take it."""
    return IncidentStatus.model_validate(json.loads(json.dumps(status.to_wire())))


def ids(status: IncidentStatus | None) -> set[str]:
    return {s.attempt_id for s in (status.steps if status else []) if s.attempt_id}


def in_flight(status: IncidentStatus | None) -> list[Step]:
    return [s for s in (status.steps if status else []) if s.state.in_flight]


def states(status: IncidentStatus | None, state: StepState) -> set[tuple[str, str, int]]:
    return {(s.name, s.cause, s.round) for s in (status.steps if status else []) if s.state is state}


def reason(status: IncidentStatus, type_: str) -> str:
    """Reason of a condition that is True."""
    found = status.condition(type_)
    return found.reason if found is not None and found.status == "True" else ""


def check_bounds(plan: Plan) -> None:
    wire = json.dumps(plan.status.to_wire()).encode()
    assert len(wire) <= STATUS_LIMIT
    assert len(plan.status.decisions) <= DECISIONS_KEPT
    assert len(plan.status.timeline) <= TIMELINE_KEPT
    assert len(in_flight(plan.status)) <= 1


def next_reminder(plan: Plan) -> datetime | None:
    """Days later, what asks for the review of a grave incident; nothing else looks at one that is over."""
    known = plan.status.review.reminders if plan.status.review else []
    due = min((r.due_at for r in known if r.told_at is None), default=None)
    ended = plan.status.times.resolved_at
    assert due is None or (ended is not None and due - ended > timedelta(days=1))
    return due


def check_next_look(story: Story, world: World, plan: Plan) -> None:
    over = plan.status.phase is Phase.RESOLVED
    assert not over or plan.advance is None
    if over and not (world.failed_lookups and ids(plan.status)):
        assert plan.look_again == next_reminder(plan)
    elif not over:
        assert plan.look_again is not None
        assert story.now < plan.look_again <= story.now + IDLE


def check_intent(story: Story, world: World, plan: Plan, m: Moment) -> None:
    """A new attempt: every rail must have had nothing against it, by the facts themselves."""
    fresh = ids(plan.status) - ids(story.status)
    if not fresh:
        return
    assert len(fresh) == 1
    assert not in_flight(story.status)
    step = next(s for s in plan.status.steps if s.attempt_id in fresh)
    assert world.leading
    assert max(m.mode.strictness, m.own_mode.strictness if m.own_mode else 0) <= HealMode.APPROVE.strictness
    assert (m.paused, m.window, m.failed, m.held_by_other) == (False, "", (), False)
    assert (m.problem, m.stack_gone) == (False, False)
    assert m.foreign_rollout is None or m.foreign_rollout >= 600
    assert world.streak is not None
    assert world.streak.verdict.symptom is True
    assert world.streak.symptom_rounds >= 3
    diagnosis = world.streak.verdict.diagnosis
    assert diagnosis is not None
    assert (plan.status.cause.name if plan.status.cause else "") == step.cause == diagnosis.name
    assert step.kind in {s.action for s in diagnosis.spec.remediate} - set(diagnosis.spec.forbid)
    asked = next(
        (
            s
            for s in (story.status.steps if story.status else [])
            if (s.name, s.cause, s.round) == (step.name, step.cause, step.round)
        ),
        None,
    )
    if plan.status.mode is HealMode.APPROVE or m.planned == "data" or step.kind == "terminateBlocker":
        assert asked is not None
        assert asked.approval_until is not None
        assert story.now < asked.approval_until
        assert (step.plan or {}) == (asked.plan or {})
        assert ("eve", "Approve", asked.plan_digest) in [(a.by, a.decision, a.plan_digest) for a in story.spec.approvals]
    known = world.ledgers.get(step.component or "", Ledger()).attempts
    for attempt in known:
        if attempt.failed and attempt.finished:
            assert story.now - attempt.finished >= timedelta(minutes=1) or _healed_later(known, attempt)
    assert sum(story.now - a.at < timedelta(hours=1) for a in known) < 3
    assert sum(story.now - a.at < timedelta(days=1) for a in known) < 6


def _healed_later(attempts: Sequence[Attempt], failed: Attempt) -> bool:
    return any(a.at >= failed.at and a.outcome == "Healed" for a in attempts)


def check_verdicts(story: Story, world: World, plan: Plan) -> None:
    """Good news only from a symptom that is seen to be away, for long enough; bad news only from one that is not."""
    before = story.status
    newly = plan.status.phase is Phase.RESOLVED and (before is None or before.phase is not Phase.RESOLVED)
    good = newly and reason(plan.status, "Resolved") in ("Healed", "Recovered")
    healed = states(plan.status, StepState.HEALED) - states(before, StepState.HEALED)
    if good or healed:
        assert world.streak is not None
        assert world.streak.verdict.symptom is False
        assert story.now - world.streak.since >= CLEAR_FOR
        assert newly
    if newly and not good:
        assert reason(plan.status, "Resolved") == "ResolvedByHand"
    if newly and reason(plan.status, "Resolved") == "Healed":
        step = next(s for s in plan.status.steps if s.state is StepState.HEALED and s.round == plan.status.round)
        assert step.attempt_id
        assert step.effect_at is not None
        assert story.now - step.effect_at >= SETTLE
    for name, cause, round_ in states(plan.status, StepState.NOT_HEALED) - states(before, StepState.NOT_HEALED):
        step = next(s for s in plan.status.steps if (s.name, s.cause, s.round) == (name, cause, round_))
        assert world.streak is not None
        assert world.streak.verdict.symptom is not None
        if step.effect_at is not None:
            assert world.streak.verdict.symptom is True


def check_end_stays(story: Story, plan: Plan) -> None:
    before = story.status
    if before is None or before.phase is not Phase.RESOLVED:
        return
    ended, again = before.times.resolved_at, story.spec.refired_at
    if again is None or ended is None or again <= ended:
        assert plan.status == before
        assert not plan.news
    else:
        assert plan.status.round == before.round + 1


def check_not_silent(m: Moment, world: World, status: IncidentStatus) -> None:
    """Where the fault is sure and nothing is under way, people can read why."""
    streak = world.streak
    sure = streak is not None and streak.verdict.symptom is True and streak.cause_rounds >= 3
    if not sure or status.phase is Phase.RESOLVED or in_flight(status) or status.mode in (HealMode.OBSERVE, HealMode.OFF):
        return
    assert reason(status, "NeedsHuman") or reason(status, "HealBlocked") or reason(status, "NeedsApproval"), m


def live(story: Story, m: Moment) -> None:
    """One moment: passes until nothing changes any more, as if the queue called again and again at once."""
    story.now += timedelta(seconds=m.wait)
    story.people(m)
    world = story.world(m)
    known = ids(story.status)
    for _ in range(PASSES_TO_REST):
        plan = story.decide(world)
        check_bounds(plan)
        check_next_look(story, world, plan)
        check_intent(story, world, plan, m)
        check_verdicts(story, world, plan)
        check_end_stays(story, plan)
        after = stored(plan.status)
        same = story.status is not None and after == story.status
        story.status = after
        if same:
            assert not plan.news
            assert not plan.refused
            break
    else:
        raise AssertionError("it does not come to rest")
    assert len(ids(story.status) - known) <= 1
    check_not_silent(m, world, after)
    story.act(plan)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(moments=st.lists(MOMENTS, min_size=2, max_size=14), attempts=st.one_of(st.just([]), st.lists(ATTEMPTS, max_size=6)))
def test_any_story(moments: list[Moment], attempts: list[Attempt]) -> None:
    story = Story(attempts)
    for m in moments:
        live(story, m)
    for component in ("postgres", "api"):
        times = sorted([at for c, at in story.began if c == component] + [a.at for a in attempts if component == "postgres"])
        ours = [at for c, at in story.began if c == component]
        for at in ours:
            assert sum(timedelta(0) <= at - other < timedelta(hours=1) for other in times) <= 3


def full_status() -> IncidentStatus:
    """As after weeks of reopenings: every list is full of the longest texts."""
    sessions = {"sessions": [{"pid": n, "started": "2026-11-24T02:00:00.000000+00:00"} for n in range(100)]}
    steps = [
        Step(
            name=f"terminateIdleSessions{n % 2}",
            kind="terminateIdleSessions",
            component="postgres",
            cause="TooManyConnections",
            round=n // 2 + 1,
            state=StepState.NOT_HEALED,
            attempt_id=f"{n:016x}",
            plan=sessions,
            summary="s" * 512,
            started_at=START - timedelta(days=30 - n),
            effect_at=START - timedelta(days=30 - n),
            finished_at=START - timedelta(days=30 - n),
        )
        for n in range(24)
    ]
    line = TimelineEntry(at=START, event="E" * 63, message="m" * 512)
    decision = Decision(at=START, reason="R" * 63, rule="r" * 63, step="s" * 63, message="m" * 512)
    times = Times(opened_at=START - timedelta(seconds=20))
    return IncidentStatus(
        round=13, steps=steps, timeline=[line] * TIMELINE_KEPT, decisions=[decision] * DECISIONS_KEPT, times=times
    )


@pytest.mark.parametrize(
    "m", [Moment(), Moment(planned="big"), Moment(symptom=False), Moment(closed=True), Moment(paused=True)]
)
def test_a_status_that_is_full_stays_within_its_limit(m: Moment) -> None:
    """Plans name sessions one by one: the finished steps alone would be more than the status may hold."""
    story = Story([], status=full_status())
    assert len(json.dumps(full_status().to_wire())) > 2 * STATUS_LIMIT
    for _ in range(5):
        live(story, m)
    assert story.status is not None
    assert story.status.timeline
    # The newest of the journal stay, whatever becomes of their plans.
    assert {f"{n:016x}" for n in range(4, 24)} <= ids(story.status)


@pytest.mark.parametrize("approved", [False, True])
def test_the_plan_of_a_step_that_is_not_over_is_kept_whatever_its_size(approved: bool) -> None:
    """What was approved is what is done: it may not be thrown away for room."""
    story = Story([], status=full_status())
    fault = Moment(planned="big", cause="LockStorm", mode=HealMode.APPROVE)
    live(story, fault)
    if approved:
        live(story, replace(fault, answer="Approve"))
    assert story.status is not None
    step = story.status.steps[-1]
    assert step.state is (StepState.INTENDED if approved else StepState.AWAITING_APPROVAL)
    assert len((step.plan or {})["sessions"]) == 100


def test_a_short_way_to_a_healed_incident() -> None:
    """The properties above would hold of an operator that never does anything; this one does."""
    story = Story([])
    live(story, Moment(wait=15))
    assert [s.state for s in in_flight(story.status)] == [StepState.INTENDED]
    live(story, Moment(wait=5, effect=EffectState.DONE))
    for n in range(1, 4):
        live(story, Moment(wait=60, symptom=False, rounds=12 * n, since=60.0 * n - 5, effect=EffectState.DONE))
    assert story.status is not None
    assert reason(story.status, "Resolved") == "Healed"
    assert [a.outcome for a in story.ledgers["postgres"].attempts] == ["Healed"]


def test_an_operator_that_comes_back_late_does_not_call_a_healed_step_a_failure() -> None:
    """It was away for longer than the time to judge; its first round is good, but one round is no quorum yet."""
    story = Story([])
    live(story, Moment(wait=15))
    live(story, Moment(wait=5, effect=EffectState.DONE))
    live(story, Moment(wait=3700, symptom=False, rounds=1, since=0.0))
    assert story.status is not None
    assert [s.state for s in story.status.steps] == [StepState.RUNNING]
    live(story, Moment(wait=10, symptom=False, rounds=3, since=10.0))
    live(story, Moment(wait=125, symptom=False, rounds=28, since=135.0))
    assert reason(story.status, "Resolved") == "Healed"


def test_what_is_still_there_after_the_time_is_not_healed() -> None:
    story = Story([])
    live(story, Moment(wait=15))
    live(story, Moment(wait=5, effect=EffectState.DONE))
    live(story, Moment(wait=331))
    assert story.status is not None
    assert [s.state for s in story.status.steps] == [StepState.NOT_HEALED]
    assert [a.outcome for a in story.ledgers["postgres"].attempts] == ["NotHealed"]


@pytest.mark.parametrize("symptom", [None, True])
@pytest.mark.parametrize("acted", [False, True])
def test_the_end_is_not_declared_on_a_round_that_is_not_good(symptom: bool | None, acted: bool) -> None:
    """The symptom was away for long enough, but the newest round has no data, or is bad for the first time."""
    story = Story([])
    mode = HealMode.AUTO if acted else HealMode.OBSERVE
    live(story, Moment(wait=15, mode=mode))
    live(story, Moment(wait=5, mode=mode, effect=EffectState.DONE))
    live(story, Moment(wait=60, mode=mode, symptom=False, rounds=12, since=55.0))
    live(story, Moment(wait=300, mode=mode, symptom=symptom, rounds=1, cause_rounds=1, since=0.0))
    assert story.status is not None
    assert story.status.phase is Phase.MONITORING
    live(story, Moment(wait=5, mode=mode, symptom=False, rounds=1, since=0.0))
    assert story.status.phase is Phase.MONITORING
    live(story, Moment(wait=121, mode=mode, symptom=False, rounds=24, since=121.0))
    assert story.status.phase is Phase.RESOLVED
    assert bool(ids(story.status)) is acted


@pytest.mark.parametrize("symptom", [None, True])
def test_a_single_round_is_no_verdict_against_a_step_but_doubt_does_not_last_for_ever(symptom: bool | None) -> None:
    """The operator comes back after the time to judge: the first round may be the exception."""
    story = Story([])
    live(story, Moment(wait=15))
    live(story, Moment(wait=5, effect=EffectState.DONE))
    live(story, Moment(wait=340, symptom=symptom, rounds=1, cause_rounds=1, since=0.0))
    assert [s.state for s in in_flight(story.status)] == [StepState.RUNNING]
    # Every second round is good, for as long again as the step had.
    for n in range(60):
        odd = bool(n % 2)
        live(story, Moment(wait=5, symptom=symptom if odd else False, rounds=1, cause_rounds=1, since=0.0))
    live(story, Moment(wait=5, symptom=symptom, rounds=1, cause_rounds=1, since=0.0))
    assert story.status is not None
    assert [s.state for s in story.status.steps][:1] == [StepState.NOT_HEALED if symptom else StepState.INCONCLUSIVE]


def test_an_end_whose_verdict_may_not_have_reached_the_ledger_is_looked_at_again() -> None:
    """The ledgers could not be read in the pass that closed the incident: else the healing would count as a failure."""
    story = Story([])
    live(story, Moment(wait=15))
    live(story, Moment(wait=5, effect=EffectState.DONE))
    live(story, Moment(wait=60, symptom=False, rounds=12, since=55.0))
    story.now += timedelta(seconds=125)
    end = Moment(symptom=False, rounds=36, since=180.0, failed=("the ledgers of attempts",))
    plan = story.decide(replace(story.world(end), ledgers={}))
    assert plan.status.phase is Phase.RESOLVED
    assert plan.look_again is not None
    story.status = stored(plan.status)
    again = story.decide(story.world(replace(end, failed=())))
    assert [(s.component, s.outcome) for s in again.settle] == [("postgres", "Healed")]
    assert again.look_again == next_reminder(again)
    story.now += timedelta(minutes=11)
    late = story.decide(replace(story.world(end), ledgers={}))
    assert late.look_again == next_reminder(late)
