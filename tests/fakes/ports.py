"""Small fakes: database, network, events, leader, metrics."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase

from docuquery_operator.domain.backups.figures import BackupFigures
from docuquery_operator.domain.maintenance.window_figures import TaskEnd, WindowFigures
from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.ports import (
    BODY_LIMIT,
    JSON,
    Aside,
    Batch,
    CeleryFacts,
    CeleryTarget,
    ClientIdentity,
    DatabaseFacts,
    DatabaseTarget,
    HttpAnswer,
    KeyCount,
    Kind,
    Receipt,
    RedisClient,
    RedisFacts,
    RedisTarget,
    ResultsPage,
    Session,
    TaskResult,
)
from tests.fakes.clock import ManualClock
from tests.fakes.faults import Faults


@dataclass
class DatabaseState:
    """The database itself, which outlives every process of the operator."""

    answer: Callable[[str], DatabaseFacts]
    sessions: dict[tuple[int, str], Session] = field(default_factory=dict)
    ended: list[tuple[int, str]] = field(default_factory=list)
    answers_admin: bool = True
    targets: list[DatabaseTarget] = field(default_factory=list)


class FakeDatabase:
    """ports.Database."""

    def __init__(self, state: DatabaseState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def look(self, target: DatabaseTarget, timeout: float) -> DatabaseFacts:
        async def effect() -> DatabaseFacts:
            self._state.targets.append(target)
            return self._state.answer(target.host)

        return await self._faults.around(f"look {target.host}", effect)

    async def terminate(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int:
        async def effect() -> int:
            ended = [s for s in sessions if self._state.sessions.pop(s, None) is not None]
            self._state.ended += ended
            return len(ended)

        return await self._faults.around("terminate", effect)

    async def alive(
        self, target: DatabaseTarget, sessions: Sequence[tuple[int, str]], only_idle: bool, timeout: float
    ) -> int | None:
        async def effect() -> int | None:
            return sum(s in self._state.sessions for s in sessions) if self._state.answers_admin else None

        return await self._faults.around("alive", effect)


@dataclass
class RedisState:
    """The Redis server itself, which outlives every process of the operator."""

    answer: Callable[[str], RedisFacts]
    clients: dict[int, RedisClient] = field(default_factory=dict)
    ended: list[ClientIdentity] = field(default_factory=list)
    answers_admin: bool = True
    targets: list[RedisTarget] = field(default_factory=list)
    keys: KeyCount = field(default_factory=KeyCount)
    set_keys: dict[str, tuple[str, float]] = field(default_factory=dict)
    now: Callable[[], float] = lambda: 0.0
    dropped: list[str] = field(default_factory=list)
    drops_at_once: int = 1_000_000
    aside: Aside = field(default_factory=lambda: Aside("none"))
    spare: dict[str, tuple[str, float]] = field(default_factory=dict)
    swaps: list[str] = field(default_factory=list)

    def there(self, key: str) -> str:
        """Value of a key whose time is not up."""
        value, until = self.set_keys.get(key, ("", 0.0))
        return value if until > self.now() else ""


class FakeRedis:
    """ports.Redis."""

    def __init__(self, state: RedisState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def look(self, target: RedisTarget, timeout: float) -> RedisFacts:
        async def effect() -> RedisFacts:
            self._state.targets.append(target)
            return self._state.answer(target.host)

        return await self._faults.around(f"redis look {target.host}", effect)

    async def kill_clients(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int:
        async def effect() -> int:
            meant = self._meant(clients, min_idle)
            self._state.ended += meant
            for number, _, _ in meant:
                del self._state.clients[number]
            return len(meant)

        return await self._faults.around("kill clients", effect)

    async def alive(
        self, target: RedisTarget, clients: Sequence[ClientIdentity], min_idle: float, timeout: float
    ) -> int | None:
        async def effect() -> int | None:
            return len(self._meant(clients, min_idle)) if self._state.answers_admin else None

        return await self._faults.around("clients alive", effect)

    async def deny(self, target: RedisTarget, keys: Mapping[str, str], seconds: int, timeout: float) -> str:
        async def effect() -> str:
            for key, value in keys.items():
                if self._state.answers_admin and not self._state.there(key):
                    self._state.set_keys[key] = (value, self._state.now() + seconds)
            return "" if self._state.answers_admin else "refused"

        return await self._faults.around("deny", effect)

    async def denied(self, target: RedisTarget, keys: Sequence[str], timeout: float) -> Sequence[str] | None:
        async def effect() -> Sequence[str] | None:
            return [k for k in keys if self._state.there(k)] if self._state.answers_admin else None

        return await self._faults.around("denied", effect)

    async def allow(self, target: RedisTarget, keys: Mapping[str, str], timeout: float) -> int | None:
        async def effect() -> int | None:
            mine = [k for k, v in keys.items() if self._state.there(k) == v]
            for key in mine if self._state.answers_admin else []:
                del self._state.set_keys[key]
            return len(mine) if self._state.answers_admin else None

        return await self._faults.around("allow", effect)

    def _meant(self, clients: Sequence[ClientIdentity], min_idle: float) -> list[ClientIdentity]:
        found = [(i, self._state.clients.get(i[0])) for i in clients]
        return [i for i, c in found if c and c.address == i[1] and c.age_seconds >= i[2] and c.idle_seconds >= min_idle]


class FakeRedisKeys:
    """ports.RedisKeys."""

    def __init__(self, state: RedisState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def count(self, target: RedisTarget, pattern: str, highest: int, timeout: float) -> KeyCount:
        async def effect() -> KeyCount:
            there = sum(fnmatchcase(k, pattern) for k in self._state.set_keys)
            return KeyCount(there) if there else self._state.keys

        return await self._faults.around("count keys", effect)

    async def drop(self, target: RedisTarget, pattern: str, most: int, timeout: float) -> KeyCount:
        async def effect() -> KeyCount:
            if not self._state.answers_admin:
                return KeyCount(problem="refused")
            some = [k for k in self._state.set_keys if fnmatchcase(k, pattern)][: min(most, self._state.drops_at_once)]
            for key in some:
                del self._state.set_keys[key]
            self._state.dropped += some
            left = any(fnmatchcase(k, pattern) for k in self._state.set_keys)
            return KeyCount(len(some), at_least=left)

        return await self._faults.around("drop keys", effect)


class FakeAside:
    """ports.RedisAside, over the keys of the fake server."""

    def __init__(self, state: RedisState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def look(self, target: RedisTarget, timeout: float) -> Aside | None:
        async def effect() -> Aside | None:
            if self._state.answer(target.host).outcome != "ok":
                return None
            return replace(self._state.aside, live=len(self._state.set_keys))

        return await self._faults.around("aside look", effect)

    async def done(self, target: RedisTarget, attempt: str, timeout: float) -> bool | None:
        async def effect() -> bool | None:
            return attempt in self._state.swaps

        return await self._faults.around("aside done", effect)

    async def set_aside(self, target: RedisTarget, attempt: str, timeout: float) -> str:
        return await self._change("set aside", attempt, None, "aside")

    async def put_back(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        return await self._change("put back", attempt, aside, "replaced")

    async def drop(self, target: RedisTarget, attempt: str, aside: Aside, timeout: float) -> str:
        return await self._change("drop aside", attempt, aside, "")

    async def _change(self, name: str, attempt: str, meant: Aside | None, becomes: str) -> str:
        async def effect() -> str:
            state = self._state
            if attempt in state.swaps:
                return ""
            there = state.aside
            if (meant is None and there.state != "none") or (
                meant is not None and (there.attempt, there.keys) != (meant.attempt, meant.keys)
            ):
                return "what lies aside is another by now"
            state.swaps.append(attempt)
            live, state.set_keys = state.set_keys, (state.spare if becomes else state.set_keys)
            state.spare = live if becomes else {}
            keys = len(state.spare)
            state.aside = Aside(becomes, 0, keys, attempt, state.now()) if keys else Aside("none")
            return ""

        return await self._faults.around(name, effect)


@dataclass
class CeleryState:
    """Broker, workers and quarantine, which outlive every process of the operator. Lists: the next message is the last."""

    answer: Callable[[str], CeleryFacts]
    queue: list[str] = field(default_factory=list)
    held: dict[str, list[str]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    results: list[TaskResult] = field(default_factory=list)
    now: Callable[[], float] = lambda: 0.0


class FakeCelery:
    """ports.Celery."""

    def __init__(self, state: CeleryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def ping(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        return await self.look(target, timeout)

    async def look(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        async def effect() -> CeleryFacts:
            return self._state.answer(target.redis.host)

        return await self._faults.around(f"celery look {target.redis.host}", effect)

    async def results(self, target: CeleryTarget, cursor: int, timeout: float) -> ResultsPage | None:
        async def effect() -> ResultsPage | None:
            if self._state.answer(target.redis.host).outcome != "ok":
                return None
            return ResultsPage(tuple(self._state.results), 0, self._state.now())

        return await self._faults.around("celery results", effect)


class FakeQuarantine:
    """ports.Quarantine."""

    def __init__(self, state: CeleryState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def held(self, target: CeleryTarget, timeout: float) -> Sequence[Batch] | None:
        async def effect() -> Sequence[Batch] | None:
            state = self._state
            return [Batch(a, "celery", len(m), state.since[a], _digest(m)) for a, m in state.held.items()]

        return await self._faults.around("quarantine held", effect)

    async def done(self, target: CeleryTarget, attempt: str, timeout: float) -> int | None:
        async def effect() -> int | None:
            return self._state.done.get(attempt)

        return await self._faults.around("quarantine done", effect)

    async def move(self, target: CeleryTarget, attempt: str, timeout: float) -> None:
        async def effect() -> None:
            state = self._state
            if attempt not in state.done:
                state.held[attempt], state.queue = state.queue, []
                state.since[attempt] = state.now()
                state.done[attempt] = len(state.held[attempt])

        await self._faults.around("quarantine move", effect)

    async def put_back(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        async def effect() -> bool:
            for batch in sorted(batches, key=lambda b: -b.since):
                messages = self._state.held.pop(batch.attempt, [])
                self._state.queue += messages
                self._state.done[attempt] = self._state.done.get(attempt, 0) + len(messages)
            return True

        return await self._faults.around("quarantine put back", effect)

    async def drop(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        async def effect() -> bool:
            state = self._state
            if attempt in state.done:
                return True
            if any(_digest(state.held.get(b.attempt, [])) != b.digest for b in batches):
                return False
            state.done[attempt] = sum(len(state.held.pop(b.attempt)) for b in batches)
            return True

        return await self._faults.around("quarantine drop", effect)


def _digest(messages: Sequence[str]) -> str:
    return hashlib.sha1(" ".join(messages).encode()).hexdigest()


@dataclass
class NetworkState:
    """What the network answers."""

    names: bool | None = True
    tcp: Callable[[str], str] = lambda _host: "ok"
    http: Callable[[str, str], HttpAnswer] = lambda _host, _path: HttpAnswer(200, "{}")


@dataclass
class ChannelState:
    """The world of channels, which outlives every process of the operator."""

    answer: Callable[[str, Message], Receipt] = lambda _channel, _message: Receipt(True)
    tries: list[tuple[datetime, str, Message, Receipt]] = field(default_factory=list)
    secrets: list[dict[str, str]] = field(default_factory=list)

    def accepted(self, channel: str = "") -> list[tuple[datetime, str, Message]]:
        """What has reached people."""
        return [(at, c, m) for at, c, m, r in self.tries if r.accepted and channel in ("", c)]


class FakeChannels:
    """ports.Channels."""

    def __init__(self, state: ChannelState, faults: Faults, clock: ManualClock) -> None:
        self._state = state
        self._faults = faults
        self._clock = clock

    async def send(self, channel: str, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        async def effect() -> Receipt:
            receipt = self._state.answer(channel, message)
            self._state.tries.append((self._clock.now(), channel, message, receipt))
            self._state.secrets.append(dict(secret))
            return receipt

        return await self._faults.around(f"send {channel} {message.key}", effect)


class FakeNetwork:
    """ports.Network."""

    def __init__(self, state: NetworkState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def resolve(self, host: str, timeout: float) -> Sequence[str] | None:
        async def effect() -> Sequence[str] | None:
            return {True: ["10.62.0.10"], False: [], None: None}[self._state.names]

        return await self._faults.around(f"resolve {host}", effect)

    async def connect(self, host: str, port: int, timeout: float) -> str:
        async def effect() -> str:
            return self._state.tcp(host)

        return await self._faults.around(f"connect {host}", effect)

    async def http_get(self, host: str, port: int, path: str, timeout: float, limit: int = BODY_LIMIT) -> HttpAnswer:
        async def effect() -> HttpAnswer:
            answer = self._state.http(host, path)
            return replace(answer, body=answer.body[:limit], cut=len(answer.body) > limit)

        return await self._faults.around(f"http {path}", effect)


def health_answer(database: str, error: str = "", **others: str) -> HttpAnswer:
    """The api's health answer about its database, and about others that it rests on less."""
    state: object = {"status": database, "error": error} if error else database
    return HttpAnswer(200 if database == "up" else 503, json.dumps({"dependencies": {"database": state, **others}}))


