"""The tasks of an open MaintenanceWindow, one after the other, as a pure value: no clock, no I/O.

Pending → Running (the intent, with its attempt id, written before the effect) → Succeeded, Failed, Skipped or Aborted. An
attempt id follows from window, opening and type, so what a process has begun is found again by the next one; a task that
nobody knows of any more is begun again under the same id. When the window is closed, no further task begins; the one at
work ends by itself, or is stopped at its next safe point where `overrun: Abort` or `suspend` asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ...api.common import delta
from ...api.maintenance_window import MaintenanceWindow, MaintenanceWindowStatus, Task, TaskResult, TaskType
from ..backups.work import job_name
from ..conditions import set_condition
from ..incidents.draft import News
from .task_outcome import TaskOutcome

UNFINISHED = ("Pending", "Running")
# A task whose time is up is stopped; it has so long to say how far it came.
STOPPING = timedelta(minutes=2)
LOOK = timedelta(seconds=5)
HELD_LOOK = timedelta(seconds=10)
EVIDENCE_CHARACTERS = 2_400
NOT_SERVED = "this version of the operator does not serve it"
CLOSED = "the window closed before its turn"


class At(StrEnum):
    """What is seen of the task at work."""

    ABSENT = "Absent"
    RUNNING = "Running"
    ENDED = "Ended"


@dataclass(frozen=True)
class TaskFacts:
    """outcome: how it ended. message: while it runs, where it is or why it does not get on."""

    at: At = At.ABSENT
    outcome: TaskOutcome | None = None
    message: str = ""


@dataclass(frozen=True)
class TasksWorld:
    """served: types that this version can run. facts: of the attempt at work.

    asked: the attempt for which `hold` was read; hold: why it must not begin now, '' when it may.
    """

    served: frozenset[TaskType] = frozenset()
    facts: TaskFacts = field(default_factory=TaskFacts)
    asked: str = ""
    hold: str = ""


@dataclass(frozen=True)
class TasksPlan:
    """The new status; begin: start this unless it is there; stop: end it at its next safe point; drop: reports to let go."""

    status: MaintenanceWindowStatus
    begin: TaskResult | None = None
    stop: TaskResult | None = None
    drop: tuple[str, ...] = ()
    news: tuple[News, ...] = ()
    look_again: datetime | None = None


def fresh(window: MaintenanceWindow, since: datetime) -> list[TaskResult]:
    """All tasks of the opening at this instant, each with the id under which its effect is found again."""
    known = {r.type: r for r in (window.status.tasks if window.status else [])}
    return [
        TaskResult(
            type=t.type,
            attempt_id=attempt_id(window, since, t.type),
            failures=known[t.type].failures if t.type in known else None,
            last_succeeded_at=known[t.type].last_succeeded_at if t.type in known else None,
        )
        for t in window.spec.tasks
    ]


def attempt_id(window: MaintenanceWindow, since: datetime, type_: TaskType) -> str:
    """The same for the same task of the same opening."""
    digest = hashlib.sha256(f"{window.metadata.uid}/{type_.value}".encode()).hexdigest()[:8]
    return f"t-{_stamp(since)}-{digest}"


def report_name(window: MaintenanceWindow, since: datetime) -> str:
    """ConfigMap with all that the tasks of one opening have found."""
    return job_name(window.metadata.name, f"{_stamp(since)}-report")


def opening_of(window: MaintenanceWindow, result: TaskResult) -> datetime | None:
    """The opening that a task belongs to, read from its attempt id."""
    try:
        return datetime.strptime((result.attempt_id or "").split("-")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


def running(status: MaintenanceWindowStatus | None) -> TaskResult | None:
    """The task at work, None when none is: asked when a window that is over would close."""
    return next((r for r in (status.tasks if status else []) if r.state == "Running"), None)


def unfinished(status: MaintenanceWindowStatus | None) -> TaskResult | None:
    """The task at work, else the next one; None when all have ended."""
    waiting = next((r for r in (status.tasks if status else []) if r.state == "Pending"), None)
    return running(status) or waiting


def task_of(window: MaintenanceWindow, result: TaskResult) -> Task | None:
    """What the spec says of it now."""
    return next((t for t in window.spec.tasks if t.type is result.type), None)


def in_words(results: Sequence[TaskResult]) -> str:
    """How the tasks went, for the history; '' without tasks."""
    states = [str(r.state) for r in results]
    counts = [(states.count(s), s.lower()) for s in ("Succeeded", "Failed", "Aborted", "Skipped", *UNFINISHED)]
    said = ", ".join(f"{n} {word}" for n, word in counts if n)
    return f"tasks: {said}" if said else ""


@dataclass
class _Draft:
    """Mutable only within one decision."""

    window: MaintenanceWindow
    status: MaintenanceWindowStatus
    now: datetime
    news: list[News] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    begin: TaskResult | None = None
    stop: TaskResult | None = None

    def put(self, result: TaskResult, **changes: object) -> TaskResult:
        after = result.model_copy(update=changes)
        tasks = [after if r.type is result.type else r for r in self.status.tasks]
        self.status = self.status.model_copy(update={"tasks": tasks})
        return after

    def end(self, result: TaskResult, state: str, summary: str, evidence: Sequence[str] = ()) -> None:
        changes: dict[str, object] = {"state": state, "summary": summary[:512], "finished_at": self.now}
        changes["evidence"] = bounded(evidence)
        if state == "Succeeded":
            changes |= {"failures": None, "last_succeeded_at": self.now}
        elif state in ("Failed", "Aborted"):
            changes["failures"] = (result.failures or 0) + 1
        self.put(result, **changes)
        if state != "Skipped":
            warning = "Warning" if state in ("Failed", "Aborted") else "Normal"
            self.news.append(News(warning, f"Task{state}", f"{result.type.value}: {summary[:512]}"))


def decide(window: MaintenanceWindow, status: MaintenanceWindowStatus, world: TasksWorld, now: datetime) -> TasksPlan:
    """One pass over the tasks. status: as the window's own decision of this pass has left it."""
    d = _Draft(window, status, now)
    at_work = running(status)
    if at_work is not None:
        _follow(d, at_work, world)
    elif status.active is None:
        _left_out(d, CLOSED)
    else:
        _begin(d, world)
    before = window.status or MaintenanceWindowStatus()
    d.status = _told(d, world)
    return TasksPlan(
        d.status, d.begin, d.stop, _dropped(window, before, d.status), tuple(d.news), min(d.looks, default=None)
    )


