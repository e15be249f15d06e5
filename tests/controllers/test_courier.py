"""What goes out when: in order for each incident, together for each contact, and nothing holds up the ends of alerts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from docuquery_operator.api.common import Severity
from docuquery_operator.controllers.courier import Courier
from docuquery_operator.controllers.lane import HELD_FOR, QUIET_AT_ONCE, Letter
from docuquery_operator.domain.paging.messages import Message
from docuquery_operator.domain.paging.sending import LIMITS
from docuquery_operator.ports import INCIDENT, SECRET, Key, Ports, Receipt
from tests.fakes.rig import NAMESPACE, Rig


@dataclass
class Gate:
    """ports.Channels whose tries end when the test says so."""

    going: list[tuple[Message, asyncio.Future[Receipt]]] = field(default_factory=list)

    async def send(self, channel: str, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.going.append((message, future))
        return await future

    async def answer(self, number: int, receipt: Receipt | None = None) -> None:
        self.going[number][1].set_result(receipt or Receipt(True))
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def written(world: World, incident: str, key: str = "trigger") -> None:
    """The incident's pass has written the receipt, and has nothing more to send."""
    world.courier.recorded(Key(INCIDENT.plural, NAMESPACE, incident), f"uid-{incident}", [key])
    world.courier.offer(f"uid-{incident}", [])


@dataclass
class World:
    courier: Courier
    gate: Gate
    nudged: list[Key]
    rig: Rig
    timers: list[float]


@pytest.fixture
def world() -> World:
    rig, gate, nudged = Rig(mode="Off"), Gate(), []  # type: ignore[var-annotated]
    rig.clock.ignore(rig.simulator.tick)
    rig.server.put(SECRET, {"metadata": {"name": "s", "namespace": NAMESPACE}, "data": {}})
    ports: Ports = dataclasses.replace(rig.life.ports, channels=gate)
    timers: list[float] = []
    return World(Courier(ports, nudged.append, lambda wait, _call: timers.append(wait)), gate, nudged, rig, timers)


def letter(incident: str, kind: Any = "trigger", channel: str = "pagerduty", key: str = "", to: str = "onCall") -> Letter:
    message = Message(
        key=f"{incident}/{key or kind}", alert=incident, thread=incident, kind=kind, what="Step", severity=Severity.P1,
        title=incident, text="text", to=to, contacts=(), namespace=NAMESPACE, stack="docuquery", component="", incident=incident,
        incident_type="T", phase="Investigating", at=datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    )  # fmt: skip
    owner = Key(INCIDENT.plural, NAMESPACE, incident)
    return Letter(owner, f"uid-{incident}", key or kind, channel, "s", "docuquery", message)


async def test_an_end_waits_for_the_page_that_is_on_its_way(world: World) -> None:
    world.courier.offer("uid-a", [letter("a")])
    await settle()
    world.courier.offer("uid-a", [letter("a", "resolve")])
    await settle()
    assert [m.kind for m, _ in world.gate.going] == ["trigger"]
    await world.gate.answer(0)
    assert [m.kind for m, _ in world.gate.going] == ["trigger", "resolve"]


async def test_what_is_not_due_any_more_is_not_sent(world: World) -> None:
    world.courier.offer("uid-a", [letter("a")])
    world.courier.offer("uid-b", [letter("b")])
    await settle()
    world.courier.offer("uid-b", [])
    await world.gate.answer(0)
    world.rig.clock.advance(60)
    world.courier.offer("uid-c", [letter("c")])
    await settle()
    assert [m.incident for m, _ in world.gate.going] == ["a", "c"]


async def test_what_waits_for_a_contact_goes_out_as_one(world: World) -> None:
    for name in "abcd":
        world.courier.offer(f"uid-{name}", [letter(name)])
    await settle()
    assert world.timers == [5.0]
    await world.gate.answer(0)
    assert len(world.gate.going) == 1
    written(world, "a")
    world.rig.clock.advance(5)
    world.courier.offer("uid-e", [letter("e")])
    await settle()
    assert world.gate.going[1][0].members == ("b", "c", "d", "e")
    await world.gate.answer(1)
    assert {k.name for k in world.nudged} == set("abcde")
    for name in "bcde":
        owner = Key(INCIDENT.plural, NAMESPACE, name)
        assert world.courier.deliveries(owner, f"uid-{name}")["trigger"].accepted
        assert world.courier.deliveries(owner, "uid-of-another-life") == {}