@dataclass(frozen=True)
class Posted:
    """One Event that was posted."""

    kind: str
    name: str
    type: str
    reason: str
    message: str


@dataclass
class FakeEvents:
    """ports.Events."""

    faults: Faults
    posted: list[Posted] = field(default_factory=list)

    async def post(self, kind: Kind, obj: JSON, type_: str, reason: str, message: str) -> None:
        async def effect() -> None:
            self.posted.append(Posted(kind.kind, obj["metadata"]["name"], type_, reason, message))

        await self.faults.around(f"event {reason}", effect)

    def reasons(self) -> list[str]:
        return [p.reason for p in self.posted]


@dataclass
class FakeLeader:
    """ports.Leader."""

    term: int = 1
    leads: bool = True
    predecessor_looked: datetime | None = None

    def leading(self) -> bool:
        return self.leads

    def looked(self, at: datetime) -> None:
        self.predecessor_looked = at


@dataclass
class FakeMetrics:
    """ports.Metrics."""

    refusals: Counter[str] = field(default_factory=Counter)
    steps: list[tuple[str, str]] = field(default_factory=list)
    probes: Counter[str] = field(default_factory=Counter)
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)
    backups: dict[tuple[str, str], BackupFigures] = field(default_factory=dict)
    sends: Counter[tuple[str, str]] = field(default_factory=Counter)
    tasks: list[TaskEnd] = field(default_factory=list)
    windows: dict[tuple[str, str], WindowFigures] = field(default_factory=dict)

    def task_ended(self, end: TaskEnd) -> None:
        self.tasks.append(end)

    def window(self, namespace: str, name: str, figures: WindowFigures) -> None:
        self.windows[namespace, name] = figures

    def window_gone(self, namespace: str, name: str) -> None:
        self.windows.pop((namespace, name), None)

    def backup(self, namespace: str, name: str, figures: BackupFigures) -> None:
        self.backups[namespace, name] = figures

    def backup_gone(self, namespace: str, name: str) -> None:
        self.backups.pop((namespace, name), None)

    def refused(self, reason: str) -> None:
        self.refusals[reason] += 1

    def step(self, action: str, outcome: str) -> None:
        self.steps.append((action, outcome))

    def probe(self, probe: str, seconds: float) -> None:
        self.probes[probe] += 1

    def service_level(self, source: str, level: str) -> None:
        self.levels[source, level] += 1

    def notified(self, channel: str, outcome: str, seconds: float | None) -> None:
        self.sends[channel, outcome] += 1
