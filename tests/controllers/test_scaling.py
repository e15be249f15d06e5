"""scaleWorkload in the simulated world: bounded, through the owner, kept over crashes, and back by itself."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.domain.remedies.temporary import KEY
from docuquery_operator.ports import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, JSON, LEASE, STACK, Key
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
STACK_KEY = Key(STACK.plural, NAMESPACE, "docuquery")
VERIFY = {"settle": "5s", "symptomClearFor": "10s", "within": "60s", "noRegression": True}
RUNBOOK: JSON = {
    "incidentType": "WorkerTooSmall",
    "severity": "P2",
    "componentType": "CeleryWorker",
    "diagnose": [
        {"name": "workload", "probe": "workload", "component": "worker"},
        {"name": "scaling", "probe": "scaling", "component": "worker"},
    ],
    "symptom": "findings.workload.ready < 2",
    "causes": [
        {"name": "TooFew", "when": "true", "remediate": [{"action": "scaleWorkload", "parameters": {"duration": "20m"}}]}
    ],
    "verify": VERIFY,
}


def world(**scaling: Any) -> tuple[Rig, Key]:
    rig = Rig()
    rig.worker()
    rig.edit_stack(lambda s: s["spec"]["components"]["worker"].update(scaling=scaling or {"max": 6}))
    rig.put_runbook(name="grow", **RUNBOOK)
    return rig, rig.incident("small", type="WorkerTooSmall")


def worker(rig: Rig) -> JSON:
    found = rig.server.find(DEPLOYMENT, NAMESPACE, "worker")
    assert found is not None
    return found


async def stack_pass(rig: Rig) -> None:
    await StackController(rig.life.ports, rig.life.prober, lambda _: None).reconcile(STACK_KEY)


def autoscaler(rig: Rig, most: int = 4, **meta: Any) -> None:
    ref = {"kind": "Deployment", "name": "worker"}
    spec = {"scaleTargetRef": ref, "minReplicas": 1, "maxReplicas": most}
    rig.server.put(HORIZONTAL_POD_AUTOSCALER, {"metadata": {"name": "hpa", "namespace": NAMESPACE, **meta}, "spec": spec})


async def test_scales_and_comes_back_although_nobody_was_there_at_the_time() -> None:
    rig, key = world()
    status = await rig.run(key)
    assert (status["phase"], steps(status)) == ("Resolved", [("scaleWorkload", "Healed")])
    assert worker(rig)["spec"]["replicas"] == 2
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 2, "its time has not come"
    rig.clock.advance(1300)
    rig.start()
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 1
    assert KEY not in worker(rig)["metadata"].get("annotations", {})
    assert "PutBack" in rig.all_events()


async def test_a_pause_holds_the_return_until_it_ends() -> None:
    rig, key = world()
    await rig.run(key)
    rig.edit_stack(lambda s: s["spec"].update(paused=True, pauseReason="by hand"))
    rig.clock.advance(1300)
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 2
    rig.edit_stack(lambda s: s["spec"].update(paused=False))
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 1


async def test_a_return_waits_while_a_maintenance_task_acts_on_the_same_workload() -> None:
    rig, key = world()
    autoscaler(rig)
    await rig.run(key, seconds=120)
    other, also = world()
    await other.run(also)
    for each, kind, name, field in (
        (rig, HORIZONTAL_POD_AUTOSCALER, "hpa", "minReplicas"),
        (other, DEPLOYMENT, "worker", "replicas"),
    ):
        each.clock.advance(1300)
        hold(each, "task/t-1")
        await stack_pass(each)
        assert each.server.find(kind, NAMESPACE, name)["spec"][field] == 2  # type: ignore[index]
        hold(each, "")
        each.clock.advance(20)
        await stack_pass(each)
        assert each.server.find(kind, NAMESPACE, name)["spec"][field] == 1  # type: ignore[index]


def hold(rig: Rig, holder: str) -> None:
    """The worker as a target is this one's."""
    spec = {"holderIdentity": holder, "renewTime": format_time(rig.clock.now())}
    rig.server.edit(LEASE, NAMESPACE, "docuquery-target-docuquery-worker", lambda lease: lease["spec"].update(spec))


