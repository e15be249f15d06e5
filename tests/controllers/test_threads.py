"""What a chat keeps of an incident survives the process, and each step is a change at PagerDuty."""

from __future__ import annotations

import pytest

from docuquery_operator.domain.paging.buttons import Button
from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.ports import INCIDENT, SECRET, STACK, Receipt
from tests.fakes.rig import NAMESPACE, Rig, steps

pytestmark = pytest.mark.timeout(60)
ANA = "slack:U0ANA0001"


def rig(mode: str = "Auto") -> Rig:
    made = Rig(mode=mode)
    channels = {c: {"secretRef": {"secretName": c}} for c in ("slack", "pagerduty")}
    talk = {"channels": channels, "routes": {"P0": ["slack", "pagerduty"]}}
    made.edit_stack(lambda s: s["spec"].update(communication=talk, approvers=[{"id": ANA, "user": "ana"}]))
    for name in channels:
        made.server.put(SECRET, {"metadata": {"name": name, "namespace": NAMESPACE}, "data": {}})
    threads: dict[str, str] = {}

    def answer(channel: str, message: Message) -> Receipt:
        if channel != "slack" or message.members:
            return Receipt(True)
        parent = message.parent or threads.setdefault(message.thread, f"C0123ABCD/17643312{len(threads):02d}.000100")
        return Receipt(True, f"thread {parent}")

    made.channels.answer = answer
    return made


async def test_the_thread_is_found_again_by_another_process() -> None:
    world = rig()
    world.freeze()
    key = world.incident()
    await world.run(key, 20, until=lambda s: any(n.get("receipt") for n in s.get("notifications", [])))
    before = len(world.channels.accepted("slack"))
    assert before >= 1
    world.start()
    await world.run(key, 600)
    later = [m for _, _, m in world.channels.accepted("slack")][before:]
    assert later
    assert {m.parent for m in later} == {"C0123ABCD/1764331200.000100"}
    assert later[-1].button is None


async def test_each_step_is_one_change() -> None:
    world = rig()
    world.freeze()
    status = await world.run(world.incident(), 600)
    assert steps(status) == [("restartWorkload", "Healed")]
    changes = [m for _, c, m in world.channels.accepted("pagerduty") if m.kind == "change"]
    assert len(changes) == 1
    assert changes[0].title.startswith("restartWorkload on postgres: ")
    assert not [m for _, c, m in world.channels.accepted("slack") if m.kind == "change"]


@pytest.mark.parametrize("approver", [True, False])
async def test_the_button_of_a_step_is_its_plan_and_only_an_approvers_answer_counts(approver: bool) -> None:
    world = rig("Approve")
    world.freeze()
    key = world.incident()
    await world.run(key, 60, until=lambda s: any(x["state"] == "AwaitingApproval" for x in s.get("steps", [])))
    await world.run(key, 20)
    (step,) = world.status(key)["steps"]
    asked = next(m for _, _, m in world.channels.accepted("slack") if m.what == "NeedsApproval")
    uid = world.server.find(INCIDENT, NAMESPACE, key.name)["metadata"]["uid"]  # type: ignore[index]
    assert asked.button == Button(NAMESPACE, key.name, uid, 1, step["name"], step["planDigest"])
    if not approver:
        world.server.edit(STACK, NAMESPACE, "docuquery", lambda s: s["spec"].update(approvers=[]))
    answer = {"step": step["name"], "planDigest": step["planDigest"], "by": ANA, "decision": "Approve"}
    world.server.edit(INCIDENT, NAMESPACE, key.name, lambda i: i["spec"].update(approvals=[answer]))
    await world.run(key, 60)
    assert bool(world.simulator.created) is approver
