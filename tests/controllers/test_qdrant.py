"""Qdrant in a simulated world: restarted once when it hangs, optimised where settings are at fault, and put back in vain."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.ports import SECRET, QdrantCluster, QdrantFacts
from tests.controllers.test_detector import Watch
from tests.fakes.faults import Faults
from tests.fakes.qdrant import documents, settings
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

# Each lives through minutes of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
PARTS = 12
NAME = "docuquery-vector-store-performance-1"
Status = dict[str, Any]
UNINDEXED = documents(indexed=0, segments=4, optimizers=settings(indexing_threshold=0))


def rig_with_qdrant(**options: Any) -> Rig:
    rig = Rig(**options)
    rig.with_qdrant()
    return rig


def restarts(rig: Rig, workload: str = "qdrant") -> int:
    """Pods that were made after the first ones."""
    return sum(name.startswith(workload) for name, _ in rig.simulator.created)


def forgotten_index(rig: Rig, helps: bool = True, seconds: float = 20.0) -> None:
    """The index was switched off for an upload and never on again; it is built when that is mended, after a while."""
    rig.qdrant.collections["documents"] = UNINDEXED
    rig.qdrant.search_ms = lambda c: 1500.0 if not (helps and c.indexed) else 8.0
    ends: list[Any] = []

    def patched(name: str) -> None:
        ends[:] = [rig.clock.now() + timedelta(seconds=5), rig.clock.now() + timedelta(seconds=5 + seconds)]

    def tick(now: Any) -> None:
        known = rig.qdrant.collections["documents"]
        on = known.optimizers["indexing_threshold"] > 0
        # Green right after the PATCH: the optimisers begin later.
        if ends and on and ends[0] <= now < ends[1]:
            rig.qdrant.change(status="yellow", pending=1)
        elif ends and on and now >= ends[1]:
            rig.qdrant.change(status="green", pending=0, indexed=known.points)

    rig.qdrant.patched = patched
    rig.clock.listen(tick)


async def test_a_frozen_qdrant_is_restarted_once_and_the_evidence_is_kept() -> None:
    rig = rig_with_qdrant()
    rig.freeze("qdrant-0")
    status = await rig.run(rig.qdrant_incident())
    assert rig.crashes == []
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("Unresponsive", "Healed")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert (restarts(rig), restarts(rig, "postgres"), restarts(rig, "api")) == (1, 0, 0)
    assert rig.qdrant.patches == []
    data = rig.reports()[0]["data"]
    assert any("qdrant_state" in text for name, text in data.items() if name.startswith("evidence-"))


async def test_slow_searches_without_an_index_are_mended_by_the_setting_that_was_forgotten() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig)
    status = await rig.run(rig.qdrant_incident())
    assert rig.crashes == []
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("SlowSearch", "Healed")
    assert steps(status) == [("optimizeCollections", "Healed")]
    assert rig.qdrant.patches == [("documents", {"indexing_threshold": 10000})]
    plan = status["steps"][0]["plan"]["collections"][0]
    assert (plan["before"], plan["after"]) == ({"indexing_threshold": 0}, {"indexing_threshold": 10000})
    assert "undo" not in status["steps"][0]
    assert "100000 of 100000 indexed" in json.dumps(status)
    assert restarts(rig) == 0


async def test_the_end_is_not_taken_for_reached_right_after_the_change() -> None:
    """Green, well and nothing queued, as the real server says it right after a PATCH: that proves nothing."""
    rig = rig_with_qdrant()
    forgotten_index(rig)
    key = rig.qdrant_incident()
    await rig.run(key, until=lambda _: bool(rig.qdrant.patches))
    changed = rig.clock.now()
    status = await rig.run(key, until=lambda s: any(step.get("effectAt") for step in s.get("steps", [])))
    assert status["steps"][0]["state"] == "Running"
    assert (rig.clock.now() - changed).total_seconds() > 25
    assert rig.qdrant.collections["documents"].indexed == 100_000


async def test_what_has_not_helped_is_put_back_before_anything_else_is_done() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig, helps=False)
    status = await rig.run(rig.qdrant_incident(), seconds=400)
    assert steps(status) == [("optimizeCollections", "NotHealed"), ("proposeScaling", "Skipped")]
    assert status["steps"][0]["undo"] == "Done"
    assert rig.qdrant.patches == [("documents", {"indexing_threshold": 10000}), ("documents", {"indexing_threshold": 0})]
    assert rig.qdrant.collections["documents"].optimizers == UNINDEXED.optimizers
    assert "no data move to it" in status["steps"][1]["summary"]
    assert condition(status, "NeedsHuman") == "RemedyUsedUp"
    assert ledger(rig) == ["NotHealed"]


async def test_optimisers_that_do_not_end_are_given_up_and_put_back() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig, seconds=10_000)
    rig.put_runbook("VectorStorePerformance", "own-qdrant", verify=rig.verify, causes=sooner(rig, "2m"))
    key = rig.qdrant_incident()
    await rig.run(key, seconds=400, until=lambda s: "Pending" in str(s.get("steps")))
    status = await rig.run(key, seconds=30)
    assert status["steps"][0]["state"] == "NotHealed"
    assert "not complete after 2m00s" in status["steps"][0]["summary"]
    assert rig.qdrant.collections["documents"].optimizers["indexing_threshold"] == 0


async def test_a_neighbour_that_becomes_sick_ends_the_healing_and_puts_back() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig)
    key = rig.qdrant_incident()
    await rig.run(key, until=lambda s: any(step.get("effectAt") for step in s.get("steps", [])))
    rig.freeze("postgres-0")
    rig.qdrant.search_ms = lambda _: 1500.0
    status = await rig.run(key, seconds=120)
    assert steps(status) == [("optimizeCollections", "Regressed")]
    assert (status["steps"][0]["undo"], condition(status, "NeedsHuman")) == ("Done", "Regressed")
    assert rig.qdrant.collections["documents"].optimizers["indexing_threshold"] == 0


async def test_what_somebody_else_has_set_since_is_not_put_back() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig, helps=False)
    key = rig.qdrant_incident()
    await rig.run(key, until=lambda s: any(step.get("effectAt") for step in s.get("steps", [])))
    rig.qdrant.change(optimizers=settings(indexing_threshold=5000))
    status = await rig.run(key, seconds=300)
    assert status["steps"][0]["undo"] == "Done"
    assert rig.qdrant.collections["documents"].optimizers["indexing_threshold"] == 5000
    assert len(rig.qdrant.patches) == 1


async def test_what_cannot_be_put_back_is_told() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig, helps=False)
    key = rig.qdrant_incident()
    await rig.run(key, until=lambda s: any(step.get("effectAt") for step in s.get("steps", [])))
    rig.qdrant.answer = lambda _host: "auth"
    status = await rig.run(key, seconds=500)
    assert (status["steps"][0]["state"], status["steps"][0]["undo"]) == ("NotHealed", "NotDone")
    assert "NotPutBack" in json.dumps(status["timeline"])
    assert status["steps"][0]["plan"]["collections"][0]["before"] == {"indexing_threshold": 0}


async def test_a_pause_holds_back_also_what_would_be_put_back() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig, helps=False)
    key = rig.qdrant_incident()
    await rig.run(key, until=lambda s: any(step.get("effectAt") for step in s.get("steps", [])))
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="maintenance"))
    status = await rig.run(key, seconds=600)
    assert (status["steps"][0]["undo"], len(rig.qdrant.patches)) == ("Pending", 1)
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    status = await rig.run(key, seconds=60)
    assert (status["steps"][0]["undo"], len(rig.qdrant.patches)) == ("Done", 2)


async def test_a_grey_collection_is_started() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.collections["documents"] = documents(status="grey")
    rig.qdrant.patched = lambda name: rig.qdrant.change(name, status="green")
    status = await rig.run(rig.qdrant_incident(parameters={"maxGrey": "5s"}), seconds=900)
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("CollectionGrey", "Healed")
    assert rig.qdrant.patches == [("documents", {})]
    assert status["steps"][0]["plan"]["undo"] is False


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"status": "red"}, "CollectionRed"),
        ({"status": "red", "optimizer_error": "Service internal error: panicked"}, "OptimizerFailed"),
        ({"status": "red", "optimizer_error": "IO Error: No space left on device (os error 28)"}, "DiskFull"),
    ],
)
async def test_nothing_is_done_where_nothing_helps(change: dict[str, Any], cause: str) -> None:
    rig = rig_with_qdrant()
    rig.qdrant.change(**change)
    key = rig.qdrant_incident()
    status = await rig.run(key, seconds=120)
    assert condition(status, "NeedsHuman") == cause
    assert (status.get("steps", []), rig.qdrant.patches, rig.simulator.created) == ([], [], [])
    rig.qdrant.change(status="green", optimizer_error="")
    status = await rig.run(key)
    assert condition(status, "Resolved") == "Recovered"


async def test_a_running_snapshot_is_waited_for_and_nothing_is_touched() -> None:
    rig = rig_with_qdrant()
    forgotten_index(rig)
    rig.qdrant.change(status="yellow")
    rig.qdrant.overlay = lambda seen: replace(seen, snapshots_running=1)
    key = rig.qdrant_incident()
    status = await rig.run(key, seconds=120)
    assert status["cause"]["name"] == "SnapshotRunning"
    assert steps(status) == [("waitForRecovery", "Running")]
    assert (rig.qdrant.patches, restarts(rig)) == ([], 0)


async def test_memory_at_its_limit_is_a_proposal() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.search_ms = lambda _: 1500.0
    rig.qdrant.overlay = lambda seen: replace(seen, memory_bytes=250 * 2**20)
    status = await rig.run(rig.qdrant_incident(), seconds=120)
    assert (status["cause"]["name"], condition(status, "NeedsHuman")) == ("MemoryPressure", "MemoryPressure")
    assert status["steps"][0]["summary"].endswith("from 256Mi to 384Mi")
    assert (rig.qdrant.patches, restarts(rig)) == ([], 0)


async def test_a_cluster_is_told_that_a_peer_needs_shards() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.search_ms = lambda _: 1500.0
    rig.qdrant.overlay = lambda seen: replace(seen, cluster=QdrantCluster(True, peers=3))
    status = await rig.run(rig.qdrant_incident(), seconds=120)
    assert [n for n, _ in steps(status)] == ["optimizeCollections", "proposeScaling"]
    assert "move_shard" in status["steps"][1]["summary"]
    assert rig.qdrant.patches == []


async def test_a_stalled_server_is_restarted_only_by_a_persons_word() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.overlay = lambda _: QdrantFacts("stalled", "collection documents: no answer within 1 s")
    status = await rig.run(rig.qdrant_incident(), seconds=400)
    assert status["cause"]["name"] == "Stalled"
    assert steps(status) == [("waitForRecovery", "NotHealed"), ("restartWorkload", "AwaitingApproval")]
    assert restarts(rig) == 0


async def test_the_key_of_the_secret_is_used_and_its_absence_is_told() -> None:
    rig = rig_with_qdrant()
    rig.edit_stack(lambda s: s["spec"]["components"]["qdrant"].update(credentials={"secretName": "qdrant-operator"}))
    key = rig.qdrant_incident()
    status = await rig.run(key, seconds=40)
    assert condition(status, "NeedsHuman") == "SecretNotFound"
    assert "api-key" in json.dumps(status["conditions"])
    secret = {"metadata": {"name": "qdrant-operator", "namespace": NAMESPACE}, "data": {"api-key": "czNjcmV0"}}
    rig.server.put(SECRET, secret)
    await rig.run(key, seconds=20)
    assert {t.api_key for t in rig.qdrant.targets} == {"s3cret"}


def sooner(rig: Rig, timeout: str) -> list[dict[str, Any]]:
    """The causes, with less time for an optimisation."""
    from docuquery_operator.catalogue.runbooks import shipped

    causes: list[dict[str, Any]] = shipped()["VectorStorePerformance"].to_wire()["causes"]
    for cause in causes:
        for step in cause.get("remediate", []):
            if step["action"] == "optimizeCollections":
                step["timeout"] = timeout
    return causes


def ledger(rig: Rig) -> list[str]:
    """Outcomes that the target's ledger knows."""
    found = rig.ledger("qdrant") or {}
    return [a["outcome"] for a in json.loads(found["metadata"]["annotations"]["ops.docuquery.ai/attempts"])]


