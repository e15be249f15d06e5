"""Stack: what the components' states are. Written only when a state or a condition changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from ..api.backup_job import BackupJob
from ..api.stack import ComponentState, ComponentStatus, LastBackup, Stack, StackStatus
from ..domain.backups.figures import last_backup
from ..domain.detection import short_faults
from ..domain.detection.components import component_statuses, service_level_condition, stack_conditions
from ..domain.detection.faults import storm_brake
from ..domain.maintenance import effects
from ..domain.world import Neighbour
from ..ports import BACKUP_JOB, INCIDENT, JSON, STACK, Key, Ports
from .blocks import BlockKeeper
from .daily_sampler import DailySampler
from .detector import Detector
from .invalid import say_invalid
from .links import QUICK_SECONDS, LinkKeeper
from .prober import StackProber
from .silencer import OrphanScan
from .status import write_status
from .temporary import Returner
from .uptime import UptimeKeeper
from .watchdog import WatchdogKeeper
from .window_reads import WindowReader

COUNT_SECONDS = 30.0
SHORTEST_PAUSE = 0.01
REMIND_EVERY = timedelta(hours=4)


class StackController:
    """Reconciles one Stack: probes it each interval, and nudges its open incidents when its spec changes."""

    def __init__(self, ports: Ports, prober: StackProber, nudge: Callable[[Key], None]) -> None:
        self._ports = ports
        self._prober = prober
        self._nudge = nudge
        self._detector = Detector(ports, prober)
        self._keeper = BlockKeeper(ports)
        self._links = LinkKeeper(ports, nudge)
        self._returner = Returner(ports)
        self._uptime = UptimeKeeper(ports)
        self._watchdog = WatchdogKeeper(ports)
        self._seen: dict[Key, tuple[int, float, int]] = {}
        self._reminded: dict[Key, int] = {}
        self._backups: dict[Key, tuple[float, LastBackup | None]] = {}
        self._windows = WindowReader(ports)
        self._orphans = OrphanScan(ports)
        self._sampler = DailySampler(ports)

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next round of probes."""
        obj = await self._ports.cluster.get(STACK, key.namespace, key.name)
        if obj is None:
            self._links.drop(key)
            self._seen.pop(key, None)
            self._reminded.pop(key, None)
            self._backups.pop(key, None)
            self._uptime.drop(key)
            self._orphans.forget(key)
            self._sampler.forget(key)
            await self._returner.gone(key)
            return None
        try:
            stack = Stack.model_validate(obj)
        except ValidationError as error:
            await say_invalid(self._ports, STACK, obj, "Stalled", error)
            return None
        began, suspects = self._ports.clock.now(), self._links.suspects(key)
        self._prober.outdate(stack, suspects)
        together = self._prober.round(stack)
        health = await self._prober.health(stack, together)
        self._links.keep(key, stack, health)
        states = await self._tell(key, stack, obj, health)
        self._orphans.look(key, stack)
        self._sampler.look(key, stack, await self._windows.windows(key.namespace))
        await self._keeper.look(stack, obj)
        await self._returner.look(stack, obj)
        await self._watchdog.look(key, stack)
        down = [c.name for c in states if c.state is ComponentState.MAJOR_OUTAGE]
        await self._detector.look(stack, obj, down, {name: seen.level for name, seen in health.items()}, together)
        took = (self._ports.clock.now() - began).total_seconds()
        pace = QUICK_SECONDS if self._links.suspects(key) else stack.spec.detection.pace
        return min(pace, max(SHORTEST_PAUSE, pace - took))

    async def _tell(self, key: Key, stack: Stack, obj: JSON, health: Mapping[str, Neighbour]) -> Sequence[ComponentStatus]:
        """Write the states when they have changed, and tell what is new."""
        now = self._ports.clock.now()
        short = self._links.judge(key, stack, health)
        before = stack.status or StackStatus()
        seen = effects.as_observed(before.components)
        states = component_statuses(stack, health, seen, now)
        states = short_faults.counted(states, seen, short, now)
        shown = effects.under_maintenance(await self._windows.windows(key.namespace), stack, states, now)
        conditions = stack_conditions(stack, states, before.conditions, now)
        conditions = service_level_condition(stack, health, conditions, now)
        conditions = short_faults.flapping(stack, states, conditions, now)
        up = sum(c.state is ComponentState.OPERATIONAL for c in states)
        status = before.model_copy(
            update={
                "observed_generation": stack.metadata.generation,
                "components": shown,
                "conditions": storm_brake(stack, states, conditions, now),
                "summary": f"{up}/{len(states)}",
                "open_incidents": await self._open_incidents(key, stack),
                "last_backup": await self._last_backup(key),
                "uptime": self._uptime.count(key, shown, before.uptime, now),
            }
        )
        await self._write(stack, obj, before, status)
        self._uptime.looked(key, now)
        await self._remind(key, stack, obj, status, now)
        await self._tell_short_faults(obj, short, before, status)
        return states

    async def _tell_short_faults(self, obj: JSON, short: Sequence[str], before: StackStatus, status: StackStatus) -> None:
        for name in short:
            text = f"{name}: its connection broke and it did not answer, but was back before that could count as a fault"
            await self._ports.events.post(STACK, obj, "Warning", "ShortFault", text)
        known = any(c.type == "Flapping" and c.status == "True" for c in before.conditions)
        flapping = next((c for c in status.conditions if c.type == "Flapping" and c.status == "True"), None)
        if flapping is not None and not known:
            await self._ports.events.post(STACK, obj, "Warning", "Flapping", flapping.message)

    async def _remind(self, key: Key, stack: Stack, obj: JSON, status: StackStatus, now: datetime) -> None:
        """A pause that is forgotten is an outage in waiting: say it each 4 h (rule 29)."""
        paused = next((c for c in status.conditions if c.type == "Paused" and c.status == "True"), None)
        times = 0 if paused is None else int((now - paused.last_transition_time) / REMIND_EVERY)
        if times == 0:
            self._reminded.pop(key, None)
        elif self._reminded.get(key) != times:
            self._reminded[key] = times
            text = f"paused for {times * 4}h, nothing is healed: {stack.spec.pause_reason or 'no reason given'}"
            await self._ports.events.post(STACK, obj, "Warning", "StillPaused", text)

    def recount(self, key: Key) -> None:
        """An incident of this Stack was opened or has ended, or a backup, or a window has changed."""
        self._windows.outdate(key.namespace)
        self._backups.pop(key, None)
        generation, _, count = self._seen.get(key, (-1, 0.0, 0))
        self._seen[key] = (generation, 0.0, count)

    async def _open_incidents(self, key: Key, stack: Stack) -> int:
        """Counted at most each 30 s; a changed spec counts anew and makes the incidents look again at once."""
        now = self._ports.clock.now().timestamp()
        generation, at, count = self._seen.get(key, (-1, 0.0, 0))
        changed = generation != stack.metadata.generation
        if not changed and 0 <= now - at < COUNT_SECONDS:
            return count
        incidents = await self._ports.cluster.list(INCIDENT, key.namespace, pick=_counted)
        unresolved = [i["name"] for i in incidents if i["stack"] == key.name and i["phase"] != "Resolved"]
        if changed:
            for name in unresolved:
                self._nudge(Key(INCIDENT.plural, key.namespace, name))
        self._seen[key] = (stack.metadata.generation, now, len(unresolved))
        return len(unresolved)

    async def _last_backup(self, key: Key) -> LastBackup | None:
        """Of all BackupJobs of the Stack; read at most each 30 s, and anew when one has changed."""
        now = self._ports.clock.now().timestamp()
        at, known = self._backups.get(key, (0.0, None))
        if at and 0 <= now - at < COUNT_SECONDS:
            return known
        found = last_backup(key.name, _readable(await self._ports.cluster.list(BACKUP_JOB, key.namespace)))
        self._backups[key] = (now, found)
        return found

    async def _write(self, stack: Stack, obj: JSON, before: StackStatus, status: StackStatus) -> None:
        known = before.to_wire() if stack.status else {}
        changes, _ = await write_status(self._ports, STACK, stack.metadata, known, status.to_wire())
        if not changes:
            return
        states = {c.name: c.state for c in before.components}
        for component in status.components:
            old = states.get(component.name, component.state)
            if old is not component.state:
                down = component.state in (ComponentState.MAJOR_OUTAGE, ComponentState.DEGRADED)
                text = f"{component.name}: {old} → {component.state}: {component.summary}"
                await self._ports.events.post(
                    STACK, obj, "Warning" if down else "Normal", f"Component{component.state}", text
                )


def _counted(incident: JSON) -> JSON:
    """What of an incident its Stack wants to know."""
    stack = ((incident.get("spec") or {}).get("stackRef") or {}).get("name")
    return {"name": incident["metadata"]["name"], "stack": stack, "phase": (incident.get("status") or {}).get("phase")}


def _readable(objects: Sequence[JSON]) -> list[BackupJob]:
    """BackupJobs; one that cannot be read says so itself, and proves nothing."""
    found = []
    for obj in objects:
        try:
            found.append(BackupJob.model_validate(obj))
        except ValidationError:
            continue
    return found
