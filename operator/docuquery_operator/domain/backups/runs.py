"""BackupJob: from what is known to the new status and at most one Job to start. Pure and repeatable."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ...api.backup_job import BackupJob, BackupRun
from ...api.common import delta
from ...api.work import Work
from ..schedules import ScheduleError, following, instants_between, latest
from ..world import Problem
from . import layout
from .checks import checked_level, next_check, oldest_check
from .draft import Draft, deadline_of, schedule_in
from .facts import BackupPlan, BackupWorld, JobState
from .outcomes import apply, checked_in_vain, failed, give_up
from .summary import summarised
from .work import LOOK_SECONDS, backoff, lost, observed, stamped

LONGEST_JITTER = timedelta(minutes=5)
JITTER_SHARE = 0.1
RECHECK = timedelta(seconds=30)
REREAD = timedelta(hours=24)
# A store that cannot be listed does not keep backups from being made for ever.
CATALOGUE_TRIES = 3
CHECK_TRIES = 3
FINALIZER = "ops.docuquery.ai/backup-sets"
COUNTED = 100


def decide(job: BackupJob, world: BackupWorld, now: datetime) -> BackupPlan:
    """Follow what is at work, take what is due, begin one thing."""
    d = Draft(job, world, now)
    try:
        schedule_in(job)
    except ScheduleError as wrong:
        d.problem = Problem("ScheduleInvalid", str(wrong))
    if not d.problem or d.problem.reason != "ScheduleInvalid":
        take_due(d)
    follow(d)
    if d.work is None:
        begin(d)
    status = summarised(d)
    return BackupPlan(status, min(d.looks, default=None), d.start, d.cancel, news=tuple(d.news))


def finished(job: BackupJob) -> bool:
    """A BackupJob without schedule that has nothing left to do: what it once rested on may go."""
    d = Draft(job, BackupWorld(), job.metadata.creation_timestamp or datetime.max)
    own = d.own_run() if job.spec.schedule is None else None
    if own is None or own.state == "Running" or d.work is not None or d.view.due_again or d.going() is not None:
        return False
    return own.state == "Failed" or own.verified != "Pending" or own.checks >= CHECK_TRIES


def deleted(job: BackupJob, world: BackupWorld, now: datetime) -> BackupPlan:
    """The object is going: with deletionPolicy Delete its sets go first, after whatever is at work has ended."""
    d = Draft(job, world, now)
    if job.spec.deletion_policy != "Delete":
        return BackupPlan(d.status, release=True)
    if d.work is not None and d.work.kind != "Delete":
        if world.job.state is JobState.RUNNING:
            d.cancel = d.work
            return BackupPlan(d.status, now + RECHECK, cancel=d.work)
        d.update(work=None)
    elif d.work is not None:
        result = world.job.result
        if result is not None and result.ok:
            return BackupPlan(d.status, release=True)
        why = result.message if result else lost(d.work, world.job, deadline_of(d.work, job), now)
        if why:
            d.update(work=None)
            d.catalogue(tries=d.view.tries + 1, retry_at=now + backoff(d.view.tries + 1), message=why[:512])
            d.tell("DeletingSetsFailed", f"{why}; to leave the sets, set deletionPolicy: Retain", warning=True)
        else:
            d.start = d.work if world.job.state is JobState.ABSENT else None
    if d.work is None and world.problem is None and d.ready(d.view.retry_at):
        d.begin("Delete", stamped("d", job.metadata.uid, now))
    d.look(now + timedelta(seconds=LOOK_SECONDS))
    return BackupPlan(d.status, min(d.looks), d.start, news=tuple(d.news))


# What is due


def jitter(uid: str, interval: timedelta) -> timedelta:
    """The same for the same object, so that many that are due at once do not start at once."""
    part = int(hashlib.sha256(uid.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return timedelta(seconds=round(min(LONGEST_JITTER, interval * JITTER_SHARE).total_seconds() * part))


def take_due(d: Draft) -> None:
    """A record for the newest run that is due; what was due before it, or is due too late, is told as missed."""
    schedule = schedule_in(d.job)
    if schedule is None:
        if not d.own_run() and d.read_once():
            d.put_run(_fresh(d, d.created))
        return
    due = latest(schedule, d.now)
    anchor = d.status.last_due or d.created
    if due is not None and due > anchor:
        after = following(schedule, due)
        begin_at = due + jitter(d.job.metadata.uid, after - due if after else timedelta(0))
        if d.now < begin_at:
            d.look(begin_at)
        else:
            _take(d, due, begin_at, len(instants_between(schedule, anchor, due - timedelta(seconds=1), COUNTED)))
    soon = following(schedule, d.now)
    if soon is not None:
        after = following(schedule, soon)
        d.look(soon + jitter(d.job.metadata.uid, after - soon if after else timedelta(0)))


def _take(d: Draft, due: datetime, begin_at: datetime, before: int) -> None:
    spec = d.job.spec
    patience = delta(spec.starting_deadline) if spec.starting_deadline else timedelta(hours=1)
    run, going = _fresh(d, due), d.going()
    if spec.suspend:
        d.update(last_due=due)
        return
    if d.now - begin_at > patience:
        why = f"could not start within {spec.starting_deadline or '1h'}: {d.problem.message}" if d.problem else ""
        _miss(d, run, why or f"nobody could start it within {spec.starting_deadline or '1h'}", before)
    elif going is not None:
        _miss(d, run, f"run {going.id} was still going on", before)
    elif d.problem is not None:
        return
    else:
        more = f"; {before} before it were missed" if before else ""
        d.put_run(run.model_copy(update={"message": f"due at {due:%Y-%m-%d %H:%M} UTC{more}"}))
        if before:
            d.tell("RunsMissed", f"{before} runs before {run.id} were missed; one is made up for them", warning=True)
    d.update(last_due=due)


def _miss(d: Draft, run: BackupRun, why: str, before: int) -> None:
    text = f"{why}; so were {before} before it" if before else why
    d.put_run(run.model_copy(update={"state": "Missed", "finished_at": d.now, "message": text[:512], "retry_at": None}))
    d.tell("RunMissed", f"{run.id}: {text}", warning=True)


def _fresh(d: Draft, due: datetime) -> BackupRun:
    run = layout.run_id(d.job.metadata.uid, due)
    return BackupRun(id=run, state="Running", started_at=d.now, retry_at=d.now)


# What is at work


def follow(d: Draft) -> None:
    """What the Job at work has come to."""
    work, job = d.work, d.world.job
    if work is None:
        return
    if job.result is not None:
        d.update(work=None)
        apply(d, work, job.result)
        return
    why = lost(work, job, deadline_of(work, d.job), d.now)
    if why:
        d.cancel = work if job.state is JobState.RUNNING else None
        d.update(work=None)
        _lost(d, work, why)
    elif job.state is JobState.ABSENT and _hindered(d, work):
        # Nothing was begun, and nothing can be now: what is decided anew can wait for a person, a Job could not.
        d.update(work=None)
        run = d.going() if work.kind == "Backup" else None
        if run is not None:
            d.put_run(run.model_copy(update={"retry_at": d.now}))
    elif job.state is JobState.ABSENT:
        d.start = work
        d.look(d.now + timedelta(seconds=LOOK_SECONDS))
    else:
        d.update(work=observed(work, job))
        d.look(d.now + timedelta(seconds=LOOK_SECONDS))


def _hindered(d: Draft, work: Work) -> bool:
    """Whether its Job, which is not there, cannot be made now."""
    for_kind = {"Backup": d.problem, "Verify": d.world.check_problem}.get(work.kind)
    busy = work.kind == "Backup" and bool(d.world.busy)
    return d.world.store_problem is not None or for_kind is not None or busy


def _lost(d: Draft, work: Work, why: str) -> None:
    """No result: a backup may have been committed all the same, which only the store can tell."""
    if work.kind == "Backup":
        run = d.going()
        if run is not None:
            d.put_run(run.model_copy(update={"message": why[:512], "retry_at": None}))
        d.catalogue(due_again=True, tries=0, retry_at=None)
    elif work.kind == "Verify":
        checked_in_vain(d, work.set_id or "", why)
    else:
        failed(d, why)


# What is begun


def begin(d: Draft) -> None:
    """At most one new Job, what is most urgent first."""
    if d.problem is not None:
        d.look(d.now + RECHECK)
    if d.world.store_problem is not None or _begin_catalogue(d, urgent=True):
        return
    if (d.problem is None and _begin_run(d)) or _begin_check(d):
        return
    _begin_catalogue(d, urgent=False)


def _begin_catalogue(d: Draft, urgent: bool) -> bool:
    view, going = d.view, d.going()
    unsettled = going is not None and going.attempt > 0 and going.retry_at is None
    if urgent and not (view.read_at is None or unsettled):
        return False
    if not urgent and not (view.due_again or _old(d)):
        return False
    if urgent and view.tries >= CATALOGUE_TRIES:
        if unsettled and going is not None:
            give_up(d, going, f"{going.message}; and the store could not be read: {view.message}", retry=True)
            d.catalogue(tries=0)
        return False
    if not d.ready(view.retry_at):
        return urgent
    d.begin("Catalogue", stamped("c", d.job.metadata.uid, d.now))
    return True


def _old(d: Draft) -> bool:
    """The store is read once a day, so that status is true even where somebody else has changed the store."""
    read = d.view.read_at
    if read is None:
        return d.view.tries >= CATALOGUE_TRIES
    if d.job.spec.schedule is None:
        return False
    d.look(read + REREAD)
    return d.now - read >= REREAD


def _begin_run(d: Draft) -> bool:
    run = d.going()
    if run is None or run.retry_at is None:
        return False
    if d.world.busy:
        d.hold = f"{d.world.busy}; the run begins when it has ended"
        d.look(d.now + RECHECK)
        return True
    if not d.ready(run.retry_at):
        return True
    attempt = run.attempt + 1
    set_id = layout.set_id(run.id, attempt)
    d.put_run(run.model_copy(update={"attempt": attempt, "attempt_id": set_id, "retry_at": None, "message": ""}))
    d.begin("Backup", set_id, set_id)
    d.tell("RunStarted", f"{run.id}, try {attempt}")
    return True


def _begin_check(d: Draft) -> bool:
    run = next_check(d, CHECK_TRIES) or oldest_check(d, CHECK_TRIES)
    if run is None or run.attempt_id is None:
        return False
    number = run.checks + 1
    suffix = "r" if checked_level(d.job) == "Restore" else "c"
    at = int(d.now.timestamp()) % 100_000
    d.begin("Verify", f"{run.attempt_id}-{suffix}{number}-{at}", run.attempt_id)
    return True


__all__ = ["FINALIZER", "decide", "deleted", "follow", "jitter", "take_due"]
