"""RestoreJob: from what is known to the new status and at most one Job to start. Pure and repeatable.

Plan, digest, a second person, a safety set, a copy beside the live data, checks, the swap; and the way back.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from ...api.common import delta
from ...api.restore_job import Reconciled, RestoreJob, RestoreJobStatus, RestorePlan, RestoreStep
from ...api.work import Work
from ..conditions import set_condition
from ..incidents.approvals import CREATED_BY
from ..incidents.draft import News
from .facts import JobState, RestorePlanned, RestoreWorld
from .occupied import REPLACING, WAITING
from .report import ReconcileReport, RestoreStepReport, Result
from .work import LOOK_SECONDS, backoff, lost, observed, stamped

RECHECK = timedelta(seconds=30)
FURTHEST = timedelta(hours=1)
TRIES = 3
LINES_SHOWN, STEPS_SHOWN, IDS_SHOWN = 32, 64, 20
RESTORED = ("Complete", "RestoredUnverified")
OVER = (*RESTORED, "Failed", "RolledBack")
ACTIVE = REPLACING
UNVERIFIED = "RestoredUnverified"
LETTERS = {"Plan": "p", "Apply": "a", "Rollback": "r", "DropPrevious": "x", "Scratch": "s"}
PLAN_TIMEOUT = "30m"


def restore_id(uid: str) -> str:
    """Part of the names of all copies that this restore makes: the same in each try."""
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


class Draft:
    """Mutable only within one decision."""

    def __init__(self, job: RestoreJob, world: RestoreWorld, now: datetime) -> None:
        self.job = job
        self.world = world
        self.now = now
        self.status = job.status or RestoreJobStatus()
        self.news: list[News] = []
        self.looks: list[datetime] = []
        self.start: Work | None = None
        self.hold = False
        self.free = False
        self.waits = ""

    @property
    def onto_stack(self) -> bool:
        """Whether live data is replaced."""
        return self.job.spec.target.stack_ref is not None

    def update(self, **changes: Any) -> None:
        """Replace fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def times(self, **changes: datetime | None) -> None:
        """Replace fields of status.times."""
        self.update(times=self.status.times.model_copy(update=changes))

    def tell(self, reason: str, message: str, warning: bool = False) -> None:
        """One Event."""
        self.news.append(News("Warning" if warning else "Normal", reason, message))

    def condition(self, type_: str, holds: bool, reason: str, message: str = "") -> None:
        """Set a condition; a False one that was never there is left out."""
        if not holds and all(c.type != type_ for c in self.status.conditions):
            return
        generation = self.job.metadata.generation
        self.update(conditions=set_condition(self.status.conditions, type_, holds, reason, message, self.now, generation))

    def look(self, at: datetime) -> None:
        """Look again not later than then."""
        self.looks.append(at)

    def ready(self) -> bool:
        """Whether the next try may begin."""
        at = self.status.retry_at
        if at is None or at <= self.now or at - self.now > FURTHEST:
            return True
        self.look(at)
        return False

    def begin(self, kind: Any) -> None:
        """The intent: one Job, at most."""
        attempt = stamped(LETTERS[kind], self.job.metadata.uid, self.now)
        work = Work(kind=kind, attempt_id=attempt, set_id=self.status.set_id, started_at=self.now)
        self.update(work=work, retry_at=None)
        self.start = work
        self.hold = kind in ("Apply", "Rollback", "DropPrevious") and self.onto_stack
        self.look(self.now + timedelta(seconds=LOOK_SECONDS))


def decide(job: RestoreJob, world: RestoreWorld, now: datetime) -> RestorePlanned:
    """Follow what is at work, begin one thing."""
    d = Draft(job, world, now)
    follow(d)
    if d.status.work is None:
        begin(d)
    d.update(observed_generation=job.metadata.generation)
    # Looked for in each pass: whoever dies between the end and this must not keep the Stack from others.
    d.free = d.onto_stack and d.status.phase in OVER and d.status.work is None
    _conditions(d)
    return RestorePlanned(d.status, min(d.looks, default=None), d.start, d.hold, d.free, tuple(d.news))


