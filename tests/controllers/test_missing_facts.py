"""What the operator does not know must not become a reason to act, nor good news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.catalogue.base import ProbeContext, Round
from docuquery_operator.catalogue.probes.postgres import PostgresConnections
from docuquery_operator.ports import CLAIM, CONFIG_MAP, POD, STACK, DatabaseFacts, HttpAnswer, Unavailable
from tests.fakes.faults import Faults
from tests.fakes.ports import health_answer
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)


async def test_nothing_is_restarted_while_a_cause_that_forbids_it_cannot_be_ruled_out() -> None:
    rig = Rig()

    def no_logs(name: str, _: int) -> BaseException | None:
        return Unavailable("502: the kubelet does not answer") if name.startswith("logs") else None

    rig.start(Faults(raise_for=no_logs))
    rig.freeze()
    key = rig.incident()
    status = await rig.run(key, seconds=120)
    assert (status["cause"]["name"], steps(status)) == ("ProcessDown", [])
    assert condition(status, "HealBlocked") == "CauseNotRuledOut"
    assert "DiskFull" in status["summary"]
    rig.start()
    status = await rig.run(key)
    assert (status["phase"], steps(status)) == ("Resolved", [("restartWorkload", "Healed")])


async def test_a_database_that_only_the_operator_cannot_reach_is_left_alone() -> None:
    rig = Rig()
    rig.database.answer = lambda _host: DatabaseFacts("timeout", "no answer within 1 s")
    rig.network.http = lambda _host, _path: HttpAnswer(200, '{"dependencies": {"database": "up"}}')
    key = rig.incident()
    status = await rig.run(key, seconds=60)
    assert condition(status, "NeedsHuman") == "OperatorCutOff"
    assert steps(status) == []


async def test_a_replica_that_answers_does_not_make_it_the_networks_fault() -> None:
    rig = Rig(mode="Observe", replicas=2)
    replica = DatabaseFacts("ok", write="read_only", in_recovery=True, read_only=False)
    silent = DatabaseFacts("timeout", "no answer within 1 s")
    rig.database.answer = lambda host: replica if host.startswith("10.61.") else silent
    rig.network.http = lambda _host, _path: health_answer("down")
    status = await rig.run(rig.incident(), seconds=30)
    assert status["cause"]["name"] == "ProcessDown"


@pytest.mark.parametrize(("size", "cause"), [(9_700, "DiskFull"), (80_000, "TooManyConnections")])
async def test_a_claim_that_holds_less_than_is_stored_bounds_nothing(size: int, cause: str) -> None:
    rig = Rig(mode="Observe")
    rig.server.put(CLAIM, {"metadata": {"name": "data", "namespace": NAMESPACE}, "status": {"capacity": {"storage": "10k"}}})
    volumes = [{"persistentVolumeClaim": {"claimName": "data"}}]
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda p: p["spec"].update(volumes=volumes))
    rig.overlay = lambda facts: replace(facts, database_bytes=size, wal_bytes=0)
    rig.idle_sessions(30)
    status = await rig.run(rig.incident(), seconds=30)
    assert status["cause"]["name"] == cause


async def test_a_session_of_an_address_that_two_components_share_is_nobodys() -> None:
    rig = Rig()
    for pod in rig.simulator.pods("postgres") + rig.simulator.pods("api"):
        rig.server.edit(POD, NAMESPACE, pod["metadata"]["name"], lambda p: p["status"].update(podIP="10.60.0.1"))
    rig.idle_sessions(3, address="10.60.0.1")
    stack = Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))
    context = ProbeContext(Round(stack, rig.life.ports, 1.0, rig.clock.now()), "postgres", stack.spec.components["postgres"])
    finding = await PostgresConnections().look(context)
    assert (finding["idleInTransaction"], finding["byComponent"]) == (3, {})


async def test_an_api_that_is_gone_is_no_proof_that_the_database_is_reached_again() -> None:
    rig = Rig()
    rig.network.http = lambda _host, _path: HttpAnswer(0, problem="refused")
    status = await rig.run(rig.incident(), seconds=300)
    assert (status["phase"], condition(status, "NeedsHuman")) == ("Investigating", "NoData")


async def test_a_probe_that_fails_is_missing_data_and_not_the_end_of_the_pass() -> None:
    rig = Rig()
    rig.freeze()
    rig.network.http = lambda _host, _path: 1 / 0  # type: ignore[return-value]
    status = await rig.run(rig.incident())
    assert steps(status) == [("restartWorkload", "Inconclusive")]
    assert condition(status, "NeedsHuman") == "NoData"
    assert rig.crashes == []


async def test_evidence_of_former_rounds_makes_room_for_the_newest() -> None:
    rig = Rig()
    former = {f"evidence-{n:016x}.json": "x" * 250_000 for n in range(4)}
    rig.server.put(CONFIG_MAP, {"metadata": {"name": "db-down-report", "namespace": NAMESPACE}, "data": former})
    rig.server.log_texts["postgres-0", False] = "line\n" * 6_000
    rig.freeze()
    status = await rig.run(rig.incident())
    assert (status["phase"], status["report"]["configMap"]) == ("Resolved", "db-down-report")
    data = rig.reports()[0]["data"]
    assert f"evidence-{status['steps'][0]['attemptId']}.json" in data
    assert "report.md" in data
    assert any(name in data for name in former), "more went than had to"
