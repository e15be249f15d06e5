"""Celery's workers and queues, and the quarantine of queues, as controllers see them: all through the broker, a Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .redis import RedisTarget


@dataclass(frozen=True)
class CeleryTarget:
    """The broker, and which of its keys are the application's."""

    redis: RedisTarget
    queues: tuple[str, ...] = ("celery",)
    key_prefix: str = ""
    result_prefix: str = "celery-task-meta-"


@dataclass(frozen=True)
class CeleryTask:
    """A task that a worker executes; never its arguments. age_seconds is None where the worker does not say it."""

    id: str
    name: str
    age_seconds: float | None = None
    redelivered: bool = False


@dataclass(frozen=True)
class CeleryNode:
    """A worker that has answered. begun: tasks that it has begun since its start; slots: tasks that it can do at once."""

    name: str
    pool: str = ""
    slots: int = 0
    begun: int = 0
    active: tuple[CeleryTask, ...] = ()
    reserved: int = 0
    queues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """What waits for workers.

    by_queue: messages of each queue, those of all priorities together. head: identity of the message that is next, ''
    without one. sent_seconds: its age where it says when it was sent. held: taken by workers and not acknowledged yet;
    held_oldest: seconds since the first of these was taken. held_ids: tags of the first ones. redelivered: of the held
    ones that were looked at, those that were given out before; held_tasks: their names, counted.
    """

    by_queue: Mapping[str, int]
    head: str = ""
    head_task: str = ""
    sent_seconds: float | None = None
    held: int = 0
    held_oldest: float | None = None
    held_ids: tuple[str, ...] = ()
    held_tasks: Mapping[str, int] = field(default_factory=dict)
    redelivered: int = 0

    @property
    def total(self) -> int:
        """Messages that wait in all queues."""
        return sum(self.by_queue.values())


@dataclass(frozen=True)
class CeleryFacts:
    """What one look gives. outcome: that of the broker, with the words of RedisFacts.

    subscribed: workers that listen for remote control, whether they answer or not; None without an answer of the broker.
    complete: each of them has answered. waiting: None where the keys could not be read.
    """

    outcome: str
    message: str = ""
    latency_ms: float = 0.0
    subscribed: int | None = None
    nodes: tuple[CeleryNode, ...] = ()
    complete: bool = False
    waiting: Waiting | None = None


@dataclass(frozen=True)
class TaskResult:
    """How one task ended; never what it returned. finished: seconds since 1970, None where it does not say."""

    id: str
    failed: bool
    finished: float | None = None
    name: str = ""
    error: str = ""


@dataclass(frozen=True)
class ResultsPage:
    """Some results and where to go on; cursor 0: the end was reached."""

    results: tuple[TaskResult, ...]
    cursor: int
    now: float


@dataclass(frozen=True)
class Batch:
    """Messages of one queue in quarantine, moved there by one attempt. digest: of their number and of those at both ends."""

    attempt: str
    queue: str
    messages: int
    since: float
    digest: str = ""


class Celery(Protocol):
    """Workers and queues; never raises for a sick broker: the outcome says it."""

    async def ping(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        """Who listens and who answers; only the names of the nodes are known then."""

    async def look(self, target: CeleryTarget, timeout: float) -> CeleryFacts:
        """What every worker does, and what waits."""

    async def results(self, target: CeleryTarget, cursor: int, timeout: float) -> ResultsPage | None:
        """A part of the result back end, read in small steps; None without an answer."""


class Quarantine(Protocol):
    """Messages set aside on the broker itself. Each call is one attempt's, and repeating it changes nothing.

    Each message is in exactly one place at any instant: moves are single commands or scripts of the server.
    """

    async def held(self, target: CeleryTarget, timeout: float) -> Sequence[Batch] | None:
        """All batches, the oldest first; None without an answer."""

    async def done(self, target: CeleryTarget, attempt: str, timeout: float) -> int | None:
        """Messages that this attempt has moved or dropped by now; None when it has not begun."""

    async def move(self, target: CeleryTarget, attempt: str, timeout: float) -> None:
        """All that waits in the target's queues now; what comes later stays."""

    async def put_back(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        """Give these back, in order and before what has come since; False while there is more to move."""

    async def drop(self, target: CeleryTarget, attempt: str, batches: Sequence[Batch], timeout: float) -> bool:
        """Delete exactly these; False, and nothing is deleted, when one is another by now."""
