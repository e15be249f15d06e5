"""A week in simulated time, with a clock that is scaled by thousands: every run at its hour, nothing twice, status small."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.maintenance_window import TaskType
from docuquery_operator.catalogue.tasks.base import Light, TaskContext
from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.controllers.task_runner import TaskRunner
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.ports import CONFIG_MAP, MAINTENANCE_WINDOW, Conflict, Key, Transient
from tests.controllers.test_silences import with_alertmanager
from tests.fakes.alertmanager import SilencesInMemory
from tests.fakes.rig import NAMESPACE, Rig
from tests.zones.second import openings, shown

pytestmark = pytest.mark.timeout(120)
ZONE = "Europe/Berlin"
# To the hour before the next daily one.
WEEK = timedelta(days=7, hours=-1)
SMALL = 8 * 1024
# The simulated week begins an hour before the clocks of the zone are set forward.
WINDOWS: dict[str, dict[str, Any]] = {
    "daily": {"schedule": {"cron": "30 2 * * *"}, "duration": "30m", "effects": {"paging": "None"}},
    "weekly": {
        "schedule": {"rrule": "FREQ=WEEKLY;BYDAY=WE", "start": "2026-01-07T03:00:00+01:00"},
        "duration": "2h",
        "effects": {"alertmanagerSilence": True, "healing": "Block"},
    },
    "monthly": {"schedule": {"cron": "0 4 1 * *"}, "duration": "4h"},
}


class Week:
    """Three windows, each looked at when it asks for it."""

    def __init__(self) -> None:
        self.rig = Rig(mode="Off")
        self.rig.clock.ignore(self.rig.simulator.tick)
        self.silences = SilencesInMemory(self.rig.clock)
        with_alertmanager(self.rig, self.silences)
        self.ran: list[tuple[str, datetime]] = []
        self.begin = self.rig.clock.now()
        self.due: dict[str, datetime] = {}
        self.largest = 0
        for name, spec in WINDOWS.items():
            tasks = [{"type": "HealthCheck"}, {"type": "ErrorRate"}]
            body = {"stackRef": {"name": "docuquery"}, "timeZone": ZONE, "historyLimit": 10, "tasks": tasks, **spec}
            self.rig.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": body})
            self.due[name] = self.begin
        self.start()

    def start(self) -> None:
        """A process of the operator."""
        life = self.rig.start()
        kinds = {t: Light(t, "a look", self._look) for t in (TaskType.HEALTH_CHECK, TaskType.ERROR_RATE)}
        runner = TaskRunner(life.ports, life.prober, "image:1", None, kinds)
        self.controller = MaintenanceWindowController(life.ports, runner)

    async def _look(self, context: TaskContext) -> TaskOutcome:
        self.ran.append((context.attempt_id, context.ports.clock.now()))
        return TaskOutcome(state="Succeeded", summary="looked")

    async def live(self) -> None:
        """Seven days; each day the process is replaced by another, at whatever it was about."""
        end, replaced = self.begin + WEEK, self.begin
        while min(self.due.values()) < end:
            name = min(self.due, key=self.due.__getitem__)
            self.rig.clock.jump(max(0.0, (self.due[name] - self.rig.clock.now()).total_seconds()))
            if self.rig.clock.now() - replaced > timedelta(hours=23):
                replaced = self.rig.clock.now()
                self.start()
            self.due[name] = self.rig.clock.now() + timedelta(seconds=await self.once(name))
            status = self.status(name)
            self.largest = max(self.largest, len(json.dumps(status)))

    async def once(self, name: str) -> float:
        """One pass, and what runs beside it."""
        try:
            again = await self.controller.reconcile(Key(MAINTENANCE_WINDOW.plural, NAMESPACE, name))
        except (Conflict, Transient):
            again = 1.0
        for _ in range(10):
            await asyncio.sleep(0)
        return 3600.0 if again is None else max(0.05, again)

    def status(self, name: str) -> Any:
        found = self.rig.server.find(MAINTENANCE_WINDOW, NAMESPACE, name)
        return (found or {}).get("status") or {}

    def opened(self, name: str) -> list[datetime]:
        return [datetime.fromisoformat(p["since"]) for p in self.status(name).get("history") or []]


async def test_a_week() -> None:
    week = Week()
    await week.live()
    walk = list(shown(ZONE, week.begin.replace(minute=0, second=0) - timedelta(days=2), 11))
    within = [at for at in sorted(openings(walk, 2, 30).values()) if week.begin <= at < week.begin + WEEK]
    assert week.opened("daily") == within, "at its hour on the wall, also on the day on which that hour is left out"
    assert len(within) == 7
    assert [at.isoformat() for at in week.opened("weekly")] == ["2026-04-01T01:00:00+00:00"]
    assert [at.isoformat() for at in week.opened("monthly")] == ["2026-04-01T02:00:00+00:00"]
    history = [p for name in WINDOWS for p in week.status(name)["history"]]
    assert {p["outcome"] for p in history} == {"Completed"}
    told = Counter(e.reason for life in week.rig.lives for e in life.events.posted)
    assert (told["WindowOpened"], told["WindowClosed"], told["WindowMissed"]) == (9, 9, 0)
    assert Counter(Counter(i for i, _ in week.ran).values()) == {1: 18}, "two tasks of nine windows, each once"
    spans = [(datetime.fromisoformat(p["since"]), datetime.fromisoformat(p["until"])) for p in history]
    assert all(any(since <= at < until for since, until in spans) for _, at in week.ran)
    assert week.silences.living() == []
    assert 5 <= len(week.silences.bodies) <= 8, "two hours in slices"
    assert week.largest < SMALL
    writes = [w for w in week.rig.server.writes if w.plural == "maintenancewindows"]
    assert len(writes) < 120, "what has not changed is not written"
    assert len(list(week.rig.server.all(CONFIG_MAP, NAMESPACE))) == 9
