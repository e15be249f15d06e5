"""What a BackupJob rests on: its Stack, Secrets, volume and objects. What is missing becomes a problem with a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from ..api.backup_job import BackupJob, Destination
from ..api.stack import ComponentType, Stack
from ..catalogue import shared
from ..catalogue.base import Round
from ..domain.backups.occupied import STORES, Doing, in_the_way, occupants
from ..domain.backups.request import Server
from ..domain.backups.requests import Saved, component_of, server_secrets, store_secret
from ..domain.world import Problem
from ..ports import (
    BACKUP_JOB,
    CLAIM,
    CONFIG_MAP,
    JSON,
    MAINTENANCE_WINDOW,
    RESTORE_JOB,
    RUNBOOK,
    SECRET,
    SERVICE,
    STACK,
    WORKLOADS,
    Kind,
    Ports,
    Transient,
)

STORE_KEYS = {"s3": ("accessKeyId", "secretAccessKey"), "gcs": ("serviceAccount.json",)}
SERVER_KEYS = {"postgres": ("username", "password"), "qdrant": (shared.QDRANT_KEY,)}
TYPES = {"postgres": ComponentType.POSTGRESQL, "qdrant": ComponentType.QDRANT}
OWN_KINDS = (STACK, RUNBOOK, BACKUP_JOB, MAINTENANCE_WINDOW)


@dataclass(frozen=True)
class References:
    """What was found, and what a person must mend."""

    stack: Stack | None = None
    problem: Problem | None = None
    store_problem: Problem | None = None
    check_problem: Problem | None = None
    servers: dict[str, Server] = field(default_factory=dict)


class BackupReader:
    """Reads for BackupJob and RestoreJob."""

    def __init__(self, ports: Ports, image: str) -> None:
        self._ports = ports
        self.image = image

    async def in_the_way(self, namespace: str, stack: str, wanted: Doing, own: str, stores: frozenset[str] = STORES) -> str:
        """Who works on this Stack's data so that the object `own` must not begin, in words; '' for nobody."""
        backups = await self._ports.cluster.list(BACKUP_JOB, namespace)
        restores = await self._ports.cluster.list(RESTORE_JOB, namespace)
        windows = await self._ports.cluster.list(MAINTENANCE_WINDOW, namespace)
        there = occupants(stack, backups, restores, windows)
        # Between two restores their Lease decides: if both looked for the other, both would step back.
        there = [each for each in there if (each.doing, wanted) != ("Restore", "Restore")]
        found = in_the_way(wanted, own, there, stores)
        return "" if found is None else str(found)

    async def references(self, job: BackupJob) -> References:
        """All that a run, a check and the reading of the store rest on."""
        namespace, spec = job.metadata.namespace, job.spec
        store = await self.store_problem(namespace, spec.destination)
        stack = await self.stack(namespace, spec.stack_ref.name)
        check = await self._check_problem(job)
        if isinstance(stack, Problem):
            return References(None, stack, store, check)
        asked = {"postgres": spec.include.postgres is not None, "qdrant": spec.include.qdrant is not None}
        problem = await self.parts_problem(stack, spec.credentials, asked, "include") or await self._configuration_problem(
            job
        )
        return References(stack, problem, store, check)

    async def stack(self, namespace: str, name: str) -> Stack | Problem:
        """The Stack, or why not."""
        found = await self._ports.cluster.get(STACK, namespace, name)
        if found is None:
            text = f"Stack '{name}' does not exist in namespace {namespace}; create it or correct the reference"
            return Problem("StackNotFound", text)
        try:
            return Stack.model_validate(found)
        except ValidationError as error:
            return Problem("StackInvalid", f"Stack '{name}' cannot be read: {error.errors()[0]['msg']}")

    async def parts_problem(self, stack: Stack, own: object, asked: dict[str, bool], field_name: str) -> Problem | None:
        """A part without a component, or a Secret of a server that is missing or lacks a key."""
        for part, wanted in asked.items():
            if wanted and component_of(stack, TYPES[part]) is None:
                have = ", ".join(f"{n} ({c.type})" for n, c in sorted(stack.spec.components.items()))
                text = f"Stack '{stack.metadata.name}' has no {TYPES[part]} for {field_name}.{part}; it has {have}"
                return Problem("ComponentNotFound", text)
        secrets = server_secrets(stack, own, asked["postgres"], asked["qdrant"])  # type: ignore[arg-type]
        for folder, secret in secrets.items():
            problem = await self.secret_problem(stack.metadata.namespace, secret.secret_name, SERVER_KEYS[folder])
            if problem is not None:
                return problem
        return None

    async def store_problem(self, namespace: str, destination: Destination) -> Problem | None:
        """Why the store cannot be reached at all: no image, no volume, no Secret."""
        if not self.image:
            text = "the operator does not know its own image, so it can start no Job; set DOCUQUERY_IMAGE (the chart does)"
            return Problem("ImageNotSet", text)
        if destination.volume is not None:
            claim = destination.volume.claim_name
            if await self._ports.cluster.get(CLAIM, namespace, claim) is None:
                text = f"PersistentVolumeClaim '{claim}' does not exist in namespace {namespace}; create it"
                return Problem("ClaimNotFound", text)
            return None
        secret = store_secret(destination)
        if secret is None:
            return None
        kind = "s3" if destination.s3 else "gcs" if destination.gcs else "azure"
        found = await self._ports.cluster.get(SECRET, namespace, secret.secret_name)
        keys = (found or {}).get("data") or {}
        if kind == "azure" and found is not None:
            text = f"Secret '{secret.secret_name}' has neither accountKey nor sasToken; add one"
            return None if keys.keys() & {"accountKey", "sasToken"} else Problem("SecretInvalid", text)
        return _keys_problem(secret.secret_name, found, STORE_KEYS.get(kind, ()))

    async def secret_problem(self, namespace: str, name: str, keys: Sequence[str]) -> Problem | None:
        """Whether a Secret is missing or lacks a key."""
        return _keys_problem(name, await self._ports.cluster.get(SECRET, namespace, name), keys)

    async def _check_problem(self, job: BackupJob) -> Problem | None:
        wanted, namespace = job.spec.verification, job.metadata.namespace
        if wanted.decryption is not None:
            return await self.secret_problem(namespace, wanted.decryption.secret_name, ("identity",))
        if wanted.level == "Restore" and job.spec.encryption is not None:
            text = (
                "sets are encrypted, so verification.level: Restore needs verification.decryption, a Secret with identity; "
                "or use level: Checksum"
            )
            return Problem("DecryptionMissing", text)
        return None

    async def _configuration_problem(self, job: BackupJob) -> Problem | None:
        wanted, namespace = job.spec.include.configuration, job.metadata.namespace
        if wanted is None:
            return None
        for kind, names in ((CONFIG_MAP, wanted.config_maps), (SECRET, wanted.secrets)):
            for name in names:
                if await self._found(kind, namespace, name) is None:
                    text = f"include.configuration: {kind.kind} '{name}' does not exist in namespace {namespace}"
                    return Problem(f"{kind.kind}NotFound", text)
        return None

    async def _found(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        if kind is CONFIG_MAP:
            return await self._ports.cluster.get(CONFIG_MAP, namespace, name)
        return await self._ports.cluster.get(SECRET, namespace, name)

    async def servers(self, stack: Stack, parts: Sequence[str]) -> dict[str, Server]:
        """Addresses of the components, by their names; Transient while a Service has none."""
        round_ = Round(stack, self._ports, 3.0, self._ports.clock.now())
        found: dict[str, Server] = {}
        for part in parts:
            named = component_of(stack, TYPES[part])
            if named is None or named[1].endpoint is None:
                continue
            host = await shared.address(round_, named[1])
            if not host:
                raise Transient(f"the Service of {named[0]} has no address yet", 5.0)
            found[named[0]] = Server(host=host, port=named[1].endpoint.port)
        return found

    async def saved(self, job: BackupJob, stack: Stack) -> Saved | None:
        """Objects of the namespace that the BackupJob includes; Secrets are read for their names and types alone."""
        wanted, namespace = job.spec.include.configuration, job.metadata.namespace
        if wanted is None:
            return None
        maps = [await self._ports.cluster.get(CONFIG_MAP, namespace, name) for name in wanted.config_maps]
        secrets = [await self._ports.cluster.get(SECRET, namespace, name) for name in wanted.secrets]
        manifests: list[JSON] = []
        resources: list[JSON] = []
        if wanted.manifests:
            manifests = await self._manifests(stack)
            for kind in OWN_KINDS:
                found = await self._ports.cluster.list(kind, namespace)
                resources += [{"apiVersion": f"{kind.group}/{kind.version}", "kind": kind.kind, **o} for o in found]
        return Saved(
            [_typed(o, CONFIG_MAP) for o in maps if o],
            [_typed(o, SECRET) for o in secrets if o],
            manifests,
            resources,
        )

    async def _manifests(self, stack: Stack) -> list[JSON]:
        """Workloads and Services of the Stack."""
        namespace = stack.metadata.namespace
        found: list[JSON] = []
        for component in stack.spec.components.values():
            ref = component.workload
            workload = await self._ports.cluster.get(WORKLOADS[ref.kind], namespace, ref.name)
            found += [_typed(workload, WORKLOADS[ref.kind])] if workload else []
            if component.endpoint is not None:
                service = await self._ports.cluster.get(SERVICE, namespace, component.endpoint.service)
                found += [_typed(service, SERVICE)] if service else []
        return found


def _typed(obj: JSON, kind: Kind) -> JSON:
    version = f"{kind.group}/{kind.version}" if kind.group else kind.version
    return {**obj, "apiVersion": version, "kind": kind.kind}


def _keys_problem(name: str, secret: JSON | None, keys: Sequence[str]) -> Problem | None:
    missing = [k for k in keys if not ((secret or {}).get("data") or {}).get(k)]
    if secret is not None and not missing:
        return None
    text = (
        f"Secret '{name}' is missing or has no {' and no '.join(missing)}; create it" if missing else f"no Secret '{name}'"
    )
    return Problem("SecretNotFound", text)
