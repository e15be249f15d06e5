"""BackupJob: read → decide → write once → act. Jobs do the work; the store is the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydantic import ValidationError

from ..api.backup_job import BackupJob, BackupJobStatus
from ..api.common import delta
from ..api.work import Alarm, Work
from ..domain.backups import requests, runs
from ..domain.backups.draft import deadline_of
from ..domain.backups.facts import BackupPlan, BackupWorld, JobFacts, JobState
from ..domain.backups.figures import figures_of
from ..domain.backups.jobs import Order, Owner
from ..domain.backups.request import RequestBase
from ..domain.names import label_of
from ..ports import BACKUP_JOB, INCIDENT, JSON, RESTORE_JOB, STACK, Conflict, Key, Ports, Refused, Transient
from .backup_reads import BackupReader, References
from .invalid import say_invalid
from .labels import BACKUP_OPENER, OPENED_BY_LABEL, STACK_LABEL
from .movers import Movers
from .status import write_status

OVER = ("Failed", "RolledBack")
SHORTEST_LOOK = 0.05
log = logging.getLogger(__name__)


class BackupJobController:
    """Reconciles one BackupJob at a time; every pass starts from what the API server holds."""

    def __init__(self, ports: Ports, image: str, changed: Callable[[Key], None] | None = None) -> None:
        self._ports = ports
        self._reader = BackupReader(ports, image)
        self._movers = Movers(ports)
        self._changed = changed or (lambda _key: None)

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next look, None when only an event can change something."""
        obj = await self._ports.cluster.get(BACKUP_JOB, key.namespace, key.name)
        if obj is None:
            self._ports.metrics.backup_gone(key.namespace, key.name)
            return None
        try:
            job = BackupJob.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, BACKUP_JOB, obj, "Stalled", error)
            return None
        if obj["metadata"].get("deletionTimestamp"):
            return await self._going(job, obj)
        await self._mark(job, obj)
        work = job.status.work if job.status else None
        facts = await self._movers.look(key.namespace, key.name, job.metadata.uid, work)
        references = References() if runs.finished(job) else await self._reader.references(job)
        world = await self._world(job, references, facts)
        now = self._ports.clock.now()
        plan = runs.decide(job, world, now)
        written = await self._write(job, plan.status)
        self._ports.metrics.backup(key.namespace, key.name, figures_of(plan.status, job.spec))
        await self._act(written, obj, plan, references, facts)
        return None if plan.look_again is None else max(SHORTEST_LOOK, (plan.look_again - now).total_seconds())

    # Read

    async def _world(self, job: BackupJob, references: References, facts: JobFacts) -> BackupWorld:
        namespace = job.metadata.namespace
        busy = ""
        if facts.state is JobState.ABSENT and not runs.finished(job):
            busy = await self._busy(job)
        waiting = [a.name for a in (job.status.alarms if job.status else []) if not a.opened]
        known = [n for n in waiting if await self._ports.cluster.get(INCIDENT, namespace, n) is not None]
        return BackupWorld(
            references.problem, references.store_problem, references.check_problem, facts, busy, frozenset(known)
        )

    async def _busy(self, job: BackupJob) -> str:
        return await self._reader.in_the_way(job.metadata.namespace, job.spec.stack_ref.name, "Backup", job.metadata.name)

    # Write

    async def _write(self, job: BackupJob, status: BackupJobStatus) -> BackupJob:
        """One status patch, only when something changed; Conflict when somebody wrote first."""
        before = job.status.to_wire() if job.status else {}
        changes, written = await write_status(self._ports, BACKUP_JOB, job.metadata, before, status.to_wire())
        if not changes:
            return job
        if written is None:
            raise Transient("the BackupJob was deleted meanwhile", 0.0)
        if {"lastSuccessful", "lastVerified", "runs"} & changes.keys():
            self._changed(Key(STACK.plural, job.metadata.namespace, job.spec.stack_ref.name))
        return BackupJob.model_validate(written)

    async def _mark(self, job: BackupJob, obj: JSON) -> None:
        """The finalizer stands only on an object whose sets go with it."""
        present = obj["metadata"].get("finalizers") or []
        wanted = job.spec.deletion_policy == "Delete"
        if wanted == (runs.FINALIZER in present):
            return
        after = [*present, runs.FINALIZER] if wanted else [f for f in present if f != runs.FINALIZER]
        await self._finalizers(job, after)
        raise Transient("its finalizer was set", 0.0)

    async def _finalizers(self, job: BackupJob, after: list[str]) -> None:
        meta = job.metadata
        body: JSON = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": after}}
        await self._ports.cluster.patch(BACKUP_JOB, meta.namespace, meta.name, body)

    # Act

    async def _act(self, job: BackupJob, obj: JSON, plan: BackupPlan, references: References, facts: JobFacts) -> None:
        for news in plan.news:
            await self._ports.events.post(BACKUP_JOB, obj, news.type, news.reason, news.message)
        for alarm in plan.status.alarms:
            if not alarm.opened:
                await self._open(job, alarm)
        namespace, name = job.metadata.namespace, job.metadata.name
        if plan.cancel is not None:
            await self._movers.cancel(namespace, name, plan.cancel)
        work = plan.start
        if work is None and await self._movers.lacks_request(namespace, name, plan.status.work, facts):
            work = plan.status.work
        if work is not None:
            # The intent is written, so whoever begins from now on sees it; who began before is seen here.
            if work.kind == "Backup" and facts.state is JobState.ABSENT and (busy := await self._busy(job)):
                raise Transient(f"{busy}; the run waits", 1.0)
            await self._start(job, work, references)

    async def _start(self, job: BackupJob, work: Work, references: References) -> None:
        run = next((r for r in (job.status.runs if job.status else []) if r.attempt_id == work.set_id), None)
        memory, scratch = requests.room_of(job, work, run)
        volume = job.spec.destination.volume
        order = Order(
            owner=Owner(BACKUP_JOB.kind, BACKUP_JOB.plural, job.metadata.name, job.metadata.uid),
            namespace=job.metadata.namespace,
            stack=job.spec.stack_ref.name,
            kind=work.kind,
            attempt_id=work.attempt_id,
            image=self._reader.image,
            deadline_seconds=max(1, int(delta(deadline_of(work, job)).total_seconds())),
            resources=job.spec.mover.resources,
            memory=memory,
            scratch=scratch,
            secrets=requests.secrets_of(job, references.stack, work.kind),
            claim=volume.claim_name if volume else "",
            service_account=job.spec.mover.service_account_name or "",
            # What deletes the sets of an object that is going must not be collected with it.
            owned=work.kind != "Delete",
        )
        try:
            await self._movers.start(order, await self._request(job, work, references))
        except (Refused, ValueError) as no:
            await self._say_refused(job, str(no))
            raise Transient(f"the Job cannot be made: {no}", 30.0) from None

    async def _request(self, job: BackupJob, work: Work, references: References) -> RequestBase:
        image, stack = self._reader.image, references.stack
        if work.kind == "Verify":
            run = next((r for r in (job.status.runs if job.status else []) if r.attempt_id == work.set_id), None)
            return requests.verify_request(job, work, run, image)
        include = job.spec.include
        if work.kind == "Backup":
            if stack is None:
                raise Transient("the Stack is gone", 5.0)
            parts = [p for p in ("postgres", "qdrant") if getattr(include, p) is not None]
            servers = await self._reader.servers(stack, parts)
            return requests.backup_request(job, stack, work, image, servers, await self._reader.saved(job, stack))
        servers = {}
        if stack is not None and include.qdrant is not None:
            try:
                servers = await self._reader.servers(stack, ["qdrant"])
            except Transient as away:
                # A Qdrant that is away is cleaned of snapshots another time.
                log.info("store is read without Qdrant", extra={"why": str(away)})
        return requests.catalogue_request(job, stack, work, image, servers, await self._in_use(job))

    async def _in_use(self, job: BackupJob) -> list[str]:
        """Runs that a restore reads or may still fall back to."""
        found = await self._ports.cluster.list(RESTORE_JOB, job.metadata.namespace)
        in_use = []
        for restore in found:
            spec, status = restore.get("spec") or {}, restore.get("status") or {}
            ours = ((spec.get("backup") or {}).get("jobRef") or {}).get("name") == job.metadata.name
            # What is kept for a way back, or to be dropped, is told by the set.
            if ours and (status.get("phase") not in OVER or (status.get("times") or {}).get("previousUntil")):
                in_use += [(status.get("plan") or {}).get("run") or status.get("setId")]
        return [run for run in in_use if run]

    async def _say_refused(self, job: BackupJob, why: str) -> None:
        """A Job that the API server does not take, or a request that is too large: the object says so."""
        work = job.status.work if job.status else None
        if work is None or job.status is None:
            return
        told = job.status.model_copy(update={"work": work.model_copy(update={"message": f"cannot be started: {why}"[:512]})})
        await self._write(job, told)

    async def _open(self, job: BackupJob, alarm: Alarm) -> None:
        """Deterministic by name: whoever comes second finds it."""
        stack = job.spec.stack_ref.name
        labels = {STACK_LABEL: label_of(stack), OPENED_BY_LABEL: BACKUP_OPENER}
        spec: JSON = {"stackRef": {"name": stack}, "type": alarm.type, "description": alarm.text}
        try:
            await self._ports.cluster.create(
                INCIDENT, job.metadata.namespace, {"metadata": {"name": alarm.name, "labels": labels}, "spec": spec}
            )
        except Conflict:
            return
        log.info("incident opened", extra={"incident": alarm.name})

    # The end

    async def _going(self, job: BackupJob, obj: JSON) -> float | None:
        """The object is going; None when nothing of it is ours to undo."""
        present: list[str] = obj["metadata"].get("finalizers") or []
        if runs.FINALIZER not in present:
            return None
        work = job.status.work if job.status else None
        facts = await self._movers.look(job.metadata.namespace, job.metadata.name, job.metadata.uid, work)
        store = await self._reader.store_problem(job.metadata.namespace, job.spec.destination)
        now = self._ports.clock.now()
        plan = runs.deleted(job, BackupWorld(problem=store, store_problem=store, job=facts), now)
        if plan.release:
            await self._finalizers(job, [f for f in present if f != runs.FINALIZER])
            return None
        written = await self._write(job, plan.status)
        for news in plan.news:
            await self._ports.events.post(BACKUP_JOB, obj, news.type, news.reason, news.message)
        if plan.cancel is not None:
            await self._movers.cancel(job.metadata.namespace, job.metadata.name, plan.cancel)
        if plan.start is not None:
            await self._start(written, plan.start, References())
        return None if plan.look_again is None else max(SHORTEST_LOOK, (plan.look_again - now).total_seconds())
