"""The story of the product: a frozen database is diagnosed, restarted once, verified, and reported."""

from __future__ import annotations

from tests.fakes.rig import Rig, condition, steps


async def test_a_frozen_database_is_restarted_once_and_the_incident_ends_with_a_report() -> None:
    rig = Rig()
    rig.freeze()
    key = rig.incident()
    began = rig.clock.now()
    status = await rig.run(key)
    assert rig.crashes == []
    print(rig.passes, rig.life.faults.count, (rig.clock.now() - began), status["timeline"])
    assert status["phase"] == "Resolved"
    assert condition(status, "Resolved") == "Healed"
    assert status["cause"]["name"] == "ProcessDown"
    assert steps(status) == [("restartWorkload", "Healed")]