def _follow(d: _Draft, result: TaskResult, world: TasksWorld) -> None:
    facts = world.facts
    why, since = _stopped(d, result)
    if facts.outcome is not None:
        state = "Aborted" if why and facts.outcome.state == "Failed" else facts.outcome.state
        d.end(result, state, facts.outcome.summary, facts.outcome.evidence)
        d.looks.append(d.now)
        return
    d.looks.append(d.now + LOOK)
    if facts.at is At.ABSENT and why:
        d.end(result, "Aborted", why)
    elif facts.at is At.ABSENT and world.asked == result.attempt_id and world.hold:
        # The intent was written, then somebody else was seen at work: its turn comes later.
        d.put(result, state="Pending", started_at=None, summary=world.hold[:512])
    elif facts.at is At.ABSENT:
        d.begin = result
    elif why and d.now - since > STOPPING:
        d.end(result, "Failed", f"{why}; it did not stop within {STOPPING.seconds // 60} minutes")
        d.stop = result
    elif why:
        d.stop = d.put(result, summary=f"{why}: it stops at its next safe point")
    elif facts.message and facts.message != result.summary:
        d.put(result, summary=facts.message[:512])


def _stopped(d: _Draft, result: TaskResult) -> tuple[str, datetime]:
    """Why the task at work must stop and since when, '' when it may go on."""
    task, begun = task_of(d.window, result), result.started_at or d.now
    if task is None:
        return "it was taken out of spec.tasks", begun
    if d.now - begun > delta(task.timeout):
        return f"it took longer than its timeout of {task.timeout}", begun + delta(task.timeout)
    over = d.status.history[-1].until if d.status.history else d.now
    if d.status.active is None and d.window.spec.suspend:
        return "suspend was set", over
    if d.status.active is None and d.window.spec.overrun == "Abort":
        return "the window is over and overrun is Abort", over
    return "", d.now


def _begin(d: _Draft, world: TasksWorld) -> None:
    for result in d.status.tasks:
        if result.state != "Pending":
            continue
        if task_of(d.window, result) is None:
            d.end(result, "Skipped", "it was taken out of spec.tasks")
        elif result.type not in world.served:
            d.end(result, "Skipped", f"not served: {NOT_SERVED}")
        elif world.asked != result.attempt_id:
            # What stands in its way is read in the next pass.
            d.looks.append(d.now)
            return
        elif world.hold:
            d.put(result, summary=world.hold[:512])
            d.looks.append(d.now + HELD_LOOK)
            return
        else:
            d.begin = d.put(result, state="Running", started_at=d.now, summary="")
            d.news.append(News("Normal", "TaskStarted", result.type.value))
            d.looks.append(d.now + LOOK)
            return


def _left_out(d: _Draft, why: str) -> None:
    for result in d.status.tasks:
        if result.state == "Pending":
            d.end(result, "Skipped", f"{why}: {result.summary}" if result.summary else why)


def _told(d: _Draft, world: TasksWorld) -> MaintenanceWindowStatus:
    """The link to the report of each opening, and which tasks of the spec nobody serves."""
    status = d.status
    # An attempt id without a start was never carried out, so there is nothing to read about it.
    openings = {opening_of(d.window, r) for r in status.tasks if r.started_at}
    history = [
        p.model_copy(update={"report": report_name(d.window, p.since)}) if p.since in openings and not p.report else p
        for p in status.history
    ]
    unserved = sorted(t.type.value for t in d.window.spec.tasks if t.type not in world.served)
    conditions = [c for c in status.conditions if c.type != "TasksServed"]
    if unserved:
        text = f"{', '.join(unserved)}: {NOT_SERVED}; the others run"
        known = [c for c in status.conditions if c.type == "TasksServed"]
        generation = d.window.metadata.generation
        conditions += set_condition(known, "TasksServed", False, "NotServed", text, d.now, generation)
    return status.model_copy(update={"history": history, "conditions": conditions})


def _dropped(window: MaintenanceWindow, before: MaintenanceWindowStatus, after: MaintenanceWindowStatus) -> tuple[str, ...]:
    """Reports that the history names no longer."""
    kept = {p.report for p in after.history} | {report_name(window, after.active.since) if after.active else None}
    return tuple(sorted({p.report for p in before.history if p.report and p.report not in kept}))


def bounded(lines: Sequence[str]) -> list[str]:
    """Evidence as the status keeps it; the whole is in the report."""
    kept: list[str] = []
    for line in lines[:12]:
        if sum(map(len, kept)) + len(line) > EVIDENCE_CHARACTERS:
            break
        kept.append(line[:512])
    return kept


def held_by(busy: str, paused: bool, changes: bool) -> str:
    """Why a task must not begin now, in words."""
    if paused and changes:
        return "the Stack is paused: nothing is changed until it goes on"
    return f"{busy}; it waits" if busy else ""


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
