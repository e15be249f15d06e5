"""RestoreJob: read → decide → write once → act. Nothing live is touched before a plan, its digest and a second person."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError

from ..api.backup_job import BackupJob
from ..api.restore_job import RestoreJob, RestoreJobStatus
from ..api.stack import ComponentType, Stack
from ..api.work import Work
from ..catalogue import shared
from ..catalogue.base import Round
from ..domain.backups import restore_requests, restores
from ..domain.backups.facts import Chosen, JobFacts, JobState, RestorePlanned, RestoreWorld
from ..domain.backups.jobs import Order, Owner
from ..domain.backups.request import RestoreRequest, Server
from ..domain.backups.requests import component_of
from ..domain.incidents.approvals import CREATED_BY
from ..domain.world import Problem
from ..ports import BACKUP_JOB, JSON, RESTORE_JOB, Key, Ports, Refused, Transient
from .backup_reads import BackupReader
from .invalid import say_invalid
from .movers import Movers
from .restore_lease import RestoreLease
from .status import write_status

SHORTEST_LOOK = 0.05


@dataclass(frozen=True)
class Ground:
    """What a restore rests on."""

    backup: BackupJob | None = None
    stack: Stack | None = None
    chosen: Chosen | None = None
    problem: Problem | None = None
    servers: dict[str, Server] = field(default_factory=dict)


class RestoreJobController:
    """Reconciles one RestoreJob at a time."""

    def __init__(self, ports: Ports, image: str) -> None:
        self._ports = ports
        self._reader = BackupReader(ports, image)
        self._movers = Movers(ports)
        self._lease = RestoreLease(ports.cluster)

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next look, None when only an event can change something."""
        obj = await self._ports.cluster.get(RESTORE_JOB, key.namespace, key.name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return None
        try:
            job = RestoreJob.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, RESTORE_JOB, obj, "Stalled", error)
            return None
        work = job.status.work if job.status else None
        facts = await self._movers.look(key.namespace, key.name, job.metadata.uid, work)
        ground = await self._ground(job, facts)
        busy = await self._busy(job) if facts.state is JobState.ABSENT else ""
        creator = job.metadata.annotations.get(CREATED_BY, "")
        now = self._ports.clock.now()
        plan = restores.decide(job, RestoreWorld(ground.problem, ground.chosen, facts, creator, busy), now)
        written = await self._write(job, plan.status)
        await self._act(written, obj, plan, ground, facts)
        return None if plan.look_again is None else max(SHORTEST_LOOK, (plan.look_again - now).total_seconds())

    # Read

    async def _ground(self, job: RestoreJob, facts: JobFacts) -> Ground:
        """All that a Job would need; nothing is asked while one runs, nor when everything is over."""
        status = job.status or RestoreJobStatus()
        over = status.phase in restores.OVER and status.times.previous_until is None
        if over or (facts.state is not JobState.ABSENT and facts.lines):
            return Ground()
        namespace, ref = job.metadata.namespace, job.spec.backup
        found = await self._ports.cluster.get(BACKUP_JOB, namespace, ref.job_ref.name)
        if found is None:
            text = f"BackupJob '{ref.job_ref.name}' does not exist in namespace {namespace}; apply it again (suspend: true)"
            return Ground(problem=Problem("BackupJobNotFound", f"{text}, and its sets are read from the store"))
        try:
            backup = BackupJob.model_validate(found)
        except ValidationError as error:
            text = f"BackupJob '{ref.job_ref.name}': {error.errors()[0]['msg']}"
            return Ground(problem=Problem("BackupJobInvalid", text))
        chosen = restore_requests.choose(backup, ref.run)
        frozen = status.set_id is not None
        if isinstance(chosen, str) and not frozen:
            return Ground(backup, problem=Problem("RunNotFound", chosen))
        stack, problem = await self._stack_and_problem(job, backup)
        return Ground(backup, stack, chosen if isinstance(chosen, Chosen) else None, problem)

    async def _stack_and_problem(self, job: RestoreJob, backup: BackupJob) -> tuple[Stack | None, Problem | None]:
        namespace, spec = job.metadata.namespace, job.spec
        problem = await self._reader.store_problem(namespace, backup.spec.destination)
        if problem is None and spec.decryption is not None:
            problem = await self._reader.secret_problem(namespace, spec.decryption.secret_name, ("identity",))
        if problem is None and spec.decryption is None and backup.spec.encryption is not None:
            text = "the sets are encrypted; name a Secret with identity, the private key, in spec.decryption"
            problem = Problem("DecryptionMissing", text)
        if spec.target.stack_ref is None or problem is not None:
            return None, problem
        stack = await self._reader.stack(namespace, spec.target.stack_ref.name)
        if isinstance(stack, Problem):
            return None, stack
        asked = restore_requests.asked_parts(job, stack)
        return stack, await self._reader.parts_problem(stack, spec.credentials, asked, "include")

    async def _busy(self, job: RestoreJob) -> str:
        target = job.spec.target.stack_ref
        status = job.status or RestoreJobStatus()
        if target is None or job.spec.mode != "Apply" or (status.times.finished_at and not status.times.previous_until):
            return ""
        return await self._others(job, target.name)

    async def _others(self, job: RestoreJob, stack: str) -> str:
        """Who works on the Stack's data, in words; '' for nobody."""
        holder = await self._lease.holder(job.metadata.namespace, stack, _identity(job))
        if holder:
            return f"RestoreJob {holder} replaces the data of the same Stack"
        return await self._reader.in_the_way(job.metadata.namespace, stack, "Restore", job.metadata.name)

    # Write

    async def _write(self, job: RestoreJob, status: RestoreJobStatus) -> RestoreJob:
        """One status patch, only when something changed; Conflict when somebody wrote first."""
        before = job.status.to_wire() if job.status else {}
        changes, written = await write_status(self._ports, RESTORE_JOB, job.metadata, before, status.to_wire())
        if not changes:
            return job
        if written is None:
            raise Transient("the RestoreJob was deleted meanwhile", 0.0)
        return RestoreJob.model_validate(written)

    # Act

    async def _act(self, job: RestoreJob, obj: JSON, plan: RestorePlanned, ground: Ground, facts: JobFacts) -> None:
        for news in plan.news:
            await self._ports.events.post(RESTORE_JOB, obj, news.type, news.reason, news.message)
        target = job.spec.target.stack_ref
        if plan.free and target is not None:
            await self._lease.free(job.metadata.namespace, target.name, _identity(job))
        work = plan.start
        if work is None and await self._movers.lacks_request(
            job.metadata.namespace, job.metadata.name, plan.status.work, facts
        ):
            work = plan.status.work
        if work is None:
            return
        if plan.hold and target is not None:
            if not self._ports.leader.leading():
                raise Transient("not the leader any more", 1.0)
            await self._lease.take(job.metadata.namespace, target.name, _identity(job))
            # The intent is written, so whoever begins from now on sees it; who began before is seen here.
            if facts.state is JobState.ABSENT and (busy := await self._others(job, target.name)):
                raise Transient(f"{busy}; the restore waits", 1.0)
        await self._start(job, work, ground)

    async def _start(self, job: RestoreJob, work: Work, ground: Ground) -> None:
        backup = ground.backup
        if backup is None:
            raise Transient("the BackupJob is gone", 5.0)
        memory, scratch = restore_requests.room_of(job, work)
        volume, target = backup.spec.destination.volume, job.spec.target
        limit = restores.deadline_of(work, job)
        configuration = job.spec.include.configuration if job.spec.include else None
        account = job.spec.mover.service_account_name or ""
        order = Order(
            owner=Owner(RESTORE_JOB.kind, RESTORE_JOB.plural, job.metadata.name, job.metadata.uid),
            namespace=job.metadata.namespace,
            stack=target.stack_ref.name if target.stack_ref else backup.spec.stack_ref.name,
            kind=work.kind,
            attempt_id=work.attempt_id,
            image=self._reader.image,
            deadline_seconds=restore_requests.deadline_seconds(job, work, limit, self._ports.clock.now()),
            resources=job.spec.mover.resources,
            memory=memory,
            scratch=scratch,
            secrets=restore_requests.secrets_of(job, backup, ground.stack),
            claim=volume.claim_name if volume else "",
            service_account=account,
            token=bool(account) and configuration is not None and work.kind == "Apply",
            volume=_volume(job, work, scratch),
        )
        try:
            await self._movers.start(order, await self._request(job, work, ground, backup))
        except (Refused, ValueError) as no:
            await self._say_refused(job, work, str(no))
            raise Transient(f"the Job cannot be made: {no}", 30.0) from None

    async def _request(self, job: RestoreJob, work: Work, ground: Ground, backup: BackupJob) -> RestoreRequest:
        stack, servers, api = ground.stack, dict[str, Server](), None
        if stack is not None:
            asked = restore_requests.asked_parts(job, stack)
            servers = await self._reader.servers(stack, [p for p, wanted in asked.items() if wanted])
            api = await self._api(stack)
        return restore_requests.restore_request(job, backup, stack, work, self._reader.image, servers, api)

    async def _api(self, stack: Stack) -> Server | None:
        """The application's own api; it may be down, and is only asked afterwards."""
        found = component_of(stack, ComponentType.API)
        if found is None or found[1].endpoint is None:
            return None
        host = await shared.address(Round(stack, self._ports, 3.0, self._ports.clock.now()), found[1])
        return Server(host=host, port=found[1].endpoint.port) if host else None

    async def _say_refused(self, job: RestoreJob, work: Work, why: str) -> None:
        """A Job that the API server does not take: the object says so."""
        if job.status is None:
            return
        told = job.status.model_copy(update={"work": work.model_copy(update={"message": f"cannot be started: {why}"[:512]})})
        await self._write(job, told)


def _identity(job: RestoreJob) -> str:
    return f"{job.metadata.name}/{job.metadata.uid}"


def _volume(job: RestoreJob, work: Work, scratch: str) -> tuple[str, str] | None:
    """A volume of its own where the user names its size or class; else the node's disk."""
    wanted = job.spec.target.scratch
    if wanted is None or work.kind != "Scratch" or not (wanted.size or wanted.storage_class_name):
        return None
    return wanted.size or scratch, wanted.storage_class_name or ""