async def told(fault: str, faults: Faults | None = None) -> tuple[Rig, Status]:
    """A story to its end, and what must be the same however often the process died."""
    rig = rig_with_qdrant()
    if faults is not None:
        rig.start(faults)
    if fault == "frozen":
        rig.freeze("qdrant-0")
    else:
        forgotten_index(rig, helps=fault == "index")
    over = None if fault != "in vain" else lambda s: condition(s, "NeedsHuman") == "RemedyUsedUp"
    status = await rig.run(rig.qdrant_incident(), until=over)
    assert rig.crashes == []
    return rig, {
        "reason": condition(status, "Resolved") or condition(status, "NeedsHuman"),
        "cause": status["cause"]["name"],
        # A new process has measured nothing yet: a verdict that falls due then is Inconclusive, a failure as well.
        "steps": [(n, "NotHealed" if s == "Inconclusive" else s) for n, s in steps(status)],
        "undo": [s.get("undo") for s in status["steps"]],
        "ledger": ["NotHealed" if o == "Inconclusive" else o for o in ledger(rig)],
        "settings": dict(rig.qdrant.collections["documents"].optimizers),
        "patches": rig.qdrant.patches,
        "restarts": (restarts(rig), restarts(rig, "api")),
    }


@pytest.mark.parametrize("fault", ["frozen", "index", "in vain"])
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_any_call_it_ends_the_same(fault: str, part: int) -> None:
    """A sample: each twelfth part looks at every 30th call of its own."""
    reference, expected = await told(fault)
    different = []
    for n in range(1 + part, reference.life.faults.count + 1, PARTS * 30):
        _, found = await told(fault, Faults(kill_before=n))
        if found != expected:
            different.append((n, found))
    assert different == []


