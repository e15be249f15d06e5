"""An incident on which nothing can be done asks for a person, and says what is the matter now."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.ports import LEASE, STATEFUL_SET
from tests.controllers.test_between_intent_and_effect import dies_between
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
WHEN = "!findings.ready.ok || findings.connections.exhausted"


def runbook(rig: Rig, remediate: list[dict[str, Any]], when: str = WHEN) -> None:
    rig.put_runbook(causes=[{"name": "Broken", "when": when, "remediate": remediate}])


async def test_a_component_that_the_stack_has_not_needs_a_person() -> None:
    rig = Rig()
    runbook(rig, [{"action": "restartWorkload", "component": "redis"}])
    rig.freeze()
    status = await rig.run(rig.incident(), seconds=30)
    assert condition(status, "NeedsHuman") == "TargetNotInStack"


async def test_sessions_that_are_never_old_enough_need_a_person_in_the_end() -> None:
    rig = Rig()
    runbook(rig, [{"action": "terminateIdleSessions", "parameters": {"minIdle": "1h"}}])
    rig.idle_sessions(30)
    key = rig.incident()
    status = await rig.run(key, seconds=60)
    assert (condition(status, "HealBlocked"), condition(status, "NeedsHuman")) == ("NotOldEnough", "")
    status = await rig.run(key, seconds=300)
    assert condition(status, "NeedsHuman") == "NotOldEnough"


async def test_a_spoilt_ledger_needs_a_person() -> None:
    rig = Rig()
    labels = {"ops.docuquery.ai/stack": "docuquery", "ops.docuquery.ai/component": "postgres"}
    meta = {"name": "docuquery-target-docuquery-postgres", "namespace": NAMESPACE, "labels": labels}
    rig.server.put(LEASE, {"metadata": {**meta, "annotations": {"ops.docuquery.ai/attempts": "{"}}, "spec": {}})
    rig.freeze()
    status = await rig.run(rig.incident(), seconds=400)
    assert condition(status, "NeedsHuman") == "LookupFailed"


async def test_an_intent_that_is_held_back_needs_a_person() -> None:
    rig, key = await dies_between("patch statefulsets")
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage"))
    rig.start()
    status = await rig.run(key, seconds=60)
    assert condition(status, "NeedsHuman") == "Paused"
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    status = await rig.run(key, until=lambda s: steps(s)[0][1] == "Running")
    assert condition(status, "NeedsHuman") == ""


async def test_a_symptom_without_a_cause_needs_a_person() -> None:
    rig = Rig()
    runbook(rig, [], when="findings.connections.exhausted")
    rig.freeze()
    status = await rig.run(rig.incident(), seconds=60)
    assert (status.get("cause"), condition(status, "NeedsHuman")) == (None, "NoCause")


async def test_an_intent_waits_for_a_rollout_of_somebody_else() -> None:
    rig, key = await dies_between("patch statefulsets")
    image = {"name": "postgres", "image": "postgres:2"}
    rig.simulator.stopped = False
    rig.server.edit(STATEFUL_SET, NAMESPACE, "postgres", lambda w: w["spec"]["template"]["spec"].update(containers=[image]))
    rig.clock.advance(1)
    rig.start()
    status = await rig.run(key, seconds=60)
    assert condition(status, "HealBlocked") == "RolloutBySomebodyElse"


async def test_an_intent_is_let_go_when_the_stack_names_another_workload() -> None:
    rig, key = await dies_between("patch statefulsets")
    rig.edit_stack(lambda s: s["spec"]["components"]["postgres"]["workload"].update(name="postgres-new"))
    rig.start()
    status = await rig.run(key, seconds=30)
    ordered = rig.server.find(STATEFUL_SET, NAMESPACE, "postgres")
    assert ordered is not None
    assert "annotations" not in ordered["spec"]["template"]["metadata"]
    assert steps(status) == [("restartWorkload", "Skipped")]


async def test_a_workload_that_is_another_now_is_not_called_an_eviction() -> None:
    rig, key = await dies_between("patch statefulsets")
    found = rig.server.find(STATEFUL_SET, NAMESPACE, "postgres")
    assert found is not None
    rig.server.remove(STATEFUL_SET, NAMESPACE, "postgres")
    rig.server.put(STATEFUL_SET, {**found, "metadata": {"name": "postgres", "namespace": NAMESPACE}})
    rig.start()
    status = await rig.run(key, seconds=60)
    assert [d["reason"] for d in status.get("decisions", [])] == []
    status = await rig.run(key, seconds=500, until=lambda s: steps(s)[0][1] not in ("Intended", "Running"))
    assert "another object" in status["steps"][0]["summary"]


async def test_what_was_the_matter_is_not_told_for_what_is() -> None:
    rig = Rig()
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="storage"))
    rig.freeze()
    key = rig.incident()
    status = await rig.run(key, seconds=60)
    assert condition(status, "NeedsHuman") == condition(status, "HealBlocked") == "Paused"
    rig.simulator.mend_process()
    status = await rig.run(key, until=lambda s: s["phase"] == "Monitoring")
    assert condition(status, "NeedsHuman") == condition(status, "HealBlocked") == ""
