"""The shipped runbook with its remedies: what the api's own log and counters tell ends in the one block that helps."""

from __future__ import annotations

import pytest

from docuquery_operator.ports import STACK
from tests.controllers.test_ratelimit import ABUSER, NAME, crowd, world
from tests.fakes.rig import NAMESPACE, condition, steps

pytestmark = pytest.mark.timeout(240)


async def test_one_abuser_is_kept_out_and_the_others_are_served() -> None:
    it = world()
    it.rig.with_redis()
    it.rig.edit_stack(lambda s: s["spec"]["components"]["api"].update(blocking={"enforcer": "ApiDenySet"}))
    await it.traffic(100, crowd(20, 1, 0))
    for _ in range(200):
        denied = it.rig.redis.there(f"blocked_client:{ABUSER}")
        flood = {(ABUSER, 403): 32} if denied else {(ABUSER, 200): 2, (ABUSER, 429): 30}
        await it.traffic(2.5, crowd(20, 1, 0) | flood)
        if it.over(NAME):
            break
    status = it.status(NAME)
    assert (status["cause"]["name"], steps(status)) == ("OneAbuser", [("blockClients", "Healed")])
    assert condition(status, "Resolved") == "Healed"
    assert it.names() == [NAME]
    stack = it.rig.server.find(STACK, NAMESPACE, "docuquery") or {}
    assert [b["addresses"] for b in stack["status"]["blocks"]] == [[ABUSER]]
    assert list(it.rig.redis.set_keys) == [f"blocked_client:{ABUSER}"]
