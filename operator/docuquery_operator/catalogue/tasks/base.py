"""What a task of a MaintenanceWindow is: light, in the operator's own process, or heavy, in a Job from its image."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from ...api.maintenance_window import MaintenanceWindow, Task, TaskType
from ...api.stack import Stack
from ...domain.backups.manifest import Document
from ...domain.maintenance.task_outcome import TaskOutcome
from ...domain.world import Neighbour, Refusal
from ...ports import JSON, Ports


class Targets(Protocol):
    """Components that a task acts on, in the ledgers that healing counts by (rails 4 to 8)."""

    async def take(self, component: str, action: str, cooldown: timedelta) -> Refusal | None:
        """Enter the attempt and hold the component, or why not; may be repeated after a crash."""

    async def keep(self, component: str) -> None:
        """Go on holding it; Transient when somebody else has taken it."""

    async def finish(self, component: str, outcome: str) -> None:
        """Healed, NotHealed, Regressed, Inconclusive or Skipped, once; nothing happens where no attempt was entered."""

    async def leave(self) -> None:
        """Give back what the task has ended without a verdict on."""


@dataclass(frozen=True)
class TaskContext:
    """What a task works with.

    health: the Stack's probes, once. targets: what it acts on.
    stopping: why the task must end at its next safe point, '' while it may go on.
    timeout: seconds from `since`, also for a process that takes it up again. say: where it is, for people; cheap.
    image: of the operator itself. pause: waits so many seconds.
    """

    ports: Ports
    stack: Stack
    window: MaintenanceWindow
    task: Task
    attempt_id: str
    since: datetime
    timeout: float
    health: Callable[[], Awaitable[Mapping[str, Neighbour]]]
    targets: Targets
    stopping: Callable[[], str] = lambda: ""
    say: Callable[[str], None] = lambda _text: None
    image: str = ""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    def left(self) -> float:
        """Seconds that remain of its time, at least one."""
        return max(1.0, self.timeout - (self.ports.clock.now() - self.since).total_seconds())

    @property
    def namespace(self) -> str:
        """Namespace of window and Stack."""
        return self.window.metadata.namespace


@dataclass(frozen=True)
class JobWanted:
    """The Job of a heavy task. secrets: Secret by folder below secrets_dir; patch: changes the Job before it is made."""

    request: Document
    secrets: Mapping[str, str] = field(default_factory=dict)
    memory: str = "256Mi"
    scratch: str = "1Gi"
    patch: Callable[[JSON], JSON] | None = None
    service_account: str = ""


@dataclass(frozen=True)
class Light:
    """Runs in the operator's process. After a kill it is simply run again, so it must be safe to repeat.

    changes: it changes something, so it waits while the Stack is paused.
    """

    type: TaskType
    doc: str
    run: Callable[[TaskContext], Awaitable[TaskOutcome]]
    changes: bool = False


@dataclass(frozen=True)
class Heavy:
    """Runs in a Job of the image's mover. order: what the Job is asked; a TaskOutcome: it cannot be done, and why."""

    type: TaskType
    doc: str
    order: Callable[[TaskContext], Awaitable[JobWanted | TaskOutcome]]
    changes: bool = True


TaskKind = Light | Heavy


def parameters(context: TaskContext, name: str, model: type[Any]) -> Any:
    """The task's own parameters, or their defaults where none were written."""
    found = getattr(context.task, name)
    return model() if found is None else found
