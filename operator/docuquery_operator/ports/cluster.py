"""The Kubernetes API as controllers see it: JSON in, JSON out.

Errors of the cluster port:
    ApiError
    ├── Conflict     somebody wrote first: read again now
    ├── Refused      the API server says no (4xx): a person or our rights must change
    └── Unavailable  the API server is away, slow or busy: later
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..domain.names import OWNER_ANNOTATION

JSON = dict[str, Any]
LOG_BYTES = 32 * 1024


class ApiError(Exception):
    """Base of the API server's errors."""


class Conflict(ApiError):
    """409: the object has changed since it was read, or exists already."""


class Refused(ApiError):
    """Another 4xx: the request itself is wrong or not allowed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Unavailable(ApiError):
    """No answer, 429 or 5xx; `after` seconds is when to try again."""

    def __init__(self, message: str, after: float = 2.0) -> None:
        super().__init__(message)
        self.after = after


class Transient(Exception):
    """The world is not ready; look again `after` seconds from now."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True)
class Kind:
    """Where a kind lives in the API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def prefix(self) -> str:
        """Path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


OURS = "ops.docuquery.ai"
INCIDENT = Kind(OURS, "v1alpha1", "incidents", "Incident")
STACK = Kind(OURS, "v1alpha1", "stacks", "Stack")
RUNBOOK = Kind(OURS, "v1alpha1", "runbooks", "Runbook")
MAINTENANCE_WINDOW = Kind(OURS, "v1alpha1", "maintenancewindows", "MaintenanceWindow")
BACKUP_JOB = Kind(OURS, "v1alpha1", "backupjobs", "BackupJob")
RESTORE_JOB = Kind(OURS, "v1alpha1", "restorejobs", "RestoreJob")
POD = Kind("", "v1", "pods", "Pod")
POD_METRICS = Kind("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
SECRET = Kind("", "v1", "secrets", "Secret")
SERVICE = Kind("", "v1", "services", "Service")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
JOB = Kind("batch", "v1", "jobs", "Job")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESS = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
CONTROLLER_REVISION = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
HORIZONTAL_POD_AUTOSCALER = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALED_OBJECT = Kind("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
WORKLOADS = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET}


@dataclass(frozen=True, order=True)
class Key:
    """One object of ours."""

    plural: str
    namespace: str
    name: str


def owner_key(namespace: str, annotations: Mapping[str, str]) -> Key | None:
    """The object of ours that a Job was made for, from what is written on the Job; None when it is not one of ours."""
    plural, _, name = annotations.get(OWNER_ANNOTATION, "").partition("/")
    ours = (BACKUP_JOB.plural, RESTORE_JOB.plural, MAINTENANCE_WINDOW.plural)
    return Key(plural, namespace, name) if plural in ours and name else None


class Cluster(Protocol):
    """The Kubernetes API: JSON in, JSON out. Raises ApiError."""

    async def get(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        """The object, or None when there is none."""

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", pick: Callable[[JSON], JSON] | None = None
    ) -> Sequence[JSON]:
        """All objects of a namespace that match the label selector; of each only what pick keeps, for large lists."""

    async def served(self, kind: Kind, namespace: str) -> bool:
        """Whether the API server knows this kind."""

    async def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        """Create; Conflict when the name is taken."""

    async def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        """Merge patch; None when it is gone; Conflict when metadata.resourceVersion or uid are given and differ."""

    async def evict(self, namespace: str, pod: str, uid: str, dry_run: bool = False) -> str:
        """Ask for the pod's eviction; '' when granted or gone, else why a disruption budget holds it."""

    async def logs(
        self, namespace: str, pod: str, container: str, previous: bool, lines: int, limit: int = LOG_BYTES
    ) -> str:
        """The last lines of a container, at most `limit` bytes from their first on; '' where there are none.

        Each line begins with its time and a space.
        """

    def log_stream(
        self, namespace: str, pod: str, container: str, since: datetime, limit: int
    ) -> AsyncGenerator[bytes, None]:
        """Pieces of a container's log from this second on, oldest first, at most `limit` bytes; nothing where there is none.

        Each line begins with its time and a space, so that a later call can tell what it has had. Close it when done.
        """
