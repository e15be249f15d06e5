"""What controllers need of the outside world, as small Protocols. Adapters fulfil them; tests use fakes."""

from __future__ import annotations

from dataclasses import dataclass, field

from .alertmanager import Alertmanager, AlertmanagerTarget, NoAlertmanager
from .celery import (
    Batch,
    Celery,
    CeleryFacts,
    CeleryNode,
    CeleryTarget,
    CeleryTask,
    Quarantine,
    ResultsPage,
    TaskResult,
    Waiting,
)
from .channels import Channels, NoChannels, Receipt
from .cluster import (
    BACKUP_JOB,
    CLAIM,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    HORIZONTAL_POD_AUTOSCALER,
    INCIDENT,
    INGRESS,
    JOB,
    JSON,
    LEASE,
    LOG_BYTES,
    MAINTENANCE_WINDOW,
    NETWORK_POLICY,
    OURS,
    POD,
    POD_METRICS,
    REPLICA_SET,
    RESTORE_JOB,
    RUNBOOK,
    SCALED_OBJECT,
    SECRET,
    SERVICE,
    STACK,
    STATEFUL_SET,
    WORKLOADS,
    ApiError,
    Cluster,
    Conflict,
    Key,
    Kind,
    Refused,
    Transient,
    Unavailable,
    owner_key,
)
from .database_review import DatabaseReview, DatabaseReviewer, NoReviewer, Statement, TableSize
from .links import Links, LinkTarget, NoLinks
from .network import BODY_LIMIT, HttpAnswer, Network
from .postgres import Blocker, Database, DatabaseFacts, DatabaseTarget, Session
from .process import Clock, Events, Leader, Metrics, Self
from .qdrant import Qdrant, QdrantAnswer, QdrantCluster, QdrantCollection, QdrantFacts, QdrantTarget
from .redis import Aside, ClientIdentity, KeyCount, Redis, RedisAside, RedisClient, RedisFacts, RedisKeys, RedisTarget
from .registry import NoRegistry, Registry, TagAnswer


@dataclass(frozen=True)
class Ports:
    """Everything that controllers may reach."""

    cluster: Cluster
    clock: Clock
    database: Database
    redis: Redis
    redis_keys: RedisKeys
    aside: RedisAside
    celery: Celery
    quarantine: Quarantine
    qdrant: Qdrant
    network: Network
    events: Events
    leader: Leader
    metrics: Metrics
    links: Links = field(default_factory=NoLinks)
    channels: Channels = field(default_factory=NoChannels)
    reviewer: DatabaseReviewer = field(default_factory=NoReviewer)
    alertmanager: Alertmanager = field(default_factory=NoAlertmanager)
    registry: Registry = field(default_factory=NoRegistry)
    self: Self = field(default_factory=Self)


__all__ = [
    "BACKUP_JOB",
    "BODY_LIMIT",
    "CLAIM",
    "CONFIG_MAP",
    "CONTROLLER_REVISION",
    "DEPLOYMENT",
    "ENDPOINT_SLICE",
    "EVENT",
    "HORIZONTAL_POD_AUTOSCALER",
    "INCIDENT",
    "INGRESS",
    "JOB",
    "JSON",
    "LEASE",
    "LOG_BYTES",
    "MAINTENANCE_WINDOW",
    "NETWORK_POLICY",
    "OURS",
    "POD",
    "POD_METRICS",
    "REPLICA_SET",
    "RESTORE_JOB",
    "RUNBOOK",
    "SCALED_OBJECT",
    "SECRET",
    "SERVICE",
    "STACK",
    "STATEFUL_SET",
    "WORKLOADS",
    "Alertmanager",
    "AlertmanagerTarget",
    "ApiError",
    "Aside",
    "Batch",
    "Blocker",
    "Celery",
    "CeleryFacts",
    "CeleryNode",
    "CeleryTarget",
    "CeleryTask",
    "Channels",
    "ClientIdentity",
    "Clock",
    "Cluster",
    "Conflict",
    "Database",
    "DatabaseFacts",
    "DatabaseReview",
    "DatabaseReviewer",
    "DatabaseTarget",
    "Events",
    "HttpAnswer",
    "Key",
    "KeyCount",
    "Kind",
    "Leader",
    "LinkTarget",
    "Links",
    "Metrics",
    "Network",
    "NoAlertmanager",
    "NoChannels",
    "NoLinks",
    "NoRegistry",
    "NoReviewer",
    "Ports",
    "Qdrant",
    "QdrantAnswer",
    "QdrantCluster",
    "QdrantCollection",
    "QdrantFacts",
    "QdrantTarget",
    "Quarantine",
    "Receipt",
    "Redis",
    "RedisAside",
    "RedisClient",
    "RedisFacts",
    "RedisKeys",
    "RedisTarget",
    "Refused",
    "Registry",
    "ResultsPage",
    "Self",
    "Session",
    "Statement",
    "TableSize",
    "TagAnswer",
    "TaskResult",
    "Transient",
    "Unavailable",
    "Waiting",
    "owner_key",
]
