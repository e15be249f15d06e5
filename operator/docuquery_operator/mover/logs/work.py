"""One rotation of all matching files of the mounted folders, in words and figures."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ...domain.maintenance.task_outcome import Finding, Table, TaskOutcome
from ...domain.maintenance.task_requests import LogStore, RotateRequest
from ...domain.upkeep.databases import mib
from ..clock import now
from ..contracts import MoverError, Report
from ..store import open_store
from .archive import Archive, Copies
from .rotate import LeftAloneError, Rotated, expired, logs_in, rotate

ENDED, LATE = "stopped before its end", "its time was over"


class _StopError(Exception):
    """Between two steps, where nothing is half done."""


@dataclass
class _Run:
    """Of one run. logs: (number of its folder, file) of those that were looked at; stopped: why it ended early."""

    end: float
    logs: list[tuple[int, Path]] = field(default_factory=list)
    done: list[Rotated] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    removed: int = 0
    stopped: str = ""
    copies: Copies | None = None


async def rotate_all(request: RotateRequest, report: Report) -> TaskOutcome:
    """In a thread; SIGTERM, a cancellation here, ends it between two steps. No archive goes before its copy is proved."""
    run, stop = _Run(time.monotonic() + request.budget_seconds), threading.Event()
    work = asyncio.create_task(asyncio.to_thread(_all, request, report, stop, run))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await work
    if request.store is not None:
        await _copied(request, request.store, report, run)
    _tidied(request, run)
    return _outcome(request, run)


def _all(request: RotateRequest, report: Report, stop: threading.Event, run: _Run) -> None:
    def step(name: str) -> None:
        # Before the note nothing has begun; between chunks the next run begins the copy anew.
        if name in ("note", "copy", "chunk") and (stop.is_set() or time.monotonic() > run.end):
            raise _StopError(ENDED if stop.is_set() else LATE)

    for place, folder in enumerate(map(Path, request.folders)):
        try:
            logs = logs_in(folder, request.pattern)
        except OSError as problem:
            run.problems.append(f"{folder}: {problem.strerror}")
            continue
        for number, log in enumerate(logs):
            report(f"rotate {log.name}", number, len(logs))
            try:
                run.done.append(rotate(log, request.stamp, step))
            except _StopError as why:
                run.stopped = str(why)
                break
            except (LeftAloneError, OSError) as problem:
                run.problems.append(f"{log.name}: {problem}"[:300])
            run.logs.append((place, log))


async def _copied(request: RotateRequest, wanted: LogStore, report: Report, run: _Run) -> None:
    """All archives that have no copy yet, whichever run has made them."""
    copies = run.copies = Copies()
    if run.stopped:
        return
    archives = [(wanted.folders[place], path) for place, log in run.logs for path in expired(log, 0, 0.0, 0)]
    try:
        async with asyncio.timeout(max(0.0, run.end - time.monotonic())):
            store = open_store(wanted.destination, Path(request.secrets_dir) / "store", Path(wanted.volume_dir))
            await Archive(store, wanted, report).keep(archives, copies)
    except MoverError as problem:
        copies.problems.append(problem.message)
    except TimeoutError:
        run.stopped = LATE
    except asyncio.CancelledError:
        run.stopped = ENDED
    run.problems += copies.problems


def _tidied(request: RotateRequest, run: _Run) -> None:
    """Archives beyond what is kept go; where there is a store, only those that are proved to be there."""
    oldest = now().timestamp() - request.max_age_seconds if request.max_age_seconds else 0.0
    for _place, log in run.logs:
        for path in expired(log, request.keep, oldest, request.max_bytes):
            if run.copies is not None and path not in run.copies.proved:
                continue
            try:
                path.unlink()
                run.removed += 1
            except OSError as problem:
                run.problems.append(f"{path.name}: {problem.strerror}")


def _outcome(request: RotateRequest, run: _Run) -> TaskOutcome:
    done, problems, removed, stopped = run.done, run.problems, run.removed, run.stopped
    moved = [r for r in done if r.moved]
    total, packed = sum(r.moved for r in moved), sum(r.archived for r in moved)
    files = len(done) + len(problems)
    said = f"{len(moved)} of {files} files rotated, {mib(total)} into {mib(packed)}; {removed} archives removed"
    if not done and not problems and not stopped:
        said = f"no file matches {request.pattern}"
    stored = {} if run.copies is None else {"in the store": len(run.copies.proved), "new in the store": run.copies.new,
                                            "sent to the store (bytes)": run.copies.sent}  # fmt: skip
    if run.copies is not None:
        said = f"{said}; {run.copies.new} sent to the store"
    state = "Aborted" if stopped else "Failed" if problems else "Succeeded"
    columns = ("file", "on the volume before (bytes)", "on the volume after (bytes)", "moved (bytes)", "archive (bytes)",
               "archive", "how")  # fmt: skip
    rows = tuple((r.file, r.before, r.after, r.moved, r.archived, r.archive or None, r.way or r.why) for r in done[:200])
    holes = [r.file for r in moved if r.way == "punch"]
    findings = [Finding(rank="Warning", text=p[:512]) for p in problems[:20]]
    if holes:
        text = f"{holes[0]} and {len(holes) - 1} more keep their length and begin with a hole: their volume cannot collapse"
        findings.append(Finding(rank="Info", text=text[:512]))
    return TaskOutcome.model_validate(
        {
            "state": state,
            "summary": "; ".join(part for part in (stopped, said, *problems[:2]) if part)[:512],
            "evidence": tuple(_line(r) for r in moved[:12]),
            "figures": {"files": len(done), "rotated": len(moved), "moved (bytes)": total, "archived (bytes)": packed,
                        "archives removed": removed, **stored},
            "tables": (Table(title="Files", columns=columns, rows=rows),),
            "findings": tuple(findings),
        }
    )  # fmt: skip


def _line(done: Rotated) -> str:
    return f"{done.file}: {mib(done.before)} → {mib(done.after)}, {done.archive} {mib(done.archived)}"[:512]
