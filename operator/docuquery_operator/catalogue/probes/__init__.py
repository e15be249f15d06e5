"""The probes of the catalogue. A new probe is one file here, one line below, and its test."""

from __future__ import annotations

from ..base import Probe
from .backups import Backups
from .blocking import ClientBlocking
from .celery import CeleryFailures, CeleryQueue, CeleryWorkers, QuarantineProbe
from .http import HttpHealth
from .limit_setting import LimitSetting
from .network import ServiceNetwork
from .postgres import PostgresConnections, PostgresDisk, PostgresLocks, PostgresReady, PostgresRecovery
from .qdrant import QdrantClusterState, QdrantCollections, QdrantReady, QdrantSearch
from .ratelimit import ApiRefusals, RateLimitKeys, RateLimits
from .redis import RedisClients, RedisMemory, RedisPersistence, RedisReady
from .redis_aside import RedisAsideProbe
from .rollout import Rollout
from .scaling import Scaling
from .service_level import ServiceLevelProbe
from .traffic import ApiTraffic
from .workload import Workload

_ALL: tuple[Probe, ...] = (
    Workload(),
    Backups(),
    Scaling(),
    ServiceNetwork(),
    HttpHealth(),
    ClientBlocking(),
    ServiceLevelProbe(),
    Rollout(),
    LimitSetting(),
    PostgresReady(),
    PostgresConnections(),
    PostgresLocks(),
    PostgresRecovery(),
    PostgresDisk(),
    RedisReady(),
    RedisClients(),
    RedisMemory(),
    RedisPersistence(),
    RedisAsideProbe(),
    ApiRefusals(),
    ApiTraffic(),
    RateLimits(),
    RateLimitKeys(),
    CeleryWorkers(),
    CeleryQueue(),
    CeleryFailures(),
    QuarantineProbe(),
    QdrantReady(),
    QdrantCollections(),
    QdrantSearch(),
    QdrantClusterState(),
)
PROBES: dict[str, Probe] = {p.name: p for p in _ALL}
