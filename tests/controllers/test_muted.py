"""Paging under maintenance windows: muted, downgraded, pierced; what still burns at the end is raised at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.ports import INCIDENT, MAINTENANCE_WINDOW, Key, Refused
from tests.controllers.test_notifications import resolve, rig, run_for, steps_told, told
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(120)


def put(
    made: Rig, begin: float, seconds: float, name: str = "w", components: tuple[str, ...] = (), **effects: Any
) -> datetime:
    """A window that opens so many seconds from now; when it ends."""
    at = (made.clock.now() + timedelta(seconds=begin)).replace(microsecond=0)
    spec = {
        "stackRef": {"name": "docuquery"},
        "schedule": {"at": at.isoformat()},
        "duration": f"{int(seconds)}s",
        "components": list(components),
        "effects": effects,
    }
    made.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
    return at + timedelta(seconds=int(seconds))


def late(made: Rig, end: datetime) -> dict[str, float]:
    """Seconds after the window's end at which each group was told of a step."""
    return {m.to: (at - end).total_seconds() for at, _, m in made.channels.accepted() if m.what == "Step"}


async def test_a_muted_incident_tells_nobody_and_is_raised_at_the_end_with_a_fresh_clock() -> None:
    made = rig("slack", "pagerduty")
    end = put(made, 0, 600)
    key = made.incident(severity="P0")
    status = await run_for(made, key, 590)
    assert (made.channels.tries, status.get("notifications", [])) == ([], [])
    decision = status["decisions"][-1]
    assert (decision["reason"], decision["rule"]) == ("PagingMuted", "27-maintenance")
    assert "'w'" in decision["message"]
    assert datetime.fromisoformat(decision["nextAllowedAt"]) == end
    assert (status["paging"]["effect"], status["paging"]["windows"]) == ("Mute", ["w"])
    assert status["deadlines"]["response"] == "Pending", "nobody could answer what nobody was told"
    status = await run_for(made, key, 300)
    assert steps_told(made, "slack") == ["onCall", "teamLead", "engineeringManager", "cto"]
    for to, due in (("onCall", 0), ("teamLead", 30), ("engineeringManager", 120), ("cto", 240)):
        assert 0 <= late(made, end)[to] - due <= 5, to
    assert [e["event"] for e in status["timeline"]][:3] == ["Opened", "PagingMuted", "PagingResumed"]
    first = next(m for _, _, m in made.channels.accepted() if m.what == "Step")
    assert "Muted: from" in first.text


async def test_the_first_second_is_muted_already_and_the_operator_may_be_down_across_the_end() -> None:
    made = rig("pagerduty")
    end = put(made, 0, 60)
    key = made.incident(severity="P0")
    await made.once(key)
    assert made.channels.tries == []
    made.clock.jump(60 + 25)
    made.start()
    await run_for(made, key, 3)
    assert steps_told(made) == ["onCall"]
    assert late(made, end)["onCall"] <= 30


async def test_what_is_over_before_the_end_is_never_told() -> None:
    made = rig("slack", "pagerduty")
    put(made, 0, 300)
    key = made.incident(severity="P0")
    await run_for(made, key, 60)
    resolve(made, key)
    await run_for(made, key, 600)
    assert made.channels.tries == []


async def test_one_that_was_told_before_ends_its_alert_while_it_is_muted() -> None:
    made = rig("pagerduty")
    key = made.incident(severity="P0")
    await run_for(made, key, 10)
    put(made, 0, 600)
    await run_for(made, key, 120)
    assert told(made) == [("Step", "onCall")], "the team lead waits for the end of the window"
    resolve(made, key)
    await run_for(made, key, 10)
    assert told(made) == [("Step", "onCall"), ("Resolved", "onCall")]


async def test_one_that_was_told_before_goes_on_at_the_end_where_it_stood() -> None:
    made = rig("pagerduty")
    key = made.incident(severity="P0")
    await run_for(made, key, 10)
    end = put(made, 0, 600)
    await run_for(made, key, 760)
    delay = late(made, end)
    assert 0 <= delay["teamLead"] <= 5, "its step came due in the window, and is due at its end"
    assert 0 <= delay["engineeringManager"] - 90 <= 5


@pytest.mark.parametrize(
    ("effects", "components", "severity", "paged"),
    [
        ({"pierce": ["P0"]}, (), "P0", True),
        ({"pierce": ["P0"]}, (), "P1", False),
        ({}, ("api",), "P0", True),
        ({}, ("postgres",), "P0", False),
        ({"paging": "None"}, (), "P1", True),
    ],
)
async def test_who_is_covered(effects: Any, components: tuple[str, ...], severity: str, paged: bool) -> None:
    """A P0 on a component that is not covered always pages; one on a covered component where it pierces."""
    made = rig("pagerduty")
    put(made, 0, 600, components=components, **effects)
    key = made.incident(severity=severity, component="postgres")
    await run_for(made, key, 20)
    assert bool(made.channels.accepted()) is paged


