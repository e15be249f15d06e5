"""The silence of an open window: made once, renewed in slices, ended with it, and never forgotten whoever dies when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.maintenance_window import MaintenanceWindowController
from docuquery_operator.controllers.silencer import OrphanScan
from docuquery_operator.domain.maintenance.silences import FINALIZER, SLICE
from docuquery_operator.ports import MAINTENANCE_WINDOW, SERVICE, STACK, Conflict
from tests.controllers.test_maintenance_window import KEY, put, seen
from tests.fakes.alertmanager import SilencesInMemory
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig, condition

pytestmark = pytest.mark.timeout(120)
EFFECTS = {"alertmanagerSilence": True}


def quiet_rig(**server: Any) -> tuple[Rig, SilencesInMemory]:
    """A Stack with an Alertmanager; no workload matters."""
    rig = Rig(mode="Off")
    rig.clock.ignore(rig.simulator.tick)
    held = SilencesInMemory(rig.clock)
    with_alertmanager(rig, held, **server)
    return rig, held


def with_alertmanager(rig: Rig, held: Any, host: str = "10.61.0.93", port: int = 9093, **server: Any) -> None:
    rig.alertmanager = held
    rig.server.put(SERVICE, {"metadata": {"name": "alertmanager", "namespace": NAMESPACE}, "spec": {"clusterIP": host}})
    spec = {"service": "alertmanager", "port": port, "labels": {"namespace": NAMESPACE}, **server}
    rig.edit_stack(lambda s: s["spec"].update(alertmanager=spec))
    rig.start()


async def lived(rig: Rig, seconds: float) -> None:
    """Passes as the queue would order them, with its answer to errors."""
    end = rig.clock.now() + timedelta(seconds=seconds)
    controller = MaintenanceWindowController(rig.life.ports)
    while rig.clock.now() < end:
        try:
            again = await controller.reconcile(KEY)
        except Conflict:
            again = 0.05
        rig.clock.advance(max(0.05, min(again or seconds, (end - rig.clock.now()).total_seconds())))


def window(rig: Rig) -> Any:
    return rig.server.find(MAINTENANCE_WINDOW, NAMESPACE, "w")


def finalizers(rig: Rig) -> list[str]:
    found: list[str] = (window(rig) or {"metadata": {}})["metadata"].get("finalizers") or []
    return found


async def test_it_is_there_while_the_window_is_open_and_no_longer() -> None:
    rig, held = quiet_rig()
    put(rig, 1, "90m", effects=EFFECTS, components=["postgres", "api"])
    await lived(rig, 58)
    assert (held.kept, finalizers(rig)) == ({}, []), "nothing exists before, so nothing has to be undone"
    await lived(rig, 10)
    (one,) = held.living()
    assert one.matchers == (("namespace", NAMESPACE, False), ("component", "api|postgres", True))
    assert one.ends_at - rig.clock.now() <= SLICE
    assert (seen(rig)["silence"]["id"], finalizers(rig), condition(seen(rig), "Silenced")) == (one.id, [FINALIZER], "Active")
    await lived(rig, 91 * 60)
    assert (held.living(), "silence" in seen(rig), finalizers(rig)) == ([], False, [])
    ends = [b["endsAt"] for b in held.bodies]
    assert len(ends) == len(set(ends)) == 4, "half an hour each, renewed ten minutes before its end"
    assert all(
        b["createdBy"] == "docuquery-operator" and "MaintenanceWindow docuquery/w" in b["comment"] for b in held.bodies
    )


async def test_a_dead_operators_silence_ends_by_itself_and_never_after_the_window() -> None:
    rig, held = quiet_rig()
    put(rig, 0, "40m", effects=EFFECTS)
    await lived(rig, 5)
    rig.clock.advance(31 * 60)
    assert held.living() == []
    await lived(rig, 2)
    assert held.living()[0].ends_at <= rig.clock.now() + timedelta(minutes=9, seconds=1)


@pytest.mark.parametrize("how", ["suspend", "effect", "deleted"])
async def test_what_ends_a_window_early_ends_its_silence(how: str) -> None:
    rig, held = quiet_rig()
    put(rig, 0, "40m", effects=EFFECTS)
    await lived(rig, 5)
    assert len(held.living()) == 1

    def change(obj: Any) -> None:
        if how == "deleted":
            obj["metadata"]["deletionTimestamp"] = "2026-03-29T00:31:00Z"
        obj["spec"].update({"suspend": {"suspend": True}, "effect": {"effects": {}}}.get(how, {}))

    rig.server.edit(MAINTENANCE_WINDOW, NAMESPACE, "w", change)
    await lived(rig, 5)
    assert (held.living(), finalizers(rig)) == ([], [])


async def test_a_dead_alertmanager_holds_nothing_up_for_longer_than_a_slice() -> None:
    rig, held = quiet_rig()
    put(rig, 0, "10m", effects=EFFECTS)
    await lived(rig, 5)
    held.down = "no answer within 3 s"
    await lived(rig, 8 * 60)
    rig.server.edit(MAINTENANCE_WINDOW, NAMESPACE, "w", lambda w: w["spec"].update(suspend=True))
    await lived(rig, 20)
    assert finalizers(rig) == [FINALIZER], "it is still there, so somebody has to end it"
    before = len(rig.server.writes)
    await lived(rig, 20)
    assert len(rig.server.writes) == before, "tries in vain write nothing"
    await lived(rig, 90)
    assert (finalizers(rig), seen(rig).get("silence")) == ([], None), "by then it has ended by itself"


async def test_one_that_cannot_be_made_yet_is_made_as_soon_as_there_is_an_answer() -> None:
    rig, held = quiet_rig()
    held.down = "refused"
    put(rig, 0, "30m", effects=EFFECTS)
    await lived(rig, 60)
    said = {c["type"]: c for c in seen(rig)["conditions"]}["Silenced"]
    assert (said["status"], said["reason"], "refused" in said["message"]) == ("False", "AlertmanagerNotAsked", True)
    held.down = ""
    await lived(rig, 15)
    assert len(held.living()) == 1


async def test_an_effect_without_an_alertmanager_is_said() -> None:
    rig = Rig(mode="Off")
    put(rig, 0, "30m", effects=EFFECTS)
    await lived(rig, 5)
    assert {c["type"]: c["reason"] for c in seen(rig)["conditions"]}["Silenced"] == "NoAlertmanager"


async def test_one_of_two_that_say_the_same_is_ended() -> None:
    """Two processes may have made it at the same time."""
    rig, held = quiet_rig()
    put(rig, 0, "30m", effects=EFFECTS)
    await lived(rig, 0.01)
    body = {k: v for k, v in held.bodies[0].items() if k != "id"}
    await held.put(None, body, 1.0)  # type: ignore[arg-type]
    assert len(held.living()) == 2
    await lived(rig, 10)
    assert len(held.living()) == 1


async def test_killed_at_every_call_there_is_one_silence_while_it_is_open_and_none_after_it() -> None:
    calls = 0
    while await killed(calls):
        calls += 1
    assert calls > 40


async def killed(calls: int) -> bool:
    """A window lived through with one kill, before or after a call; False when there was no such call any more."""
    rig, held = quiet_rig()
    put(rig, 0, "2m", effects=EFFECTS)
    number = calls // 2 + 1
    rig.start(Faults(kill_after=number) if calls % 2 else Faults(kill_before=number))
    died = False
    try:
        await lived(rig, 60)
        assert len(held.living()) == 1
        await lived(rig, 70)
    except KilledError:
        died = True
        rig.start()
        await lived(rig, 5)
        assert len(held.living()) == ("active" in seen(rig)), f"call {calls}"
        await lived(rig, 130)
    assert held.living() == [], f"call {calls}"
    assert (finalizers(rig), seen(rig).get("silence")) == ([], None), f"call {calls}"
    return died


async def test_the_scan_ends_what_no_window_keeps_and_touches_nothing_else() -> None:
    rig, held = quiet_rig()
    put(rig, 0, "40m", effects=EFFECTS)
    await lived(rig, 5)
    (kept,) = held.living()
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    body = {k: v for k, v in held.bodies[0].items() if k != "id"}
    text = body["comment"]
    others = [
        {**body, "comment": text.replace(stack.metadata.uid, "uid-of-another-stack")},
        {**body, "createdBy": "ana"},
        {**body, "comment": "by hand"},
    ]
    lost = {**body, "comment": text.replace(window(rig)["metadata"]["uid"], "uid-of-a-window-that-is-gone")}
    for silence in (*others, lost):
        await held.put(None, silence, 1.0)  # type: ignore[arg-type]
    assert len(held.living()) == 5
    scan = OrphanScan(rig.life.ports)
    scan.look(KEY, stack)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(held.living()) == 4
    assert kept in held.living()
    calls = rig.life.faults.count
    scan.look(KEY, stack)
    await asyncio.sleep(0)
    assert rig.life.faults.count == calls, "not before ten minutes have passed"
