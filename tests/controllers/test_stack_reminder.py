"""A pause is reminded of each four hours, once each time, and never after its end (rule 29)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import JSON, STACK, Key
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(240)
KEY = Key(STACK.plural, NAMESPACE, "docuquery")


async def test_a_forgotten_pause_is_said_again() -> None:
    rig = Rig()
    stacks = StackController(rig.life.ports, rig.life.prober, lambda _key: None)

    async def reminders(paused_for: float) -> list[str]:
        """Reconcile twice, as if the pause had begun so many hours ago; what was said so far."""

        def since(stack: JSON) -> None:
            paused = next(c for c in stack["status"]["conditions"] if c["type"] == "Paused")
            paused["lastTransitionTime"] = format_time(rig.clock.now() - timedelta(hours=paused_for))

        rig.edit_stack(since)
        for _ in range(2):
            await stacks.reconcile(KEY)
        return [e.message for e in rig.life.events.posted if e.reason == "StillPaused"]

    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage work"))
    await stacks.reconcile(KEY)
    assert await reminders(3.9) == []
    assert await reminders(4.1) == ["paused for 4h, nothing is healed: storage work"]
    assert len(await reminders(7.9)) == 1
    assert (await reminders(8.1))[-1].startswith("paused for 8h")
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    await stacks.reconcile(KEY)
    assert len(await reminders(50)) == 2
