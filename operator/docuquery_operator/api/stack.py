"""Stack: one DocuQuery installation, what is watched and how far healing may go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .alertmanager import AlertmanagerServer
from .alerts import Alerts, Approvers
from .blocking import Block, Blocking
from .common import (
    NAME_PATTERN,
    ApiModel,
    Cel,
    Column,
    Conditions,
    HealMode,
    KindMeta,
    ListMap,
    ListSet,
    Name,
    ObjectName,
    Port,
    Rate,
    Resource,
    SecretRef,
    StatusModel,
    Time,
)
from .communication import Communication
from .detection import Detection, Thresholds
from .uptime import ComponentState as ComponentState  # noqa: PLC0414
from .uptime import ComponentUptime as ComponentUptime  # noqa: PLC0414
from .uptime import UptimeDay as UptimeDay  # noqa: PLC0414


class ComponentType(StrEnum):
    """What a component is; decides its probes."""

    API = "Api"
    CELERY_WORKER = "CeleryWorker"
    POSTGRESQL = "PostgreSQL"
    REDIS = "Redis"
    QDRANT = "Qdrant"


class WorkloadRef(ApiModel):
    """The workload that runs a component."""

    kind: Annotated[Literal["Deployment", "StatefulSet"], Field(description="Kind of the workload")]
    name: Annotated[ObjectName, Field(description="Name of the workload in the Stack's namespace")]


class Endpoint(ApiModel):
    """Where a component listens."""

    service: Annotated[Name, Field(description="Service of the Stack's namespace")]
    port: Annotated[Port, Field(description="Port of the Service")]


class HttpPath(ApiModel):
    """A path on the component's endpoint."""

    path: Annotated[str, Field(pattern=r"^/[^\s]*$", max_length=256, description="Absolute path such as /health")]


class RateLimitSettings(ApiModel):
    """Where the api keeps its rate limit."""

    requests_env: Annotated[str, Field(max_length=128, description="Environment variable with the request limit")] = (
        "RATE_LIMIT_REQUESTS"
    )
    window_env: Annotated[str, Field(max_length=128, description="Environment variable with the window, seconds")] = (
        "RATE_LIMIT_WINDOW"
    )
    key_pattern: Annotated[str, Field(max_length=128, description="Redis keys of the counters")] = "*rate_limit*"


class CelerySettings(ApiModel):
    """The Celery application of a worker, and where on its broker its keys are."""

    app: Annotated[str, Field(max_length=256, description="Celery application, such as app.background.worker")]
    queues: Annotated[
        list[Annotated[str, Field(max_length=128)]], ListSet(), Field(max_length=32, description="Queues it consumes")
    ] = ["celery"]
    broker: Annotated[
        Name | None, Field(description="Component of type Redis that is the broker; default: the one in dependsOn")
    ] = None
    database: Annotated[
        int, Field(ge=0, le=1023, description="Number of the broker's database, the /0 at the end of its URL")
    ] = 0
    key_prefix: Annotated[
        str, Field(max_length=128, description="global_keyprefix of the broker_transport_options, empty without one")
    ] = ""
    result_prefix: Annotated[
        str, Field(min_length=1, max_length=128, description="Beginning of the keys that hold results of tasks")
    ] = "celery-task-meta-"


class Scaling(ApiModel):
    """Bounds of scaling."""

    max: Annotated[int, Field(ge=1, le=100, description="Most replicas that the operator may ask for")]


# Three plain characters at the beginning: a pattern that begins with a wildcard would reach keys that nobody thought of.
CACHE_PATTERN = r"^[A-Za-z0-9_.:{}/-]{3}[A-Za-z0-9_.:{}/*?-]*$"


