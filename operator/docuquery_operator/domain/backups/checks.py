"""Which set is checked next."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

from ...api.backup_job import BackupJob, BackupRun
from ...api.common import format_time
from .draft import COMMITTED, Draft

# Sets rot where they lie: the oldest one that is kept is checked so often, beside the newest.
MONTH = timedelta(days=30)
# On a BackupJob, `<run>@<instant>` (RFC 3339): while this run's set is the newest, a verdict from before that is too old.
CHECK_AGAIN = "ops.docuquery.ai/verify-since"
_EVERY = re.compile(r"^([1-9][0-9]{0,3})([hdw])$")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def checked_level(job: BackupJob) -> Literal["Checksum", "Restore"]:
    """The level that the user wants."""
    return job.spec.verification.level


def every(job: BackupJob) -> timedelta | None:
    """Time between two checks; None: each run is checked."""
    match = _EVERY.fullmatch(job.spec.verification.every)
    return int(match[1]) * _UNITS[match[2]] if match else None


def next_check(d: Draft, tries: int) -> BackupRun | None:
    """The newest set, when it is to be checked now. Older ones that were not checked in time are left to their hashes."""
    newest = next((r for r in reversed(d.status.runs) if r.state in COMMITTED), None)
    if newest is None or newest.attempt_id is None or newest.checks >= tries or d.world.check_problem is not None:
        return None
    if not _wanted(d, newest) or not d.ready(newest.check_after):
        return None
    return newest


def oldest_check(d: Draft, tries: int) -> BackupRun | None:
    """The oldest kept set, when a month has gone by since one was checked; None where it is the newest as well."""
    kept = [r for r in d.status.runs if r.state in COMMITTED and r.attempt_id is not None]
    if d.job.spec.schedule is None or len(kept) < 2 or d.world.check_problem is not None:
        return None
    oldest = kept[0]
    # Nothing makes a spoilt set good again; and what has no verdict after some checks is left to a person.
    if oldest.verified == "Failed" or oldest.checks >= tries:
        return None
    due = (d.status.oldest_checked_at or d.created) + MONTH
    if d.now < due:
        d.look(due)
        return None
    return oldest if d.ready(oldest.check_after) else None


def newest_set(job: BackupJob) -> BackupRun | None:
    """The newest set in the store."""
    return next((r for r in reversed(job.status.runs if job.status else []) if r.state in COMMITTED), None)


def checked_since(job: BackupJob, run: BackupRun, since: datetime) -> bool:
    """Whether it has a verdict of the wanted level that is young enough."""
    deep_enough = run.level in {"Restore", checked_level(job)}
    return run.verified != "Pending" and deep_enough and run.verified_at is not None and run.verified_at >= since


def asked_again(run: BackupRun, since: datetime) -> str:
    """The annotation that asks for a verdict on this run that is not older."""
    return f"{run.id}@{format_time(since)}"


def _asked_since(job: BackupJob, newest: BackupRun) -> datetime | None:
    run, _, instant = job.metadata.annotations.get(CHECK_AGAIN, "").partition("@")
    try:
        asked = datetime.fromisoformat(instant)
    except ValueError:
        return None
    return asked if run == newest.id and asked.tzinfo is not None else None


def _wanted(d: Draft, newest: BackupRun) -> bool:
    wanted, pause = checked_level(d.job), every(d.job)
    if newest.verified == "Failed":
        # Nothing makes a spoilt set good again.
        return False
    asked = _asked_since(d.job, newest)
    if asked is not None and asked <= d.now and not checked_since(d.job, newest, asked):
        return True
    deep_enough = newest.level in {"Restore", wanted}
    checked = newest.verified != "Pending" and deep_enough
    if pause is None or d.job.spec.schedule is None:
        return not checked
    # The monthly check of the oldest set does not put off that of the newest.
    apart = d.status.oldest_checked_at
    runs = [r for r in d.status.runs if r.level in (wanted, "Restore") and r.verified_at != apart]
    times = [r.verified_at for r in runs if r.verified_at is not None]
    if not times:
        return True
    d.look(max(times) + pause)
    return d.now - max(times) >= pause