async def test_a_fault_of_qdrant_opens_one_incident() -> None:
    rig = rig_with_qdrant()
    watch = Watch(rig)
    await watch.live(60)
    assert watch.names() == []
    rig.freeze("qdrant-0")
    await watch.live(60, watch.names)
    assert watch.names() == [NAME]
    spec = watch.incidents()[0]["spec"]
    assert (spec["component"], spec["type"]) == ("qdrant", "VectorStorePerformance")
    await watch.live(300, lambda: watch.over(NAME))
    assert (condition(watch.status(NAME), "Resolved"), restarts(rig)) == ("Healed", 1)
    await watch.live(60)
    assert watch.names() == [NAME]


async def test_slow_searches_open_one_incident_and_one_lost_search_opens_none() -> None:
    rig = rig_with_qdrant()
    watch = Watch(rig)
    await watch.live(60)
    rig.qdrant.search_ms = lambda _: 3000.0
    await watch.live(4)
    rig.qdrant.search_ms = lambda _: 5.0
    await watch.live(120)
    assert watch.names() == []
    forgotten_index(rig)
    await watch.live(120, watch.names)
    await watch.live(400, lambda: watch.over(NAME))
    assert watch.status(NAME)["cause"]["name"] == "SlowSearch"
    assert condition(watch.status(NAME), "Resolved") == "Healed"
    assert watch.names() == [NAME]


async def test_a_snapshot_that_shows_yellow_for_an_hour_opens_nothing() -> None:
    rig = rig_with_qdrant()
    watch = Watch(rig)
    await watch.live(30)
    rig.qdrant.change(status="yellow")
    rig.qdrant.overlay = lambda seen: replace(seen, snapshots_running=1)
    for _ in range(60):
        await watch.live(2)
        rig.clock.advance(30)
    rig.qdrant.overlay = lambda seen: seen
    await watch.live(60)
    assert watch.names() == []
