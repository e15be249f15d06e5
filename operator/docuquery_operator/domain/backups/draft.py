"""The status of a BackupJob while one pass works on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from ...api.backup_job import RUNS_KEPT, BackupJob, BackupJobStatus, BackupRun
from ...api.work import ALARMS_KEPT, Alarm, CatalogueView, Work
from ..conditions import set_condition
from ..incidents.draft import News
from ..schedules import Schedule, schedule_of
from ..world import Problem
from . import layout
from .facts import BackupWorld
from .work import LOOK_SECONDS

COMMITTED = ("Complete", "Suspicious")
CATALOGUE_TIMEOUT = "30m"
FURTHEST = timedelta(hours=1)


class Draft:
    """Mutable only within one decision."""

    def __init__(self, job: BackupJob, world: BackupWorld, now: datetime) -> None:
        self.job = job
        self.world = world
        self.now = now
        self.status = job.status or BackupJobStatus()
        self.problem: Problem | None = world.problem or world.store_problem
        self.hold = ""
        self.news: list[News] = []
        self.looks: list[datetime] = []
        self.start: Work | None = None
        self.cancel: Work | None = None

    @property
    def work(self) -> Work | None:
        """The Job at work."""
        return self.status.work

    @property
    def view(self) -> CatalogueView:
        """What the store said."""
        return self.status.catalogue or CatalogueView()

    @property
    def created(self) -> datetime:
        """When the object was made."""
        return self.job.metadata.creation_timestamp or self.now

    def update(self, **changes: Any) -> None:
        """Replace fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def catalogue(self, **changes: Any) -> None:
        """Replace fields of status.catalogue."""
        self.update(catalogue=self.view.model_copy(update=changes))

    def tell(self, reason: str, message: str, warning: bool = False) -> None:
        """One Event."""
        self.news.append(News("Warning" if warning else "Normal", reason, message))

    def look(self, at: datetime) -> None:
        """Look again not later than then."""
        self.looks.append(at)

    def ready(self, at: datetime | None) -> bool:
        """Whether the time has come; if not, look again then."""
        # Further away than any wait of ours: the clock was set back meanwhile.
        if at is None or at <= self.now or at - self.now > FURTHEST:
            return True
        self.look(at)
        return False

    def begin(self, kind: Any, attempt_id: str, set_id: str | None = None) -> None:
        """The intent: one Job, at most."""
        work = Work(kind=kind, attempt_id=attempt_id, set_id=set_id, started_at=self.now)
        self.update(work=work)
        self.start = work
        self.look(self.now + timedelta(seconds=LOOK_SECONDS))

    def condition(self, type_: str, holds: bool | None, reason: str, message: str = "") -> None:
        """Set a condition; a False one that was never there is left out."""
        if holds is False and all(c.type != type_ for c in self.status.conditions):
            return
        generation = self.job.metadata.generation
        self.update(conditions=set_condition(self.status.conditions, type_, holds, reason, message, self.now, generation))

    def alarm(self, name: str, type_: Literal["BackupFailure", "VerificationFailure"], text: str) -> None:
        """Open an Incident of this name, once."""
        if any(a.name == name for a in self.status.alarms):
            return
        alarm = Alarm(name=name, type=type_, text=text[:512])
        self.update(alarms=[*self.status.alarms, alarm][-ALARMS_KEPT:])

    # Runs

    def going(self) -> BackupRun | None:
        """The run that has not ended."""
        return next((r for r in reversed(self.status.runs) if r.state == "Running"), None)

    def own_run(self) -> BackupRun | None:
        """The run of a BackupJob without schedule."""
        wanted = layout.run_id(self.job.metadata.uid, self.created)
        return self.run(wanted)

    def run(self, run_id: str) -> BackupRun | None:
        """The run of this id."""
        return next((r for r in self.status.runs if r.id == run_id), None)

    def run_of_set(self, set_id: str | None) -> BackupRun | None:
        """The run whose newest try made this set."""
        return next((r for r in self.status.runs if set_id and r.attempt_id == set_id), None)

    def put_run(self, run: BackupRun) -> None:
        """Replace or add a run; what is dropped for want of room is never the last good one nor the last that was proved."""
        runs = sorted([r for r in self.status.runs if r.id != run.id] + [run], key=lambda r: r.id)
        keep = {r.id for r in (newest_good(runs), newest_proved(runs), newest_restored(runs)) if r is not None}
        keep |= {r.id for r in runs if r.state == "Running"}
        # The oldest set is checked once a month.
        keep |= {r.id for r in [r for r in runs if r.state in COMMITTED][:1]}
        while len(runs) > RUNS_KEPT:
            runs.remove(next(r for r in runs if r.id not in keep))
        self.update(runs=runs)

    def drop_runs(self, gone: set[str]) -> None:
        """Forget runs whose sets do not exist any more."""
        self.update(runs=[r for r in self.status.runs if r.id not in gone])

    def read_once(self) -> bool:
        """Whether the store was read, or could not be: then nobody waits for it."""
        return self.view.read_at is not None or self.view.tries >= 3


def newest_good(runs: list[BackupRun]) -> BackupRun | None:
    """The newest complete set that no check has found wanting."""
    return next((r for r in reversed(runs) if r.state == "Complete" and r.verified != "Failed"), None)


def newest_proved(runs: list[BackupRun]) -> BackupRun | None:
    """The newest good set that a check has proved."""
    return next((r for r in reversed(runs) if r.state == "Complete" and r.verified == "Verified"), None)


def newest_restored(runs: list[BackupRun]) -> BackupRun | None:
    """The newest good set that a restore has proved."""
    proved = (r for r in reversed(runs) if r.state == "Complete" and r.verified == "Verified" and r.level == "Restore")
    return next(proved, None)


def newest_committed(runs: list[BackupRun]) -> BackupRun | None:
    """The newest set, good or not."""
    return next((r for r in reversed(runs) if r.state in COMMITTED), None)


def schedule_in(job: BackupJob) -> Schedule | None:
    """The schedule, None for one run; ScheduleError when it cannot be used."""
    spec = job.spec
    return None if spec.schedule is None else schedule_of(spec.schedule, spec.time_zone)


def deadline_of(work: Work, job: BackupJob) -> str:
    """How long its Job may take."""
    return job.spec.timeout if work.kind in ("Backup", "Verify") else CATALOGUE_TIMEOUT
