"""Figures of a BackupJob for metrics and for the backup gate: what is good, what is proved, for each part. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ...api.backup_job import BackupJob, BackupJobSpec, BackupJobStatus, BackupRun
from ...api.common import seconds
from ...api.stack import ComponentType, LastBackup, PartBackup
from .draft import newest_good, newest_proved, newest_restored

PARTS = ("postgres", "qdrant", "configuration")
PART_OF = {ComponentType.POSTGRESQL: "postgres", ComponentType.QDRANT: "qdrant"}


@dataclass(frozen=True)
class BackupFigures:
    """good, proved: when the newest set of a part was taken, by part. Seconds are None where they were not measured."""

    good: Mapping[str, datetime] = field(default_factory=dict)
    proved: Mapping[str, datetime] = field(default_factory=dict)
    stored_bytes: int = 0
    duration_seconds: float | None = None
    rto_seconds: float | None = None
    verdicts: Mapping[str, int] = field(default_factory=dict)
    stale: bool = False


def figures_of(status: BackupJobStatus, spec: BackupJobSpec) -> BackupFigures:
    """From the status alone, so that they are right again at once after a restart."""
    good = newest_good(status.runs)
    restored = newest_restored(status.runs)
    verdicts: Counter[str] = Counter(r.verified for r in status.runs if r.state in ("Complete", "Suspicious"))
    parts = [p for p in PARTS if getattr(spec.include, p) is not None]
    return BackupFigures(
        good={p: r.started_at for p in parts if (r := newest_good(_with(status.runs, p))) is not None},
        proved={p: r.started_at for p in parts if (r := newest_proved(_with(status.runs, p))) is not None},
        stored_bytes=status.total_size,
        duration_seconds=seconds(good.duration) if good and good.duration else None,
        rto_seconds=seconds(restored.rto) if restored and restored.rto else None,
        verdicts=dict(verdicts),
        stale=any(c.type == "Stale" and c.status == "True" for c in status.conditions),
    )


def _with(runs: Iterable[BackupRun], part: str) -> list[BackupRun]:
    return [r for r in runs if part in r.parts]


def last_backup(stack: str, jobs: Iterable[BackupJob]) -> LastBackup | None:
    """The newest good backup of a Stack, and of each part the newest good and the newest that a restore has proved."""
    runs = [r for j in jobs if j.spec.stack_ref.name == stack and j.status for r in j.status.runs]
    runs.sort(key=lambda r: r.started_at)
    newest = newest_good(runs)
    if newest is None:
        return None
    parts = []
    for part in PARTS:
        good, proved = newest_good(_with(runs, part)), newest_restored(_with(runs, part))
        if good is not None:
            proved_at = proved.started_at if proved else None
            parts.append(PartBackup(part=part, time=good.started_at, proved_time=proved_at))
    return LastBackup(time=newest.started_at, verified=_proved(newest), parts=parts)


def _proved(run: BackupRun) -> bool:
    return run.verified == "Verified" and run.level == "Restore"
