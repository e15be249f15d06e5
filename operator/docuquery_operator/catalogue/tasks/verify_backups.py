"""VerifyBackups: asks each BackupJob of the Stack to check its newest set again where its verdict is old, and waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from ...api.backup_job import BackupJob, BackupRun
from ...api.common import delta, format_time
from ...api.maintenance_window import TaskType, VerifyBackupsTask
from ...domain.backups.checks import CHECK_AGAIN, asked_again, checked_since, newest_set
from ...domain.backups.runs import CHECK_TRIES
from ...domain.maintenance.task_outcome import Cell, Finding, Rank, Table, TaskOutcome
from ...ports import BACKUP_JOB, JSON
from .base import Light, TaskContext, parameters

PAUSE_SECONDS = 5.0
# Kept of the task's time to tell what is known.
RESERVE_SECONDS = 10.0


async def run(context: TaskContext) -> TaskOutcome:
    """What was checked before it began and is young enough stays so; the rest is asked for once and waited for."""
    wanted: VerifyBackupsTask = parameters(context, "verify_backups", VerifyBackupsTask)
    since = context.since - delta(wanted.max_age)
    end = context.since.timestamp() + context.timeout - RESERVE_SECONDS
    while True:
        jobs = await _jobs(context)
        if not jobs:
            return TaskOutcome(state="Skipped", summary="the Stack has no BackupJob")
        open_ = [job for job in jobs if _waits(job, since)]
        for job in open_:
            await _ask(context, job, since)
        stopped = context.stopping()
        if not open_ or stopped or context.ports.clock.now().timestamp() >= end:
            return _outcome(jobs, wanted, since, [j.metadata.name for j in open_], stopped)
        context.say(f"waits for the verdict on {', '.join(j.metadata.name for j in open_)}")
        await context.pause(PAUSE_SECONDS)


async def _jobs(context: TaskContext) -> list[BackupJob]:
    found = await context.ports.cluster.list(BACKUP_JOB, context.namespace)
    jobs = []
    for obj in found:
        try:
            job = BackupJob.model_validate(obj)
        except ValidationError:
            continue
        if job.spec.stack_ref.name == context.stack.metadata.name:
            jobs.append(job)
    return jobs


def _waits(job: BackupJob, since: datetime) -> bool:
    """Whether a verdict on its newest set is still to come."""
    newest = newest_set(job)
    if newest is None or newest.verified == "Failed" or newest.checks >= CHECK_TRIES:
        return False
    return not checked_since(job, newest, since)


async def _ask(context: TaskContext, job: BackupJob, since: datetime) -> None:
    """By an annotation, which says it as a fact: a verdict older than this is too old."""
    meta, newest = job.metadata, newest_set(job)
    if newest is None:
        return
    text = asked_again(newest, since)
    if meta.annotations.get(CHECK_AGAIN) == text or not context.ports.leader.leading():
        return
    body: JSON = {"metadata": {"uid": meta.uid, "annotations": {CHECK_AGAIN: text}}}
    await context.ports.cluster.patch(BACKUP_JOB, meta.namespace, meta.name, body)


def _outcome(
    jobs: Sequence[BackupJob], wanted: VerifyBackupsTask, since: datetime, waits: Sequence[str], stopped: str
) -> TaskOutcome:
    rows, findings = list[tuple[Cell, ...]](), list[tuple[Rank, str]]()
    good = 0
    for job in jobs:
        name, newest = job.metadata.name, newest_set(job)
        rank, text = _verdict(job, newest, wanted, since, name in waits)
        good += rank is None or rank == "Info"
        if rank is not None:
            findings.append((rank, f"{name}: {text}"))
        rows.append((name, *_cells(newest), text))
    columns = ("BackupJob", "newest set", "verdict", "level", "checked at", "time to restore", "what")
    return TaskOutcome(
        state="Aborted" if stopped else "Succeeded" if good == len(jobs) else "Failed",
        summary="; ".join(p for p in (stopped, f"{good} of {len(jobs)} BackupJobs have a verified newest set") if p)[:512],
        evidence=tuple(f"{r[0]}: {r[6]}"[:512] for r in rows[:12]),
        figures={"backup jobs": len(jobs), "verified": good},
        tables=(Table(title="Backups", columns=columns, rows=tuple(rows)),),
        findings=tuple(Finding(rank=r, text=t[:512]) for r, t in sorted(findings, key=lambda f: f[0] != "Critical")),
    )


def _cells(newest: BackupRun | None) -> tuple[Cell, ...]:
    if newest is None:
        return (None,) * 5
    at = newest.verified_at
    return newest.id, newest.verified, newest.level, format_time(at) if at else None, newest.rto


def _verdict(
    job: BackupJob, newest: BackupRun | None, wanted: VerifyBackupsTask, since: datetime, waits: bool
) -> tuple[Rank | None, str]:
    if newest is None:
        return "Critical", "it has no set"
    if newest.verified == "Failed":
        return "Critical", f"set {newest.id} did not stand its check: {newest.message}"
    if newest.state == "Suspicious":
        return "Warning", f"set {newest.id} is much smaller than its predecessors"
    if waits:
        return "Warning", f"the verdict on {newest.id} did not come in time"
    if newest.checks >= CHECK_TRIES and not checked_since(job, newest, since):
        return "Warning", f"checks of {newest.id} ended without a verdict: {newest.message}"
    if newest.verified == "Unverifiable":
        return "Warning", f"set {newest.id} cannot be verified: {newest.message}"
    at = newest.verified_at
    text = f"set {newest.id} is verified ({newest.level}{', at ' + format_time(at) if at else ''})"
    if wanted.level == "Restore" and newest.level != "Restore":
        return "Info", f"{text}; for a restore drill set verification.level: Restore in the BackupJob"
    return None, text


KIND = Light(TaskType.VERIFY_BACKUPS, "the newest set of each BackupJob checked where its verdict is old", run)
