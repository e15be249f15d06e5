"""Requests to movers, from what the user wrote and what the cluster says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api.backup_job import BackupJob, BackupRun, Destination
from ...api.common import SecretRef, delta
from ...api.stack import Component, ComponentType, Stack
from ...api.work import ServerCredentials, Work
from .jobs import drill_scratch
from .manifest import Source, VerifyLevel
from .request import (
    BackupRequest,
    CatalogueRequest,
    ConfigurationRequest,
    KeepPolicy,
    PostgresRequest,
    QdrantRequest,
    SavedObject,
    Server,
    VerifyRequest,
)

PREVIOUS = 5
DEFAULT_SCRATCH = "2Gi"
# Written by the API server or by controllers; a saved object is applied without them.
SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "selfLink")


@dataclass(frozen=True)
class Saved:
    """Objects of the namespace that are to be saved."""

    config_maps: Sequence[Mapping[str, Any]] = ()
    secrets: Sequence[Mapping[str, Any]] = ()
    manifests: Sequence[Mapping[str, Any]] = ()
    resources: Sequence[Mapping[str, Any]] = ()


def component_of(stack: Stack, type_: ComponentType) -> tuple[str, Component] | None:
    """The Stack's component of this type, the first by name where it has several."""
    found = sorted((n, c) for n, c in stack.spec.components.items() if c.type is type_)
    return found[0] if found else None


def source_of(job: BackupJob, stack: Stack | None) -> Source:
    """Whose data it is."""
    meta = job.metadata
    return Source(
        namespace=meta.namespace,
        stack=job.spec.stack_ref.name,
        stack_uid=stack.metadata.uid if stack else "",
        backup_job=meta.name,
        backup_job_uid=meta.uid,
    )


def backup_request(
    job: BackupJob, stack: Stack, work: Work, image: str, servers: Mapping[str, Server], saved: Saved | None
) -> BackupRequest:
    """One try of one run."""
    spec = job.spec
    good = [r.size for r in reversed(job.status.runs if job.status else []) if r.state == "Complete" and r.size]
    return BackupRequest(
        source=source_of(job, stack),
        destination=spec.destination,
        attempt_id=work.attempt_id,
        image=image,
        set_id=work.set_id or work.attempt_id,
        lease_seconds=delta(spec.timeout).total_seconds(),
        recipients=spec.encryption.recipients if spec.encryption else [],
        allow_empty=spec.allow_empty,
        previous_bytes=good[:PREVIOUS],
        postgres=_postgres(job, stack, servers),
        qdrant=qdrant_request(job, stack, servers),
        configuration=_configuration(saved) if saved is not None else None,
    )


def _postgres(job: BackupJob, stack: Stack, servers: Mapping[str, Server]) -> PostgresRequest | None:
    include, found = job.spec.include.postgres, component_of(stack, ComponentType.POSTGRESQL)
    if include is None or found is None:
        return None
    name, component = found
    databases = include.databases or [component.database or ""]
    return PostgresRequest(server=servers[name], databases=databases, exclude_tables=include.exclude_tables)


def qdrant_request(job: BackupJob, stack: Stack | None, servers: Mapping[str, Server]) -> QdrantRequest | None:
    """Qdrant as it is to be saved, or to be cleaned of what a mover has left on it."""
    include = job.spec.include.qdrant
    found = component_of(stack, ComponentType.QDRANT) if stack else None
    if include is None or found is None or found[0] not in servers:
        return None
    return QdrantRequest(server=servers[found[0]], collections=include.collections)


def _configuration(saved: Saved) -> ConfigurationRequest:
    def objects(found: Sequence[Mapping[str, Any]]) -> list[SavedObject]:
        return [SavedObject(manifest=cleaned(o)) for o in found]

    return ConfigurationRequest(
        config_maps=objects(saved.config_maps),
        secrets=[SavedObject(manifest=_without_data(o)) for o in saved.secrets],
        manifests=objects(saved.manifests),
        resources=objects(saved.resources),
    )


