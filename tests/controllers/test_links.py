"""A held connection breaks: rounds of probes come at once, an incident opens with the quorum, and nothing harmless opens one."""

from __future__ import annotations

import pytest

from docuquery_operator.api.detection import Detection
from docuquery_operator.controllers.links import MORE_ROUNDS, MOST_ROUNDS, QUICK_SECONDS
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import INCIDENT, JSON, POD, STACK, Key
from tests.fakes.links import FakeLinks
from tests.fakes.rig import NAMESPACE, Rig, condition

pytestmark = pytest.mark.timeout(240)
KEY = Key(STACK.plural, NAMESPACE, "docuquery")
NAME = "docuquery-database-connection-failure-1"
FAILURES = 3


class Beside:
    """The Stack's passes as the queue runs them: when the pass said, and at once when it is nudged."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.nudged: list[Key] = []
        rig.edit_stack(lambda s: s["spec"]["detection"].update(failures=FAILURES))
        self.stacks = StackController(rig.life.ports, rig.life.prober, self.nudged.append)
        links = rig.life.ports.links
        assert isinstance(links, FakeLinks)
        self.links = links
        self.after = 0.0
        self.looks = 0

    async def once(self) -> float:
        """One pass; seconds until the next."""
        before = len(self.rig.database.targets)
        self.after = await self.stacks.reconcile(KEY) or 0.0
        self.looks += len(self.rig.database.targets) > before
        return self.after

    async def live(self, seconds: float) -> None:
        end = self.rig.clock.now().timestamp() + seconds
        while self.rig.clock.now().timestamp() < end:
            after = await self.once()
            for incident in self.rig.server.all(INCIDENT, NAMESPACE):
                await self.rig.once(Key(INCIDENT.plural, NAMESPACE, incident["metadata"]["name"]))
            self.rig.clock.advance(after)

    async def quick(self) -> int:
        """Passes until the usual pace is back."""
        passes = 1
        while await self.once() == QUICK_SECONDS:
            self.rig.clock.advance(QUICK_SECONDS)
            passes += 1
            assert passes <= MOST_ROUNDS + MORE_ROUNDS
        return passes

    def kill(self) -> None:
        """kill -9; the kubelet has not noticed yet."""
        self.rig.simulator.break_process("postgres-0", self.rig.clock.now())
        self.links.break_("postgres")

    def incidents(self) -> list[str]:
        return [i["metadata"]["name"] for i in self.rig.server.all(INCIDENT, NAMESPACE)]

    def stack(self) -> JSON:
        status: JSON = (self.rig.server.find(STACK, NAMESPACE, "docuquery") or {})["status"]
        return status

    def short_faults(self) -> int:
        return sum(len(c.get("shortFaults", [])) for c in self.stack()["components"])


@pytest.fixture
async def beside() -> Beside:
    made = Beside(Rig())
    await made.live(30)
    assert made.links.names() == ["api", "postgres"]
    return made


async def test_a_killed_process_is_an_incident_within_a_moment(beside: Beside) -> None:
    began = beside.rig.clock.now()
    beside.kill()
    assert beside.nudged == [KEY]
    assert await beside.quick() == FAILURES + MORE_ROUNDS
    assert beside.incidents() == [NAME]
    [incident] = beside.rig.server.all(INCIDENT, NAMESPACE)
    assert "at first sight" in incident["spec"]["description"]
    assert (beside.rig.clock.now() - began).total_seconds() < 0.3


async def test_nothing_is_done_before_the_rounds_an_interval_apart_agree(beside: Beside) -> None:
    beside.kill()
    began = beside.rig.clock.now()
    await beside.quick()
    while not beside.rig.simulator.created:
        await beside.live(1)
        assert (beside.rig.clock.now() - began).total_seconds() < 60
    assert (beside.rig.clock.now() - began).total_seconds() >= 5.0 * (FAILURES - 1) * 0.7


async def test_a_restart_by_the_kubelet_is_told_but_not_doubled(beside: Beside) -> None:
    beside.kill()
    await beside.quick()
    beside.rig.clock.advance(1)
    beside.rig.simulator.mend_process()
    await beside.live(300)
    status = beside.rig.status(Key(INCIDENT.plural, NAMESPACE, NAME))
    assert (condition(status, "Resolved"), beside.rig.simulator.created) == ("Recovered", [])


async def test_a_fault_that_is_over_before_the_next_round_has_a_cause_and_no_remedy(beside: Beside) -> None:
    beside.kill()
    key = Key(INCIDENT.plural, NAMESPACE, NAME)
    while NAME not in beside.incidents():
        await beside.once()
        beside.rig.clock.advance(QUICK_SECONDS)
    beside.rig.simulator.mend_process()
    await beside.live(300)
    status = beside.rig.status(key)
    cause = status["cause"]
    assert (condition(status, "Resolved"), cause["name"], cause["confidence"]) == ("Recovered", "ProcessDown", "Low")
    assert (status.get("steps") or [], beside.rig.simulator.created) == ([], [])


async def test_a_harmless_close_costs_two_rounds(beside: Beside) -> None:
    looks = beside.looks
    beside.links.break_("postgres")
    assert await beside.quick() == 2
    assert (beside.looks - looks, beside.incidents(), beside.short_faults()) == (2, [], 0)
    assert beside.after == 5.0


async def test_a_flood_of_breaks_is_no_flood_of_rounds(beside: Beside) -> None:
    looks = beside.looks
    for _ in range(100):
        beside.links.break_("postgres")
        beside.links.break_("api")
        await beside.once()
        beside.rig.clock.advance(0.01)
    assert beside.looks - looks <= 4


async def test_a_pod_that_is_being_replaced_is_no_incident(beside: Beside) -> None:
    beside.rig.server.edit(
        POD, NAMESPACE, "postgres-0", lambda p: p["metadata"].update(deletionTimestamp="2026-03-29T00:30:30Z")
    )
    beside.kill()
    await beside.quick()
    assert beside.incidents() == []


async def test_faults_too_short_for_an_incident_are_counted_and_told_once(beside: Beside) -> None:
    for number in (1, 2, 3, 4):
        beside.kill()
        await beside.once()
        beside.rig.simulator.mend_process()
        await beside.live(60)
        assert beside.short_faults() == number
        assert (condition(beside.stack(), "Flapping") == "ShortFaults") is (number >= 3)
    assert beside.incidents() == []
    reasons = beside.rig.life.events.reasons()
    assert (reasons.count("ShortFault"), reasons.count("Flapping")) == (4, 1)
    await beside.live(1900)
    assert (beside.short_faults(), condition(beside.stack(), "Flapping")) == (0, "")


async def test_many_failures_are_not_waited_for_in_a_hurry(beside: Beside) -> None:
    beside.rig.edit_stack(lambda s: s["spec"]["detection"].update(failures=50))
    await beside.live(10)
    beside.kill()
    assert await beside.quick() <= MOST_ROUNDS + MORE_ROUNDS
    assert beside.incidents() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["spec"]["detection"].update(heldConnections=False),
        lambda s: s["spec"]["detection"].update(openIncidents=False),
        lambda s: s["spec"]["healing"].update(mode="Off"),
    ],
    ids=["switched off", "not watched", "mode Off"],
)
async def test_where_nobody_wants_them_none_are_held(beside: Beside, change: object) -> None:
    beside.rig.edit_stack(change)  # type: ignore[arg-type]
    await beside.live(10)
    assert beside.links.names() == []


async def test_only_the_leader_holds_them(beside: Beside) -> None:
    beside.rig.leader.leads = False
    await beside.live(10)
    assert beside.links.names() == []


async def test_a_deleted_stack_lets_them_go(beside: Beside) -> None:
    beside.rig.server.remove(STACK, NAMESPACE, "docuquery")
    assert await beside.stacks.reconcile(KEY) is None
    assert beside.links.names() == []


def test_held_is_the_default() -> None:
    assert Detection().held_connections is True