async def test_ends_of_alerts_wait_neither_for_a_pace_nor_for_each_other(world: World) -> None:
    for n in range(2 * QUIET_AT_ONCE):
        world.courier.offer(f"uid-{n}", [letter(str(n), "resolve")])
    await settle()
    assert len(world.gate.going) == QUIET_AT_ONCE
    world.courier.offer("uid-page", [letter("page")])
    await settle()
    assert world.gate.going[-1][0].incident == "page"
    await world.gate.answer(0)
    written(world, "0", "resolve")
    await settle()
    assert len(world.gate.going) == QUIET_AT_ONCE + 2


async def test_no_more_is_taken_without_being_written_than_may_be_on_its_way_at_once(world: World) -> None:
    most = LIMITS["webhook"].unwritten
    for n in range(most + 20):
        world.courier.offer(f"uid-{n}", [letter(str(n), channel="webhook")])
    await settle()
    assert len(world.gate.going) == LIMITS["webhook"].parallel
    for n in range(most):
        await world.gate.answer(n)
    assert len(world.gate.going) == most
    written(world, "3")
    await settle()
    assert len(world.gate.going) == most + 1
    # What was not taken comes again anyhow: it holds up nobody.
    await world.gate.answer(most, Receipt(False, "HTTP 503"))
    assert len(world.gate.going) == most + 2


async def test_one_message_for_many_is_written_when_all_of_them_are(world: World) -> None:
    for name in "abc":
        world.courier.offer(f"uid-{name}", [letter(name, channel="slack")])
    await settle()
    await world.gate.answer(0)
    written(world, "a")
    world.rig.clock.advance(1)
    world.courier.offer("uid-d", [letter("d", channel="slack")])
    await settle()
    await world.gate.answer(1)
    world.rig.clock.advance(1)
    world.courier.offer("uid-e", [letter("e", channel="slack")])
    written(world, "b")
    written(world, "c")
    await settle()
    assert len(world.gate.going) == 2
    written(world, "d")
    await settle()
    assert [m.incident for m, _ in world.gate.going] == ["a", "b", "e"]


async def test_a_receipt_that_cannot_be_written_silences_nobody_for_ever(world: World) -> None:
    world.courier.offer("uid-a", [letter("a", channel="slack")])
    await settle()
    await world.gate.answer(0)
    world.rig.clock.advance(HELD_FOR.total_seconds() - 1)
    world.courier.offer("uid-b", [letter("b", channel="slack")])
    await settle()
    assert len(world.gate.going) == 1
    world.rig.clock.advance(5)
    world.courier.offer("uid-c", [letter("c", channel="slack")])
    await settle()
    assert world.gate.going[1][0].members == ("b", "c")


BUSY = Receipt(False, "HTTP 429", retry_after=20.0)


async def test_a_busy_channel_is_waited_for_and_nothing_is_written_of_it(world: World) -> None:
    for name in "abc":
        world.courier.offer(f"uid-{name}", [letter(name, channel="slack")])
    await settle()
    await world.gate.answer(0, BUSY)
    # No longer needed: it is not sent when the channel opens again.
    world.courier.offer("uid-b", [])
    world.rig.clock.advance(19)
    world.courier.offer("uid-d", [letter("d", channel="slack")])
    await settle()
    assert (len(world.gate.going), world.nudged) == (1, [])
    world.rig.clock.advance(2)
    world.courier.offer("uid-e", [letter("e", channel="slack")])
    await settle()
    assert world.gate.going[1][0].members == ("a", "c", "d", "e")


async def test_what_became_needless_on_its_way_to_a_busy_channel_is_not_put_back(world: World) -> None:
    world.courier.offer("uid-a", [letter("a", channel="slack")])
    await settle()
    world.courier.offer("uid-a", [letter("a", "resolve", channel="slack")])
    await world.gate.answer(0, BUSY)
    world.rig.clock.advance(30)
    world.courier.offer("uid-b", [])
    world.courier.offer("uid-a", [letter("a", "resolve", channel="slack")])
    await settle()
    assert [m.kind for m, _ in world.gate.going] == ["trigger", "resolve"]


async def test_a_channel_that_stays_busy_is_written_down(world: World) -> None:
    for n in range(3):
        world.courier.offer("uid-a", [letter("a", channel="slack")])
        await settle()
        assert world.nudged == []
        await world.gate.answer(n, BUSY)
        world.rig.clock.advance(21)
    assert [k.name for k in world.nudged] == ["a"]
    assert world.courier.broken(NAMESPACE, "docuquery", "slack")


