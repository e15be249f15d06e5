"""The operator writes what it means to do, and then it or the world is not what it was: held back, taken up again, or let go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from docuquery_operator.ports import MAINTENANCE_WINDOW, Unavailable
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
WINDOW = {
    "metadata": {"name": "patching", "namespace": NAMESPACE},
    "spec": {
        "stackRef": {"name": "docuquery"},
        "schedule": {"cron": "* * * * *"},
        "duration": "1h",
        "effects": {"healing": "Block"},
    },
}
HOUR = 3600.0


def restarts(rig: Rig) -> int:
    """Database pods that were made after the first one."""
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


def outcomes(rig: Rig) -> list[str]:
    """Verdicts in the target's ledger, '' for an open one."""
    text = ((rig.ledger() or {}).get("metadata", {}).get("annotations") or {}).get("ops.docuquery.ai/attempts", "[]")
    return [a.get("outcome", "") for a in json.loads(text)]


async def dies_between(call: str) -> tuple[Rig, Any]:
    """A rig whose operator has written its intent and died right before this call."""
    probe = Rig()
    probe.freeze()
    await probe.run(probe.incident())
    number = 1 + next(i for i, name in enumerate(probe.life.faults.calls) if name.startswith(call))
    rig = Rig()
    rig.start(Faults(kill_before=number))
    rig.freeze()
    key = rig.incident()
    with pytest.raises(KilledError):
        await until_killed(rig, key)
    assert steps(rig.status(key)) == [("restartWorkload", "Intended")]
    assert restarts(rig) == 0
    return rig, key


async def until_killed(rig: Rig, key: Any) -> None:
    """Pass after pass until the process dies."""
    for _ in range(100):
        after = await rig.life.controller.reconcile(key)
        rig.clock.advance(max(after or 1.0, 0.05))
    raise AssertionError("the operator never came to the call that kills it")


# Right before the attempt is entered in the ledger, and right before the restart is ordered.
POINTS = ["create leases", "patch statefulsets"]


@pytest.mark.parametrize("away", [1.0, 200.0, 330.0, HOUR / 4])
@pytest.mark.parametrize("call", POINTS)
async def test_an_intent_is_not_forgotten_however_long_the_operator_was_away(call: str, away: float) -> None:
    rig, key = await dies_between(call)
    rig.clock.advance(away)
    rig.start()
    status = await rig.run(key)
    assert (status["phase"], condition(status, "Resolved"), restarts(rig)) == ("Resolved", "Healed", 1)
    assert outcomes(rig) == ["Healed"]


@pytest.mark.parametrize("away", [1.0, 330.0, HOUR / 4])
@pytest.mark.parametrize("call", POINTS)
async def test_what_was_mended_meanwhile_is_left_alone(call: str, away: float) -> None:
    rig, key = await dies_between(call)
    rig.simulator.mend_process()
    rig.clock.advance(away)
    rig.start()
    status = await rig.run(key)
    assert (status["phase"], condition(status, "Resolved"), restarts(rig)) == ("Resolved", "Recovered", 0)
    assert steps(status) == [("restartWorkload", "Skipped")]
    assert "" not in outcomes(rig), "the target is still held for a step that is over"


@pytest.mark.parametrize("call", POINTS)
@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (
            lambda rig: rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage work")),
            lambda rig: rig.edit_stack(lambda s: s["spec"].update(paused=False)),
            "Paused",
        ),
        (
            lambda rig: rig.server.put(MAINTENANCE_WINDOW, dict(WINDOW)),
            lambda rig: rig.server.edit(MAINTENANCE_WINDOW, NAMESPACE, "patching", lambda w: w["spec"].update(suspend=True)),
            "MaintenanceWindow",
        ),
        (
            lambda rig: rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Observe")),
            lambda rig: rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Auto")),
            "ModeChanged",
        ),
    ],
    ids=["pause", "window", "mode"],
)
async def test_what_has_not_begun_waits_and_is_no_failure(
    call: str, begin: Callable[[Rig], None], end: Callable[[Rig], None], reason: str
) -> None:
    rig, key = await dies_between(call)
    begin(rig)
    rig.start()
    status = await rig.run(key, seconds=HOUR / 4)
    assert restarts(rig) == 0
    assert steps(status) == [("restartWorkload", "Intended")]
    assert condition(status, "HealBlocked") == reason
    assert [d["reason"] for d in status["decisions"]] == [reason]
    end(rig)
    status = await rig.run(key)
    assert (status["phase"], condition(status, "Resolved"), restarts(rig)) == ("Resolved", "Healed", 1)
    assert condition(status, "HealBlocked") == ""


async def test_nothing_begins_while_the_windows_cannot_be_read() -> None:
    rig, key = await dies_between("patch statefulsets")

    def unreadable(name: str, _: int) -> BaseException | None:
        return Unavailable("503: busy") if name == "list maintenancewindows" else None

    rig.start(Faults(raise_for=unreadable))
    status = await rig.run(key, seconds=120)
    assert restarts(rig) == 0
    assert condition(status, "HealBlocked") == "LookupFailed"
    rig.start()
    status = await rig.run(key)
    assert (status["phase"], restarts(rig)) == ("Resolved", 1)
