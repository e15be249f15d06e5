"""An incident whose fault is seen again begins anew: no answer of the last round counts, and it begins anew only once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import format_time
from tests.fakes.rig import Rig, condition

pytestmark = pytest.mark.timeout(240)


async def resolved_and_acknowledged() -> tuple[Rig, Any]:
    rig = Rig()
    rig.freeze()
    key = rig.incident(acknowledged={"by": "alice"})
    status = await rig.run(key)
    assert (status["phase"], status["deadlines"]["response"]) == ("Resolved", "Met")
    rig.clock.jump(3600)
    return rig, key


async def test_who_took_the_last_round_has_not_taken_this_one() -> None:
    rig, key = await resolved_and_acknowledged()
    rig.edit_incident(key, lambda i: i["spec"].update(refiredAt=format_time(rig.clock.now())))
    status = await rig.run(key, until=lambda s: s.get("round") == 2)
    assert condition(status, "Acknowledged") == ""
    assert (status["deadlines"]["response"], status["times"].get("acknowledgedAt")) == ("Pending", None)
    took = {"by": "bob", "at": format_time(rig.clock.now())}
    rig.edit_incident(key, lambda i: i["spec"].update(acknowledged=took))
    status = await rig.run(key, until=lambda s: "acknowledgedAt" in s["times"])
    assert (condition(status, "Acknowledged"), status["deadlines"]["response"]) == ("ByPerson", "Met")


async def test_a_time_in_the_future_reopens_once_and_not_for_ever() -> None:
    rig, key = await resolved_and_acknowledged()
    again = format_time(rig.clock.now() + timedelta(hours=2)).replace("Z", "123Z")
    rig.edit_incident(key, lambda i: i["spec"].update(refiredAt=again))
    status = await rig.run(key, until=lambda s: s.get("round") == 2)
    for _ in range(3):
        status = await rig.run(key)
        rig.clock.advance(60)
    assert (status["round"], status["phase"]) == (2, "Resolved")
