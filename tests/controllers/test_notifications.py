"""People are told at the right minute, once, through channels that may be dead, slow or busy; killed at every call."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.ports import INCIDENT, JSON, SECRET, Key, Receipt
from tests.fakes.faults import Faults
from tests.fakes.ports import ChannelState
from tests.fakes.rig import NAMESPACE, Rig, condition, quiet

PATH = [
    {"to": "onCall", "after": "0s"},
    {"to": "teamLead", "after": "30s"},
    {"to": "engineeringManager", "after": "2m"},
    {"to": "cto", "after": "4m"},
]
CONTACTS = {
    "onCall": ["ana@example.org"],
    "teamLead": ["lead@example.org"],
    "engineeringManager": ["em@example.org"],
    "cto": ["cto@example.org"],
    "stakeholders": ["all@example.org"],
}
GROUPS = list(CONTACTS)[:4]


def rig(*channels: str, **communication: Any) -> Rig:
    """A Stack in which nothing is probed, so that only people are the story."""
    made = Rig(mode="Off")
    # No workload matters here, and their controllers would take most of the time.
    made.clock.ignore(made.simulator.tick)
    for channel in channels:
        data = {"url": base64.b64encode(f"https://{channel}.example".encode()).decode()}
        made.server.put(SECRET, {"metadata": {"name": f"to-{channel}", "namespace": NAMESPACE}, "data": data})
    talk = {
        "contacts": CONTACTS,
        "channels": {c: {"secretRef": {"secretName": f"to-{c}"}} for c in channels},
        "escalation": PATH,
        "updates": {"team": "45s", "stakeholders": "90s"},
        **communication,
    }
    made.edit_stack(lambda s: s["spec"].update(communication=talk))
    made.clock.advance(2)
    return made


def told(made: Rig, channel: str = "") -> list[tuple[str, str]]:
    """What has reached people: what, to whom."""
    return [(m.what, m.to) for _, _, m in made.channels.accepted(channel)]


def steps_told(made: Rig, channel: str = "") -> list[str]:
    return [to for what, to in told(made, channel) if what == "Step"]


async def run_for(made: Rig, key: Key, seconds: float) -> JSON:
    return await made.run(key, seconds=seconds, until=lambda _: False)


def resolve(made: Rig, key: Key) -> None:
    made.edit_incident(key, lambda i: i["spec"].update(resolved={"by": "ana", "note": "mended"}))


async def test_a_p0_that_nobody_answers_goes_the_whole_path_each_step_once() -> None:
    made = rig("slack", "pagerduty", "phone")
    key = made.incident(severity="P0")
    opened = made.clock.now()
    status = await run_for(made, key, 300)
    for channel in ("slack", "pagerduty", "phone"):
        assert steps_told(made, channel) == GROUPS
    late = {m.to: (at - opened).total_seconds() for at, c, m in made.channels.accepted("slack") if m.what == "Step"}
    for to, due in (("onCall", 0), ("teamLead", 30), ("engineeringManager", 120), ("cto", 240)):
        assert 0 <= late[to] - due <= 5
    assert [bool(e.get("sentAt")) for e in status["escalation"]] == [True] * 4
    assert {n["state"] for n in status["notifications"]} == {"Sent"}


async def test_an_answer_stops_the_team_lead_and_not_the_manager() -> None:
    made = rig("pagerduty")
    key = made.incident(severity="P0", acknowledged={"by": "ana"})
    await run_for(made, key, 300)
    assert steps_told(made) == ["engineeringManager", "cto"]


async def test_an_answer_that_expires_calls_the_first_again_and_then_whoever_is_due() -> None:
    made = rig("pagerduty", ackExpiry={"P0": "60s"})
    key = made.incident(severity="P0")
    await run_for(made, key, 10)
    made.edit_incident(key, lambda i: i["spec"].update(acknowledged={"by": "ana"}))
    status = await run_for(made, key, 50)
    assert (steps_told(made), condition(status, "Acknowledged")) == (["onCall"], "ByPerson")
    status = await run_for(made, key, 30)
    assert steps_told(made) == ["onCall", "teamLead"]
    assert ("AckExpired", "onCall") in told(made)
    assert next(c["reason"] for c in status["conditions"] if c["type"] == "Acknowledged") == "Expired"
    assert [m.kind for _, _, m in made.channels.accepted()][:2] == ["trigger", "acknowledge"]


async def test_the_end_tells_everybody_who_was_told_and_then_is_silent() -> None:
    made = rig("slack", "pagerduty", "email", routes={"P0": ["slack", "pagerduty", "email"]})
    key = made.incident(severity="P0")
    await run_for(made, key, 40)
    resolve(made, key)
    await run_for(made, key, 5)
    ends = Counter((c, m.to) for _, c, m in made.channels.accepted() if m.what == "Resolved")
    both = [(c, to) for c in ("pagerduty", "email") for to in ("onCall", "teamLead")]
    assert ends == Counter({("slack", "onCall"): 1, **dict.fromkeys(both, 1)})
    before = len(made.channels.tries)
    assert quiet(await made.once(key))
    await run_for(made, key, 400)
    assert len(made.channels.tries) == before


async def test_the_alert_of_each_group_is_the_one_that_is_ended() -> None:
    made = rig("pagerduty")
    key = made.incident(severity="P0")
    await run_for(made, key, 40)
    resolve(made, key)
    await run_for(made, key, 5)
    raised = {m.alert for _, _, m in made.channels.accepted() if m.kind == "trigger"}
    ended = [m.alert for _, _, m in made.channels.accepted() if m.kind == "resolve"]
    uid = made.model(key).metadata.uid
    assert raised == set(ended) == {uid, f"{uid}/teamLead"}
    assert len(ended) == 2


async def test_updates_for_the_team_and_the_stakeholders_come_once() -> None:
    made = rig("slack", "email")
    key = made.incident(severity="P2", publicMessage="We look at it.", description="internal words")
    await run_for(made, key, 200)
    updates = [(c, m.what, m.contacts) for _, c, m in made.channels.accepted() if m.kind == "update"]
    assert updates == [
        ("slack", "TeamUpdate", ("ana@example.org", "lead@example.org")),
        ("email", "StakeholderUpdate", ("all@example.org",)),
    ]
    text = next(m.text for _, _, m in made.channels.accepted("email") if m.what == "StakeholderUpdate")
    assert "We look at it." in text
    assert "internal words" not in text


async def test_p3_goes_by_mail_alone_and_stops_at_the_second_step() -> None:
    made = rig("slack", "pagerduty", "email")
    await run_for(made, made.incident(severity="P3"), 300)
    assert {c for _, c, m in made.channels.accepted() if m.what == "Step"} == {"email"}
    assert steps_told(made) == ["onCall", "teamLead"]


async def test_without_channels_nothing_is_written_for_it() -> None:
    made = rig()
    key = made.incident(severity="P0")
    status = await run_for(made, key, 300)
    assert "notifications" not in status
    assert [e.get("orderedAt") for e in status["escalation"]] == [None] * 4


async def test_a_channel_that_comes_late_tells_the_highest_step_that_is_due() -> None:
    made = rig()
    key = made.incident(severity="P0")
    await run_for(made, key, 130)
    channels = {"slack": {"secretRef": {"secretName": "to-slack"}}}
    made.server.put(SECRET, {"metadata": {"name": "to-slack", "namespace": NAMESPACE}, "data": {}})
    made.edit_stack(lambda s: s["spec"]["communication"].update(channels=channels))
    await run_for(made, key, 20)
    assert steps_told(made) == ["engineeringManager"]


# Channels that fail


def dead(*names: str, receipt: Receipt | None = None) -> Callable[[str, Message], Receipt]:
    return lambda channel, _message: (receipt or Receipt(False, "HTTP 503")) if channel in names else Receipt(True)


async def test_a_dead_channel_is_tried_again_and_takes_what_it_missed_once_it_is_back() -> None:
    made = rig("slack", "pagerduty")
    made.channels.answer = dead("slack")
    key = made.incident(severity="P0")
    await run_for(made, key, 25)
    tries = [at for at, c, m, _ in made.channels.tries if c == "slack" and m.what == "Step"]
    waits = [(b - a).total_seconds() for a, b in itertools.pairwise(tries)]
    assert len(tries) >= 2
    assert 4.9 <= waits[0] <= 7
    assert all(b >= a for a, b in itertools.pairwise(waits))
    made.channels.answer = dead()
    await run_for(made, key, 60)
    assert "onCall" in steps_told(made, "slack")
    assert steps_told(made, "pagerduty")[0] == "onCall"


async def test_where_no_channel_of_the_severity_takes_it_the_next_one_is_tried() -> None:
    made = rig("slack", "email")
    made.channels.answer = dead("email")
    key = made.incident(severity="P3")
    await run_for(made, key, 60)
    assert ("Step", "onCall") in told(made, "slack")


async def test_a_failing_channel_is_an_incident_that_travels_by_another_and_ends_when_it_works() -> None:
    made = rig("slack", "email")
    made.channels.answer = dead("slack")
    key = made.incident(severity="P0")
    await run_for(made, key, 30)
    other = Key(INCIDENT.plural, NAMESPACE, "docuquery-channel-slack")
    status = await run_for(made, other, 30)
    assert status["phase"] != "Resolved"
    about = [(c, m.what) for _, c, m in made.channels.accepted() if m.incident == other.name]
    assert ("email", "Step") in about
    assert {c for _, c, m, _ in made.channels.tries if m.incident == other.name} == {"email"}
    made.channels.answer = dead()
    await run_for(made, key, 120)
    status = await run_for(made, other, 30)
    assert (status["phase"], condition(status, "Resolved")) == ("Resolved", "ChannelWorks")
    # It fails again: the same incident is opened again, and no second one.
    made.channels.answer = dead("slack")
    await run_for(made, made.incident("again", severity="P0"), 40)
    assert (await run_for(made, other, 5))["round"] == 2
    assert sum(i["metadata"]["name"].startswith("docuquery-channel") for i in made.server.all(INCIDENT)) == 1


async def test_a_busy_channel_is_left_alone_for_as_long_as_it_asks() -> None:
    made = rig("slack")
    made.channels.answer = dead("slack", receipt=Receipt(False, "HTTP 429", retry_after=42))
    key = made.incident(severity="P0")
    await run_for(made, key, 41)
    assert len([1 for _, _, m, _ in made.channels.tries if m.what == "Step" and m.to == "onCall"]) == 1


async def test_a_missing_secret_is_said_and_no_value_of_a_secret_is_kept() -> None:
    made = rig("slack")
    made.server.remove(SECRET, NAMESPACE, "to-slack")
    status = await run_for(made, made.incident(severity="P0"), 20)
    note = status["notifications"][0]
    assert (note["state"], note["problem"]) == ("Failed", "Secret 'to-slack' does not exist; create it")
    assert made.channels.tries == []


async def test_only_the_leader_sends() -> None:
    made = rig("slack")
    made.leader.leads = False
    await run_for(made, made.incident(severity="P0"), 20)
    assert made.channels.tries == []


# Floods


async def test_many_incidents_at_once_are_told_by_few_messages_and_each_is_named() -> None:
    made = rig("slack", "phone")
    keys = [made.incident(f"inc-{n}", severity="P0") for n in range(30)]
    for _ in range(6):
        for key in keys:
            await made.once(key)
        made.clock.advance(0.5)
    for _ in range(40):
        made.clock.advance(1)
        await made.life.courier.ended()
        for key in keys:
            await made.once(key)
    for channel, most in (("slack", 12), ("phone", 3)):
        steps = [m for _, c, m in made.channels.accepted(channel) if m.what == "Step" and m.to == "onCall"]
        assert len(steps) <= most
        named = {name for m in steps for name in (m.members or (m.incident,))}
        assert named == {k.name for k in keys}
    assert all(n["state"] == "Sent" for k in keys for n in made.status(k)["notifications"] if n["to"] == "onCall")


# Killed at every call


async def story(faults: Faults | None = None) -> Rig:
    """One channel works, one is dead for a while, one is busy; taken late, resolved at last."""
    made = rig("slack", "pagerduty", "email", routes={"P0": ["slack", "pagerduty", "email"]}, ackExpiry={"P0": "25s"})
    if faults is not None:
        made.start(faults)
    began = made.clock.now()

    def answer(channel: str, _message: Message) -> Receipt:
        young = (made.clock.now() - began).total_seconds() < 40
        if channel == "email" and young:
            return Receipt(False, "timeout")
        return (
            Receipt(False, "HTTP 429", retry_after=3)
            if channel == "slack" and young and len(made.channels.tries) % 2
            else Receipt(True)
        )

    made.channels.answer = answer
    key = made.incident(severity="P0")
    await run_for(made, key, 35)
    made.edit_incident(key, lambda i: i["spec"].update(acknowledged={"by": "ana"}))
    await run_for(made, key, 100)
    resolve(made, key)
    await run_for(made, key, 100)
    return made


def keys_told(made: Rig) -> Counter[tuple[str, str]]:
    return Counter((c, m.key) for _, c, m in made.channels.accepted())


PARTS = 24
# What happens to a person who answers is told only if a pass saw it in between.
PASSING = ("expired-", "ack-")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_every_call_nothing_is_lost_and_no_message_comes_more_than_twice(part: int) -> None:
    """Twice are those that were on their way: each channel may have had one, and they come again under the same key."""
    reference = await story()
    expected, calls = keys_told(reference), reference.life.faults.calls
    assert len(calls) > 100
    assert set(expected.values()) == {1}
    wrong = []
    for n in range(1 + part, len(calls) + 1, PARTS):
        effects = calls[n - 1].startswith(("send", "patch", "create"))
        for faults in [Faults(kill_before=n), *([Faults(kill_after=n)] if effects else [])]:
            made = await story(faults)
            found = keys_told(made)
            missing = {k for k in set(expected) ^ set(found) if not any(p in k[1] for p in PASSING)}
            most = max(found.values())
            if missing or most > 2 or made.crashes or len(made.lives) != 3:
                wrong.append((n, calls[n - 1], faults.kill_after > 0, missing, most, len(made.lives)))
    assert wrong == []


def test_the_state_of_the_fakes_is_their_own() -> None:
    assert ChannelState().tries == []
