"""Which set is checked next."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from ...api.backup_job import BackupJob, BackupRun
from .draft import COMMITTED, Draft

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


def _wanted(d: Draft, newest: BackupRun) -> bool:
    wanted, pause = checked_level(d.job), every(d.job)
    if newest.verified == "Failed":
        # Nothing makes a spoilt set good again.
        return False
    deep_enough = newest.level in {"Restore", wanted}
    checked = newest.verified != "Pending" and deep_enough
    if pause is None or d.job.spec.schedule is None:
        return not checked
    times = [r.verified_at for r in d.status.runs if r.verified_at is not None and r.level in (wanted, "Restore")]
    if not times:
        return True
    d.look(max(times) + pause)
    return d.now - max(times) >= pause
