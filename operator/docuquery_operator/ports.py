"""What controllers need of the outside world, as small Protocols. Adapters fulfil them; tests use fakes.

Errors of the cluster port:
    ApiError
    ├── Conflict     somebody wrote first: read again now
    ├── Refused      the API server says no (4xx): a person or our rights must change
    └── Unavailable  the API server is away, slow or busy: later
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

JSON = dict[str, Any]


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
SECRET = Kind("", "v1", "secrets", "Secret")
SERVICE = Kind("", "v1", "services", "Service")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
CONTROLLER_REVISION = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
WORKLOADS = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET}


@dataclass(frozen=True, order=True)
class Key:
    """One object of ours."""

    plural: str
    namespace: str
    name: str


class Clock(Protocol):
    """Wall time in UTC."""

    def now(self) -> datetime:
        """The present instant, timezone-aware."""


class Cluster(Protocol):
    """The Kubernetes API: JSON in, JSON out. Raises ApiError."""

    async def get(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        """The object, or None when there is none."""

    async def list(self, kind: Kind, namespace: str, selector: str = "") -> Sequence[JSON]:
        """All objects of a namespace that match the label selector."""

    async def served(self, kind: Kind, namespace: str) -> bool:
        """Whether the API server knows this kind."""

    async def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        """Create; Conflict when the name is taken."""

    async def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        """Merge patch; None when it is gone; Conflict when metadata.resourceVersion or uid are given and differ."""

    async def evict(self, namespace: str, pod: str, uid: str, dry_run: bool = False) -> str:
        """Ask for the pod's eviction; '' when granted or gone, else why a disruption budget holds it."""

    async def logs(self, namespace: str, pod: str, container: str, previous: bool, lines: int) -> str:
        """The last lines of a container, at most 32 KiB; '' where there are none."""


@dataclass(frozen=True)
class Session:
    """One idle PostgreSQL session; pid and start together are its identity."""

    pid: int
    started: str
    role: str
    application: str
    address: str
    idle_seconds: float


@dataclass(frozen=True)
class Blocker:
    """A session at the root of a chain of locks."""

    pid: int
    started: str
    role: str
    application: str
    waiting: int
    age_seconds: float


@dataclass(frozen=True)
class DatabaseTarget:
    """Where and as whom to connect."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatabaseFacts:
    """What one look at a database gives.

    outcome: ok, refused, timeout, unreachable, dns, auth, tls, starting, too_many_connections, missing_database,
    disk_full, no_address, no_credentials, error.
    """

    outcome: str
    message: str = ""
    sqlstate: str = ""
    latency_ms: float = 0.0
    in_recovery: bool | None = None
    read_only: bool | None = None
    write: str = ""
    max_connections: int | None = None
    reserved: int | None = None
    used: int | None = None
    idle_in_transaction: tuple[Session, ...] = ()
    waiting_on_locks: int | None = None
    blockers: tuple[Blocker, ...] = ()
    database_bytes: int | None = None
    wal_bytes: int | None = None
    activity: tuple[Mapping[str, Any], ...] = ()


class Database(Protocol):
    """PostgreSQL, read with one limited role; never raises for a sick server: the outcome says it."""

    async def look(self, target: DatabaseTarget, timeout: float) -> DatabaseFacts:
        """Connect anew and read the facts within `timeout` seconds."""

    async def terminate(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int:
        """End sessions given by (pid, start); a pid that is another session by now is left alone. Number ended."""

    async def alive(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int | None:
        """How many of these sessions still live (and are still idle in transaction); None without an answer."""


# One Redis client: id, address with port, and its age in seconds when it was seen. Ids begin anew with the server.
ClientIdentity = tuple[int, str, int]


@dataclass(frozen=True)
class RedisClient:
    """A client that waits for nothing and is watched by nobody; its identity is (id, address, age)."""

    id: int
    address: str
    name: str
    command: str
    age_seconds: int
    idle_seconds: int


@dataclass(frozen=True)
class RedisTarget:
    """Where and as whom to connect."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class RedisFacts:
    """What one look at a Redis gives.

    outcome: ok, refused, timeout, unreachable, auth, loading, readonly, masterdown, misconf, oom, maxclients, busy,
    no_address, no_credentials, error. clients: those that may be ended, longest idle first; None when they were not listed.
    """

    outcome: str
    message: str = ""
    latency_ms: float = 0.0
    role: str = ""
    used: int | None = None
    max_clients: int | None = None
    blocked: int | None = None
    clients: tuple[RedisClient, ...] | None = None
    memory_bytes: int | None = None
    memory_limit: int | None = None
    policy: str = ""
    evicted: int | None = None
    loading: bool | None = None
    rdb_error: bool | None = None
    aof_error: bool | None = None
    slow_commands: int | None = None
    info: str = ""


class Redis(Protocol):
    """Redis; never raises for a sick server: the outcome says it."""

    async def look(self, target: RedisTarget, timeout: float) -> RedisFacts:
        """Connect anew, PING, try a write that changes nothing, and read the facts within `timeout` seconds."""

    async def kill_clients(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int:
        """End these clients; one that is another by now, or was used since, is left alone. Number ended."""

    async def alive(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int | None:
        """How many of these still live and are idle for so long; None without an answer."""


@dataclass(frozen=True)
class HttpAnswer:
    """status 0 means no answer; `problem` says why."""

    status: int
    body: str = ""
    problem: str = ""
    latency_ms: float = 0.0


class Network(Protocol):
    """Plain reachability; never raises for a sick peer."""

    async def resolve(self, host: str, timeout: float) -> Sequence[str] | None:
        """Addresses; empty when the name does not exist; None when no resolver answered."""

    async def connect(self, host: str, port: int, timeout: float) -> str:
        """'ok', 'refused', 'timeout', 'unreachable'."""

    async def http_get(self, host: str, port: int, path: str, timeout: float) -> HttpAnswer:
        """GET, at most 64 KiB of the body."""


class Events(Protocol):
    """Kubernetes Events; never raises."""

    async def post(self, kind: Kind, obj: JSON, type_: str, reason: str, message: str) -> None:
        """One Event about the object, counted up where it repeats."""


@dataclass(frozen=True)
class Self:
    """Where the operator itself runs; both empty when it runs outside a cluster."""

    namespace: str = ""
    pod: str = ""

    def is_of(self, namespace: str, workload: str) -> bool:
        """Whether a workload is the operator's own: a pod bears its name and a number, or a hash and a suffix."""
        own = re.fullmatch(re.escape(workload) + r"-([0-9]+|[a-z0-9]+-[a-z0-9]{5})", self.pod)
        return own is not None and namespace == self.namespace


class Leader(Protocol):
    """The Lease of the leader."""

    @property
    def term(self) -> int:
        """Number of this leadership: the Lease's transitions."""

    def leading(self) -> bool:
        """True only while the Lease was surely ours within the renew deadline."""


class Metrics(Protocol):
    """Counters of what the operator does."""

    def refused(self, reason: str) -> None:
        """A rail refused an action."""

    def step(self, action: str, outcome: str) -> None:
        """A step has got its verdict."""

    def probe(self, probe: str, seconds: float) -> None:
        """A probe took this long."""


@dataclass(frozen=True)
class Ports:
    """Everything that controllers may reach."""

    cluster: Cluster
    clock: Clock
    database: Database
    redis: Redis
    network: Network
    events: Events
    leader: Leader
    metrics: Metrics
    self: Self = Self()
