"""The Job that moves data, as the API server takes it. Pure; what is in it depends on nothing but the order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...api.common import API_VERSION
from ...api.work import MoverResources
from ..names import OWNER_ANNOTATION, label_of
from .manifest import Document
from .work import job_name

JSON = dict[str, Any]
STACK_LABEL = "ops.docuquery.ai/stack"
ATTEMPT_LABEL = "ops.docuquery.ai/attempt"
WORK_LABEL = "ops.docuquery.ai/work"

CONTAINER = "mover"
USER = 65532
# Long enough for a person to read the log of a Job that has failed.
KEPT_SECONDS = 24 * 3600
GRACE_SECONDS = 60
REQUEST_DIR, SECRETS_DIR, SCRATCH_DIR, VOLUME_DIR = "/etc/docuquery/request", "/etc/docuquery/secrets", "/scratch", "/store"
REQUEST_FILE = "request.json"
READ_BY_GROUP = 0o440
GIB = 1 << 30
# The limit of the API server for a ConfigMap is 1 MiB, with its metadata.
LARGEST_REQUEST = 1_000_000


@dataclass(frozen=True)
class Owner:
    """The object that a Job belongs to."""

    kind: str
    plural: str
    name: str
    uid: str


@dataclass(frozen=True)
class Order:
    """All that a Job is made of.

    secrets: Secret by folder below secrets_dir. claim: PersistentVolumeClaim with the store. token: the token of its
    ServiceAccount is mounted. owned: it goes with its owner. volume: (size, StorageClass) of a volume for its scratch disk.
    """

    owner: Owner
    namespace: str
    stack: str
    kind: str
    attempt_id: str
    image: str
    deadline_seconds: int
    resources: MoverResources
    memory: str
    scratch: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    service_account: str = ""
    token: bool = False
    owned: bool = True
    volume: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """Name of the Job and of the ConfigMap with its request."""
        return job_name(self.owner.name, self.attempt_id)


def job_of(order: Order) -> JSON:
    """The Job: no rights, nothing writable but its scratch disk, an end in time, and nothing secret in its arguments."""
    labels = {
        "app.kubernetes.io/name": "docuquery-mover",
        "app.kubernetes.io/managed-by": "docuquery-operator",
        "app.kubernetes.io/part-of": "docuquery",
        STACK_LABEL: label_of(order.stack),
        ATTEMPT_LABEL: order.attempt_id,
        WORK_LABEL: order.kind.lower(),
    }
    meta: JSON = {
        "name": order.name,
        "labels": labels,
        "annotations": {OWNER_ANNOTATION: f"{order.owner.plural}/{order.owner.name}"},
    }
    if order.owned:
        owner = order.owner
        reference = {"apiVersion": API_VERSION, "kind": owner.kind, "name": owner.name, "uid": owner.uid, "controller": True}
        meta["ownerReferences"] = [reference]
    spec: JSON = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": order.deadline_seconds,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        # A drained node is no failure: the same attempt goes on in another pod.
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
        "template": {"metadata": {"labels": labels}, "spec": _pod(order)},
    }
    return {"metadata": meta, "spec": spec}


def config_map_of(order: Order, job: JSON, request: Document) -> JSON:
    """The request, which goes with its Job; ValueError when it is too large for a ConfigMap."""
    text = request.model_dump_json(by_alias=True, exclude_none=True)
    if len(text.encode()) > LARGEST_REQUEST:
        raise ValueError(
            f"the configuration to be saved is {len(text.encode())} bytes, more than {LARGEST_REQUEST} in one Job; "
            "name fewer or smaller ConfigMaps in include.configuration, in several BackupJobs"
        )
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    meta = {"name": order.name, "labels": {ATTEMPT_LABEL: order.attempt_id}, "ownerReferences": [reference]}
    return {"metadata": meta, "immutable": True, "data": {REQUEST_FILE: text}}


def _pod(order: Order) -> JSON:
    volumes, mounts = _volumes(order)
    container: JSON = {
        "name": CONTAINER,
        "image": order.image,
        "command": ["python", "-m", "docuquery_operator.mover", "--request", f"{REQUEST_DIR}/{REQUEST_FILE}"],
        "env": [{"name": "TMPDIR", "value": SCRATCH_DIR}, {"name": "HOME", "value": SCRATCH_DIR}],
        "resources": {
            "requests": {"cpu": order.resources.cpu, "memory": order.memory, "ephemeral-storage": "64Mi"},
            "limits": {"memory": order.memory, "ephemeral-storage": order.scratch},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    pod: JSON = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": order.token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    return pod | ({"serviceAccountName": order.service_account} if order.service_account else {})


def _volumes(order: Order) -> tuple[list[JSON], list[JSON]]:
    volumes: list[JSON] = [{"name": "request", "configMap": {"name": order.name}}, {"name": "scratch", **_scratch(order)}]
    mounts: list[JSON] = [
        {"name": "request", "mountPath": REQUEST_DIR, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_DIR},
    ]
    for number, (folder, secret) in enumerate(sorted(order.secrets.items())):
        name = f"secret-{number}"
        volumes.append({"name": name, "secret": {"secretName": secret, "defaultMode": READ_BY_GROUP}})
        mounts.append({"name": name, "mountPath": f"{SECRETS_DIR}/{folder}", "readOnly": True})
    if order.claim:
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": order.claim}})
        mounts.append({"name": "store", "mountPath": VOLUME_DIR})
    return volumes, mounts


def _scratch(order: Order) -> JSON:
    if order.volume is None:
        return {"emptyDir": {"sizeLimit": order.scratch}}
    size, storage_class = order.volume
    spec: JSON = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


def drill_scratch(content: int | None, wanted: str | None) -> str:
    """Disk for servers of the Job's own: the data, its indexes and what a restore needs beside."""
    if wanted:
        return wanted
    return f"{2 + round(1.5 * (content or 0) / GIB + 0.5)}Gi"
