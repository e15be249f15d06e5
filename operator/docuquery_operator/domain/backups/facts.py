"""What one pass knows before it decides about a BackupJob or a RestoreJob, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ...api.backup_job import BackupJobStatus
from ...api.restore_job import RestoreJobStatus
from ...api.work import Work
from ..incidents.draft import News
from ..world import Problem
from .report import Line, Progress, RestoreStepReport, Result


class JobState(StrEnum):
    """What the cluster shows of a Job."""

    ABSENT = "Absent"
    RUNNING = "Running"
    ENDED = "Ended"


@dataclass(frozen=True)
class JobFacts:
    """A Job looked for by its attempt id.

    reason, message: why its pod does not start, or why it ended without a result. lines: what its mover has said.
    """

    state: JobState = JobState.ABSENT
    reason: str = ""
    message: str = ""
    lines: tuple[Line, ...] = ()

    @property
    def result(self) -> Result | None:
        """The last result, if any. A pod that was sent away is no end while its Job makes another one."""
        found = next((line for line in reversed(self.lines) if isinstance(line, Result)), None)
        return found if found is None or found.ok or self.state is JobState.ENDED else None

    @property
    def progress(self) -> Progress | None:
        """The last line of progress, if any."""
        return next((line for line in reversed(self.lines) if isinstance(line, Progress)), None)

    @property
    def steps(self) -> list[RestoreStepReport]:
        """Steps of a restore as they were told, oldest first."""
        return [line for line in self.lines if isinstance(line, RestoreStepReport)]


@dataclass(frozen=True)
class BackupWorld:
    """What a person must mend: problem before a run can start, store_problem before anything, check_problem before a check.

    busy: who works on the Stack's data so that no backup may begin, in words. alarms: Incidents of this object that exist.
    """

    problem: Problem | None = None
    store_problem: Problem | None = None
    check_problem: Problem | None = None
    job: JobFacts = field(default_factory=JobFacts)
    busy: str = ""
    alarms: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BackupPlan:
    """The new status; `start`: make this Job unless it is there; `cancel`: end this one; `release`: let the object go."""

    status: BackupJobStatus
    look_again: datetime | None = None
    start: Work | None = None
    cancel: Work | None = None
    release: bool = False
    news: tuple[News, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The set that a restore brings back: its run, its name in the store, the hash of its manifest, its stored bytes."""

    run: str
    set_id: str
    manifest: str | None = None
    size: int = 0


@dataclass(frozen=True)
class RestoreWorld:
    """problem: what a person must mend. chosen: the set that spec.backup means now.

    creator: who made the object, where it says so. busy: who else works on the data of the same Stack, in words.
    """

    problem: Problem | None = None
    chosen: Chosen | None = None
    job: JobFacts = field(default_factory=JobFacts)
    creator: str = ""
    busy: str = ""


@dataclass(frozen=True)
class RestorePlanned:
    """The new status; `hold`: take the Stack's Lease first; `free`: give it back."""

    status: RestoreJobStatus
    look_again: datetime | None = None
    start: Work | None = None
    hold: bool = False
    free: bool = False
    news: tuple[News, ...] = ()
