"""What BackupJob and RestoreJob share about the Job at work: its identity, its progress, and why it is lost."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ...api.common import delta
from ...api.work import Work
from .facts import JobFacts, JobState

# Progress is written when the step has changed, or so much more is done: status is not a log.
SHARE_STEP = 5
GROWTH_STEP = 1.25
BACKOFF_MINUTES = (1, 2, 4, 8, 10)
# After its own deadline a Job has so long to be ended by Kubernetes.
ENDING = timedelta(minutes=15)
LOOK_SECONDS = 10.0


def backoff(tries: int) -> timedelta:
    """How long to wait after so many failed tries in a row."""
    return timedelta(minutes=BACKOFF_MINUTES[min(max(tries, 1), len(BACKOFF_MINUTES)) - 1])


def stamped(kind: str, uid: str, now: datetime) -> str:
    """Attempt id of work that no run names: unique by the time of its intent."""
    return f"{kind}-{now:%Y%m%dT%H%M%SZ}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def job_name(owner: str, attempt_id: str) -> str:
    """Name of the Job: the same for the same attempt, and short enough to be a label."""
    tail = attempt_id.lower().replace(".", "-")
    return f"{owner.replace('.', '-')[: 62 - len(tail)].rstrip('-')}-{tail}"


def observed(work: Work, job: JobFacts) -> Work:
    """The work as its running Job shows it; unchanged where only a little more is done."""
    changes: dict[str, object] = {"seen": True, "message": job.message[:512]}
    told = job.progress
    if told is not None:
        step, _, _ = work.progress.partition(" ")
        share = 100 * told.bytes // told.total // SHARE_STEP * SHARE_STEP if told.total else None
        words = f"{told.step} {min(share, 100)}%" if share is not None else told.step
        words = words[:128]
        grown = told.bytes >= work.bytes * GROWTH_STEP and told.bytes > work.bytes
        if step != told.step[:128] or (words != work.progress if share is not None else grown):
            changes |= {"progress": words, "bytes": told.bytes}
    return work.model_copy(update=changes)


def lost(work: Work, job: JobFacts, timeout: str, now: datetime) -> str:
    """Why there will be no result of this work, '' while there may be one."""
    if job.state is JobState.ABSENT and work.seen:
        return "its Job was deleted before it had ended"
    if job.state is JobState.ENDED and job.result is None:
        return job.message or f"its Job ended without a result ({job.reason or 'no log'})"
    if job.state is JobState.RUNNING and now - work.started_at > delta(timeout) + ENDING:
        return f"its Job did not end within {timeout}"
    return ""
