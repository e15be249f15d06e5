"""What the operator does not know must not become a reason to act, nor good news."""

from __future__ import annotations

import pytest

from docuquery_operator.ports import DatabaseFacts, HttpAnswer, Unavailable
from tests.fakes.faults import Faults
from tests.fakes.rig import Rig, condition, steps

pytestmark = pytest.mark.timeout(30)


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


async def test_an_api_that_is_gone_is_no_proof_that_the_database_is_reached_again() -> None:
    rig = Rig()
    rig.network.http = lambda _host, _path: HttpAnswer(0, problem="refused")
    status = await rig.run(rig.incident(), seconds=300)
    assert (status["phase"], condition(status, "NeedsHuman")) == ("Investigating", "NoData")
