"""Whatever breaks and whenever: without a quorum of real bad probes in a row no incident is opened, and nothing is done early."""

from __future__ import annotations

import asyncio
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import INCIDENT, STACK, DatabaseFacts, Key
from tests.fakes.links import FakeLinks
from tests.fakes.rig import NAMESPACE, Rig

KEY = Key(STACK.plural, NAMESPACE, "docuquery")
FAILURES = 3
Act = tuple[Literal["break", "break api", "die", "live", "wait", "pass"], float]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["break", "break", "break api", "die", "live", "wait", "pass"]),
        st.sampled_from([0.01, 0.05, 0.2, 1.0, 4.0, 6.0]),
    ),
    max_size=40,
)


class Story:
    """The Stack's passes, and what the probes of the database have really seen."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.edit_stack(lambda s: s["spec"]["detection"].update(failures=FAILURES))
        self.seen: list[bool] = []
        look = self.rig.database.answer

        def answer(host: str) -> DatabaseFacts:
            facts = look(host)
            if not host.startswith("10.61."):
                self.seen.append(facts.outcome == "ok")
            return facts

        self.rig.database.answer = answer
        self.stacks = StackController(self.rig.life.ports, self.rig.life.prober, lambda _key: None)
        links = self.rig.life.ports.links
        assert isinstance(links, FakeLinks)
        self.links = links
        self.passes = 0

    async def act(self, kind: str, seconds: float) -> None:
        simulator = self.rig.simulator
        if kind.startswith("break"):
            self.links.break_("api" if kind == "break api" else "postgres")
        elif kind == "die":
            simulator.break_process("postgres-0", self.rig.clock.now())
        elif kind == "live":
            simulator.mend_process()
        elif kind == "wait":
            self.rig.clock.advance(seconds)
        await self.look()

    async def look(self) -> None:
        before = len(self.rig.server.all(INCIDENT, NAMESPACE))
        await self.stacks.reconcile(KEY)
        self.passes += 1
        if len(self.rig.server.all(INCIDENT, NAMESPACE)) > before:
            assert self.seen[-FAILURES:] == [False] * FAILURES, f"opened on {self.seen[-6:]}"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(ACTS)
def test_no_incident_without_a_quorum_of_bad_probes(acts: list[Act]) -> None:
    async def tell() -> None:
        story = Story()
        await story.look()
        for kind, seconds in acts:
            await story.act(kind, seconds)
        looks = len(story.seen)
        assert looks <= 2 * story.passes

    asyncio.run(tell())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["break", "break api", "wait", "pass"]), st.sampled_from([0.01, 0.2, 6.0])), max_size=60
    )
)
def test_breaks_alone_open_nothing_and_are_no_fault(acts: list[Act]) -> None:
    async def tell() -> None:
        story = Story()
        await story.look()
        for kind, seconds in acts:
            await story.act(kind, seconds)
        assert story.rig.server.all(INCIDENT, NAMESPACE) == []
        stack = story.rig.server.find(STACK, NAMESPACE, "docuquery")
        assert stack
        assert all(not c.get("shortFaults") for c in stack["status"]["components"])

    asyncio.run(tell())
