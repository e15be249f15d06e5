"""Keeps the silences of maintenance windows in Alertmanager, and ends those that nobody keeps any more."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.alertmanager import AlertmanagerServer
from ..api.maintenance_window import MaintenanceWindow
from ..api.stack import Component, ComponentType, Endpoint, Stack, WorkloadRef
from ..catalogue import shared
from ..catalogue.base import Round
from ..domain.maintenance import silences
from ..domain.maintenance.silences import FINALIZER, SilenceFacts, SilencePlan
from ..ports import JSON, MAINTENANCE_WINDOW, AlertmanagerTarget, ApiError, Key, Ports, Transient

TIMEOUT = 3.0
SCAN_EVERY = timedelta(minutes=10)
log = logging.getLogger(__name__)


class Silencer:
    """One for the MaintenanceWindow controller."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._looked: set[str] = set()

    async def look(self, window: MaintenanceWindow, stack: JSON | None) -> SilenceFacts:
        """What Alertmanager knows, where it has to be asked."""
        found = _readable(stack)
        server = found.spec.alertmanager if found is not None else None
        uid = window.metadata.uid
        base = SilenceFacts(server, found.metadata.uid if found else "")
        now = self._ports.clock.now()
        if found is None or server is None or not silences.must_ask(window, server, uid in self._looked, now):
            return base
        seen = await ask(self._ports, found, server)
        if isinstance(seen, str):
            return SilenceFacts(server, base.stack_uid, True, None, seen)
        self._looked.add(uid)
        return SilenceFacts(server, base.stack_uid, True, tuple(seen))

    async def act(self, window: MaintenanceWindow, stack: JSON | None, plan: SilencePlan) -> None:
        """What the status says already is done: called again it changes nothing."""
        if not self._ports.leader.leading():
            return
        found = _readable(stack)
        server = found.spec.alertmanager if found is not None else None
        if (plan.put is not None or plan.keep) and not await self._finalizer(window, True):
            return
        problems = []
        if found is not None and server is not None and (plan.put is not None or plan.expire):
            target = await _target(self._ports, found, server)
            for silence_id in plan.expire if target else ():
                assert target is not None
                problems.append(await self._ports.alertmanager.expire(target, silence_id, TIMEOUT))
            if target is not None and plan.put is not None:
                problems.append(await self._ports.alertmanager.put(target, plan.put, TIMEOUT))
        for problem in filter(None, problems):
            log.warning("Alertmanager did not take it", extra={"window": window.metadata.name, "problem": problem})
        if not plan.keep and plan.put is None:
            await self._finalizer(window, False)

    async def _finalizer(self, window: MaintenanceWindow, wanted: bool) -> bool:
        """By a patch of our own, only while a silence may exist. Whether it is as wanted now."""
        meta = window.metadata
        if (FINALIZER in meta.finalizers) is wanted:
            return True
        fresh = await self._ports.cluster.get(MAINTENANCE_WINDOW, meta.namespace, meta.name)
        if fresh is None or fresh["metadata"].get("uid") != meta.uid:
            return not wanted
        present: list[str] = fresh["metadata"].get("finalizers") or []
        if (FINALIZER in present) is wanted:
            return True
        if wanted and fresh["metadata"].get("deletionTimestamp"):
            return False
        after = [*present, FINALIZER] if wanted else [f for f in present if f != FINALIZER]
        body: JSON = {"metadata": {"resourceVersion": fresh["metadata"]["resourceVersion"], "finalizers": after}}
        await self._ports.cluster.patch(MAINTENANCE_WINDOW, meta.namespace, meta.name, body)
        return True


class OrphanScan:
    """One for the Stack controller: at the start and every ten minutes, beside the passes."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._scanned: dict[Key, datetime] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def forget(self, key: Key) -> None:
        """The Stack is gone."""
        self._scanned.pop(key, None)

    def look(self, key: Key, stack: Stack) -> None:
        """Begin a scan where one is due."""
        now, last = self._ports.clock.now(), self._scanned.get(key)
        due = last is None or not timedelta(0) <= now - last < SCAN_EVERY
        if stack.spec.alertmanager is None or not due or key in self._tasks or not self._ports.leader.leading():
            return
        self._scanned[key] = now
        task = asyncio.ensure_future(self.scan(stack))
        self._tasks[key] = task
        task.add_done_callback(lambda ended: self._ended(key, ended))

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, ApiError | Transient):
            self._scanned.pop(key, None)
        elif problem is not None:
            log.error("silences could not be scanned", exc_info=problem)

    async def scan(self, stack: Stack) -> None:
        """Silences first, then windows: a silence is made only after its mark stands in a window's status."""
        server = stack.spec.alertmanager
        seen = await ask(self._ports, stack, server) if server is not None else ()
        if server is None or isinstance(seen, str) or not seen:
            return
        windows = await self._ports.cluster.list(MAINTENANCE_WINDOW, stack.metadata.namespace)
        kept = {((w.get("status") or {}).get("silence") or {}).get("mark", "") for w in windows}
        lost = silences.orphans(seen, stack.metadata.uid, kept)
        target = await _target(self._ports, stack, server) if lost else None
        for silence_id in lost if target else ():
            assert target is not None
            problem = await self._ports.alertmanager.expire(target, silence_id, TIMEOUT)
            log.warning("a forgotten silence is ended", extra={"silence": silence_id, "problem": problem})


async def ask(ports: Ports, stack: Stack, server: AlertmanagerServer) -> tuple[silences.Seen, ...] | str:
    """All silences that bear the Stack's first label, or why they are not known."""
    target = await _target(ports, stack, server)
    if target is None:
        return f"Service '{server.service}' is missing or has no endpoint"
    seen = await ports.alertmanager.silences(target, sorted(server.labels.items())[0], TIMEOUT)
    return seen if isinstance(seen, str) else tuple(seen)


async def _target(ports: Ports, stack: Stack, server: AlertmanagerServer) -> AlertmanagerTarget | None:
    component = Component(
        type=ComponentType.API,
        workload=WorkloadRef(kind="Deployment", name=server.service),
        endpoint=Endpoint(service=server.service, port=server.port),
    )
    host = await shared.address(Round(stack, ports, TIMEOUT, ports.clock.now()), component)
    return AlertmanagerTarget(host, server.port, server.prefix) if host else None


def _readable(stack: JSON | None) -> Stack | None:
    try:
        return Stack.model_validate(stack) if stack is not None else None
    except ValidationError:
        return None
