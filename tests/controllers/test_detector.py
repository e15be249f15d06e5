"""Nobody opens anything: the Stack's own rounds of probes open one incident for one fault, and the healing ends it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.controllers.ledgers import LedgerStore
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.domain.ledger import Attempt
from docuquery_operator.ports import INCIDENT, JSON, STACK, Key
from tests.fakes.rig import NAMESPACE, Rig, condition

pytestmark = pytest.mark.timeout(240)
KEY = Key(STACK.plural, NAMESPACE, "docuquery")
NAME = "docuquery-database-connection-failure-1"


class Watch:
    """Drives the Stack and every incident, as the queue does, pass by pass in simulated time."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.begin()

    def begin(self) -> None:
        """A process of the operator; what an earlier one remembered is lost."""
        life = self.rig.start()
        self.stacks = StackController(life.ports, life.prober, lambda _key: None)

    async def live(self, seconds: float, until: Any = None) -> None:
        """So long, or until something holds."""
        end = self.rig.clock.now().timestamp() + seconds
        while self.rig.clock.now().timestamp() < end:
            await self.stacks.reconcile(KEY)
            for incident in self.incidents():
                await self.rig.once(Key(INCIDENT.plural, NAMESPACE, incident["metadata"]["name"]))
            if until is not None and until():
                return
            self.rig.clock.advance(2.5)
        assert until is None, f"not within {seconds} s: {json.dumps(self.incidents(), default=str)[:3000]}"

    def incidents(self) -> list[JSON]:
        """All that exist."""
        return self.rig.server.all(INCIDENT, NAMESPACE)

    def names(self) -> list[str]:
        return [i["metadata"]["name"] for i in self.incidents()]

    def status(self, name: str = NAME) -> JSON:
        found = self.rig.server.find(INCIDENT, NAMESPACE, name)
        status: JSON = (found or {}).get("status") or {}
        return status

    def over(self, name: str = NAME) -> bool:
        status = self.status(name)
        return status.get("phase") == "Resolved" and "report" in status

    def restarts(self) -> int:
        return sum(name.startswith("postgres") for name, _ in self.rig.simulator.created)


async def test_a_fault_is_noticed_healed_and_told_without_a_person() -> None:
    watch = Watch(Rig())
    await watch.live(60)
    assert watch.names() == []
    watch.rig.freeze()
    await watch.live(300, watch.over)
    assert watch.names() == [NAME]
    assert (condition(watch.status(), "Resolved"), watch.restarts()) == ("Healed", 1)
    spec = watch.incidents()[0]["spec"]
    assert (spec["component"], "Only its symptoms: api" in spec["description"]) == ("postgres", True)
    await watch.live(120)
    assert watch.names() == [NAME], "a fault that is over opened another incident"


async def test_a_new_process_opens_no_second_incident() -> None:
    watch = Watch(Rig(mode="Observe"))
    watch.rig.freeze()
    await watch.live(60, watch.names)
    for _ in range(4):
        watch.begin()
        await watch.live(45)
    assert watch.names() == [NAME]


async def test_two_replicas_open_one() -> None:
    rig = Rig(mode="Observe")
    one, two = Watch(rig), Watch(rig)
    rig.freeze()
    for _ in range(20):
        await one.stacks.reconcile(KEY)
        await two.stacks.reconcile(KEY)
        rig.clock.advance(2.5)
    assert one.names() == [NAME]


async def test_only_the_leader_opens() -> None:
    watch = Watch(Rig())
    watch.rig.freeze()
    watch.rig.leader.leads = False
    await watch.live(60)
    assert watch.names() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["spec"]["detection"].update(openIncidents=False),
        lambda s: s["spec"]["healing"].update(mode="Off"),
    ],
    ids=["switched off", "mode Off"],
)
async def test_it_can_be_switched_off(change: Any) -> None:
    watch = Watch(Rig())
    watch.rig.edit_stack(change)
    watch.rig.freeze()
    await watch.live(60)
    assert watch.names() == []


async def test_one_lost_round_is_no_fault() -> None:
    watch = Watch(Rig())
    await watch.live(20)
    watch.rig.freeze()
    await watch.stacks.reconcile(KEY)
    watch.rig.simulator.mend_process()
    await watch.live(60)
    assert watch.names() == []


async def test_an_incident_of_a_person_is_enough() -> None:
    watch = Watch(Rig())
    watch.rig.freeze()
    watch.rig.incident("db-down")
    await watch.live(300, lambda: watch.over("db-down"))
    assert watch.names() == ["db-down"]
    assert watch.restarts() == 1


async def test_a_fault_that_comes_back_fires_the_same_incident_again_and_then_stands_still() -> None:
    watch = Watch(Rig())
    for round_ in (1, 2, 3):
        watch.rig.freeze()
        await watch.live(120, lambda r=round_: watch.status().get("round") == r and watch.status()["phase"] == "Identified")
        if round_ == 1:
            await watch.live(120, watch.over)
            assert watch.restarts() == 1
        else:
            # A cooldown keeps it from a second restart so soon; a person mends it.
            await watch.live(30)
            watch.rig.simulator.mend_process()
            await watch.live(120, watch.over)
    status = watch.status()
    assert watch.names() == [NAME]
    assert (condition(status, "Flapping"), watch.restarts()) == ("OpenedAgain", 1)
    assert [d["reason"] for d in status["decisions"]][-1] == "Flapping"


def called(watch: Watch, reason: str, name: str = NAME) -> bool:
    """A person is called for this reason, and the same or another reason stands where all of them stand."""
    status = watch.status(name)
    return condition(status, "NeedsHuman") == reason and bool(status.get("decisions"))


async def test_a_remedy_that_does_not_help_is_not_repeated_and_a_person_is_told_why() -> None:
    watch = Watch(Rig())
    watch.rig.simulator.new_pods_are_broken = True
    watch.rig.freeze()
    await watch.live(600, lambda: called(watch, "RemedyUsedUp"))
    await watch.live(120)
    status = watch.status()
    assert (condition(status, "NeedsHuman"), watch.restarts(), watch.names()) == ("RemedyUsedUp", 1, [NAME])
    decision = status["decisions"][-1]
    assert (decision["rule"], decision["reason"]) == ("22-ladder", "RemedyUsedUp")
    assert decision["message"] == "restartWorkload did not help; no step is left"


async def test_a_fault_that_no_restart_has_mended_three_times_is_left_to_a_person() -> None:
    watch = Watch(Rig())
    now, store = watch.rig.clock.now(), LedgerStore(watch.rig.life.ports.cluster)
    for minutes in (200, 140, 80):
        at = now - timedelta(minutes=minutes)
        attempt = Attempt(f"a{minutes}", at, "restartWorkload", "ProcessDown", f"uid-{minutes}")
        await store.keep(NAMESPACE, "docuquery", "postgres", attempt, at)
        await store.finish(NAMESPACE, "docuquery", "postgres", attempt.id, "NotHealed", at + timedelta(minutes=5))
    watch.rig.freeze()
    await watch.live(60, lambda: called(watch, "CauseKeepsComingBack"))
    await watch.live(120)
    assert (watch.names(), watch.restarts(), watch.status().get("steps") or []) == ([NAME], 0, [])
    assert [d["reason"] for d in watch.status()["decisions"]] == ["Demoted", "CauseKeepsComingBack"]
