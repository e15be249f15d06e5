"""One rotation of all matching files of the mounted folders, in words and figures."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from ...domain.task_outcome import Finding, Table, TaskOutcome
from ...domain.task_requests import RotateRequest
from ...domain.upkeep import mib
from ..clock import now
from ..contracts import Report
from .rotate import LeftAloneError, Rotated, expired, logs_in, rotate


class _StopError(Exception):
    """Between two steps, where nothing is half done."""


async def rotate_all(request: RotateRequest, report: Report) -> TaskOutcome:
    """In a thread; SIGTERM, a cancellation here, ends it between two steps."""
    stop = threading.Event()
    work = asyncio.create_task(asyncio.to_thread(_all, request, report, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        return await work


def _all(request: RotateRequest, report: Report, stop: threading.Event) -> TaskOutcome:
    done, problems, removed, stopped = list[Rotated](), list[str](), 0, ""
    end = time.monotonic() + request.budget_seconds

    def step(name: str) -> None:
        # Before the note nothing has begun; between chunks the next run begins the copy anew.
        if name in ("note", "copy", "chunk") and (stop.is_set() or time.monotonic() > end):
            raise _StopError("stopped before its end" if stop.is_set() else "its time was over")

    for folder in map(Path, request.folders):
        try:
            logs = logs_in(folder, request.pattern)
        except OSError as problem:
            problems.append(f"{folder}: {problem.strerror}")
            continue
        for number, log in enumerate(logs):
            report(f"rotate {log.name}", number, len(logs))
            try:
                done.append(rotate(log, request.stamp, step))
            except _StopError as why:
                stopped = str(why)
                break
            except (LeftAloneError, OSError) as problem:
                problems.append(f"{log.name}: {problem}"[:300])
            removed += _removed(request, log, problems)
    return _outcome(request, done, problems, removed, stopped)


def _removed(request: RotateRequest, log: Path, problems: list[str]) -> int:
    oldest = now().timestamp() - request.max_age_seconds if request.max_age_seconds else 0.0
    gone = 0
    for path in expired(log, request.keep, oldest, request.max_bytes):
        try:
            path.unlink()
            gone += 1
        except OSError as problem:
            problems.append(f"{path.name}: {problem.strerror}")
    return gone


def _outcome(request: RotateRequest, done: list[Rotated], problems: list[str], removed: int, stopped: str) -> TaskOutcome:
    moved = [r for r in done if r.moved]
    total, packed = sum(r.moved for r in moved), sum(r.archived for r in moved)
    files = len(done) + len(problems)
    said = f"{len(moved)} of {files} files rotated, {mib(total)} into {mib(packed)}; {removed} archives removed"
    if not done and not problems and not stopped:
        said = f"no file matches {request.pattern}"
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
                        "archives removed": removed},
            "tables": (Table(title="Files", columns=columns, rows=rows),),
            "findings": tuple(findings),
        }
    )  # fmt: skip


def _line(done: Rotated) -> str:
    return f"{done.file}: {mib(done.before)} → {mib(done.after)}, {done.archive} {mib(done.archived)}"[:512]
