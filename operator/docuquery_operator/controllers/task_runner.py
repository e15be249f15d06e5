"""Runs the tasks of MaintenanceWindows: light ones beside the passes of this process, heavy ones as Jobs.

What a task has found is kept in the report's ConfigMap first, and only then in the window's status: whoever dies between the
two finds it there. A light task that died with its process is begun again under the same attempt id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from ..api.common import delta
from ..api.maintenance_window import MaintenanceWindow, Task, TaskResult, TaskType
from ..api.stack import Stack
from ..api.work import MoverResources
from ..catalogue.tasks import TASKS
from ..catalogue.tasks.base import Heavy, JobWanted, Light, TaskContext, TaskKind
from ..domain.backups.facts import JobFacts, JobState
from ..domain.backups.jobs import Order, Owner
from ..domain.backups.occupied import TASK_STORES
from ..domain.maintenance.task_outcome import TaskOutcome
from ..domain.maintenance.tasks import At, TaskFacts, TasksPlan, TasksWorld, held_by, task_of, unfinished
from ..ports import MAINTENANCE_WINDOW, STACK, ApiError, Key, Ports, Refused, Transient
from .backup_reads import BackupReader
from .ledgers import LedgerStore
from .movers import Movers
from .prober import StackProber
from .task_reports import TaskReports
from .task_targets import TaskTargets

# A Job whose own time is up is given so long to tell how far it came.
ENDING_SECONDS = 60
CANCEL_GRACE = 20.0
MOST_UNKEPT = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Attempt:
    attempt_id: str


@dataclass
class _Running:
    """A light task in this process. stop: why it must end at its next safe point."""

    work: asyncio.Task[None]
    message: str = ""
    stop: str = ""
    stopped_at: float = field(default=0.0)


class TaskRunner:
    """One for the MaintenanceWindow controller."""

    def __init__(
        self,
        ports: Ports,
        prober: StackProber,
        image: str,
        changed: Callable[[Key], None] | None = None,
        kinds: Mapping[TaskType, TaskKind] = TASKS,
    ) -> None:
        self._ports = ports
        self._kinds = kinds
        self._prober = prober
        self._image = image
        self._changed = changed or (lambda _key: None)
        self._movers = Movers(ports)
        self._reader = BackupReader(ports, image)
        self._reports = TaskReports(ports)
        self._ledgers = LedgerStore(ports.cluster)
        self._light: dict[str, _Running] = {}
        # Lost with the process: then the task is done once more, or its Job read again.
        self._unkept: dict[str, TaskOutcome] = {}

    # Read

    async def world(self, window: MaintenanceWindow) -> TasksWorld:
        """What is seen of the task at work, and what keeps the next one from beginning."""
        base = TasksWorld(frozenset(self._kinds))
        result = unfinished(window.status)
        kind = self._kinds.get(result.type) if result else None
        if result is None or kind is None or result.attempt_id is None:
            return base
        facts = await self._facts(window, result, kind) if result.state == "Running" else TaskFacts()
        if facts.at is not At.ABSENT:
            return TasksWorld(base.served, facts)
        return TasksWorld(base.served, facts, result.attempt_id, await self._hold(window, kind))

    async def _facts(self, window: MaintenanceWindow, result: TaskResult, kind: TaskKind) -> TaskFacts:
        kept = await self._reports.kept(window, result)
        if kept is not None:
            return TaskFacts(At.ENDED, kept)
        assert result.attempt_id is not None
        if result.attempt_id in self._unkept:
            return TaskFacts(At.ENDED, self._unkept[result.attempt_id])
        if isinstance(kind, Light):
            running = self._light.get(result.attempt_id)
            return TaskFacts() if running is None else TaskFacts(At.RUNNING, None, running.message)
        meta = window.metadata
        job = await self._movers.look(meta.namespace, meta.name, meta.uid, _Attempt(result.attempt_id))
        if job.state is JobState.ABSENT:
            return TaskFacts()
        if job.state is JobState.RUNNING and job.result is None:
            told = job.progress
            if await self._movers.lacks_request(meta.namespace, meta.name, _Attempt(result.attempt_id), job):
                return TaskFacts()
            return TaskFacts(At.RUNNING, None, told.step if told else job.message)
        outcome = _outcome_of(job)
        return TaskFacts(At.ENDED, await self._keep(window, result, outcome))

    async def _keep(self, window: MaintenanceWindow, result: TaskResult, outcome: TaskOutcome) -> TaskOutcome:
        """In the report, before the status tells it; what the API server does not take is told by the status alone."""
        try:
            await self._reports.keep(window, result, outcome)
        except Refused as no:
            log.warning("a report could not be kept", extra={"task": result.type, "problem": str(no)[:200]})
            summary = f"{outcome.summary[:300]}; its report could not be kept: {no}"[:512]
            outcome = outcome.model_copy(update={"summary": summary})
            self._unkept[result.attempt_id or ""] = outcome
            for old in [*self._unkept][:-MOST_UNKEPT]:
                del self._unkept[old]
        return outcome

    async def _hold(self, window: MaintenanceWindow, kind: TaskKind) -> str:
        """Why it must not begin now."""
        namespace, name = window.metadata.namespace, window.spec.stack_ref.name
        stores = TASK_STORES.get(kind.type.value)
        busy = ""
        if stores:
            busy = await self._reader.in_the_way(namespace, name, "Maintenance", window.metadata.name, stores)
        stack = await self._ports.cluster.get(STACK, namespace, name)
        if stack is None:
            return f"Stack '{name}' does not exist; it waits"
        if stores and not busy:
            busy = await self._ledgers.healed(stack, stores, self._ports.clock.now())
        return held_by(busy, bool((stack.get("spec") or {}).get("paused")), kind.changes)

    # Act

    async def act(self, window: MaintenanceWindow, plan: TasksPlan) -> None:
        """Begin or stop, once its intent is written; called again it changes nothing."""
        if plan.drop:
            await self._reports.drop(window, plan.drop)
        if plan.stop is not None:
            await self._stop(window, plan.stop)
        if plan.begin is not None:
            await self._begin(window, plan.begin)

    async def _begin(self, window: MaintenanceWindow, result: TaskResult) -> None:
        kind, task = self._kinds.get(result.type), task_of(window, result)
        if kind is None or task is None or result.attempt_id in self._light:
            return
        if not self._ports.leader.leading():
            raise Transient("not the leader any more", 1.0)
        # The intent is written, so whoever begins from now on sees it; who began before is seen here.
        hold = await self._hold(window, kind)
        if hold:
            raise Transient(hold, 1.0)
        stack = await self._stack(window)
        if isinstance(stack, str):
            outcome = TaskOutcome(state="Failed", summary=stack[:512])
            await self._keep(window, result, outcome)
            return
        context = self._context(window, stack, task, result)
        if isinstance(kind, Heavy):
            await self._start(window, result, kind, context)
            return
        work = asyncio.create_task(self._run(window, result, kind, context), name=f"task {result.attempt_id}")
        self._light[context.attempt_id] = _Running(work)

    async def _stack(self, window: MaintenanceWindow) -> Stack | str:
        name = window.spec.stack_ref.name
        found = await self._ports.cluster.get(STACK, window.metadata.namespace, name)
        if found is None:
            return f"Stack '{name}' does not exist"
        try:
            return Stack.model_validate(found)
        except ValidationError as error:
            return f"Stack '{name}' cannot be read: {error.errors(include_input=False, include_url=False)[0]['msg']}"

    def _context(self, window: MaintenanceWindow, stack: Stack, task: Task, result: TaskResult) -> TaskContext:
        attempt = result.attempt_id or ""
        begun = result.started_at or self._ports.clock.now()

        def say(text: str) -> None:
            if attempt in self._light:
                self._light[attempt].message = text[:512]

        return TaskContext(
            ports=self._ports,
            stack=stack,
            window=window,
            task=task,
            attempt_id=attempt,
            since=begun,
            timeout=delta(task.timeout).total_seconds(),
            health=lambda: self._prober.health(stack),
            targets=TaskTargets(self._ports, stack, attempt),
            stopping=lambda: self._light[attempt].stop if attempt in self._light else "",
            say=say,
            image=self._image,
        )

    async def _run(self, window: MaintenanceWindow, result: TaskResult, kind: Light, context: TaskContext) -> None:
        """A light task from its beginning to its kept outcome; then the window is looked at again."""
        try:
            outcome = await _guarded(kind, context)
            if outcome is not None:
                await context.targets.leave()
                await self._keep(window, result, outcome)
        except ApiError as problem:
            # Nothing was kept: the next pass does not find it and begins it again.
            log.warning("a task's outcome could not be kept", extra={"task": kind.type, "problem": str(problem)[:200]})
        finally:
            self._light.pop(context.attempt_id, None)
            self._changed(Key(MAINTENANCE_WINDOW.plural, window.metadata.namespace, window.metadata.name))

    async def _start(self, window: MaintenanceWindow, result: TaskResult, kind: Heavy, context: TaskContext) -> None:
        if not self._image:
            text = "the operator does not know its own image, so it can start no Job; set DOCUQUERY_IMAGE (the chart does)"
            await self._keep(window, result, TaskOutcome(state="Failed", summary=text))
            return
        wanted = await kind.order(context)
        if isinstance(wanted, TaskOutcome):
            await self._keep(window, result, wanted)
            return
        try:
            await self._movers.start(_order(window, kind, context, wanted), wanted.request, wanted.patch)
        except (Refused, ValueError) as no:
            outcome = TaskOutcome(state="Failed", summary=f"its Job cannot be made: {no}"[:512])
            await self._keep(window, result, outcome)

    async def _stop(self, window: MaintenanceWindow, result: TaskResult) -> None:
        attempt, kind = result.attempt_id or "", self._kinds.get(result.type)
        if isinstance(kind, Heavy):
            await self._movers.cancel(window.metadata.namespace, window.metadata.name, _Attempt(attempt))
            return
        running, now = self._light.get(attempt), asyncio.get_running_loop().time()
        if running is None:
            return
        if not running.stop:
            running.stop, running.stopped_at = result.summary or "it must stop", now
        elif now - running.stopped_at > CANCEL_GRACE:
            running.work.cancel()


async def _guarded(kind: Light, context: TaskContext) -> TaskOutcome | None:
    """Whatever a task does, it ends with an outcome; None: the process itself ends."""
    try:
        async with asyncio.timeout(context.left()):
            return await kind.run(context)
    except TimeoutError:
        return TaskOutcome(state="Failed", summary=f"it took longer than its timeout of {context.task.timeout}")
    except ApiError as problem:
        return TaskOutcome(state="Failed", summary=f"the API server could not be asked: {problem}"[:512])
    except asyncio.CancelledError:
        why = context.stopping()
        if not why:
            raise
        return TaskOutcome(state="Aborted", summary=why[:512])
    except Exception as problem:
        # What nobody foresaw must not keep the other tasks from their turn.
        log.exception("task failed", extra={"task": kind.type})
        return TaskOutcome(state="Failed", summary=f"it failed: {type(problem).__name__}; the operator's log has more")


def _outcome_of(job: JobFacts) -> TaskOutcome:
    result = job.result
    if result is None:
        return TaskOutcome(state="Failed", summary=(job.message or f"its Job ended without a result: {job.reason}")[:512])
    if result.outcome is not None:
        return result.outcome
    state = "Aborted" if result.reason == "Terminated" else "Failed"
    return TaskOutcome.model_validate({"state": state, "summary": f"{result.reason}: {result.message}"[:512]})


def _order(window: MaintenanceWindow, kind: Heavy, context: TaskContext, wanted: JobWanted) -> Order:
    secrets: Mapping[str, str] = wanted.secrets
    return Order(
        owner=Owner(MAINTENANCE_WINDOW.kind, MAINTENANCE_WINDOW.plural, window.metadata.name, window.metadata.uid),
        namespace=window.metadata.namespace,
        stack=window.spec.stack_ref.name,
        kind=kind.type.value,
        attempt_id=context.attempt_id,
        image=context.image,
        deadline_seconds=int(context.left()) + ENDING_SECONDS,
        resources=MoverResources(),
        memory=wanted.memory,
        scratch=wanted.scratch,
        secrets=secrets,
        service_account=wanted.service_account,
    )
