"""Requests and orders of a RestoreJob. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from ...api.backup_job import BackupJob, BackupRun
from ...api.common import delta
from ...api.restore_job import RestoreJob
from ...api.stack import ComponentType, Stack
from ...api.work import Work
from . import layout
from .draft import COMMITTED
from .facts import Chosen
from .jobs import drill_scratch
from .manifest import Source
from .request import BackupRequest, ConfigurationRequest, PostgresRequest, QdrantRequest, RestoreRequest, Server
from .requests import DEFAULT_SCRATCH, component_of, server_secrets, source_of, store_secret
from .restores import restore_id

Phase = Literal["plan", "apply", "rollback", "dropPrevious", "scratch"]
PHASES: dict[str, Phase] = {
    "Plan": "plan",
    "Apply": "apply",
    "Rollback": "rollback",
    "DropPrevious": "dropPrevious",
    "Scratch": "scratch",
}
# A copy in the Job's own pod needs no server of the Stack.
NOWHERE = Server(host="", port=0)


def choose(job: BackupJob, wanted: str) -> Chosen | str:
    """The set that is meant now, or why there is none."""
    status = job.status
    runs = [r for r in status.runs if r.state in COMMITTED and r.attempt_id] if status else []
    pointer = {"latest": status.last_successful, "latestVerified": status.last_verified}.get(wanted) if status else None
    run_id = pointer.id if pointer else wanted
    found = next((r for r in runs if run_id in (r.id, r.attempt_id)), None)
    if found is not None:
        return _chosen(found)
    have = ", ".join(r.id for r in runs[-5:]) or "none"
    what = {"latest": "no good set", "latestVerified": "no set that a check has proved"}.get(
        wanted, f"no set of run {wanted}"
    )
    return f"BackupJob '{job.metadata.name}' has {what}; its newest sets are: {have}"


def _chosen(run: BackupRun) -> Chosen:
    return Chosen(run.id, run.attempt_id or "", run.checksum, run.content or run.size or 0)


def asked_parts(job: RestoreJob, stack: Stack | None) -> dict[str, bool]:
    """Which stores are restored: those of `include`, else those that the target has; both into a throwaway copy."""
    include = job.spec.include
    if include is not None:
        return {"postgres": include.postgres is not None, "qdrant": include.qdrant is not None}
    if stack is None:
        return {"postgres": True, "qdrant": True}
    return {
        "postgres": component_of(stack, ComponentType.POSTGRESQL) is not None,
        "qdrant": component_of(stack, ComponentType.QDRANT) is not None,
    }


def restore_request(
    job: RestoreJob,
    backup: BackupJob,
    stack: Stack | None,
    work: Work,
    image: str,
    servers: Mapping[str, Server],
    api: Server | None,
) -> RestoreRequest:
    """One phase of the restore; everything of it bears the same restore id."""
    spec, status = job.spec, job.status
    plan = status.plan if status else None
    asked = asked_parts(job, stack)
    postgres = _postgres(job, _server(stack, servers, ComponentType.POSTGRESQL)) if asked["postgres"] else None
    qdrant = _qdrant(job, _server(stack, servers, ComponentType.QDRANT)) if asked["qdrant"] else None
    configuration = spec.include.configuration if spec.include else None
    return RestoreRequest(
        source=source_of(backup, None),
        destination=backup.spec.destination,
        attempt_id=work.attempt_id,
        image=image,
        phase=PHASES[work.kind],
        restore_id=restore_id(job.metadata.uid),
        set_id=work.set_id or "",
        manifest_sha256=(plan.manifest or "") if plan else "",
        plan_digest=plan.digest if plan else "",
        postgres=postgres,
        qdrant=qdrant,
        configuration=ConfigurationRequest() if configuration is not None else None,
        wanted_configuration=configuration,
        # The way back and the end make none, but clean up after tries that died in making it.
        safety=None if work.kind in ("Plan", "Scratch") else _safety(job, backup, stack, work, image, postgres, qdrant),
        reconcile=spec.reconcile if work.kind in ("Apply", "Scratch") else None,
        assertions=backup.spec.verification.assertions,
        api_url=f"http://{api.host}:{api.port}" if api is not None else "",
        keep_seconds=keep_seconds(job) if work.kind == "Scratch" else 0.0,
    )


def keep_seconds(job: RestoreJob) -> float:
    """How long a throwaway copy stays."""
    return delta(job.spec.target.scratch.keep_for).total_seconds() if job.spec.target.scratch else 0.0


def _server(stack: Stack | None, servers: Mapping[str, Server], type_: ComponentType) -> Server:
    found = component_of(stack, type_) if stack else None
    return servers.get(found[0], NOWHERE) if found else NOWHERE


def _postgres(job: RestoreJob, server: Server) -> PostgresRequest:
    """No database named: all of the set."""
    wanted = job.spec.include.postgres if job.spec.include else None
    return PostgresRequest(server=server, databases=wanted.databases if wanted else [])


def _qdrant(job: RestoreJob, server: Server) -> QdrantRequest:
    wanted = job.spec.include.qdrant if job.spec.include else None
    return QdrantRequest(server=server, collections=wanted.collections if wanted else ["*"])


def _safety(
    job: RestoreJob,
    backup: BackupJob,
    stack: Stack | None,
    work: Work,
    image: str,
    postgres: PostgresRequest | None,
    qdrant: QdrantRequest | None,
) -> BackupRequest | None:
    """What is there now: one set for all tries, as it is taken before anything is touched.

    It bears a name of its own, so that it is nobody's newest backup: whatever made the restore necessary is in it.
    """
    plan = job.status.plan if job.status else None
    if stack is None or plan is None or (postgres is None and qdrant is None):
        return None
    run = layout.run_id(job.metadata.uid, plan.made_at)
    source = Source(
        namespace=job.metadata.namespace,
        stack=stack.metadata.name,
        stack_uid=stack.metadata.uid,
        backup_job=safety_name(job.metadata.name),
    )
    return BackupRequest(
        source=source,
        destination=backup.spec.destination,
        attempt_id=work.attempt_id,
        image=image,
        # A try that died within it has taken its name; one that has made it is found by the next.
        set_id=layout.set_id(run, (job.status.tries if job.status else 0) + 1),
        recipients=backup.spec.encryption.recipients if backup.spec.encryption else [],
        # After a disaster there may be nothing to save.
        allow_empty=True,
        postgres=postgres,
        qdrant=qdrant,
    )


def safety_name(restore: str) -> str:
    """The BackupJob that has the safety set: apply one of this name to see, restore or delete it."""
    return f"{restore[:240]}-safety"


def secrets_of(job: RestoreJob, backup: BackupJob, stack: Stack | None) -> dict[str, str]:
    """Secrets that are mounted: store, private key, and for live servers the roles that may replace their data."""
    found: dict[str, str] = {}
    store = store_secret(backup.spec.destination)
    if store is not None:
        found["store"] = store.secret_name
    if job.spec.decryption is not None:
        found["identity"] = job.spec.decryption.secret_name
    asked = asked_parts(job, stack)
    servers = server_secrets(stack, job.spec.credentials, asked["postgres"], asked["qdrant"]) if stack else {}
    return found | {folder: secret.secret_name for folder, secret in servers.items()}


def room_of(job: RestoreJob, work: Work) -> tuple[str, str]:
    """Memory and disk of the pod."""
    wanted, scratch = job.spec.mover.resources, job.spec.target.scratch
    plan = job.status.plan if job.status else None
    if work.kind == "Plan":
        return wanted.memory, wanted.scratch or DEFAULT_SCRATCH
    size = scratch.size if scratch and scratch.size else wanted.scratch
    return wanted.drill_memory, drill_scratch(plan.size if plan else None, size)


def deadline_seconds(job: RestoreJob, work: Work, limit: str, now: datetime) -> int:
    """What is left of the time for all of it; a throwaway copy's time to be looked at comes on top."""
    started = job.status.times.started_at if job.status else None
    spent = (now - started).total_seconds() if started is not None and work.kind == "Apply" else 0.0
    extra = keep_seconds(job) if work.kind == "Scratch" else 0.0
    return max(60, int(delta(limit).total_seconds() - max(0.0, spent) + extra))
