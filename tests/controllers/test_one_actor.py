"""Several incidents on one component: one acts, the others wait for its verdict, whoever was away meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.ledger import parse_time
from docuquery_operator.ports import LEASE, STATEFUL_SET
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
LEDGER = "docuquery-target-docuquery-postgres"


def restarts(rig: Rig) -> int:
    return sum(name.startswith("postgres") for name, _ in rig.simulator.created)


async def both(rig: Rig, keys: list[Any], seconds: float) -> None:
    """Passes over several incidents, as the queue makes them."""
    for _ in range(int(seconds / 5)):
        for key in keys:
            await rig.once(key)
        rig.clock.advance(5.0)


async def test_a_second_incident_waits_for_the_verdict_of_the_first() -> None:
    rig = Rig(verify={"settle": "30s", "symptomClearFor": "30s", "within": "5m", "noRegression": True})
    rig.simulator.new_pods_are_broken = True
    rig.freeze()
    keys = [rig.incident("first"), rig.incident("second")]
    await both(rig, keys, 240)
    assert steps(rig.status(keys[0])) == [("restartWorkload", "Running")]
    assert restarts(rig) == 1
    assert condition(rig.status(keys[1]), "HealBlocked") == "TargetBusy"


async def test_the_target_is_kept_while_its_symptom_is_watched() -> None:
    rig = Rig(verify={"settle": "30s", "symptomClearFor": "2m", "within": "5m", "noRegression": True})
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=lambda s: "effectAt" in (s.get("steps") or [{}])[0])
    for _ in range(12):
        await rig.once(key)
        lease = rig.ledger()
        assert lease is not None
        assert lease["spec"]["holderIdentity"]
        rig.clock.advance(5.0)
    assert (rig.clock.now() - parse_time(lease["spec"]["renewTime"])).total_seconds() < 40


async def test_a_ledger_that_somebody_deleted_is_written_anew_while_the_step_runs() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    await rig.run(key, until=lambda s: "effectAt" in (s.get("steps") or [{}])[0])
    rig.server.remove(LEASE, NAMESPACE, LEDGER)
    status = await rig.run(key)
    lease = rig.ledger()
    assert lease is not None
    assert '"outcome":"Healed"' in lease["metadata"]["annotations"]["ops.docuquery.ai/attempts"]
    assert status["phase"] == "Resolved"


async def test_who_comes_back_leaves_a_target_alone_that_another_has_taken() -> None:
    rig = Rig()
    rig.simulator.stopped = True
    rig.freeze()
    first, second = rig.incident("first"), rig.incident("second")
    await rig.run(first, until=lambda s: bool(rig.ledger()))
    rig.server.edit(LEASE, NAMESPACE, LEDGER, lambda lease: lease["spec"].update(holderIdentity="", renewTime=None))
    rig.server.edit(
        STATEFUL_SET, NAMESPACE, "postgres", lambda w: w["spec"]["template"]["metadata"].pop("annotations", None)
    )
    await rig.run(second, seconds=60, until=lambda s: bool(s.get("steps")))
    await rig.once(second)
    ordered = rig.server.find(STATEFUL_SET, NAMESPACE, "postgres")
    assert ordered is not None
    mine = ordered["spec"]["template"]["metadata"]["annotations"]["ops.docuquery.ai/attempt"]
    assert mine == rig.status(second)["steps"][0]["attemptId"]
    await both(rig, [first], 50)
    ordered = rig.server.find(STATEFUL_SET, NAMESPACE, "postgres")
    assert ordered is not None
    assert ordered["spec"]["template"]["metadata"]["annotations"]["ops.docuquery.ai/attempt"] == mine


async def test_a_restart_that_somebody_took_back_is_not_ordered_again() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    rig.simulator.stopped = True
    await rig.run(key, until=lambda s: (s.get("steps") or [{}])[0].get("state") == "Running")
    rig.server.edit(STATEFUL_SET, NAMESPACE, "postgres", lambda w: w["spec"]["template"]["metadata"].pop("annotations"))
    status = await rig.run(key, seconds=200)
    ordered = rig.server.find(STATEFUL_SET, NAMESPACE, "postgres")
    assert ordered is not None
    assert "annotations" not in ordered["spec"]["template"]["metadata"]
    assert steps(status) == [("restartWorkload", "Running")]
    status = await rig.run(key, seconds=200)
    assert steps(status)[0] == ("restartWorkload", "NotHealed")
