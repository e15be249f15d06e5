"""What an open window covers is shown as UnderMaintenance; what is seen there is kept, and a real fault opens its incident."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.ports import MAINTENANCE_WINDOW, STACK
from tests.controllers.test_detector import KEY, NAME, Watch
from tests.controllers.test_maintenance_window import put
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(120)


def shown(watch: Watch) -> dict[str, tuple[str, str | None, str | None]]:
    status: Any = watch.rig.server.find(STACK, NAMESPACE, "docuquery")["status"]  # type: ignore[index]
    return {c["name"]: (c["state"], c.get("observed"), c.get("window")) for c in status["components"]}


async def test_what_is_covered_is_shown_and_what_is_seen_is_kept() -> None:
    watch = Watch(Rig())
    await watch.live(30)
    before = shown(watch)
    put(watch.rig, 1, "3m", components=["postgres"])
    await watch.live(60 + 31)
    assert shown(watch) == {"api": before["api"], "postgres": ("UnderMaintenance", "Operational", "w")}
    events = [e for e in watch.rig.life.events.posted if e.reason == "ComponentUnderMaintenance"]
    assert [e.type for e in events] == ["Normal"]
    await watch.live(4 * 60)
    assert shown(watch) == before


async def test_a_real_fault_within_a_muted_window_opens_its_incident_and_is_healed() -> None:
    watch = Watch(Rig())
    put(watch.rig, 0, "30m", effects={"paging": "Mute"})
    await watch.live(30)
    watch.rig.freeze()
    await watch.live(300, watch.over)
    assert watch.names() == [NAME]
    assert watch.restarts() == 1
    assert shown(watch)["postgres"][0] == "UnderMaintenance"


async def test_a_window_that_is_not_for_the_status_page_changes_no_state_and_its_end_is_seen_at_once() -> None:
    watch = Watch(Rig())
    put(watch.rig, 0, "2m", effects={"statusPage": False})
    await watch.live(60)
    assert shown(watch)["postgres"][0] == "Operational"
    watch.rig.server.edit(MAINTENANCE_WINDOW, NAMESPACE, "w", lambda w: w["spec"].update(effects={}))
    watch.stacks.recount(KEY)
    await watch.live(5)
    assert shown(watch)["postgres"][0] == "UnderMaintenance"
    await watch.live(60)
    assert shown(watch)["postgres"][0] == "Operational", "the end follows the schedule, not what was read when"
