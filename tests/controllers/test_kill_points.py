"""kill -9 at every call that the controller makes: the same end, and never a second restart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.faults import Faults
from tests.fakes.rig import Rig, condition, steps

PARTS = 64
# Each runs the whole story several times in a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)


def restarts(rig: Rig) -> int:
    """Database pods that were made after the first one."""
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


def end_of(rig: Rig, status: dict[str, Any]) -> dict[str, Any]:
    """What must be the same however often the process died."""
    ledger = rig.ledger() or {}
    attempts = json.loads(ledger["metadata"]["annotations"]["ops.docuquery.ai/attempts"])
    return {
        "phase": status["phase"],
        "reason": condition(status, "Resolved"),
        "cause": status["cause"]["name"],
        "steps": steps(status),
        "attempt": [s["attemptId"] for s in status["steps"]],
        "ledger": [(a["id"], a["outcome"]) for a in attempts],
        "report": status["report"]["configMap"],
        "restarts": restarts(rig),
    }


async def healed(faults: Faults | None = None) -> tuple[Rig, dict[str, Any]]:
    """The story of a frozen database, told to its end."""
    rig = Rig()
    if faults is not None:
        rig.start(faults)
    rig.freeze()
    status = await rig.run(rig.incident())
    assert rig.crashes == []
    return rig, end_of(rig, status)


def without_identity(end: dict[str, Any]) -> dict[str, Any]:
    """Attempt ids follow the Incident's uid, which differs between two rigs."""
    return {**end, "attempt": len(end["attempt"]), "ledger": [outcome for _, outcome in end["ledger"]]}


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_call_is_a_kill_point(part: int) -> None:
    """To die after a call is to die before the next one. The calls are dealt out to many small tests, so that each stays far within its two seconds."""
    reference, expected = await healed()
    total = reference.life.faults.count
    assert total > 20
    assert expected["restarts"] == 1
    assert expected["ledger"] == [(expected["attempt"][0], "Healed")]
    different = []
    for n in range(1 + part, total + 1, PARTS):
        _, found = await healed(Faults(kill_before=n))
        if without_identity(found) != without_identity(expected):
            different.append((n, found))
    assert different == []


@pytest.mark.parametrize("mode", ["Observe", "Off"])
async def test_nothing_is_touched_in_a_mode_that_forbids_it(mode: str) -> None:
    rig = Rig(mode=mode)
    rig.freeze()
    status = await rig.run(rig.incident(), seconds=120)
    assert restarts(rig) == 0
    assert not status.get("steps")
