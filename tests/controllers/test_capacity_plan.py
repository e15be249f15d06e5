"""CapacityPlan in the simulated world: windows of many days take samples, and the plan says when a claim is full."""

from __future__ import annotations

from typing import Any

from docuquery_operator.catalogue.tasks import capacity_plan, resource_usage
from docuquery_operator.domain.reports.kept import LARGEST
from docuquery_operator.ports import CLAIM, CONFIG_MAP, POD, DatabaseFacts
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context

MI = 2**20
SAMPLES = "docuquery-daily-samples"


def world() -> Rig:
    """A database that grows by 10 MiB a day on a claim of 1000 MiB."""
    rig = Rig()
    start = rig.clock.now()

    def grown(facts: DatabaseFacts) -> DatabaseFacts:
        days = (rig.clock.now() - start).days
        wobble = (days * 7 % 5 - 2) * MI
        return DatabaseFacts(**{**facts.__dict__, "database_bytes": (200 + 10 * days) * MI + wobble, "wal_bytes": 0})

    rig.overlay = grown
    rig.server.put(CLAIM, {"metadata": {"name": "c", "namespace": NAMESPACE}, "status": {"capacity": {"storage": "1000Mi"}}})
    volume = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda p: p["spec"].update(volumes=volume))
    return rig


async def planned(rig: Rig, **task: Any) -> Any:
    return await capacity_plan.run(context(rig, {"type": "CapacityPlan", **task}))


async def test_daily_windows_give_the_plan_its_samples():
    rig = world()
    for day in range(30):
        await resource_usage.run(context(rig, {"type": "ResourceUsage"}))
        if day < 29:
            rig.clock.jump(86400)
    found = await planned(rig)
    assert found.figures["days of samples"] == 30
    row = next(r for r in found.tables[0].rows if r[0] == "postgres: database and WAL")
    assert row[1] == "runs out"
    assert row[9] == 30
    # 490 MiB now, 800 MiB count as full: some 31 days.
    today = rig.clock.now().date()
    first, likely = (row[6], row[7])
    assert 28 <= (type(today).fromisoformat(likely) - today).days <= 33
    assert first <= likely <= row[8]
    told = next(f for f in found.findings if "database and WAL" in f.text)
    assert "50% more (1.465 GiB) would buy" in told.text
    assert len(found.model_dump_json()) < LARGEST
    assert {s.name.rpartition(": ")[2] for s in found.series} == {
        "measured",
        "trend",
        "at most",
        "at least",
        "counts as full",
    }


async def test_a_first_plan_says_that_there_is_not_enough_data():
    found = await planned(world())
    assert found.state == "Succeeded"
    assert found.figures["with a trend"] == 0
    assert found.summary.startswith("0 of ")
    assert "not enough data" in found.summary
    assert any(f.text.startswith("not enough data for a trend: 10 daily samples") for f in found.findings)


async def test_another_share_may_count_as_full_and_the_horizon_is_bounded():
    found = await planned(world(), capacityPlan={"warnAt": "10%", "horizon": "24h"})
    row = next(r for r in found.tables[0].rows if r[0] == "postgres: database and WAL")
    assert (row[1], row[3]) == ("full", "100 MiB")
    assert found.findings[0].rank == "Critical"
    assert found.figures["horizon (days)"] == 1


async def test_samples_that_a_person_broke_are_begun_anew():
    rig = world()
    rig.server.put(CONFIG_MAP, {"metadata": {"name": SAMPLES, "namespace": NAMESPACE}, "data": {"samples.json": "{oops"}})
    assert (await planned(rig)).figures["days of samples"] == 1
