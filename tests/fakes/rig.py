"""A whole small world around the controllers: API server, workloads, database, and operator processes that can die."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from docuquery_operator.api.incident import Incident
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.controllers.courier import Courier
from docuquery_operator.controllers.incident import IncidentController
from docuquery_operator.controllers.prober import StackProber
from docuquery_operator.ports import (
    CONFIG_MAP,
    DEPLOYMENT,
    INCIDENT,
    JSON,
    LEASE,
    POD,
    RUNBOOK,
    SECRET,
    STACK,
    STATEFUL_SET,
    Alertmanager,
    ApiError,
    CeleryFacts,
    CeleryNode,
    Conflict,
    DatabaseFacts,
    Key,
    Kind,
    NoAlertmanager,
    Ports,
    RedisClient,
    RedisFacts,
    Refused,
    Session,
    Transient,
    Unavailable,
    Waiting,
)
from tests.fakes.alertmanager import FaultyAlertmanager
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.faults import Faults, KilledError
from tests.fakes.links import FakeLinks
from tests.fakes.ports import (
    CeleryState,
    ChannelState,
    DatabaseState,
    FakeAside,
    FakeCelery,
    FakeChannels,
    FakeDatabase,
    FakeEvents,
    FakeLeader,
    FakeMetrics,
    FakeNetwork,
    FakeQuarantine,
    FakeRedis,
    FakeRedisKeys,
    NetworkState,
    RedisState,
    health_answer,
)
from tests.fakes.qdrant import FakeQdrant, QdrantState
from tests.fakes.workloads import Simulator

NAMESPACE = "docuquery"
VERIFY = {"settle": "5s", "symptomClearFor": "10s", "within": "60s", "noRegression": True}
FINE = DatabaseFacts(
    "ok", write="ok", in_recovery=False, read_only=False, max_connections=40, reserved=7, used=5,
    waiting_on_locks=0, database_bytes=8_000_000, wal_bytes=16_000_000,
)  # fmt: skip
FINE_REDIS = RedisFacts(
    "ok", role="master", used=5, max_clients=64, blocked=1, clients=(), memory_bytes=2_000_000, memory_limit=100_663_296,
    policy="noeviction", evicted=0, loading=False, rdb_error=False, aof_error=False, slow_commands=0, info="used_memory:2000000",
)  # fmt: skip
REDIS: JSON = {
    "type": "Redis",
    "workload": {"kind": "StatefulSet", "name": "redis"},
    "endpoint": {"service": "redis", "port": 6379},
}
QDRANT: JSON = {
    "type": "Qdrant",
    "workload": {"kind": "StatefulSet", "name": "qdrant"},
    "endpoint": {"service": "qdrant", "port": 6333},
}
COMPONENTS: JSON = {
    "api": {
        "type": "Api",
        "workload": {"kind": "Deployment", "name": "api"},
        "endpoint": {"service": "api", "port": 8000},
        "dependsOn": ["postgres"],
    },
    "postgres": {
        "type": "PostgreSQL",
        "workload": {"kind": "StatefulSet", "name": "postgres"},
        "endpoint": {"service": "postgres", "port": 5432},
        "database": "docuquery_ai",
        "credentials": {"secretName": "postgres-operator"},
    },
}


@dataclass
class Life:
    """One life of the operator's process."""

    ports: Ports
    faults: Faults
    events: FakeEvents
    metrics: FakeMetrics
    controller: IncidentController
    prober: StackProber
    courier: Courier


