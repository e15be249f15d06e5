"""A clock that is set back makes nothing young that is old."""

from __future__ import annotations

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import STACK, Key
from tests.fakes.rig import NAMESPACE, Rig, condition

pytestmark = pytest.mark.timeout(240)


async def test_probes_go_on_after_the_clock_was_set_back() -> None:
    rig = Rig(mode="Observe")
    key = rig.incident()
    await rig.run(key, seconds=8)
    rig.clock.jump(-3600)
    rig.freeze()
    status = await rig.run(key, seconds=60, until=lambda s: "cause" in s)
    assert status["cause"]["name"] == "ProcessDown"


async def test_a_stack_is_read_anew_after_the_clock_was_set_back() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await rig.once(key)
    rig.clock.jump(-3600)
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage"))
    status = await rig.run(key, seconds=60)
    assert condition(status, "HealBlocked") == "Paused"


async def test_incidents_are_counted_again_after_the_clock_was_set_back() -> None:
    rig = Rig()
    stacks = StackController(rig.life.ports, rig.life.prober, lambda _key: None)
    key = Key(STACK.plural, NAMESPACE, "docuquery")
    await stacks.reconcile(key)
    rig.incident()
    rig.clock.jump(-3600)
    await stacks.reconcile(key)
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    assert stack.status is not None
    assert stack.status.open_incidents == 1
