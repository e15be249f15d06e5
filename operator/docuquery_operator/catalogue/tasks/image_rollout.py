"""One workload to new images and, where it is not well with them, back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...api.common import format_time
from ...api.incident import Step
from ...api.stack import Component
from ...domain.workloads.images import DONE, RECORD, ROLLING, UNDOING, UNDONE, Record, containers_with, images_of
from ...domain.workloads.pods import ATTEMPT_ANNOTATION, RESTARTED_AT
from ...domain.world import EffectState
from ...ports import JSON, WORKLOADS, ApiError, Conflict, Transient, Unavailable
from ..actions.restart_workload import RestartWorkload
from .base import TaskContext
from .targets import lost

# A new version has so long to be well, as has the old one that was put back.
GATE_SECONDS, BACK_SECONDS = 300.0, 300.0
# Kept of the task's time for the way back.
RESERVE_SECONDS = 45.0
PAUSE_SECONDS = 2.0
CHANGED = "somebody else has changed its images meanwhile; they are left alone"
# So many looks in a row must find it well.
LOOKS = 3


class Roller:
    """For one component of one attempt."""

    def __init__(self, context: TaskContext, name: str, component: Component) -> None:
        self._context, self._name, self._ref = context, name, component.workload
        self._kind = WORKLOADS[component.workload.kind]
        self._healthy: frozenset[str] = frozenset()

    async def roll(self, workload: JSON, before: Mapping[str, str], after: Mapping[str, str]) -> Record:
        """To the new images, to a verdict."""
        health = await self._context.health()
        self._healthy = frozenset(n for n, found in health.items() if found.healthy)
        record = Record(self._context.attempt_id, ROLLING, self._now(), before, after)
        if not await self._write(record, images_of(workload), after, record.attempt):
            return replace(record, state=UNDONE, why=CHANGED)
        return await self.carried_on(record)

    async def carried_on(self, record: Record) -> Record:
        """From wherever the attempt stands."""
        if record.state == ROLLING:
            why = await self._well(record, record.attempt, GATE_SECONDS)
            if not why:
                took = round(self._now() - record.at)
                return await self._end(record, DONE, f"healthy with it after {took} s")
            record = await self._undo(record, why)
        if record.state == UNDOING:
            still = await self._well(record, _back(record), BACK_SECONDS)
            if still:
                text = f"{record.why}; the former version was put back and was not seen to be well in its time: {still}"
                return await self._end(record, UNDOING, text)
            return await self._end(record, UNDONE, f"{record.why}; the former version was put back and is healthy")
        return record

    async def _well(self, record: Record, attempt: str, within: float) -> str:
        """'' once it was well for some looks in a row; else why it is not, by the end of its time."""
        reserve = RESERVE_SECONDS if record.state == ROLLING else PAUSE_SECONDS
        until = min(record.at + within, self._context.since.timestamp() + self._context.timeout - reserve)
        good, why = 0, "it was not looked at"
        while self._now() < until:
            why = await self._ill(record, attempt)
            good = 0 if why else good + 1
            if good >= LOOKS:
                return ""
            if record.state == ROLLING and self._context.stopping():
                return f"stopped before its verdict: {self._context.stopping()}"
            await self._context.pause(PAUSE_SECONDS)
        return why or "it was well for too short a time"

    async def _ill(self, record: Record, attempt: str) -> str:
        try:
            return await self._looked(record, attempt)
        except ApiError as problem:
            # What cannot be seen is not well, and is looked at again.
            return f"the API server could not be asked: {problem}"[:200]

    async def _looked(self, record: Record, attempt: str) -> str:
        taken = await lost(self._context, self._name)
        if taken:
            return taken
        step = self._step(record, attempt, await self._uid())
        effect = await RestartWorkload().effect(step, self._context.namespace, self._context.ports)
        if effect.state is not EffectState.DONE:
            if effect.state is EffectState.ABSENT:
                return effect.message or "somebody else has changed the workload meanwhile"
            # Broken pods of the other version are in its way, those of a StatefulSet for ever.
            await RestartWorkload().advance(step, self._context.namespace, self._context.ports)
            return effect.message
        health = await self._context.health()
        bad = [n for n, found in health.items() if found.healthy is not True and (n == self._name or n in self._healthy)]
        return "; ".join(f"{n}: {health[n].summary}" for n in sorted(bad))[:300]

    async def _hold(self) -> None:
        """Nothing is written while somebody else acts on it."""
        while True:
            if not self._context.ports.leader.leading():
                raise Transient("not the leader any more", 1.0)
            if not await lost(self._context, self._name):
                return
            await self._context.pause(PAUSE_SECONDS)

    async def _uid(self) -> str:
        return str((await self._workload())["metadata"]["uid"])

    async def _workload(self) -> JSON:
        found = await self._context.ports.cluster.get(self._kind, self._context.namespace, self._ref.name)
        if found is None:
            raise Transient(f"{self._ref.kind} {self._ref.name} is gone", 5.0)
        return found

    async def _undo(self, record: Record, why: str) -> Record:
        """Put back in one write, unless somebody else has changed the images since: then they are theirs."""
        undoing = replace(record, state=UNDOING, at=self._now(), why=f"not well with it: {why}"[:300])
        if await self._write(undoing, record.after, record.before, _back(record)):
            return undoing
        return await self._end(undoing, UNDONE, f"{undoing.why}; {CHANGED}")

    async def _write(self, record: Record, expected: Mapping[str, str], images: Mapping[str, str], attempt: str) -> bool:
        """Images, record and attempt in one write; False when the images are not those that were expected any more."""
        while True:
            await self._hold()
            try:
                workload = await self._workload()
                there = images_of(workload)
                if any(there.get(container) != image for container, image in expected.items()):
                    return False
                now = format_time(self._context.ports.clock.now())
                template: JSON = {
                    "metadata": {"annotations": {ATTEMPT_ANNOTATION: attempt, RESTARTED_AT: now}},
                    "spec": {"containers": containers_with(workload, images)},
                }
                await self._patch(workload, record, {"spec": {"template": template}})
                return True
            except (Conflict, Unavailable):
                # A status that was written meanwhile, or an API server that is away: read again.
                await self._context.pause(PAUSE_SECONDS)

    async def _end(self, record: Record, state: str, why: str) -> Record:
        record = replace(record, state=state, at=self._now(), why=why[:400])
        while True:
            try:
                await self._patch(await self._workload(), record, {})
                return record
            except (Conflict, Unavailable):
                await self._context.pause(PAUSE_SECONDS)

    async def _patch(self, workload: JSON, record: Record, body: JSON) -> None:
        """On exactly the object that was read."""
        context, meta = self._context, workload["metadata"]
        if not context.ports.leader.leading():
            raise Transient("not the leader any more", 1.0)
        bound = {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"], "annotations": {RECORD: record.text()}}
        change: JSON = {"metadata": bound, **body}
        if await context.ports.cluster.patch(self._kind, context.namespace, self._ref.name, change) is None:
            raise Transient(f"{self._ref.kind} {self._ref.name} is gone", 5.0)

    def _step(self, record: Record, attempt: str, uid: str) -> Step:
        plan = {"kind": self._ref.kind, "name": self._ref.name, "uid": uid}
        return Step(name="image", kind="restartWorkload", attempt_id=attempt, plan=plan)

    def _now(self) -> float:
        return self._context.ports.clock.now().timestamp()


def _back(record: Record) -> str:
    return f"{record.attempt}-u"
