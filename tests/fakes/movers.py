"""Jobs of movers in the simulated world: a kubelet that runs them, and a store that keeps what they have committed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.backups.manifest import CatalogueEntry, Verdict, VerifyLevel
from docuquery_operator.domain.backups.report import (
    CatalogueReport,
    Decision,
    PlanReport,
    Progress,
    ReconcileReport,
    RestoreStepReport,
    Result,
)
from docuquery_operator.domain.backups.request import (
    AnyRequest,
    BackupRequest,
    CatalogueRequest,
    RestoreRequest,
    VerifyRequest,
)
from docuquery_operator.ports import CONFIG_MAP, JOB, JSON, POD
from tests.fakes.cluster import FakeServer

REQUEST: TypeAdapter[AnyRequest] = TypeAdapter(AnyRequest)
ATTEMPT = "ops.docuquery.ai/attempt"
PARTS = ("postgres", "qdrant", "configuration")


@dataclass
class Store:
    """What lies in the store: it outlives Jobs, operators and clusters."""

    entries: dict[str, CatalogueEntry] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    pinned: list[str] = field(default_factory=list)


@dataclass
class Fate:
    """What becomes of a Job: its size or verdict, how it fails, whether its log is lost, how long it takes."""

    ok: bool = True
    reason: str = "DumpFailed"
    retry: bool = True
    state: str = "Complete"
    verdict: str = "Verified"
    size: int = 1000
    takes: float = 20.0
    log: bool = True
    commits: bool = True
    steps: tuple[str, ...] = ("postgres/app/restore", "postgres/app/swap")


class Movers:
    """Ticks with the clock. `fate` decides by request; every Job that ever ran is counted by its attempt id."""

    def __init__(self, server: FakeServer, store: Store | None = None) -> None:
        self.server = server
        self.store = store or Store()
        self.fate: Callable[[AnyRequest, int], Fate] = lambda _request, _number: Fate()
        self.ran: list[str] = []
        self.requests: list[AnyRequest] = []
        self.stuck = False
        self.dropped: list[str] = []
        # Pairs of which one replaced a Stack's data while the other read it.
        self.beside: list[tuple[str, str]] = []

    def busy(self) -> bool:
        """Whether a Job has not ended."""
        return any(not (j.get("status") or {}).get("conditions") for j in self.server.seen(JOB))

    def tick(self, now: datetime) -> None:
        """One step of the kubelet, of the Job controller and of the collector of garbage."""
        for job in self.server.seen(JOB):
            status = job.get("status") or {}
            if not status.get("conditions"):
                self._job(job, now)
            elif now - datetime.fromisoformat(status["ended"]) > timedelta(seconds=job["spec"]["ttlSecondsAfterFinished"]):
                self.server.remove(JOB, job["metadata"]["namespace"], job["metadata"]["name"])
                self.server.remove(CONFIG_MAP, job["metadata"]["namespace"], job["metadata"]["name"])
        jobs = {j["metadata"]["uid"] for j in self.server.seen(JOB)}
        for pod in self.server.seen(POD):
            ours = (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == "docuquery-mover"
            if ours and pod["metadata"]["ownerReferences"][0]["uid"] not in jobs:
                self.server.remove(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _job(self, job: JSON, now: datetime) -> None:
        meta, namespace = job["metadata"], job["metadata"]["namespace"]
        pod_name = f"{meta['name']}-abcde"
        pod = self.server.find(POD, namespace, pod_name)
        made = datetime.fromisoformat(meta["creationTimestamp"])
        if now - made > timedelta(seconds=job["spec"]["activeDeadlineSeconds"]):
            self.server.remove(POD, namespace, pod_name)
            self._end(job, "Failed", "DeadlineExceeded", now)
            return
        if pod is None:
            self._pod(job, pod_name, now)
            return
        found = self.server.find(CONFIG_MAP, namespace, meta["name"])
        if found is None or self.stuck:
            return
        if "startedAt" not in pod["status"]:
            self._begin(pod, json.loads(found["data"]["request.json"]), now)
            return
        self._run(job, pod, now)

    def _pod(self, job: JSON, name: str, now: datetime) -> None:
        labels = job["spec"]["template"]["metadata"]["labels"]
        owner = [{"kind": "Job", "uid": job["metadata"]["uid"]}]
        meta = {"name": name, "namespace": job["metadata"]["namespace"], "labels": labels, "ownerReferences": owner}
        waiting = [{"state": {"waiting": {"reason": "ContainerCreating"}}}]
        self.server.put(POD, {"metadata": meta, "status": {"phase": "Pending", "containerStatuses": waiting}})

    def _begin(self, pod: JSON, raw: JSON, now: datetime) -> None:
        request = REQUEST.validate_python(raw)
        for other in self._at_work(pod["metadata"]["name"]):
            if _touches(request) and _touches(other) and (_replaces(request) or _replaces(other)):
                self.beside.append((other.attempt_id, request.attempt_id))
        self.ran.append(request.attempt_id)
        self.requests.append(request)

        def change(p: JSON) -> None:
            running = [{"state": {"running": {"startedAt": format_time(now)}}}]
            p["status"] = {
                "phase": "Running",
                "startedAt": format_time(now),
                "number": len(self.ran),
                "containerStatuses": running,
            }

        self.server.edit(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _at_work(self, but: str) -> list[AnyRequest]:
        """Requests of movers that have begun and not ended."""
        found = []
        for pod in self.server.seen(POD):
            statuses = pod.get("status", {}).get("containerStatuses") or [{}]
            if pod["metadata"]["name"] == but or "running" not in (statuses[0].get("state") or {}):
                continue
            name = pod["metadata"]["name"].removesuffix("-abcde")
            raw = self.server.find(CONFIG_MAP, pod["metadata"]["namespace"], name)
            if raw is not None and "request.json" in raw.get("data", {}):
                found.append(REQUEST.validate_python(json.loads(raw["data"]["request.json"])))
        return found

    def _run(self, job: JSON, pod: JSON, now: datetime) -> None:
        raw = self.server.find(CONFIG_MAP, job["metadata"]["namespace"], job["metadata"]["name"])
        assert raw is not None
        request = REQUEST.validate_python(json.loads(raw["data"]["request.json"]))
        number = pod["status"]["number"]
        fate = self.fate(request, number)
        began = datetime.fromisoformat(pod["status"]["startedAt"])
        share = min(1.0, (now - began).total_seconds() / fate.takes)
        key = (pod["metadata"]["name"], False)
        lines: list[Any] = [Progress(step="dump", bytes=int(1000 * share), total=1000)]
        if share >= 1.0:
            lines += self._finish(request, fate, began, now)
        text = "".join(f"{format_time(now)} {line.to_json().decode()}\n" for line in lines)
        self.server.log_texts[key] = text if fate.log or share < 1.0 else ""
        if share >= 1.0:
            self._end(job, "Complete" if fate.ok else "Failed", "Completed" if fate.ok else "BackoffLimitExceeded", now)
            code = 0 if fate.ok else 1

            def ended(p: JSON) -> None:
                p["status"]["containerStatuses"] = [{"state": {"terminated": {"exitCode": code, "reason": "Done"}}}]

            self.server.edit(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], ended)

    def _end(self, job: JSON, type_: str, reason: str, now: datetime) -> None:
        condition = {"type": type_, "status": "True", "reason": reason, "message": ""}
        self.server.edit(
            JOB,
            job["metadata"]["namespace"],
            job["metadata"]["name"],
            lambda j: j.update(status={"conditions": [condition], "ended": format_time(now)}),
        )

    # What movers do

    def _finish(self, request: AnyRequest, fate: Fate, began: datetime, now: datetime) -> list[Any]:
        if isinstance(request, BackupRequest):
            return [self._backup(request, fate, began, now)]
        if isinstance(request, VerifyRequest):
            return [self._verify(request, fate, now)]
        if isinstance(request, CatalogueRequest):
            return [self._catalogue(request, fate, now)]
        return self._restore(request, fate, now)

    def _failed(self, fate: Fate, now: datetime) -> Result:
        return Result(ok=False, reason=fate.reason, message="the server was away", retry=fate.retry, at=now)

    def _backup(self, request: BackupRequest, fate: Fate, began: datetime, now: datetime) -> Result:
        entry = CatalogueEntry(
            set_id=request.set_id,
            run=request.set_id.rpartition(".")[0],
            source=request.source,
            state="Suspicious" if fate.state == "Suspicious" else "Complete",
            reason="half of the usual size" if fate.state == "Suspicious" else "",
            started_at=began,
            finished_at=now,
            manifest_sha256=hashlib.sha256(request.set_id.encode()).hexdigest(),
            stored_bytes=fate.size,
            plain_bytes=3 * fate.size,
            parts=[p for p in PARTS if getattr(request, p) is not None],  # type: ignore[misc]
        )
        if fate.commits and (fate.ok or not fate.log):
            assert request.set_id not in self.store.entries, "a set is written once"
            self.store.entries[request.set_id] = entry
        return Result(ok=True, reason="Complete", at=now, entry=entry) if fate.ok else self._failed(fate, now)

    def _verify(self, request: VerifyRequest, fate: Fate, now: datetime) -> Result:
        if not fate.ok:
            return self._failed(fate, now)
        verdict = Verdict(
            set_id=request.set_id,
            at=now,
            level=request.level,
            verdict=fate.verdict,  # type: ignore[arg-type]
            reason="" if fate.verdict == "Verified" else "hash of public.documents differs",
            seconds=fate.takes,
            rto_seconds=fate.takes if request.level in (VerifyLevel.RESTORE, VerifyLevel.ASSERTIONS) else None,
        )
        if request.set_id in self.store.entries:
            self.store.verdicts[request.set_id] = verdict
        return Result(ok=fate.verdict != "Failed", reason=f"Check{fate.verdict}", at=now, verdict=verdict)

    def _catalogue(self, request: CatalogueRequest, fate: Fate, now: datetime) -> Result:
        if not fate.ok:
            return self._failed(fate, now)
        source = request.source
        ours = sorted(
            (
                e
                for e in self.store.entries.values()
                if (e.source.namespace, e.source.stack, e.source.backup_job)
                == (source.namespace, source.stack, source.backup_job)
            ),
            key=lambda e: e.set_id,
        )
        decisions, deleted = [], []
        if request.keep is not None:
            keep = {e.set_id for e in ours[-max(request.keep.last, 1) :]}
            decisions = [Decision(set_id=e.set_id, keep=e.set_id in keep, reason="keepLast") for e in ours]
            deleted = [] if request.dry_run else [e.set_id for e in ours if e.set_id not in keep]
        if request.delete_all:
            deleted = [e.set_id for e in ours]
        for gone in deleted:
            del self.store.entries[gone]
        left = [e for e in ours if e.set_id not in deleted]
        report = CatalogueReport(
            entries=left,
            verdicts=[self.store.verdicts[e.set_id] for e in left if e.set_id in self.store.verdicts],
            decisions=decisions,
            deleted=deleted,
        )
        return Result(ok=True, reason="Read", at=now, catalogue=report)

    def _restore(self, request: RestoreRequest, fate: Fate, now: datetime) -> list[Any]:
        if not fate.ok:
            return [self._failed(fate, now)]
        if request.phase == "plan":
            digest = hashlib.sha256(f"{request.set_id}{fate.size}".encode()).hexdigest()[:12]
            plan = PlanReport(
                digest=digest,
                lines=["postgres/app: 3 rows would be lost"],
                bytes=fate.size,
                run=request.set_id.rpartition(".")[0],
                manifest_sha256=hashlib.sha256(request.set_id.encode()).hexdigest(),
            )
            return [Result(ok=True, reason="Planned", at=now, plan=plan)]
        if request.phase == "dropPrevious":
            self.dropped.append(request.restore_id)
        steps = [RestoreStepReport(name=s, state="Done", summary="done") for s in fate.steps]
        reconciled = ReconcileReport(missing=1, orphans=2, missing_ids=["a"], orphan_ids=["b", "c"])
        result = Result(
            ok=True, reason=fate.state if fate.state != "Complete" else "Restored", at=now, reconciled=reconciled
        )
        return [*steps, result]


def _replaces(request: AnyRequest) -> bool:
    return isinstance(request, RestoreRequest) and request.phase in ("apply", "rollback", "dropPrevious")


def _touches(request: AnyRequest) -> bool:
    return isinstance(request, BackupRequest) or _replaces(request)