def cleaned(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The object as a person would apply it: no status, nothing that the API server writes itself."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in SERVERS_OWN}
    body = {k: v for k, v in obj.items() if k not in ("status", "metadata")}
    if body.get("kind") == "Service":
        own = {"clusterIP", "clusterIPs"} if (body.get("spec") or {}).get("clusterIP") != "None" else set()
        body["spec"] = {k: v for k, v in (body.get("spec") or {}).items() if k not in own}
    return {**body, "metadata": meta}


def _without_data(secret: Mapping[str, Any]) -> dict[str, Any]:
    kept = cleaned(secret)
    # What kubectl apply has written down holds the data once more.
    annotations = kept["metadata"].get("annotations") or {}
    own = {k: v for k, v in annotations.items() if k != "kubectl.kubernetes.io/last-applied-configuration"}
    kept["metadata"] = {**kept["metadata"], "annotations": own}
    return {k: v for k, v in kept.items() if k not in ("data", "stringData")}


def verify_request(job: BackupJob, work: Work, run: BackupRun | None, image: str) -> VerifyRequest:
    """Check one set."""
    wanted = job.spec.verification
    level = VerifyLevel.CHECKSUM
    if wanted.level == "Restore":
        level = VerifyLevel.ASSERTIONS if wanted.assertions else VerifyLevel.RESTORE
    return VerifyRequest(
        source=source_of(job, None),
        destination=job.spec.destination,
        attempt_id=work.attempt_id,
        image=image,
        set_id=work.set_id or "",
        level=level,
        manifest_sha256=(run.checksum or "") if run else "",
        assertions=wanted.assertions,
    )


def catalogue_request(
    job: BackupJob, stack: Stack | None, work: Work, image: str, servers: Mapping[str, Server], in_use: Sequence[str]
) -> CatalogueRequest:
    """Read the store, clean up after movers that are gone, remove what retention does not keep; at first only say so."""
    first = job.status is None or job.status.catalogue is None or job.status.catalogue.read_at is None
    delete = work.kind == "Delete"
    return CatalogueRequest(
        source=source_of(job, stack),
        destination=job.spec.destination,
        attempt_id=work.attempt_id,
        image=image,
        keep=keep_policy(job, in_use),
        dry_run=first and not delete,
        dead_attempts=dead_attempts(job),
        qdrant=qdrant_request(job, stack, servers),
        delete_all=delete,
    )


def keep_policy(job: BackupJob, in_use: Sequence[str]) -> KeepPolicy | None:
    """What is kept; None: everything."""
    wanted = job.spec.retention
    if wanted is None:
        return None
    return KeepPolicy(
        last=wanted.keep_last or 0,
        daily=wanted.keep_daily or 0,
        weekly=wanted.keep_weekly or 0,
        monthly=wanted.keep_monthly or 0,
        min_age_seconds=delta(wanted.min_age).total_seconds(),
        grace_seconds=delta(wanted.grace).total_seconds(),
        time_zone=job.spec.time_zone,
        pinned=sorted({*wanted.pinned, *in_use}),
    )


def dead_attempts(job: BackupJob) -> list[str]:
    """Sets that were begun and whose Jobs are known to be over without having made them."""
    found = []
    for run in job.status.runs if job.status else []:
        done = run.attempt if run.state in ("Complete", "Suspicious") else 0
        found += [f"{run.id}.{n}" for n in range(1, run.attempt + 1) if n != done]
    return found[-200:]


# Secrets, memory and disk of a BackupJob's Jobs


def store_secret(destination: Destination) -> SecretRef | None:
    """The Secret of the store, if one is named."""
    given = destination.s3 or destination.gcs or destination.azure
    return given.secret_ref if given else None


def server_secrets(stack: Stack | None, own: ServerCredentials | None, postgres: bool, qdrant: bool) -> dict[str, SecretRef]:
    """Secrets for the servers: those that were named, else the components' own."""
    found: dict[str, SecretRef] = {}
    wanted = (("postgres", ComponentType.POSTGRESQL, postgres), ("qdrant", ComponentType.QDRANT, qdrant))
    for folder, type_, asked in wanted:
        named = getattr(own, folder) if own else None
        component = component_of(stack, type_) if stack else None
        secret = named or (component[1].credentials if component else None)
        if asked and secret is not None:
            found[folder] = secret
    return found


def secrets_of(job: BackupJob, stack: Stack | None, kind: str) -> dict[str, str]:
    """Secrets that are mounted for this kind of work: no more than it needs."""
    spec, found = job.spec, dict[str, str]()
    store = store_secret(spec.destination)
    if store is not None:
        found["store"] = store.secret_name
    backup = kind == "Backup"
    servers = server_secrets(
        stack,
        spec.credentials,
        backup and spec.include.postgres is not None,
        kind in ("Backup", "Catalogue") and spec.include.qdrant is not None,
    )
    found |= {folder: secret.secret_name for folder, secret in servers.items()}
    if kind == "Verify" and spec.verification.decryption is not None:
        found["identity"] = spec.verification.decryption.secret_name
    if backup and spec.include.configuration is not None:
        found |= {f"saved/{name}": name for name in spec.include.configuration.secrets}
    return found


def room_of(job: BackupJob, work: Work, run: BackupRun | None) -> tuple[str, str]:
    """Memory and disk of the pod."""
    wanted = job.spec.mover.resources
    if work.kind == "Verify" and job.spec.verification.level == "Restore":
        return wanted.drill_memory, drill_scratch(run.content if run else None, wanted.scratch)
    return wanted.memory, wanted.scratch or DEFAULT_SCRATCH
