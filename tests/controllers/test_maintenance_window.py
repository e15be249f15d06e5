"""MaintenanceWindow in the simulated world: it opens and closes at its minute, holds healing back, and says each thing once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.ports import MAINTENANCE_WINDOW, Conflict, Key
from tests.controllers.test_between_intent_and_effect import restarts
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
KEY = Key(MAINTENANCE_WINDOW.plural, NAMESPACE, "w")


def put(rig: Rig, minutes: float, duration: str = "10m", **spec: Any) -> None:
    """A window that opens so many minutes from now."""
    at = (rig.clock.now() + timedelta(minutes=minutes)).replace(microsecond=0)
    body = {"stackRef": {"name": "docuquery"}, "schedule": {"at": at.isoformat()}, "duration": duration, **spec}
    rig.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": "w", "namespace": NAMESPACE}, "spec": body})


def seen(rig: Rig) -> Any:
    return rig.server.find(MAINTENANCE_WINDOW, NAMESPACE, "w")["status"]


async def lived(rig: Rig, seconds: float) -> None:
    """Passes as the queue would order them."""
    end = rig.clock.now() + timedelta(seconds=seconds)
    while rig.clock.now() < end:
        again = await MaintenanceWindowController(rig.life.ports).reconcile(KEY)
        rig.clock.advance(min(again or seconds, (end - rig.clock.now()).total_seconds()))
    await MaintenanceWindowController(rig.life.ports).reconcile(KEY)


async def test_it_opens_and_closes_at_its_minute_and_writes_nothing_between() -> None:
    rig = Rig()
    put(rig, 5)
    await lived(rig, 60)
    assert (seen(rig)["phase"], condition(seen(rig), "Ready")) == ("Scheduled", "Scheduled")
    await lived(rig, 5 * 60)
    assert (seen(rig)["phase"], condition(seen(rig), "Ready")) == ("Active", "Open")
    await lived(rig, 15 * 60)
    assert (seen(rig)["phase"], [p["outcome"] for p in seen(rig)["history"]]) == ("Completed", ["Completed"])
    writes = [c for c in rig.life.faults.calls if c.startswith("patch maintenancewindows")]
    assert len(writes) == 3
    told = [e.reason for e in rig.life.events.posted]
    assert told == ["WindowOpened", "WindowClosed"]


async def test_healing_waits_for_its_end_and_goes_on_by_itself() -> None:
    rig = Rig()
    put(rig, 0, effects={"healing": "Block"}, components=["postgres"])
    rig.freeze()
    key = rig.incident()
    status = await rig.run(key, seconds=300)
    assert (restarts(rig), condition(status, "HealBlocked")) == (0, "MaintenanceWindow")
    assert "maintenance window 'w' blocks healing" in status["decisions"][0]["message"]
    rig.clock.advance(600)
    status = await rig.run(key)
    assert (status["phase"], restarts(rig), condition(status, "HealBlocked")) == ("Resolved", 1, "")


async def test_a_window_over_another_component_holds_nothing_back() -> None:
    rig = Rig()
    put(rig, 0, effects={"healing": "Block"}, components=["api"])
    rig.freeze()
    status = await rig.run(rig.incident())
    assert (status["phase"], restarts(rig)) == ("Resolved", 1)


async def test_a_restart_that_has_begun_is_finished_and_verified_when_a_window_opens() -> None:
    """Half a rollout is no safe point: the next one is after the verdict."""
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=lambda s: any(x["state"] == "Running" for x in s.get("steps", [])))
    put(rig, 0, effects={"healing": "Block"})
    rig.clock.advance(1)
    status = await rig.run(key)
    assert (status["phase"], restarts(rig), steps(status)) == ("Resolved", 1, [("restartWorkload", "Healed")])
    said = [d for d in status["decisions"] if d["reason"] == "StepFinishes"]
    assert [d["step"] for d in said] == ["restartWorkload"]
    assert "'w' has opened" in said[0]["message"]


async def test_a_window_that_opens_while_only_the_symptom_is_watched_says_so_too() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=lambda s: any("effectAt" in x for x in s.get("steps", [])))
    put(rig, 0, effects={"healing": "Block"})
    rig.clock.advance(1)
    status = await rig.run(key)
    assert (status["phase"], [d["reason"] for d in status["decisions"]]) == ("Resolved", ["StepFinishes"])


async def test_after_the_verdict_no_other_step_begins() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=lambda s: any(x["state"] == "Running" for x in s.get("steps", [])))
    put(rig, 0, duration="20m", effects={"healing": "Block"})
    rig.clock.listen(lambda now: rig.simulator.break_process("postgres-0", now))
    status = await rig.run(key, seconds=600)
    assert restarts(rig) == 1, "the restart has not helped, and whatever would come next waits"
    assert [s["state"] for s in status["steps"]] == ["NotHealed"]


async def test_what_consists_of_parts_stands_still_between_two_of_them_and_goes_on_at_the_end() -> None:
    rig = Rig()
    rig.idle_sessions(30)
    everything = dict(rig.database.sessions)
    key = rig.incident()
    await rig.run(key, until=lambda _: bool(rig.database.ended))
    left = rig.database.ended[:10]
    rig.database.sessions.update({s: everything[s] for s in left})
    put(rig, 0, effects={"healing": "Block"})
    rig.clock.advance(1)
    status = await rig.run(key, seconds=400)
    assert all(s in rig.database.sessions for s in left), "ended while the window blocks healing"
    assert (condition(status, "HealBlocked"), status["steps"][0]["state"]) == ("StepHeld", "Running")
    assert "stands between two parts; 10 of 25" in status["decisions"][-1]["message"]
    rig.clock.advance(200)
    status = await rig.run(key)
    assert (status["phase"], steps(status)) == ("Resolved", [("terminateIdleSessions", "Healed")])


@pytest.mark.parametrize(("named", "healed"), [("DatabaseConnectionFailure", True), ("RedisConnection", False)])
async def test_only_named_runbooks_heal(named: str, healed: bool) -> None:
    rig = Rig()
    put(rig, 0, effects={"healing": "Runbooks", "runbooks": [named]})
    rig.freeze()
    await rig.run(rig.incident(), seconds=300)
    assert restarts(rig) == int(healed)


async def test_an_operator_that_dies_at_any_call_opens_and_closes_once() -> None:
    calls = 0
    while True:
        rig = Rig()
        put(rig, 1, "1m")
        rig.start(Faults(kill_before=calls + 1))
        try:
            await lived(rig, 180)
        except KilledError:
            rig.start()
            await lived(rig, 180)
        else:
            break
        calls += 1
        assert [(p["outcome"], p["since"]) for p in seen(rig)["history"]] == [("Completed", seen(rig)["lastOpening"])]
    assert calls > 5


async def test_who_wrote_meanwhile_is_not_overwritten() -> None:
    rig = Rig()
    put(rig, 5)
    rig.start(Faults(raise_for=lambda name, _: Conflict("409") if name.startswith("patch maintenance") else None))
    with pytest.raises(Conflict):
        await MaintenanceWindowController(rig.life.ports).reconcile(KEY)
    rig.start()
    await lived(rig, 1)
    assert seen(rig)["phase"] == "Scheduled"
