"""RotateLogs: a Job beside the pods that write, on the same volumes and as the same user."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ...api.backup_job import BackupJob
from ...api.common import seconds
from ...api.maintenance_window import RotateLogsTask, TaskType
from ...api.stack import Component
from ...domain.backups.layout import safe_name
from ...domain.backups.requests import store_secret
from ...domain.maintenance.task_outcome import TaskOutcome
from ...domain.maintenance.task_requests import LogStore, RotateRequest
from ...ports import BACKUP_JOB, JSON, WORKLOADS
from ..resources import amount
from .base import Heavy, JobWanted, TaskContext, parameters

MOUNTED = "/logs"
# More pods than this would need a Job of too many volumes.
MOST_CLAIMS = 8
MEMORY = "128Mi"
# A part of an upload is 32 MiB, and three are on their way.
STORE_MEMORY = "384Mi"
READ_BY_ALL = 0o444


@dataclass(frozen=True)
class Place:
    """Where the log files are: claims, the folder below each of them, and whose files they are."""

    component: str
    claims: tuple[str, ...]
    folder: str
    user: int
    group: int
    fs_group: int | None
    selector: Mapping[str, str]


@dataclass(frozen=True)
class _Store:
    """request: for the Job; secrets: mounted into it; service_account: as which a store knows it."""

    request: LogStore
    secrets: Mapping[str, str]
    service_account: str


async def order(context: TaskContext) -> JobWanted | TaskOutcome:
    """The Job, or why there can be none."""
    wanted: RotateLogsTask = parameters(context, "rotate_logs", RotateLogsTask)
    found = await _place(context, wanted)
    if isinstance(found, str):
        return TaskOutcome(state="Failed", summary=found[:512])
    store: _Store | None = None
    if wanted.archive is not None:
        kept = await _store(context, wanted.archive.backup_job, found)
        if isinstance(kept, str):
            return TaskOutcome(state="Failed", summary=kept[:512])
        store = kept
    folders = [posixpath.normpath(f"{MOUNTED}/{n}/{found.folder}") for n in range(len(found.claims))]
    request = RotateRequest(
        attempt_id=context.attempt_id,
        budget_seconds=context.left(),
        folders=folders,
        pattern=wanted.pattern,
        stamp=context.since.strftime("%Y%m%dT%H%M%SZ"),
        keep=wanted.keep,
        max_age_seconds=seconds(wanted.max_age) if wanted.max_age else 0.0,
        max_bytes=int(amount(wanted.max_size) or 0) if wanted.max_size else 0,
        store=store.request if store else None,
    )
    return JobWanted(
        request,
        secrets=store.secrets if store else {},
        memory=STORE_MEMORY if store else MEMORY,
        scratch="64Mi",
        patch=lambda job: beside(job, found),
        service_account=store.service_account if store else "",
    )


async def _store(context: TaskContext, name: str, place: Place) -> _Store | str:
    """That of a BackupJob, or why not."""
    obj = await context.ports.cluster.get(BACKUP_JOB, context.namespace, name)
    if obj is None:
        return f"archive.backupJob: BackupJob {name} does not exist in this namespace"
    try:
        spec = BackupJob.model_validate(obj).spec
    except ValidationError:
        return f"archive.backupJob: BackupJob {name} cannot be read; its condition Stalled says why"
    stack = context.stack.metadata.name
    if spec.stack_ref.name != stack:
        return f"archive.backupJob: BackupJob {name} is of Stack {spec.stack_ref.name}, not of {stack}"
    if spec.destination.volume is not None:
        return f"archive.backupJob: BackupJob {name} has a volume; log archives go to a bucket (s3, gcs or azure)"
    below = [place.folder] if place.folder else []
    names = ["/".join(safe_name(part) for part in (place.component, claim, *below)) for claim in place.claims]
    recipients = spec.encryption.recipients if spec.encryption else []
    request = LogStore(destination=spec.destination, stack=stack, folders=names, recipients=recipients)
    secret = store_secret(spec.destination)
    return _Store(request, {"store": secret.secret_name} if secret else {}, spec.mover.service_account_name or "")


async def _place(context: TaskContext, wanted: RotateLogsTask) -> Place | str:
    components = context.stack.spec.components
    names = [wanted.component] if wanted.component else context.window.spec.components or list(components)
    places, reasons = dict[str, Place](), list[str]()
    for name in names:
        if name not in components:
            return f"the Stack has no component {name}; it has {', '.join(sorted(components))}"
        found = await _of(context, name, components[name], wanted.path)
        if isinstance(found, str):
            reasons.append(found)
        else:
            places[name] = found
    if len(places) == 1:
        return next(iter(places.values()))
    if places:
        return f"several components have a volume at {wanted.path} ({', '.join(sorted(places))}): name one in component"
    return "; ".join(reasons)


async def _of(context: TaskContext, name: str, component: Component, path: str) -> Place | str:
    ref = component.workload
    workload = await context.ports.cluster.get(WORKLOADS[ref.kind], context.namespace, ref.name)
    if workload is None:
        return f"{name}: {ref.kind} {ref.name} does not exist"
    pod: JSON = workload["spec"]["template"]["spec"]
    for container in pod.get("containers") or []:
        found = _mount(container, path)
        if found is None:
            continue
        claims = _claims(workload, pod, found[0])
        if not claims:
            return f"{name}: {path} is not on a PersistentVolumeClaim; what is not there is gone with the pod"
        if len(claims) > MOST_CLAIMS:
            return f"{name}: {len(claims)} volumes are more than the {MOST_CLAIMS} that one Job takes"
        security = {**(pod.get("securityContext") or {}), **(container.get("securityContext") or {})}
        user = security.get("runAsUser")
        if not user:
            return f"{name}: its pods run as root or do not say as whom; set securityContext.runAsUser, the Job uses it"
        # Another fsGroup than the pods' own would hand the volume's files to another group.
        fs_group = (pod.get("securityContext") or {}).get("fsGroup")
        group = security.get("runAsGroup") or fs_group or user
        selector = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
        return Place(name, tuple(claims), found[1], int(user), int(group), fs_group, selector)
    return f"{name}: no container has a volume at {path}"


def _mount(container: JSON, path: str) -> tuple[str, str] | None:
    """Volume, and the folder in it, of the deepest mount that holds this path."""
    mounts = sorted(container.get("volumeMounts") or [], key=lambda m: -len(m["mountPath"]))
    for mount in mounts:
        base = mount["mountPath"].rstrip("/")
        clean = posixpath.normpath(path)
        if clean == base or clean.startswith(f"{base}/"):
            if mount.get("subPathExpr"):
                return None
            return mount["name"], posixpath.join(mount.get("subPath", ""), clean[len(base) :].lstrip("/"))
    return None


def _claims(workload: JSON, pod: JSON, volume: str) -> list[str]:
    """Claims behind a volume: of each pod one, where a StatefulSet makes them."""
    templates = [t["metadata"]["name"] for t in workload["spec"].get("volumeClaimTemplates") or []]
    if volume in templates:
        replicas = int(workload["spec"].get("replicas", 1))
        return [f"{volume}-{workload['metadata']['name']}-{n}" for n in range(replicas)]
    named: JSON = next((v for v in pod.get("volumes") or [] if v["name"] == volume), {})
    claim = (named.get("persistentVolumeClaim") or {}).get("claimName")
    return [claim] if claim else []


def beside(job: JSON, place: Place) -> JSON:
    """The Job on the node of the pods that write, for a volume of one node; as their user, for the files are theirs."""
    made: JSON = copy.deepcopy(job)
    pod: JSON = made["spec"]["template"]["spec"]
    for number, claim in enumerate(place.claims):
        pod["volumes"].append({"name": f"logs-{number}", "persistentVolumeClaim": {"claimName": claim}})
        mount = {"name": f"logs-{number}", "mountPath": f"{MOUNTED}/{number}"}
        pod["containers"][0]["volumeMounts"].append(mount)
    own: JSON = {"runAsUser": place.user, "runAsGroup": place.group}
    security = {k: v for k, v in pod["securityContext"].items() if k != "fsGroup"} | own
    if place.fs_group is None:
        # Without a group of its own nobody but root could read them.
        for volume in (v for v in pod["volumes"] if "secret" in v):
            volume["secret"]["defaultMode"] = READ_BY_ALL
    pod["securityContext"] = security | ({"fsGroup": place.fs_group} if place.fs_group is not None else {})
    if place.selector:
        term = {"labelSelector": {"matchLabels": dict(place.selector)}, "topologyKey": "kubernetes.io/hostname"}
        near: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        pod["affinity"] = {"podAffinity": near}
    return made


KIND = Heavy(TaskType.ROTATE_LOGS, "log files on volumes into compressed archives, under their writers", order)