async def test_a_deleted_incident_makes_room(world: World) -> None:
    world.courier.offer("uid-a", [letter("a")])
    await settle()
    await world.gate.answer(0)
    world.courier.offer("uid-b", [letter("b")])
    world.rig.clock.advance(6)
    world.courier.forget(Key(INCIDENT.plural, NAMESPACE, "a"))
    await settle()
    assert [m.incident for m, _ in world.gate.going] == ["a", "b"]


async def test_contacts_do_not_wait_for_each_other(world: World) -> None:
    world.courier.offer(
        "uid-a", [letter("a"), letter("a", key="lead", to="teamLead"), letter("a", key="w", channel="webhook")]
    )
    await settle()
    assert len(world.gate.going) == 3


async def test_a_program_gets_each_incident_by_itself(world: World) -> None:
    for n in range(20):
        world.courier.offer(f"uid-{n}", [letter(str(n), channel="webhook")])
    await settle()
    assert [m.members for m, _ in world.gate.going] == [()] * 8


async def test_one_try_at_a_time_and_its_end_is_told_until_it_is_recorded(world: World) -> None:
    owner = Key(INCIDENT.plural, NAMESPACE, "a")
    for _ in range(3):
        world.courier.offer("uid-a", [letter("a")])
    await settle()
    await world.gate.answer(0, Receipt(False, "HTTP 503"))
    world.rig.clock.advance(60)
    world.courier.offer("uid-a", [letter("a")])
    await settle()
    assert len(world.gate.going) == 1
    world.courier.recorded(owner, "uid-a", ["trigger"])
    world.courier.offer("uid-a", [letter("a")])
    await settle()
    assert len(world.gate.going) == 2
    world.courier.forget(owner)
    assert world.courier.deliveries(owner, "uid-a") == {}


async def test_a_channel_is_broken_after_three_tries_and_whole_after_one(world: World) -> None:
    place = (NAMESPACE, "docuquery", "webhook")
    for n in range(3):
        assert not world.courier.broken(*place)
        world.courier.offer(f"uid-{n}", [letter(str(n), channel="webhook")])
        await settle()
        await world.gate.answer(n, Receipt(False, "HTTP 500"))
    assert world.courier.broken(*place)
    assert world.courier.works_since(*place) is None
    world.courier.offer("uid-x", [letter("x", channel="webhook")])
    await settle()
    await world.gate.answer(3)
    assert not world.courier.broken(*place)
    assert world.courier.works_since(*place) == world.rig.clock.now()


async def test_a_secret_is_read_once_for_many_messages_and_anew_after_a_second(world: World) -> None:
    """In a storm each message would read it; one that was changed must still be known at once."""
    reads: list[str] = []
    cluster, get = world.rig.life.ports.cluster, world.rig.life.ports.cluster.get

    async def counted(kind: Any, namespace: str, name: str) -> Any:
        reads.append(name)
        return await get(kind, namespace, name)

    object.__setattr__(cluster, "get", counted)
    for number in range(4):
        world.courier.offer(f"uid-{number}", [letter(str(number), channel="webhook")])
        await settle()
    assert (len(world.gate.going), reads) == (4, ["s"])
    world.rig.clock.advance(1.1)
    world.courier.offer("uid-5", [letter("5", channel="webhook")])
    await settle()
    assert (len(world.gate.going), reads) == (5, ["s", "s"])


async def test_receipts_of_a_message_for_many_do_not_go_ahead_of_pages(world: World) -> None:
    """One message stands for all of them: a kill doubles one, and its many receipts would hold up who was told nothing yet."""
    joined: list[Key] = []
    courier = Courier(world.courier._ports, world.nudged.append, lambda _wait, _call: None, joined=joined.append)
    courier.offer("uid-a", [letter("a", channel="slack")])
    await settle()
    for name in "bc":
        courier.offer(f"uid-{name}", [letter(name, channel="slack")])
    await world.gate.answer(0)
    assert ([k.name for k in world.nudged], joined) == (["a"], [])
    courier.recorded(Key(INCIDENT.plural, NAMESPACE, "a"), "uid-a", ["trigger"])
    world.rig.clock.advance(2)
    courier.offer("uid-b", [letter("b", channel="slack")])
    await settle()
    assert world.gate.going[1][0].members == ("b", "c")
    await world.gate.answer(1)
    assert ([k.name for k in world.nudged], sorted(k.name for k in joined)) == (["a"], ["b", "c"])