class Component(ApiModel):
    """One service of the Stack."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel("self.type == 'CeleryWorker' || has(self.endpoint)", "endpoint {service, port} is required for this type"),
        Cel(
            "self.type != 'PostgreSQL' || has(self.database)",
            "a PostgreSQL component needs database, the name to connect to",
        ),
        Cel(
            "self.type != 'PostgreSQL' || has(self.credentials)",
            "a PostgreSQL component needs credentials.secretName, a Secret with username and password",
        ),
        Cel("self.type != 'CeleryWorker' || has(self.celery)", "a CeleryWorker component needs celery.app"),
        Cel(
            "self.type == 'Api' || !has(self.blocking)",
            "only a component of type Api has clients to block: take blocking away",
        ),
        Cel(
            "self.type == 'Redis' || !has(self.cacheKeys) || size(self.cacheKeys) == 0",
            "only a component of type Redis has keys: take cacheKeys away",
        ),
    )

    type: Annotated[ComponentType, Field(description="What it is; decides its probes")]
    public_title: Annotated[
        str | None,
        Field(min_length=1, max_length=64, description="Its name on the status page; default: a neutral one of its type"),
    ] = None
    workload: Annotated[WorkloadRef, Field(description="The workload that runs it")]
    endpoint: Annotated[Endpoint | None, Field(description="Where it listens")] = None
    health: Annotated[HttpPath | None, Field(description="Health path of an Api, default /health")] = None
    info: Annotated[HttpPath | None, Field(description="Information path of an Api, default /info")] = None
    metrics: Annotated[HttpPath | None, Field(description="Prometheus metrics path, default /metrics")] = None
    rate_limit: Annotated[RateLimitSettings | None, Field(description="Rate limit of an Api")] = None
    blocking: Annotated[
        Blocking | None, Field(description="How clients of an Api may be kept out for a time; absent: none is ever blocked")
    ] = None
    celery: Annotated[CelerySettings | None, Field(description="Celery application of a worker")] = None
    database: Annotated[
        str | None, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]*$", max_length=63, description="PostgreSQL database")
    ] = None
    credentials: Annotated[
        SecretRef | None,
        Field(
            description="Secret of the operator's own, limited user. Keys: for PostgreSQL username and password, for Redis "
            "password and, where the server has users, username, for Qdrant api-key"
        ),
    ] = None
    session_roles: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]],
        ListSet(),
        Field(
            max_length=16,
            description="PostgreSQL roles of the application, whose idle sessions may be ended; "
            "default: the owner of the database",
        ),
    ] = []
    depends_on: Annotated[list[Name], ListSet(), Field(max_length=16, description="Components that this one needs")] = []
    scaling: Annotated[Scaling | None, Field(description="Bounds of scaling; absent: never scaled")] = None
    cache_keys: Annotated[
        list[Annotated[str, Field(max_length=128)]],
        ListSet(),
        Field(
            max_length=16,
            description="Patterns of keys in a Redis that are only a cache, such as cache:*; they may be dropped when its "
            "memory is used up; absent: no key is ever dropped",
        ),
        Cel(
            f"self.all(pattern, pattern.matches('{CACHE_PATTERN}'))",
            "a pattern must begin with three plain characters before the first wildcard, such as cache:*",
        ),
    ] = []


class Budget(ApiModel):
    """How many actions are allowed; the figures survive restarts."""

    per_target: Annotated[Rate, Field(description="Actions on one component")] = "3/1h"
    per_stack: Annotated[Rate, Field(description="Actions on the whole Stack")] = "10/1h"


class Healing(ApiModel):
    """How far the operator may go."""

    mode: Annotated[
        HealMode,
        Field(
            description="Auto acts, Approve asks first, Observe only diagnoses, 'Off' does nothing; "
            "write 'Off' in quotes, YAML reads a bare Off as false"
        ),
    ] = HealMode.AUTO
    budget: Annotated[Budget, Field(description="Most actions per time")] = Budget()


class StackSpec(ApiModel):
    """What to watch and how far healing may go."""

    cel_rules: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.paused) || !self.paused || (has(self.pauseReason) && size(self.pauseReason) > 0)",
            "paused: true needs pauseReason; say why, so that the next person knows",
        ),
        Cel("size(self.components) > 0", "components must name at least one component"),
        Cel(
            "self.components.all(name, !has(self.components[name].dependsOn) || "
            "self.components[name].dependsOn.all(d, d in self.components && d != name))",
            "dependsOn must name other components of this Stack",
        ),
        Cel(
            "self.components.all(name, !has(self.components[name].celery) || !has(self.components[name].celery.broker) || "
            "(self.components[name].celery.broker in self.components && "
            "self.components[self.components[name].celery.broker].type == 'Redis'))",
            "celery.broker must name a component of type Redis of this Stack",
        ),
    )

    paused: Annotated[bool, Field(description="True: no action starts, probing and reporting go on")] = False
    pause_reason: Annotated[str | None, Field(max_length=512, description="Why; required while paused")] = None
    components: Annotated[
        dict[Name, Component],
        Field(max_length=16, description="Components by name; names are free, type decides the probes"),
        Cel(
            f"self.all(name, name.matches('{NAME_PATTERN}'))",
            "a component's name must be lower-case letters, digits and '-', such as api or worker-2",
        ),
    ]
    detection: Annotated[Detection, Field(description="How faults are noticed")] = Detection()
    thresholds: Annotated[Thresholds, Field(description="Alert thresholds")] = Thresholds()
    healing: Annotated[Healing, Field(description="How far the operator may go")] = Healing()
    communication: Annotated[Communication, Field(description="Who is told, how and when")] = Communication()
    alertmanager: Annotated[
        AlertmanagerServer | None, Field(description="Alertmanager in which maintenance windows keep silences")
    ] = None
    alerts: Annotated[Alerts, Field(description="What alerts of Alertmanager may do")] = Alerts()
    approvers: Approvers = []


class ComponentStatus(ApiModel):
    """What is known of one component."""

    name: Annotated[str, Field(max_length=63, description="Component")]
    state: Annotated[ComponentState, Field(description="State")]
    since: Annotated[Time, Field(description="When it took this state")]
    summary: Annotated[str, Field(max_length=512, description="Why, in one line")] = ""
    observed: Annotated[
        ComponentState | None, Field(description="What probes see since `since`, while it is UnderMaintenance")
    ] = None
    window: Annotated[
        str | None, Field(max_length=253, description="MaintenanceWindow that covers it, while it is UnderMaintenance")
    ] = None
    operational_until: Annotated[
        Time | None, Field(description="When it was last seen to stop being Operational; absent: it never was")
    ] = None
    short_faults: Annotated[
        list[Time], Field(max_length=8, description="Faults of the last 30m that were over before they could count as one")
    ] = []


class PartBackup(ApiModel):
    """The newest good backup of one part."""

    part: Annotated[Literal["postgres", "qdrant", "configuration"], Field(description="Part of the Stack")]
    time: Annotated[Time, Field(description="When it was taken")]
    proved_time: Annotated[Time | None, Field(description="When the newest one was taken that a restore has proved")] = None


class LastBackup(ApiModel):
    """The newest good backup."""

    time: Annotated[Time, Field(description="When it was taken")]
    verified: Annotated[bool, Field(description="Whether a restore proved it")]
    parts: Annotated[list[PartBackup], ListMap("part"), Field(max_length=3, description="The same for each part")] = []


class StackStatus(StatusModel):
    """What the operator sees."""

    observed_generation: Annotated[int | None, Field(description="Generation this status describes")] = None
    conditions: Conditions = []
    summary: Annotated[str, Field(max_length=256, description="Healthy components of all, such as 5/5")] = ""
    components: Annotated[
        list[ComponentStatus], ListMap("name"), Field(max_length=16, description="State of each component")
    ] = []
    open_incidents: Annotated[int, Field(ge=0, description="Incidents that are not resolved")] = 0
    blocks: Annotated[
        list[Block], ListMap("attemptId"), Field(max_length=16, description="Clients that are kept out now, and until when")
    ] = []
    last_backup: Annotated[LastBackup | None, Field(description="The newest good backup")] = None
    uptime: Annotated[
        list[ComponentUptime], ListMap("name"), Field(max_length=16, description="Ninety daily buckets a component")
    ] = []


class Stack(Resource):
    """One DocuQuery installation: what is watched, who is told and how far healing may go."""

    meta_of_kind: ClassVar[KindMeta] = KindMeta(
        kind="Stack",
        plural="stacks",
        singular="stack",
        short_names=("dqs",),
        columns=(
            Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
            Column("Components", ".status.summary"),
            Column("Incidents", ".status.openIncidents", "integer"),
            Column("Mode", ".spec.healing.mode"),
            Column("Paused", ".spec.paused", "boolean"),
            Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    spec: Annotated[StackSpec, Field(description="What to watch and how far healing may go")]
    status: Annotated[StackStatus | None, Field(description="What the operator sees")] = None
