"""A yes is a yes to one plan of one round, and the status never says that a person answered what nobody did."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.rig import Rig, condition, steps

pytestmark = pytest.mark.timeout(240)


def restarts(rig: Rig) -> int:
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


def answer(rig: Rig, key: Any, decision: str = "Approve") -> None:
    step = next(s for s in rig.status(key)["steps"] if s["state"] == "AwaitingApproval")
    said = {"step": step["name"], "planDigest": step["planDigest"], "by": "alice", "decision": decision}
    rig.edit_incident(key, lambda i: i["spec"].setdefault("approvals", []).append(said))


def waits(status: dict[str, Any]) -> bool:
    return any(s["state"] == "AwaitingApproval" for s in status.get("steps", []))


@pytest.mark.parametrize("decision", ["Approve", "Reject"])
async def test_an_answer_of_one_round_is_none_in_the_next(decision: str) -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=waits)
    answer(rig, key, decision)
    if decision == "Reject":
        await rig.run(key, until=lambda s: not waits(s))
        rig.simulator.mend_process()
    status = await rig.run(key)
    before = restarts(rig)
    assert status["phase"] == "Resolved"
    rig.clock.jump(3600)
    rig.freeze()
    rig.edit_incident(key, lambda i: i["spec"].update(refiredAt=rig.clock.now().isoformat()))
    await rig.run(key, until=lambda s: len(s.get("steps", [])) == 2)
    status = await rig.run(key, seconds=20)
    assert (steps(status)[-1], restarts(rig)) == (("restartWorkload", "AwaitingApproval"), before)
    assert condition(status, "NeedsApproval") == "WaitingForApproval"


async def test_a_yes_that_came_too_late_to_be_used_is_not_told_as_a_no() -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=waits)
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage"))
    rig.clock.advance(1.5)
    answer(rig, key)
    await rig.run(key, seconds=20)
    rig.clock.jump(16 * 60)
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    status = await rig.run(key, seconds=20)
    assert restarts(rig) == 0
    assert steps(status) == [("restartWorkload", "Skipped")]
    assert "rejected" not in status["steps"][0]["summary"]
    assert "approved by alice" in status["steps"][0]["summary"]


async def test_nothing_waits_for_an_answer_that_would_do_nothing() -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=waits)
    rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Observe"))
    status = await rig.run(key, seconds=30)
    assert condition(status, "NeedsApproval") == ""
    rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Approve"))
    status = await rig.run(key, seconds=30)
    assert condition(status, "NeedsApproval") == "WaitingForApproval"
    rig.edit_stack(lambda s: s["spec"]["healing"].update(mode="Auto"))
    status = await rig.run(key, seconds=20, until=lambda s: steps(s)[-1][1] == "Running")
    assert condition(status, "NeedsApproval") == ""
    assert (await rig.run(key))["phase"] == "Resolved"


async def test_a_step_that_nobody_answered_is_over_with_its_incident() -> None:
    rig = Rig(mode="Approve")
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=waits)
    rig.simulator.mend_process()
    status = await rig.run(key)
    assert (status["phase"], steps(status)) == ("Resolved", [("restartWorkload", "Skipped")])


async def test_what_was_asked_for_is_what_the_rails_look_at_and_what_is_done() -> None:
    """The worst client is another one by the time of the answer: the answer was about the first."""
    rig = Rig(mode="Approve")
    rig.idle_sessions(30, address=rig.simulator.pods("api")[0]["status"]["podIP"])
    remedy = [{"action": "restartLeakingClient", "approval": "Always"}]
    causes = [{"name": "TooManyConnections", "when": "findings.connections.exhausted", "remediate": remedy}]
    rig.put_runbook(causes=causes)
    rig.worker()
    key = rig.incident()
    status = await rig.run(key, until=waits)
    assert status["steps"][0]["component"] == "api"
    rig.database.sessions.clear()
    rig.idle_sessions(30, address=rig.simulator.pods("worker")[0]["status"]["podIP"])
    answer(rig, key)
    status = await rig.run(key, seconds=60, until=lambda s: s["steps"][0]["state"] == "Running")
    step = status["steps"][0]
    assert (step["state"], step["component"], step["plan"]["name"]) == ("Running", "api", "api")