def deadline_of(work: Work, job: RestoreJob) -> str:
    """How long its Job may take."""
    return PLAN_TIMEOUT if work.kind == "Plan" else job.spec.timeout


# What is at work


def follow(d: Draft) -> None:
    """What the Job at work has come to."""
    work, job = d.status.work, d.world.job
    if work is None:
        return
    _journal(d, job.steps)
    if job.result is not None:
        d.update(work=None)
        _apply(d, work, job.result)
        return
    why = lost(work, job, deadline_of(work, d.job), d.now)
    if why:
        d.update(work=None)
        _again(d, work, why, retry=True)
    elif job.state is JobState.ABSENT:
        _absent(d, work)
    else:
        d.update(work=observed(work, job))
        d.look(d.now + timedelta(seconds=LOOK_SECONDS))


def _absent(d: Draft, work: Work) -> None:
    """Its Job is not there yet: it is made now, unless something has come between."""
    if d.world.problem is not None or (d.world.busy and work.kind != "Plan"):
        d.update(work=None)
        # A try after the first may have replaced something already: then healing stands still until it is over.
        if work.kind == "Apply" and d.status.tries == 0:
            d.update(phase="AwaitingApproval")
        d.look(d.now + RECHECK)
        return
    d.start = work
    d.hold = work.kind in ("Apply", "Rollback", "DropPrevious") and d.onto_stack
    d.look(d.now + timedelta(seconds=LOOK_SECONDS))


def _journal(d: Draft, told: list[RestoreStepReport]) -> None:
    """Each step once, as it was last told; a time is that of the pass that first saw it so."""
    steps = {s.name: s for s in d.status.steps}
    for line in told:
        before = steps.get(line.name[:128]) or RestoreStep(name=line.name[:128], started_at=d.now)
        if (before.state, before.summary) == (line.state, line.summary[:512]):
            continue
        ended = line.state != "Running"
        changes = {"state": line.state, "summary": line.summary[:512], "finished_at": d.now if ended else None}
        steps[before.name] = before.model_copy(update=changes)
        if line.state == "Done" and line.name.endswith("swap") and d.status.times.swapped_at is None:
            d.times(swapped_at=d.now)
            d.update(phase="Verifying")
    d.update(steps=list(steps.values())[-STEPS_SHOWN:])


def _apply(d: Draft, work: Work, result: Result) -> None:
    if not result.ok:
        _again(d, work, f"{result.reason}: {result.message}" if result.message else result.reason, result.retry)
        return
    d.update(tries=0, retry_at=None)
    {"Plan": _planned, "Apply": _restored, "Scratch": _restored, "Rollback": _rolled_back, "DropPrevious": _dropped}[
        work.kind
    ](d, result)


def _planned(d: Draft, result: Result) -> None:
    told = result.plan
    if told is None:
        _fail(d, "the plan was made, but not told")
        return
    plan = RestorePlan(
        digest=told.digest,
        made_at=d.now,
        run=told.run,
        manifest=told.manifest_sha256,
        size=told.bytes,
        lines=[line[:512] for line in told.lines[:LINES_SHOWN]],
    )
    d.update(plan=plan, phase="Planned", message="")
    d.times(planned_at=d.now)
    d.tell("Planned", f"plan {plan.digest}: {plan.size} bytes of {plan.run}")


def _restored(d: Draft, result: Result) -> None:
    proved = result.reason != UNVERIFIED and (result.verdict is None or result.verdict.verdict == "Verified")
    phase = "Complete" if proved else UNVERIFIED
    words = "; ".join(result.warnings)
    text = result.message or words or ("" if proved else "the restored data could not be proved; look before you trust it")
    d.update(phase=phase, message=text[:512], reconciled=_reconciled(result.reconciled))
    until = d.now + delta(d.job.spec.keep_previous_for) if d.onto_stack else None
    d.times(finished_at=d.now, previous_until=until)
    d.tell("Restored" if proved else UNVERIFIED, text or f"run {d.status.plan.run if d.status.plan else ''}", not proved)


