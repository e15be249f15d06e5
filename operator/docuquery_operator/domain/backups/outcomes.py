"""What a Job's result means for the runs: a set, a verdict, or what the store says of all of them."""

from __future__ import annotations

from typing import Literal

from ...api.backup_job import BackupRun
from ...api.work import Removal, Work
from . import layout
from .draft import COMMITTED, Draft, newest_committed
from .manifest import CatalogueEntry, Verdict, VerifyLevel
from .report import CatalogueReport, Result
from .work import backoff

SHOWN = 20
LEVELS: dict[VerifyLevel, Literal["Checksum", "Restore"]] = {
    VerifyLevel.CHECKSUM: "Checksum",
    VerifyLevel.READ: "Checksum",
    VerifyLevel.RESTORE: "Restore",
    VerifyLevel.ASSERTIONS: "Restore",
}


def apply(d: Draft, work: Work, result: Result) -> None:
    """Take over what a Job says of itself."""
    if work.kind == "Backup":
        _backup(d, work, result)
    elif work.kind == "Verify":
        _check(d, work, result)
    elif result.ok and result.catalogue is not None:
        _catalogue(d, result.catalogue)
    else:
        failed(d, _words(result))


def _words(result: Result) -> str:
    return f"{result.reason}: {result.message}" if result.message else result.reason


def _backup(d: Draft, work: Work, result: Result) -> None:
    run = d.run_of_set(work.set_id)
    if run is None:
        d.catalogue(due_again=True)
        return
    # An earlier try may have committed its set without being able to tell.
    if result.ok and result.entry is not None and result.entry.run == run.id:
        complete(d, run, result.entry)
        d.update(sets=d.status.sets + 1, total_size=d.status.total_size + result.entry.stored_bytes)
    elif result.ok:
        # It says that all went well, but not what it made: the store knows.
        d.put_run(run.model_copy(update={"message": "its Job did not say what it made"}))
    else:
        give_up(d, run, _words(result), result.retry)
    d.catalogue(due_again=True)


def complete(d: Draft, run: BackupRun, entry: CatalogueEntry) -> None:
    """The set exists."""
    fresh = run.state not in COMMITTED
    # Suspicious says why; of a good set there is nothing to say.
    d.put_run(_with(run, entry))
    if fresh and entry.state == "Complete":
        d.tell("RunComplete", f"{run.id}: {entry.stored_bytes} bytes")
    elif fresh:
        d.tell("RunSuspicious", f"{run.id}: {entry.reason}; it is kept, but does not count as good", warning=True)


def _with(run: BackupRun, entry: CatalogueEntry) -> BackupRun:
    took = max(0, round((entry.finished_at - entry.started_at).total_seconds()))
    return run.model_copy(
        update={
            "state": entry.state,
            "started_at": entry.started_at,
            "finished_at": entry.finished_at,
            "duration": f"{took}s",
            "size": entry.stored_bytes,
            "content": entry.plain_bytes,
            "checksum": entry.manifest_sha256,
            "parts": list(entry.parts),
            "attempt": int(entry.set_id.rpartition(".")[2]),
            "attempt_id": entry.set_id,
            "retry_at": None,
            "message": entry.reason[:512],
        }
    )


def give_up(d: Draft, run: BackupRun, why: str, retry: bool) -> None:
    """A try has failed: another one later, or the run has failed."""
    if retry and run.attempt <= d.job.spec.retries:
        at = d.now + backoff(run.attempt)
        d.put_run(run.model_copy(update={"retry_at": at, "message": why[:512]}))
        d.look(at)
        d.tell("TryFailed", f"{run.id}, try {run.attempt}: {why}", warning=True)
        return
    d.put_run(run.model_copy(update={"state": "Failed", "finished_at": d.now, "retry_at": None, "message": why[:512]}))
    d.catalogue(due_again=True)
    d.tell("RunFailed", f"{run.id}: {why}", warning=True)


# Checks


def _check(d: Draft, work: Work, result: Result) -> None:
    run = d.run_of_set(work.set_id)
    if run is None:
        d.catalogue(due_again=True)
    elif result.verdict is not None and result.verdict.set_id == work.set_id:
        newest = newest_committed(d.status.runs)
        if newest is not None and newest.id != run.id:
            d.update(oldest_checked_at=result.verdict.at)
        judged(d, run, result.verdict)
        d.catalogue(due_again=True)
    else:
        checked_in_vain(d, work.set_id or "", _words(result))


