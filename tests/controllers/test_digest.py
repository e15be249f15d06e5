"""After a window one message says what it has muted; it is sent once, by a channel that wakes nobody, whoever dies when."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.ports import MAINTENANCE_WINDOW, Conflict, Key, Receipt
from tests.controllers.test_muted import put
from tests.controllers.test_notifications import resolve, rig, run_for
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(120)
KEY = Key(MAINTENANCE_WINDOW.plural, NAMESPACE, "w")


class Windows:
    """The window's controller beside the incidents' passes of the rig."""

    def __init__(self, made: Rig) -> None:
        self.made = made
        self.start()

    def start(self, faults: Faults | None = None) -> None:
        life = self.made.start(faults)
        self.controller = MaintenanceWindowController(life.ports, courier=life.courier)

    async def live(self, seconds: float) -> None:
        end = self.made.clock.now().timestamp() + seconds
        while self.made.clock.now().timestamp() < end:
            try:
                await self.controller.reconcile(KEY)
                await self.made.life.courier.ended()
            except Conflict:
                pass
            self.made.clock.advance(1)

    def status(self) -> Any:
        found = self.made.server.find(MAINTENANCE_WINDOW, NAMESPACE, "w")
        return (found or {}).get("status") or {}

    def digests(self) -> list[tuple[str, str, str]]:
        """Channel, title and text of each."""
        return [(c, m.title, m.text) for _, c, m in self.made.channels.accepted() if m.what == "MutedDigest"]


async def night(made: Rig, faults: Faults | None = None) -> Windows:
    """Two incidents, of which one is over before the window is; and one that nothing covers."""
    windows = Windows(made)
    put(made, 0, 60, components=("postgres",))
    await windows.live(2)
    keys = [made.incident(name, severity=s, component="postgres") for name, s in (("first", "P1"), ("second", "P0"))]
    keys.append(made.incident("other", severity="P2", component="api", type="ApiUnavailable"))
    for key in keys:
        await run_for(made, key, 3)
    resolve(made, keys[0])
    await run_for(made, keys[0], 3)
    windows.start(faults)
    return windows


async def test_one_message_names_what_was_muted_and_how_it_stands() -> None:
    made = rig("slack", "pagerduty")
    windows = await night(made)
    assert windows.digests() == []
    await windows.live(90)
    ((channel, title, text),) = windows.digests()
    assert (channel, title) == ("slack", "Maintenance window w is over: 2 incidents were muted, 1 still open")
    assert text.index("P0 second") < text.index("P1 first"), "the worst first"
    assert ("still open" in text.splitlines()[1], "over since" in text.splitlines()[2], "other" in text) == (
        True,
        True,
        False,
    )
    note = windows.status()["digest"]["notifications"][0]
    assert (note["state"], note["channel"], windows.status()["digest"]["incidents"]) == ("Sent", "slack", 2)
    writes = len(made.server.writes)
    await windows.live(60)
    assert (len(windows.digests()), len(made.server.writes)) == (1, writes)


async def test_without_a_quiet_channel_it_is_an_event_and_without_incidents_it_is_nothing() -> None:
    made = rig("pagerduty")
    windows = await night(made)
    await windows.live(90)
    assert windows.digests() == []
    assert [e.reason for e in made.life.events.posted].count("MutedDigest") == 1
    made = rig("slack")
    windows = Windows(made)
    put(made, 0, 30)
    await windows.live(60)
    assert windows.digests() == []
    assert [e.reason for e in made.life.events.posted].count("MutedDigest") == 0


async def test_a_channel_that_takes_nothing_is_tried_a_few_times() -> None:
    made = rig("slack")
    windows = await night(made)
    made.channels.answer = lambda _c, _m: Receipt(False, "HTTP 500")
    await windows.live(160)
    assert windows.status()["digest"]["notifications"][0]["state"] == "Failed"
    tries = [m for _, _, m, _ in made.channels.tries if m.what == "MutedDigest"]
    assert len(tries) == 3


async def test_killed_at_each_call_it_is_told_once_or_twice() -> None:
    calls = 0
    while True:
        made = rig("slack")
        windows = await night(made, None)
        await windows.live(45)
        windows.start(Faults(kill_before=calls + 1))
        died = False
        try:
            await windows.live(25)
        except KilledError:
            died = True
            windows.start()
            await windows.live(25)
        if made.life.faults.dead:
            died = True
            windows.start()
            await windows.live(25)
        assert 1 <= len(windows.digests()) <= 1 + died, f"call {calls + 1}"
        if not died:
            break
        calls += 1
    assert calls > 5
