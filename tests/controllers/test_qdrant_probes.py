"""The probes of Qdrant over several rounds: what they give, for how long a state lasts, and how long searches take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.base import ProbeContext, Round
from docuquery_operator.catalogue.probes import PROBES
from docuquery_operator.catalogue.probes.qdrant import percentile
from docuquery_operator.ports import STACK, QdrantAnswer, QdrantCluster, QdrantCollection, QdrantFacts
from tests.fakes.qdrant import documents
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(240)
QDRANT = sorted(p for p in PROBES if p.startswith("qdrant"))


class Rounds:
    """Looks of one process at one Stack."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.with_qdrant()
        self.state = self.rig.qdrant
        self.memory: dict[object, Any] = {}

    async def look(self, probe: str, after: float = 5.0) -> dict[str, Any]:
        """One round, some seconds after the one before."""
        self.rig.clock.advance(after)
        stack = Stack.model_validate(self.rig.server.find(STACK, NAMESPACE, "docuquery"))
        round_ = Round(stack, self.rig.life.ports, 1.0, self.rig.clock.now(), self.memory)
        return await PROBES[probe].look(ProbeContext(round_, "qdrant", stack.spec.components["qdrant"]))


@pytest.mark.parametrize("probe", QDRANT)
async def test_a_probe_gives_exactly_what_it_declares(probe: str) -> None:
    rounds = Rounds()
    cluster = QdrantCluster(True, 3, 1, 4, 8, 1)
    rounds.state.overlay = lambda seen: replace(seen, cluster=cluster)
    given: set[str] = set()
    for _ in range(4):
        given |= set(await rounds.look(probe))
    assert given == {*PROBES[probe].gives, "summary"}


@pytest.mark.parametrize("probe", QDRANT)
async def test_a_server_that_answers_nobody_gives_no_figure(probe: str) -> None:
    rounds = Rounds()
    for _ in range(3):
        await rounds.look(probe)
    rounds.state.answer = lambda _host: "timeout"
    found = await rounds.look(probe)
    del found["summary"]
    expected = {
        "qdrantReady": {"ok": False, "outcome": "timeout", "direct": "timeout", "server": ""},
        "qdrantCollections": {"diskFull": False},
    }
    assert found == expected.get(probe, {})


async def test_a_full_disk_is_known_by_the_servers_own_words() -> None:
    rounds = Rounds()
    text = "HTTP 500: No space left on device: WAL buffer size exceeds available disk space"
    rounds.state.overlay = lambda _: QdrantFacts("error", text)
    assert (await rounds.look("qdrantCollections"))["diskFull"] is True
    assert (await rounds.look("qdrantReady"))["server"] == "error"


async def test_how_long_a_collection_is_yellow_does_not_count_a_snapshot() -> None:
    rounds = Rounds()
    rounds.state.change(status="yellow")
    seconds = [(await rounds.look("qdrantCollections"))["yellowSeconds"] for _ in range(3)]
    assert seconds == [0.0, 5.0, 10.0]
    rounds.state.overlay = lambda seen: replace(seen, snapshots_running=1)
    found = await rounds.look("qdrantCollections")
    assert (found["yellowSeconds"], found["snapshotRunning"]) == (0.0, True)
    rounds.state.overlay = lambda seen: replace(seen, snapshots_running=None)
    found = await rounds.look("qdrantCollections")
    assert found["yellowSeconds"] == 5.0
    assert "snapshotRunning" not in found


async def test_a_state_that_was_not_watched_is_not_counted() -> None:
    rounds = Rounds()
    rounds.state.change(status="grey")
    await rounds.look("qdrantCollections")
    assert (await rounds.look("qdrantCollections"))["greySeconds"] == 5.0
    assert (await rounds.look("qdrantCollections", after=600))["greySeconds"] == 0.0
    rounds.state.change(status="green")
    assert (await rounds.look("qdrantCollections"))["greySeconds"] == 0.0
    rounds.state.change(status="grey")
    assert (await rounds.look("qdrantCollections"))["greySeconds"] == 0.0


async def p95(rounds: Rounds) -> float | None:
    """After one round."""
    found: float | None = (await rounds.look("qdrantSearch")).get("p95Ms")
    return found


async def test_one_lost_search_is_no_slowness_and_two_are() -> None:
    rounds = Rounds()
    assert [await p95(rounds) for _ in range(4)] == [None, None, 5.0, 5.0]
    rounds.state.search_ms = lambda _: 900.0
    assert [await p95(rounds) for _ in range(2)] == [5.0, 900.0]


async def test_searches_that_are_fast_again_are_so_after_half_a_minute() -> None:
    rounds = Rounds()
    rounds.state.search_ms = lambda _: 900.0
    assert [await p95(rounds) for _ in range(10)][-1] == 900.0
    rounds.state.search_ms = lambda _: 5.0
    assert [await p95(rounds) for _ in range(7)][-1] == 5.0


async def test_a_search_without_an_answer_counts_as_one_of_the_whole_time() -> None:
    """To leave it out would make a server look the faster the more searches it loses."""
    rounds = Rounds()

    async def lost(*_: Any) -> QdrantAnswer:
        return QdrantAnswer("error", "HTTP 500", latency_ms=3.0)

    rounds.rig.life.ports.qdrant.search = lost  # type: ignore[method-assign]
    assert [await p95(rounds) for _ in range(3)][-1] == 1000.0


async def test_the_slowest_collection_is_told_and_an_empty_one_is_not_searched() -> None:
    rounds = Rounds()
    rounds.state.collections |= {"small": documents(name="small", points=10), "empty": documents(name="empty", points=0)}

    def took(collection: QdrantCollection) -> float:
        assert collection.name != "empty"
        return {"documents": 5.0, "small": 40.0}[collection.name]

    rounds.state.search_ms = took
    found = [await rounds.look("qdrantSearch") for _ in range(3)][-1]
    assert (found["collection"], found["p50Ms"], found["samples"]) == ("small", 40.0, 3)
    rounds.state.collections = {"empty": documents(name="empty", points=0)}
    assert (await rounds.look("qdrantSearch"))["searchable"] is False


async def test_what_was_measured_before_the_server_went_away_is_forgotten() -> None:
    """Else searches that timed out while it hung would count against the one that was started anew."""
    rounds = Rounds()
    for _ in range(4):
        await rounds.look("qdrantSearch")
    rounds.state.answer = lambda _host: "refused"
    await rounds.look("qdrantSearch")
    rounds.state.answer = lambda _host: "ok"
    assert [await p95(rounds) for _ in range(3)] == [None, None, 5.0]


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [([1.0], 0.95, 1.0), ([1.0, 9.0], 0.95, 1.0), ([1.0, 2.0, 9.0], 0.95, 2.0), ([3.0, 1.0, 2.0], 0.5, 2.0),
     ([float(n) for n in range(1, 21)], 0.95, 19.0), ([1.0] * 18 + [9.0] * 2, 0.95, 9.0)],
)  # fmt: skip
def test_percentile(samples: list[float], share: float, expected: float) -> None:
    assert percentile(samples, share) == expected