async def test_a_number_that_somebody_set_meanwhile_stays() -> None:
    rig, key = world()
    await rig.run(key)
    rig.server.edit(DEPLOYMENT, NAMESPACE, "worker", lambda w: w["spec"].update(replicas=5))
    rig.clock.advance(1300)
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 5
    assert "NotPutBack" in rig.all_events()


async def test_a_deleted_stack_leaves_nothing_changed() -> None:
    rig, key = world()
    await rig.run(key)
    rig.server.remove(STACK, NAMESPACE, "docuquery")
    await stack_pass(rig)
    assert worker(rig)["spec"]["replicas"] == 1


async def test_through_the_autoscaler_where_there_is_one() -> None:
    rig, key = world()
    autoscaler(rig)
    status = await rig.run(key, seconds=120)
    found = rig.server.find(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "hpa")
    assert found is not None
    assert found["spec"]["minReplicas"] == 2
    assert worker(rig)["spec"]["replicas"] == 1, "the autoscaler itself moves the workload"
    assert status["steps"][0]["plan"]["through"] == "HorizontalPodAutoscaler"


async def test_more_replicas_that_make_a_neighbour_sick_go_at_once() -> None:
    """A worker more takes the last connections of the database: that is undone, not left for its hour."""
    rig, key = world()
    await rig.run(key, until=lambda _: worker(rig)["spec"]["replicas"] == 2)
    rig.simulator.break_process("postgres-0", rig.clock.now())
    status = await rig.run(key, seconds=120)
    assert (steps(status), status["steps"][0]["undo"]) == ([("scaleWorkload", "Regressed")], "Done")
    assert worker(rig)["spec"]["replicas"] == 1


async def test_more_replicas_that_are_not_enough_stay_for_their_time() -> None:
    rig, key = world()
    rig.put_runbook(name="grow", **{**RUNBOOK, "symptom": "findings.workload.ready < 9"})
    status = await rig.run(key, seconds=200)
    assert steps(status)[0] == ("scaleWorkload", "NotHealed")
    assert "undo" not in status["steps"][0]
    assert worker(rig)["spec"]["replicas"] == 2


REFUSED = [
    ("no bound in the Stack", "ScalingNotAllowed"),
    ("at the Stack's bound", "AtMaximum"),
    ("at the autoscaler's bound", "AtMaximum"),
    ("Git owns it", "GitOwnsField"),
]


@pytest.mark.parametrize(("case", "reason"), REFUSED, ids=[r[0] for r in REFUSED])
async def test_held_back_with_the_reason_and_a_person_called(case: str, reason: str) -> None:
    rig, key = world(max=1 if case == "at the Stack's bound" else 6)
    if case == "no bound in the Stack":
        rig.edit_stack(lambda s: s["spec"]["components"]["worker"].pop("scaling"))
    if case == "at the autoscaler's bound":
        autoscaler(rig, most=1)
    if case == "Git owns it":
        tracking = {"argocd.argoproj.io/tracking-id": "docuquery:apps/Deployment:docuquery/worker"}
        rig.server.edit(DEPLOYMENT, NAMESPACE, "worker", lambda w: w["metadata"].update(annotations=tracking))
    status = await rig.run(key, seconds=120)
    assert (condition(status, "HealBlocked"), condition(status, "NeedsHuman")) == (reason, reason)
    assert worker(rig)["spec"]["replicas"] == 1
    assert not steps(status)


@pytest.mark.parametrize("part", range(8))
async def test_killed_at_any_call_it_scales_once(part: int) -> None:
    whole, key = world()
    await whole.run(key)
    points = range(1 + part, whole.life.faults.count + 1, 8)
    assert points
    for point in points:
        rig, key = world()
        rig.start(Faults(kill_before=point))
        status = await rig.run(key)
        assert steps(status) == [("scaleWorkload", "Healed")], point
        assert worker(rig)["spec"]["replicas"] == 2, point