async def test_one_that_gets_worse_pierces_at_once() -> None:
    made = rig("pagerduty")
    put(made, 0, 600, pierce=["P0"])
    key = made.incident(severity="P2")
    await run_for(made, key, 30)
    assert made.channels.tries == []
    made.edit_incident(key, lambda i: i["spec"].update(severity="P0"))
    await run_for(made, key, 5)
    assert steps_told(made) == ["onCall"]


async def test_overlapping_windows_mute_from_the_first_begin_to_the_last_end() -> None:
    made = rig("pagerduty")
    put(made, 0, 120)
    end = put(made, 60, 240, name="x", components=("postgres",))
    key = made.incident(severity="P0", component="postgres")
    status = await run_for(made, key, 290)
    assert (made.channels.tries, status["paging"]["windows"]) == ([], ["w", "x"])
    await run_for(made, key, 20)
    assert 0 <= late(made, end)["onCall"] <= 5


async def test_a_downgraded_one_is_told_as_one_lower_and_as_itself_at_the_end() -> None:
    made = rig("pagerduty", "slack", "email")
    end = put(made, 0, 300, paging="Downgrade")
    key = made.incident(severity="P1")
    status = await run_for(made, key, 200)
    seen = [(c, m.severity.value) for _, c, m in made.channels.accepted() if m.what == "Step" and m.to == "onCall"]
    assert sorted(seen) == [("email", "P2"), ("slack", "P2")], "the channels of a P2"
    assert (status["severity"], status["decisions"][-1]["reason"]) == ("P1", "PagingDowngraded")
    assert len(status["escalation"]) == 2, "the clock of a P2"
    await run_for(made, key, 110)
    raised = [(at, m) for at, c, m in made.channels.accepted("pagerduty") if m.to == "onCall" and m.what == "Step"]
    assert [m.severity.value for _, m in raised] == ["P1"]
    assert 0 <= (raised[0][0] - end).total_seconds() <= 5


async def test_a_window_that_is_suspended_or_deleted_mutes_no_longer() -> None:
    made = rig("pagerduty")
    put(made, 0, 3600)
    key = made.incident(severity="P0")
    await run_for(made, key, 30)
    made.server.edit(MAINTENANCE_WINDOW, NAMESPACE, "w", lambda w: w["spec"].update(suspend=True))
    await run_for(made, key, 20)
    assert steps_told(made) == ["onCall"]


async def test_windows_that_cannot_be_read_mute_nothing_new_and_end_when_they_were_to_end() -> None:
    """Rule 28: paging goes on."""

    def refused(name: str, _n: int) -> Exception | None:
        return Refused(403, "forbidden") if name.startswith("list maintenancewindows") else None

    made = rig("pagerduty")
    end = put(made, 0, 300)
    first = made.incident(severity="P0")
    await run_for(made, first, 30)
    made.start(Faults(raise_for=refused))
    second = made.incident("second", severity="P0")
    await run_for(made, second, 10)
    await run_for(made, first, 10)
    assert [m.incident for _, _, m in made.channels.accepted()] == ["second"]
    await run_for(made, first, 290)
    assert min(at for at, _, m in made.channels.accepted() if m.incident == "db-down") >= end


async def test_an_approval_is_waited_for_from_the_end_on() -> None:
    """Nobody can answer what nobody was asked."""
    made = rig("pagerduty")
    made.edit_stack(lambda s: s["spec"]["healing"].update(mode="Approve"))
    made.clock.listen(made.simulator.tick)
    end = put(made, 0, 1800)
    made.freeze()
    key = made.incident()
    status = await made.run(
        key, seconds=300, until=lambda s: any(x["state"] == "AwaitingApproval" for x in s.get("steps", []))
    )
    step = status["steps"][-1]
    assert datetime.fromisoformat(step["approvalUntil"]) - end == timedelta(minutes=15)


async def test_killed_at_every_call_the_end_is_the_same() -> None:
    """Nothing is told in the window, and after it the first step once, or twice where the kill hid the receipt."""
    calls = 0
    while True:
        made = rig("pagerduty")
        end = put(made, 5, 60)
        made.clock.advance(6)
        made.start(Faults(kill_before=calls + 1))
        key = Key(INCIDENT.plural, NAMESPACE, "db-down")
        made.incident(severity="P0")
        await run_for(made, key, 80)
        assert 1 <= steps_told(made).count("onCall") <= 2, f"call {calls + 1}"
        assert min(at for at, *_ in made.channels.tries) >= end, f"call {calls + 1}"
        if len(made.lives) == 2:
            # rig() starts the first life, this loop the second: nobody was killed any more.
            break
        calls += 1
    assert calls > 10
