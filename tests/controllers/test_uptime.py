"""The Stack's passes count uptime: over a restart, a silence, a window, and without writes of its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.api.stack import ComponentUptime, Stack
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import MAINTENANCE_WINDOW, STACK, Key
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(240)
KEY = Key(STACK.plural, NAMESPACE, "docuquery")


class Passes:
    """The operator's passes over one Stack, five seconds apart."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.restart()

    def restart(self) -> None:
        self.rig.start()
        self.stacks = StackController(self.rig.life.ports, self.rig.life.prober, lambda _key: None)

    async def run(self, minutes: float) -> None:
        for _ in range(int(minutes * 12)):
            await self.stacks.reconcile(KEY)
            self.rig.clock.advance(5)

    def break_(self) -> None:
        self.rig.simulator.break_process("postgres-0", self.rig.clock.now())

    def uptime(self, name: str = "postgres") -> ComponentUptime:
        stack = Stack.model_validate(self.rig.server.find(STACK, NAMESPACE, "docuquery"))
        assert stack.status is not None
        return next(u for u in stack.status.uptime if u.name == name)

    def version(self) -> str:
        found = self.rig.server.find(STACK, NAMESPACE, "docuquery")
        assert found is not None
        return str(found["metadata"]["resourceVersion"])

    def sums(self) -> tuple[int, int, int]:
        """Down, unknown, maintenance over all days."""
        days = self.uptime().days
        return sum(d.down for d in days), sum(d.unknown for d in days), sum(d.maintenance for d in days)


async def test_an_outage_is_counted_and_a_quiet_hour_is_not_written() -> None:
    passes = Passes()
    await passes.run(8)
    before, version = passes.sums(), passes.version()
    await passes.run(15)
    assert passes.version() == version
    passes.break_()
    await passes.run(5)
    passes.restart()
    await passes.run(5)
    passes.rig.simulator.mend_process()
    await passes.run(3)
    down = passes.sums()[0] - before[0]
    # Two bad rounds before it counts, two good ones before it ends.
    assert 9.5 * 60 <= down <= 10.5 * 60
    assert passes.sums()[1] == before[1]


async def test_time_without_an_operator_is_unknown() -> None:
    passes = Passes()
    await passes.run(2)
    before = passes.sums()
    passes.rig.clock.advance(1200)
    passes.restart()
    await passes.run(1)
    down, unknown, _ = passes.sums()
    assert down == before[0]
    assert 1200 <= unknown - before[1] <= 1200 + 30


async def test_a_window_is_maintenance_whatever_the_state() -> None:
    passes = Passes()
    await passes.run(2)
    begin = passes.rig.clock.now() + timedelta(minutes=2)
    spec = {"stackRef": {"name": "docuquery"}, "schedule": {"at": format_time(begin)}, "duration": "10m"}
    passes.rig.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": spec})
    await passes.run(4)
    passes.break_()
    await passes.run(4)
    passes.rig.simulator.mend_process()
    await passes.run(6)
    down, _, maintenance = passes.sums()
    assert down == 0
    assert 590 <= maintenance <= 610