@dataclass
class Rig:
    """Everything; `run` drives one Incident as the queue would."""

    mode: str = "Auto"
    detection: JSON = field(default_factory=lambda: {"interval": "5s", "timeout": "1s", "failures": 2, "recoveries": 2})
    verify: JSON | None = field(default_factory=lambda: dict(VERIFY))
    replicas: int = 1
    clock: ManualClock = field(default_factory=ManualClock)
    lives: list[Life] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    passes: int = 0
    channels: ChannelState = field(default_factory=ChannelState)
    nudged: list[Key] = field(default_factory=list)
    decided: list[tuple[Key, str]] = field(default_factory=list)
    alertmanager: Alertmanager = field(default_factory=NoAlertmanager)
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = FakeServer(self.clock)
        self.server.admission.append(_valid_status)
        self.simulator = Simulator(self.server, NAMESPACE)
        self.clock.listen(self.simulator.tick)
        self.clock.listen(self._ring)
        self.simulator.workload(STATEFUL_SET, "postgres", self.clock.now(), self.replicas)
        self.simulator.workload(DEPLOYMENT, "api", self.clock.now())
        self.simulator.created.clear()
        self.leader = FakeLeader()
        self.overlay: Callable[[DatabaseFacts], DatabaseFacts] = lambda facts: facts
        self.database = DatabaseState(self._database)
        self.redis_overlay: Callable[[RedisFacts], RedisFacts] = lambda facts: facts
        self.redis = RedisState(self._redis, now=lambda: self.clock.now().timestamp())
        self.celery_overlay: Callable[[CeleryFacts], CeleryFacts] = lambda facts: facts
        self.celery = CeleryState(self._celery, now=lambda: self.clock.now().timestamp())
        self.qdrant = QdrantState(self.simulator.serving)
        self.network = NetworkState(tcp=self.simulator.serving, http=lambda _host, _path: self._api())
        self._objects()
        self.start()

    def _objects(self) -> None:
        data = {
            k: base64.b64encode(v.encode()).decode() for k, v in {"username": "op", "password": "hunter2hunter2"}.items()
        }
        self.server.put(SECRET, {"metadata": self._meta("postgres-operator"), "data": data})
        spec = {"components": COMPONENTS, "detection": self.detection, "healing": {"mode": self.mode}}
        self.server.put(STACK, {"metadata": self._meta("docuquery"), "spec": spec})
        if self.verify is not None:
            self.put_runbook(verify=self.verify)
        self.clock.advance(2)

    def put_runbook(self, incident_type: str = "DatabaseConnectionFailure", name: str = "own", **changes: Any) -> None:
        """The shipped runbook, changed, as an object of the namespace."""
        spec = {**shipped()[incident_type].to_wire(), **changes}
        self.server.put(RUNBOOK, {"metadata": self._meta(name), "spec": spec})

    def incident(self, name: str = "db-down", **spec: Any) -> Key:
        """Open an Incident."""
        body = {"stackRef": {"name": "docuquery"}, "type": "DatabaseConnectionFailure", **spec}
        self.server.put(INCIDENT, {"metadata": self._meta(name), "spec": body})
        return Key(INCIDENT.plural, NAMESPACE, name)

    def worker(self) -> None:
        """A worker beside the api."""
        self.simulator.workload(DEPLOYMENT, "worker", self.clock.now())
        worker = {"type": "CeleryWorker", "workload": {"kind": "Deployment", "name": "worker"}, "celery": {"app": "a"}}
        self.edit_stack(lambda s: s["spec"]["components"].update(worker=worker))
        pod = self.simulator.pods("worker")[0]["metadata"]["name"]
        self.server.edit(POD, NAMESPACE, pod, lambda p: p["status"].update(podIP="10.61.1.1"))
        self.clock.advance(2)

    def with_redis(self) -> None:
        """A Redis that the api rests on, and its runbook with the times of the others."""
        self.simulator.workload(STATEFUL_SET, "redis", self.clock.now())
        self.simulator.created.clear()

        def add(stack: JSON) -> None:
            components = stack["spec"]["components"]
            components["redis"] = REDIS
            components["api"] = {**components["api"], "dependsOn": ["postgres", "redis"]}

        self.edit_stack(add)
        if self.verify is not None:
            self.put_runbook("RedisConnection", "own-redis", verify=self.verify)
        self.clock.advance(2)

    def with_worker(self) -> None:
        """A Redis, a worker that takes its tasks from there, and the worker's runbook with the times of the others."""
        self.with_redis()
        self.worker()
        self.simulator.created.clear()

        def broker(stack: JSON) -> None:
            stack["spec"]["components"]["worker"]["dependsOn"] = ["redis"]

        self.edit_stack(broker)
        if self.verify is not None:
            self.put_runbook("BackgroundTaskFailure", "own-background", verify=self.verify)
        self.clock.advance(2)

    def worker_incident(self, name: str = "worker-down", **spec: Any) -> Key:
        """Open an Incident about the worker."""
        return self.incident(name, type="BackgroundTaskFailure", **spec)

    def with_qdrant(self) -> None:
        """A Qdrant that the api rests on, and its runbook with the times of the others."""
        self.simulator.workload(STATEFUL_SET, "qdrant", self.clock.now())
        self.simulator.created.clear()

        def add(stack: JSON) -> None:
            components = stack["spec"]["components"]
            components["qdrant"] = QDRANT
            components["api"] = {**components["api"], "dependsOn": ["postgres", "qdrant"]}

        self.edit_stack(add)
        if self.verify is not None:
            self.put_runbook("VectorStorePerformance", "own-qdrant", verify=self.verify)
        self.clock.advance(2)

    def qdrant_incident(self, name: str = "qdrant-slow", **spec: Any) -> Key:
        """Open an Incident about Qdrant."""
        return self.incident(name, type="VectorStorePerformance", **spec)

    def redis_incident(self, name: str = "redis-down", **spec: Any) -> Key:
        """Open an Incident about Redis."""
        return self.incident(name, type="RedisConnection", **spec)

    def idle_clients(self, count: int, idle: int = 400, address: str = "10.61.9.9") -> None:
        """Clients that hold a connection and ask nothing."""
        for number in range(100, 100 + count):
            self.redis.clients[number] = RedisClient(number, f"{address}:{number}", "", "get", idle + 10, idle)

    def start(self, faults: Faults | None = None) -> Life:
        """A new process of the operator; what the old one remembered is lost."""
        faults = faults or Faults()
        events, metrics, links = FakeEvents(faults), FakeMetrics(), FakeLinks()
        ports = Ports(
            cluster=FakeCluster(self.server, faults),
            clock=self.clock,
            database=FakeDatabase(self.database, faults),
            redis=FakeRedis(self.redis, faults),
            redis_keys=FakeRedisKeys(self.redis, faults),
            aside=FakeAside(self.redis, faults),
            celery=FakeCelery(self.celery, faults),
            quarantine=FakeQuarantine(self.celery, faults),
            qdrant=FakeQdrant(self.qdrant, faults),
            network=FakeNetwork(self.network, faults),
            events=events,
            leader=self.leader,
            metrics=metrics,
            links=links,
            alertmanager=FaultyAlertmanager(self.alertmanager, faults),
            channels=FakeChannels(self.channels, faults, self.clock),
        )
        prober = StackProber(ports)
        # What a dead process wanted to do later dies with it.
        self.timers.clear()
        courier = Courier(ports, self.nudged.append, lambda wait, call: self.timers.append((self._in(wait), call)))
        controller = IncidentController(
            ports, prober, None, courier, lambda key, version: self.decided.append((key, version))
        )
        self.lives.append(Life(ports, faults, events, metrics, controller, prober, courier))
        return self.life

    def _in(self, wait: float) -> float:
        return self.clock.now().timestamp() + wait

    def _ring(self, now: datetime) -> None:
        """What the process wanted to do by now."""
        for timer in [t for t in self.timers if t[0] <= now.timestamp()]:
            self.timers.remove(timer)
            timer[1]()

    @property
    def life(self) -> Life:
        """The process that lives now."""
        return self.lives[-1]

    async def once(self, key: Key) -> float | None:
        """One pass, with the queue's answer to every error."""
        self.nudged[:] = [k for k in self.nudged if k != key]
        self.passes += 1
        try:
            after = await self.life.controller.reconcile(key)
            # Messages are sent beside the passes.
            await self.life.courier.ended()
            if self.life.faults.dead:
                raise KilledError
            return 0.05 if key in self.nudged else after
        except KilledError:
            await _let_tasks_end()
            self.start()
            return 1.0
        except Transient as problem:
            return problem.after
        except Conflict:
            return 0.05
        except Unavailable as problem:
            return max(problem.after, 2.0)
        except Refused:
            return 30.0
        except ApiError as problem:
            self.crashes.append(problem)
            return 2.0

    async def run(self, key: Key, seconds: float = 900.0, until: Callable[[JSON], bool] | None = None) -> JSON:
        """Drive the Incident until it is over and reported, `until` holds, or the time is up."""
        end = self.clock.now().timestamp() + seconds
        while self.clock.now().timestamp() < end:
            after = await self.once(key)
            status = self.status(key)
            over = quiet(after) and status.get("phase") == "Resolved" and "report" in status
            if until(status) if until else over:
                return status
            if self.server.find(INCIDENT, key.namespace, key.name) is None:
                return {}
            left = end - self.clock.now().timestamp()
            self.clock.advance(5.0 if after is None else max(min(after, left), 0.05))
        return self.status(key)

    def status(self, key: Key) -> JSON:
        """Status of the Incident."""
        found = self.server.find(INCIDENT, key.namespace, key.name)
        status: JSON = (found or {}).get("status") or {}
        return status

    def model(self, key: Key) -> Incident:
        """The Incident as the controllers read it."""
        return Incident.model_validate(self.server.find(INCIDENT, key.namespace, key.name))

    def freeze(self, pod: str = "postgres-0") -> None:
        """The fault of the story: the database process hangs; time passes until its readiness probe fails."""
        self.simulator.break_process(pod, self.clock.now())
        self.clock.advance(4)

    def edit_stack(self, change: Callable[[JSON], None]) -> None:
        self.server.edit(STACK, NAMESPACE, "docuquery", change)

    def edit_incident(self, key: Key, change: Callable[[JSON], None]) -> None:
        self.server.edit(INCIDENT, key.namespace, key.name, change)

    def ledger(self, component: str = "postgres") -> JSON | None:
        return self.server.find(LEASE, NAMESPACE, f"docuquery-target-docuquery-{component}")

    def reports(self) -> list[JSON]:
        return self.server.all(CONFIG_MAP, NAMESPACE)

    def all_events(self) -> list[str]:
        return [reason for life in self.lives for reason in life.events.reasons()]

    def idle_sessions(self, count: int, idle: float = 60.0, address: str = "10.61.9.9") -> None:
        """Sessions that idle in a transaction and take all connections."""
        for pid in range(1, count + 1):
            session = Session(pid, f"start-{pid}", "docuquery", "leaky", address, idle)
            self.database.sessions[pid, session.started] = session

    def _database(self, host: str) -> DatabaseFacts:
        answer = self.simulator.serving(host)
        if answer != "ok":
            return DatabaseFacts(answer, f"{answer} at {host}")
        idle = tuple(self.database.sessions.values())
        return self.overlay(_replace(FINE, used=5 + len(idle), idle_in_transaction=idle))

    def _redis(self, host: str) -> RedisFacts:
        answer = self.simulator.serving(host)
        if answer != "ok":
            return RedisFacts(answer, f"{answer} at {host}")
        idle = tuple(self.redis.clients.values())
        return self.redis_overlay(replace(FINE_REDIS, used=5 + len(idle), clients=idle))

    def _celery(self, host: str) -> CeleryFacts:
        answer = self._redis(host).outcome
        if answer != "ok":
            return CeleryFacts(answer, f"{answer} at {host}")
        pods = [p for p in self.simulator.pods("worker") if self.simulator.serving(p["status"]["podIP"]) != "refused"]
        well = [p["metadata"]["name"] for p in pods if p["metadata"]["uid"] not in self.simulator.broken]
        nodes = tuple(CeleryNode(f"celery@{n}", "prefork", 2, queues=("celery",)) for n in well)
        head = self.celery.queue[-1] if self.celery.queue else ""
        waiting = Waiting({"celery": len(self.celery.queue)}, head, "tasks.note" if head else "")
        facts = CeleryFacts("ok", "", 3.0, len(pods), nodes, len(pods) == len(nodes), waiting)
        return self.celery_overlay(facts)

    def _api(self) -> Any:
        up = self._database(_cluster_ip(self.server, "postgres"))
        full = up.used is not None and up.used >= 33
        others = {}
        if _cluster_ip(self.server, "redis"):
            redis = self._redis(_cluster_ip(self.server, "redis"))
            others["redis"] = "up" if redis.outcome == "ok" else "down"
        if _cluster_ip(self.server, "qdrant"):
            others["qdrant"] = "up" if self.qdrant.answer(_cluster_ip(self.server, "qdrant")) == "ok" else "down"
        return health_answer("up" if up.outcome == "ok" and not full else "down", **others)

    def _meta(self, name: str) -> JSON:
        return {"name": name, "namespace": NAMESPACE}


def _replace(facts: DatabaseFacts, **changes: Any) -> DatabaseFacts:
    return DatabaseFacts(**{**facts.__dict__, **changes})


def _cluster_ip(server: FakeServer, name: str) -> str:
    from docuquery_operator.ports import SERVICE

    found = server.find(SERVICE, NAMESPACE, name)
    return str(found["spec"]["clusterIP"]) if found else ""


def _valid_status(kind: Kind, body: JSON) -> None:
    """As the CRD would: a status that the schema does not know is refused."""
    if kind is INCIDENT and body.get("status"):
        Incident.model_validate(body)


async def _let_tasks_end() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def quiet(after: float | None) -> bool:
    """Nothing is left to do but to remind people of the review, days later."""
    return after is None or after > 3600


def steps(status: JSON) -> Sequence[tuple[str, str]]:
    """Name and state of each step."""
    return [(s["name"], s["state"]) for s in status.get("steps", [])]


def condition(status: JSON, type_: str) -> str:
    """Reason of a condition that is True, '' when it is not."""
    return next((c["reason"] for c in status.get("conditions", []) if c["type"] == type_ and c["status"] == "True"), "")
