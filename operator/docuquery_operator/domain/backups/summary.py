"""What a BackupJob says of itself: pointers, conditions, phase, and when the next good run must be there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ...api.backup_job import NEXT_SHOWN, BackupJobStatus, BackupRun, RunPointer
from ...api.common import delta, format_time
from ..schedules import Schedule, ScheduleError, following, upcoming
from . import layout
from .draft import COMMITTED, Draft, newest_committed, newest_good, newest_proved, schedule_in


def summarised(d: Draft) -> BackupJobStatus:
    """The status at the end of the pass."""
    runs = d.status.runs
    schedule = _schedule(d)
    d.update(
        observed_generation=d.job.metadata.generation,
        last_successful=_pointer(newest_good(runs)),
        last_verified=_pointer(newest_proved(runs)),
        next=list(upcoming(schedule, d.now, NEXT_SHOWN)) if schedule and not d.job.spec.suspend else [],
        expected_by=expected_by(d, schedule),
        alarms=[a.model_copy(update={"opened": a.opened or a.name in d.world.alarms}) for a in d.status.alarms],
    )
    _of_runs(d)
    _verified(d)
    stale = _stale(d)
    _of_object(d, stale)
    d.update(phase=_phase(d))
    return d.status


def _schedule(d: Draft) -> Schedule | None:
    try:
        return schedule_in(d.job)
    except ScheduleError:
        return None


def _pointer(run: BackupRun | None) -> RunPointer | None:
    return None if run is None else RunPointer(id=run.id, time=run.finished_at or run.started_at, size=run.size)


def expected_by(d: Draft, schedule: Schedule | None) -> datetime | None:
    """When the next good run must be there: due after the last good one, with all the time that a run may take."""
    if schedule is None or d.job.spec.suspend:
        return None
    spec, good = d.job.spec, newest_good(d.status.runs)
    due = following(schedule, _anchor(d, good))
    if due is None:
        return None
    after = following(schedule, due)
    timeout = delta(spec.timeout)
    usual = min(timeout, after - due) if after else timeout
    late = delta(spec.starting_deadline) if spec.starting_deadline else timedelta(hours=1)
    return due + usual + min(late, timedelta(hours=1))


def _anchor(d: Draft, good: BackupRun | None) -> datetime:
    """Of a good run when it was due; before the first one, when the object was made or its last suspension ended."""
    anchor = d.created if good is None else _due(good)
    last = d.status.last_due
    # An instant that was dealt with and has no record fell into a suspension: nobody waits for what came before.
    skipped = last is not None and d.run(layout.run_id(d.job.metadata.uid, last)) is None
    return max(anchor, last) if skipped and last is not None else anchor


def _due(run: BackupRun) -> datetime:
    try:
        return layout.due_of(layout.set_id(run.id, 1))
    except ValueError:
        return run.started_at


def _of_runs(d: Draft) -> None:
    last = next((r for r in reversed(d.status.runs) if r.state in (*COMMITTED, "Failed")), None)
    if last is None:
        return
    good = last.state == "Complete" and last.verified != "Failed"
    reason = {"Complete": "RunComplete", "Suspicious": "RunSuspicious", "Failed": "RunFailed"}[last.state]
    text = last.id + (f": {last.message}" if last.message and not good else "")
    d.condition("Complete", good, reason if last.verified != "Failed" else "CheckFailed", text)
    d.condition("Failed", last.state == "Failed", reason, text)


def _verified(d: Draft) -> None:
    run = newest_committed(d.status.runs)
    if run is None:
        return
    holds = {"Verified": True, "Failed": False}.get(run.verified)
    if run.verified == "Pending":
        reason = "CheckEndedWithoutVerdict" if run.checks else "NotCheckedYet"
        text = run.message if run.checks else (d.world.check_problem.message if d.world.check_problem else "")
    else:
        reason, text = f"Check{run.verified}", f"level {run.level}" if holds else run.message
    _always(d, "Verified", holds, reason, f"{run.id}{': ' + text if text else ''}")


def _stale(d: Draft) -> bool:
    by = d.status.expected_by
    stale = by is not None and d.now >= by
    if by is not None and not stale:
        d.look(by)
    text = ""
    if stale and by is not None:
        last = d.status.last_successful
        since = f"the last was {last.id}" if last else "there is none yet"
        text = f"no good run by {format_time(by)}; {since}"
        anchor = _anchor(d, newest_good(d.status.runs))
        name = f"{d.job.metadata.name[:200]}-stale-{anchor:%Y%m%d%H%M%S}"
        d.alarm(name, "BackupFailure", f"BackupJob {d.job.metadata.name}: {text}")
    d.condition("Stale", stale, "NoGoodRun" if stale else "InTime", text)
    return stale


def _of_object(d: Draft, stale: bool) -> None:
    once = d.job.spec.schedule is None
    own = d.own_run() if once else None
    problem, ended_badly = d.problem, own is not None and own.state in ("Failed", "Suspicious")
    busy = d.work is not None or d.going() is not None
    unread = d.view.message if d.view.tries else ""
    if problem is not None:
        ready: tuple[bool, str, str] = (False, problem.reason, problem.message)
    elif stale:
        ready = (False, "Stale", "no good run in time; see the condition Stale")
    elif unread and (own is None or own.state == "Running"):
        ready = (False, "StoreNotRead", f"the store could not be read, and is tried again: {unread}")
    elif own is not None:
        ready = (own.state == "Complete", f"Run{own.state}", own.message)
    elif once:
        ready = (False, "Pending", "")
    else:
        ready = (True, "Suspended" if d.job.spec.suspend else "Scheduled", d.hold)
    waiting = d.hold or (d.work.message if d.work else "")
    d.condition("Reconciling", busy and problem is None, "AtWork" if busy else "Idle", waiting)
    stalled = problem is not None or ended_badly
    d.condition("Stalled", stalled, ready[1] if stalled else "Idle", ready[2] if stalled else "")
    _always(d, "Ready", *ready)


def _always(d: Draft, type_: str, *rest: Any) -> None:
    if all(c.type != type_ for c in d.status.conditions):
        d.condition(type_, None, rest[1], rest[2])
    d.condition(type_, *rest)


def _phase(d: Draft) -> str:
    kind = d.work.kind if d.work else ""
    if kind == "Verify":
        return "Verifying"
    if kind == "Backup" or d.going() is not None:
        return "Running"
    if d.job.spec.schedule is not None:
        return "Suspended" if d.job.spec.suspend else "Scheduled"
    own = d.own_run()
    if own is None:
        return "Pending"
    return "Complete" if own.state == "Complete" else "Failed"
