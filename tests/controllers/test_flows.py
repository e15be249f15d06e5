"""What people do in the middle, and what must not happen then."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.rig import Rig, condition, steps

# A whole simulated world lives through minutes in each of these; two seconds are for units.
pytestmark = pytest.mark.timeout(240)


def restarts(rig: Rig) -> int:
    """Database pods that were made after the first one."""
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


def reasons(status: dict[str, Any]) -> list[str]:
    """Reasons of the recorded refusals."""
    return [d["reason"] for d in status.get("decisions", [])]


async def test_a_paused_stack_is_left_alone_and_healed_when_the_pause_ends() -> None:
    rig = Rig()
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="migration"))
    rig.freeze()
    key = rig.incident()
    status = await rig.run(key, seconds=120)
    assert restarts(rig) == 0
    assert reasons(status) == ["Paused"]
    assert condition(status, "NeedsHuman") == "Paused"
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    status = await rig.run(key)
    assert (status["phase"], restarts(rig)) == ("Resolved", 1)


async def test_approve_mode_waits_and_does_exactly_what_was_approved() -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    status = await rig.run(key, seconds=120)
    assert steps(status) == [("restartWorkload", "AwaitingApproval")]
    digest = status["steps"][0]["planDigest"]

    def approve(digest_: str) -> Any:
        answer = {"step": "restartWorkload", "planDigest": digest_, "by": "eve", "decision": "Approve"}
        return lambda i: i["spec"].update(approvals=[answer])

    rig.edit_incident(key, approve("0" * 12))
    await rig.run(key, seconds=60)
    assert restarts(rig) == 0
    rig.edit_incident(key, approve(digest))
    status = await rig.run(key)
    assert (status["phase"], restarts(rig)) == ("Resolved", 1)
    assert status["steps"][0]["approvalBy"] == "eve"


async def test_no_answer_is_a_no() -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    await rig.run(key, seconds=40)
    rig.clock.jump(15 * 60)
    status = await rig.run(key, seconds=10)
    assert steps(status) == [("restartWorkload", "Skipped")]
    assert restarts(rig) == 0


async def test_sessions_are_ended_and_the_database_is_not_restarted() -> None:
    rig = Rig()
    rig.idle_sessions(30)
    status = await rig.run(rig.incident())
    assert status["cause"]["name"] == "TooManyConnections"
    assert steps(status) == [("terminateIdleSessions", "Healed")]
    assert restarts(rig) == 0


def ended(status: dict[str, Any]) -> int:
    return len(status["steps"][0]["plan"]["sessions"])


async def test_a_leak_that_has_just_begun_is_ended_as_a_whole_and_not_by_its_first_session() -> None:
    rig = Rig()
    rig.idle_sessions(30, idle=3.0)
    rig.idle_sessions(1, idle=12.0)
    key = rig.incident()
    status = await rig.run(key, seconds=20)
    assert (steps(status), len(rig.database.sessions)) == ([], 30)
    assert "most will in a moment" in status["decisions"][-1]["message"]
    rig.idle_sessions(30, idle=14.0)
    status = await rig.run(key)
    assert (steps(status), ended(status)) == ([("terminateIdleSessions", "Healed")], 25)


async def test_short_transactions_beside_it_do_not_put_the_end_of_old_ones_off_for_ever() -> None:
    rig = Rig()
    rig.idle_sessions(30, idle=3.0)
    rig.idle_sessions(10, idle=25.0)
    status = await rig.run(rig.incident(), seconds=30)
    assert ended(status) == 10


async def test_a_reopened_incident_respects_the_cooldown_of_its_first_round() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    first = await rig.run(key)
    rig.freeze()
    again = rig.clock.now().isoformat().replace("+00:00", "Z")
    rig.edit_incident(key, lambda i: i["spec"].update(refiredAt=again))
    status = await rig.run(key, seconds=60)
    assert first["phase"] == "Resolved"
    assert (status["round"], status["phase"]) == (2, "Identified")
    assert "Cooldown" in reasons(status)
    assert restarts(rig) == 1


async def test_deleting_and_reapplying_an_incident_gives_no_new_budget() -> None:
    rig = Rig()
    rig.freeze()
    await rig.run(rig.incident("one"))
    rig.freeze()
    status = await rig.run(rig.incident("two"), seconds=60)
    assert "Cooldown" in reasons(status)
    ledger = json.loads((rig.ledger() or {})["metadata"]["annotations"]["ops.docuquery.ai/attempts"])
    assert len(ledger) == 1


async def test_a_closed_incident_is_closed() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident(resolved={"by": "ann", "note": "planned work"})
    status = await rig.run(key)
    assert (status["phase"], condition(status, "Resolved"), restarts(rig)) == ("Resolved", "ResolvedByHand", 0)


async def test_a_missing_stack_is_a_persons_matter() -> None:
    rig = Rig()
    status = await rig.run(rig.incident(stackRef={"name": "nowhere"}), seconds=40)
    assert condition(status, "NeedsHuman") == "StackNotFound"


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(extra=st.lists(st.integers(0, 3), min_size=1, max_size=12))
async def test_doubled_and_early_passes_change_nothing(extra: list[int]) -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    turns = iter(extra * 20)

    def at_least_once(status: dict[str, Any]) -> bool:
        return status.get("phase") == "Resolved" and "report" in status

    for _ in range(200):
        for _ in range(next(turns, 0)):
            await rig.once(key)
        status = await rig.run(key, seconds=5)
        if at_least_once(status):
            break
    assert at_least_once(rig.status(key))
    assert restarts(rig) == 1
