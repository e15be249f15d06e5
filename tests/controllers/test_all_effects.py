"""A window with all of its effects at once: the same end whichever write the operator dies at."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import MAINTENANCE_WINDOW, SECRET, STACK, Conflict, Key, Transient
from tests.controllers.test_between_intent_and_effect import restarts
from tests.controllers.test_maintenance_window import KEY, put, seen
from tests.controllers.test_silences import finalizers, with_alertmanager
from tests.fakes.alertmanager import SilencesInMemory
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig, steps

pytestmark = pytest.mark.timeout(240)
STACK_KEY = Key(STACK.plural, NAMESPACE, "docuquery")
EFFECTS = {"paging": "Mute", "healing": "Block", "alertmanagerSilence": True, "statusPage": True}
WRITES = ("patch", "create", "put", "expire", "send")
PARTS = 4


@dataclass
class World:
    """A frozen database under an open window, and all controllers that have to do with it."""

    rig: Rig = field(default_factory=Rig)
    died: int = 0

    def __post_init__(self) -> None:
        data = {"url": base64.b64encode(b"https://pager.example").decode()}
        self.rig.server.put(SECRET, {"metadata": {"name": "to-pager", "namespace": NAMESPACE}, "data": data})
        talk = {
            "channels": {"pagerduty": {"secretRef": {"secretName": "to-pager"}}},
            "contacts": {"onCall": ["ana@example.org"]},
        }
        self.rig.edit_stack(lambda s: s["spec"].update(communication=talk))
        self.silences = SilencesInMemory(self.rig.clock)
        with_alertmanager(self.rig, self.silences)
        self.rig.freeze()
        put(self.rig, 0, "1m", effects=EFFECTS)
        self.until = datetime.fromisoformat(self.window()["spec"]["schedule"]["at"]).timestamp() + 60
        self.incident = self.rig.incident()
        self.begin()

    def begin(self, faults: Faults | None = None) -> None:
        """A process of the operator."""
        life = self.rig.start(faults)
        self.stacks = StackController(life.ports, life.prober, lambda _key: None)
        self.windows = MaintenanceWindowController(life.ports, None, self.stacks.recount)

    def window(self) -> Any:
        return self.rig.server.find(MAINTENANCE_WINDOW, NAMESPACE, "w")

    async def live(self, seconds: float) -> None:
        """Passes of each controller in turn; who dies is replaced."""
        end = self.rig.clock.now().timestamp() + seconds
        while self.rig.clock.now().timestamp() < end:
            lives = len(self.rig.lives)
            try:
                await self.once(self.windows, KEY)
                await self.once(self.stacks, STACK_KEY)
                await self.rig.once(self.incident)
            except KilledError:
                self.begin()
                self.died += 1
            else:
                if len(self.rig.lives) > lives:
                    # The incident's pass has died, and a new process was begun.
                    self.begin()
                    self.died += 1
            self.rig.clock.advance(2)

    async def once(self, controller: Any, key: Key) -> None:
        try:
            await controller.reconcile(key)
        except (Conflict, Transient):
            return

    def check(self, where: str) -> None:
        """The end of the story."""
        sent = [at.timestamp() for at, *_ in self.rig.channels.tries]
        assert sent, f"{where}: never told"
        assert min(sent) >= self.until, f"{where}: told while it was muted"
        assert min(sent) <= self.until + 30, f"{where}: told too late"
        first = [m for _, _, m in self.rig.channels.accepted() if (m.what, m.to) == ("Step", "onCall")]
        assert 1 <= len(first) <= 1 + self.died, f"{where}: told {len(first)} times"
        status = self.rig.status(self.incident)
        assert (status["phase"], steps(status)) == ("Resolved", [("restartWorkload", "Healed")]), where
        assert restarts(self.rig) == 1, where
        ordered = datetime.fromisoformat(status["times"]["actedAt"]).timestamp()
        assert ordered >= self.until, f"{where}: healed while it was blocked"
        assert self.silences.living() == [], where
        assert (finalizers(self.rig), seen(self.rig).get("silence")) == ([], None), where
        assert [p["outcome"] for p in seen(self.rig)["history"]] == ["Completed"], where
        states = self.rig.server.find(STACK, NAMESPACE, "docuquery")["status"]["components"]  # type: ignore[index]
        assert {c["state"] for c in states} == {"Operational"}, where


async def whole(faults: Faults | None = None) -> World:
    world = World()
    world.begin(faults)
    await world.live(56)
    assert len(world.silences.living()) == 1
    states = world.rig.server.find(STACK, NAMESPACE, "docuquery")["status"]["components"]  # type: ignore[index]
    assert {c["state"] for c in states} == {"UnderMaintenance"}
    await world.live(80)
    return world


async def test_the_story_without_a_kill() -> None:
    world = await whole(Faults())
    world.check("no kill")


@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_each_write_the_end_is_the_same(part: int) -> None:
    known = (await whole(Faults())).rig.life.faults.calls
    writes = [i for i, name in enumerate(known, 1) if name.startswith(WRITES)]
    assert len(writes) > 20
    for number in writes[part::PARTS]:
        for faults in (Faults(kill_before=number), Faults(kill_after=number)):
            world = await whole(faults)
            where = f"call {number} {known[number - 1]}"
            assert world.died == 1, where
            world.check(where)