def judged(d: Draft, run: BackupRun, verdict: Verdict) -> None:
    """A set has its verdict. One that fails is not good any more: an Incident, and a new backup at once."""
    level = LEVELS.get(verdict.level)
    if level is None or (run.verified == verdict.verdict and run.verified_at == verdict.at):
        return
    newest = newest_committed(d.status.runs)
    changes = {
        "verified": verdict.verdict,
        "level": level,
        "verified_at": verdict.at,
        "checks": 0,
        "check_after": None,
        "message": verdict.reason[:512] if verdict.verdict != "Verified" else run.message,
    }
    if verdict.rto_seconds is not None:
        changes["rto"] = f"{max(1, round(verdict.rto_seconds))}s"
    d.put_run(run.model_copy(update=changes))
    d.tell(f"Check{verdict.verdict}", f"{run.id}: {verdict.reason or level}", warning=verdict.verdict == "Failed")
    if verdict.verdict == "Failed" and newest is not None and newest.id == run.id:
        _alarm(d, run, verdict)


def _alarm(d: Draft, run: BackupRun, verdict: Verdict) -> None:
    name = f"{d.job.metadata.name[:200]}-unproved-{run.id.lower()}"
    text = f"Set {verdict.set_id} of BackupJob {d.job.metadata.name} did not stand its check: {verdict.reason}"
    d.alarm(name, "VerificationFailure", text)
    # One that replaced another is not replaced at once: whatever spoils them would spoil the next as well.
    if d.going() is None and not run.again and not d.job.spec.suspend:
        fresh = layout.run_id(d.job.metadata.uid, verdict.at)
        text = f"in place of {run.id}, which did not stand its check"
        d.put_run(BackupRun(id=fresh, state="Running", started_at=d.now, retry_at=d.now, again=True, message=text))


def checked_in_vain(d: Draft, set_id: str, why: str) -> None:
    """A check ended without a verdict: nothing is known, and it is tried again a few times."""
    run = d.run_of_set(set_id)
    if run is None:
        return
    tries = run.checks + 1
    d.put_run(run.model_copy(update={"checks": tries, "check_after": d.now + backoff(tries), "message": why[:512]}))
    d.tell("CheckEnded", f"{run.id}, without a verdict: {why}", warning=True)


# The catalogue


def failed(d: Draft, why: str) -> None:
    """The store could not be read."""
    tries = d.view.tries + 1
    at = d.now + backoff(tries)
    d.catalogue(tries=tries, retry_at=at, message=why[:512])
    d.look(at)
    if tries in (1, 3):
        d.tell("StoreNotRead", why, warning=True)


def _catalogue(d: Draft, report: CatalogueReport) -> None:
    """The store's truth: what it does not hold does not exist, and what it holds counts though nobody told of it."""
    best: dict[str, CatalogueEntry] = {}
    for entry in report.entries:
        before = best.get(entry.run)
        if before is None or (entry.state == "Complete", entry.set_id) >= (before.state == "Complete", before.set_id):
            best[entry.run] = entry
    gone = {r.id for r in d.status.runs if r.state in COMMITTED and r.id not in best}
    d.drop_runs(gone)
    for run_id, entry in sorted(best.items()):
        known = d.run(run_id)
        if known is None:
            known = BackupRun(id=run_id, state="Running", started_at=entry.started_at)
            d.put_run(_with(known, entry))
        elif known.state not in COMMITTED or known.attempt_id != entry.set_id:
            complete(d, known, entry)
    for verdict in report.verdicts:
        run = d.run_of_set(verdict.set_id)
        if run is not None:
            judged(d, run, verdict)
    _settle(d)
    _show(d, report)


def _settle(d: Draft) -> None:
    """A try whose Job told nothing, and whose set the store does not hold, has failed."""
    going = d.going()
    if going is not None and going.attempt > 0 and going.retry_at is None:
        give_up(d, going, going.message or "its set is not in the store", retry=True)


def _show(d: Draft, report: CatalogueReport) -> None:
    removals = [Removal(id=x.set_id, reason=x.reason[:256]) for x in report.decisions if not x.keep]
    d.update(sets=len(report.entries), total_size=sum(e.stored_bytes for e in report.entries))
    d.catalogue(
        read_at=d.now,
        due_again=False,
        tries=0,
        retry_at=None,
        message=report.refused[:512],
        dry_run=not report.deleted,
        kept=sum(x.keep for x in report.decisions),
        removals=removals[:SHOWN],
        warnings=[w[:256] for w in report.warnings[:8]],
    )
    if report.deleted:
        d.tell("SetsRemoved", f"by retention: {', '.join(report.deleted[:SHOWN])}")
    if report.refused:
        d.tell("RetentionRefused", report.refused, warning=True)