def _reconciled(told: ReconcileReport | None) -> Reconciled | None:
    if told is None:
        return None
    return Reconciled(
        missing_in_qdrant=told.missing,
        orphans_in_qdrant=told.orphans,
        missing_ids=[i[:128] for i in told.missing_ids[:IDS_SHOWN]],
        orphan_ids=[i[:128] for i in told.orphan_ids[:IDS_SHOWN]],
    )


def _rolled_back(d: Draft, result: Result) -> None:
    d.update(phase="RolledBack", message=result.message[:512] or "the replaced data is live again")
    # The restored copy is beside the live data now: for a look, and not for ever.
    d.times(finished_at=d.now, previous_until=d.now + delta(d.job.spec.keep_previous_for))
    d.tell("RolledBack", d.status.message)


def _dropped(d: Draft, _result: Result) -> None:
    d.times(previous_until=None)
    if d.status.phase in ("RolledBack", "Failed"):
        d.tell("CopyDropped", "the restored copy, which is not live, is gone")
    else:
        d.tell("PreviousDropped", "the data that was replaced is gone; there is no way back any more")


def _again(d: Draft, work: Work, why: str, retry: bool) -> None:
    """A Job that was killed or has failed is started anew with the same restore id, a few times and within the timeout."""
    tries, started = d.status.tries + 1, d.status.times.started_at
    late = work.kind == "Apply" and started is not None and d.now - started >= delta(d.job.spec.timeout)
    endless = work.kind == "DropPrevious"
    if endless or (retry and tries < TRIES and not late):
        at = d.now + backoff(tries)
        d.update(tries=tries, retry_at=at, message=why[:512])
        d.look(at)
        d.tell("TryFailed", f"{work.kind}, try {tries}: {why}", warning=True)
        return
    if work.kind == "Rollback":
        # What is live is whatever the last transaction left; only a person can tell now.
        d.update(tries=TRIES, message=f"rollback failed: {why}"[:512])
        d.tell("RollbackFailed", why, warning=True)
        return
    _fail(d, why)


def _fail(d: Draft, why: str) -> None:
    begun, swapped = d.onto_stack and d.status.times.started_at is not None, d.status.times.swapped_at is not None
    after = "; the copies that it has made are dropped when keepPreviousFor is over" if begun else ""
    after = "; the restored data is live, and rollback: true puts the former back" if swapped else after
    d.update(phase="Failed", message=f"{why}{after}"[:512], retry_at=None, tries=0)
    until = d.now + delta(d.job.spec.keep_previous_for) if begun else None
    d.times(finished_at=d.now, previous_until=until)
    d.tell("RestoreFailed", d.status.message, warning=True)


# What is begun


def begin(d: Draft) -> None:
    """At most one new Job."""
    status = d.status
    if status.phase in OVER:
        _after(d)
    elif d.world.problem is not None:
        d.look(d.now + RECHECK)
    elif not d.ready():
        return
    elif status.plan is None:
        _begin_plan(d)
    elif d.job.spec.mode == "Plan":
        d.update(phase="Planned")
    elif not d.onto_stack:
        _begin_apply(d, "Scratch")
    elif status.phase in ACTIVE or _allowed(d):
        if d.world.busy:
            d.update(message=f"{d.world.busy}; this one waits"[:512])
            _wait(d)
            return
        _begin_apply(d, "Apply")


def _begin_plan(d: Draft) -> None:
    chosen = d.world.chosen
    if d.status.set_id is None:
        if chosen is None:
            return
        # From here on the set stays the same, whatever newer one there will be.
        d.update(set_id=chosen.set_id)
    d.update(phase="Planning")
    d.begin("Plan")


def _begin_apply(d: Draft, kind: str) -> None:
    if d.status.times.started_at is None:
        d.times(started_at=d.now)
    if d.status.phase not in ACTIVE:
        d.update(phase="Restoring", message="")
    d.begin(kind)
    d.tell("Restoring", f"{kind} of {d.status.set_id}")


def _allowed(d: Draft) -> bool:
    """Plan digest and a second person's answer; without them it waits."""
    spec, plan = d.job.spec, d.status.plan
    assert plan is not None
    if spec.plan_digest != plan.digest:
        text = f"planDigest is {spec.plan_digest}, the plan is {plan.digest}; read status.plan and write its digest"
        d.update(phase="Planned", message=text)
        return False
    creator, answer = d.world.creator, spec.approval
    if answer is not None and answer.plan_digest == plan.digest and answer.decision == "Reject":
        _fail(d, f"rejected by {answer.by}")
        return False
    if not creator:
        text = (
            f"nobody knows who made this object, so nobody can be another person: make it anew with the annotation "
            f"{CREATED_BY}: <you>"
        )
    elif answer is None or answer.plan_digest != plan.digest:
        text = f"another person than {creator} must set spec.approval {{by, planDigest: {plan.digest}, decision: Approve}}"
    elif answer.by == creator:
        text = f"{creator} has made this object and cannot be the second person as well"
    else:
        return True
    if d.status.phase != "AwaitingApproval":
        d.tell("ApprovalNeeded", text, warning=True)
    d.update(phase="AwaitingApproval", message=text[:512])
    return False


def _after(d: Draft) -> None:
    """What was replaced: put back when asked. What is not live is dropped when its time is over."""
    until = d.status.times.previous_until
    if until is None or not d.onto_stack:
        return
    if d.world.problem is not None:
        d.look(d.now + RECHECK)
        return
    if d.job.spec.rollback and d.status.phase != "RolledBack":
        if d.status.tries < TRIES and d.ready():
            _begin_after(d, "Rollback")
        return
    if d.now < until:
        d.look(until)
    elif (d.status.phase != "Failed" or d.status.times.swapped_at is None) and d.ready():
        _begin_after(d, "DropPrevious")


def _begin_after(d: Draft, kind: str) -> None:
    if d.world.busy:
        _wait(d)
    else:
        d.begin(kind)


def _wait(d: Draft) -> None:
    """Said in the status, as backups stand behind a restore that waits."""
    d.waits = d.world.busy
    d.look(d.now + RECHECK)


# What is told


def _conditions(d: Draft) -> None:
    phase, message, problem = d.status.phase, d.status.message, d.world.problem
    open_ = phase not in OVER
    stalled = problem if open_ else None
    d.condition("Stalled", stalled is not None, stalled.reason if stalled else "Idle", stalled.message if stalled else "")
    waiting = phase == "AwaitingApproval"
    d.condition("NeedsApproval", waiting, "WaitingForApproval" if waiting else "NotAsked", message if waiting else "")
    d.condition(WAITING, bool(d.waits), "DataInUse" if d.waits else "Idle", d.waits)
    busy = d.status.work is not None or phase in ACTIVE
    work = d.status.work
    d.condition("Reconciling", busy, work.kind if work else "Idle", work.message if work else "")
    d.condition("Failed", phase == "Failed", str(phase or "Idle"), message if phase == "Failed" else "")
    if phase in RESTORED:
        d.condition("Complete", True, str(phase), message)
        d.condition("Complete", phase == "Complete", str(phase), message)
    elif phase == "RolledBack":
        d.condition("Complete", False, "RolledBack", message)
    if d.job.spec.rollback and phase in (*RESTORED, "Failed") and d.status.times.previous_until is None:
        d.condition("RollbackRefused", True, "NothingKept", "the replaced data is gone, or nothing was replaced")
