"""The day's sample without an open window: one a day for a Stack with a CapacityPlan, whoever dies when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.daily_sampler import FROM_HOUR, DailySampler
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.domain.upkeep import samples
from docuquery_operator.ports import CONFIG_MAP, MAINTENANCE_WINDOW, STACK, Key, Unavailable
from tests.controllers.test_capacity_plan import SAMPLES, planned, world
from tests.fakes.faults import Faults, KilledError
from tests.fakes.rig import NAMESPACE, Rig

pytestmark = pytest.mark.timeout(120)
STACK_KEY = Key(STACK.plural, NAMESPACE, "docuquery")


def window(rig: Rig, task: str = "CapacityPlan", stack: str = "docuquery", **spec: Any) -> None:
    body = {
        "stackRef": {"name": stack},
        "schedule": {"cron": "0 3 1 * *"},
        "duration": "1h",
        "tasks": [{"type": task}],
        **spec,
    }
    rig.server.put(MAINTENANCE_WINDOW, {"metadata": {"name": "monthly", "namespace": NAMESPACE}, "spec": body})


def at_hour(rig: Rig, hour: int, days: int = 0) -> None:
    now = rig.clock.now()
    rig.clock.jump((now.replace(hour=hour, minute=0, second=0) + timedelta(days=days) - now).total_seconds())


async def passes(rig: Rig, count: int = 3) -> None:
    """Of a new process."""
    stacks = StackController(rig.life.ports, rig.life.prober, lambda _key: None)
    for _ in range(count):
        await stacks.reconcile(STACK_KEY)
        for _ in range(200):
            await asyncio.sleep(0)
        rig.clock.advance(5)


def kept(rig: Rig) -> samples.Samples:
    found = rig.server.find(CONFIG_MAP, NAMESPACE, SAMPLES)
    return samples.read((found or {}).get("data", {}).get(samples.KEY))


def writes(rig: Rig) -> int:
    return sum(w.name == SAMPLES for w in rig.server.writes)


async def test_a_monthly_plan_has_a_trend_without_any_daily_window() -> None:
    rig = world()
    window(rig)
    for _ in range(30):
        at_hour(rig, FROM_HOUR, days=1)
        await passes(rig)
    assert len(kept(rig).days) == 30
    assert writes(rig) == 30
    found = await planned(rig)
    assert next(r for r in found.tables[0].rows if r[0] == "postgres: database and WAL")[1] == "runs out"


@pytest.mark.parametrize(
    ("hour", "spec"),
    [
        (FROM_HOUR - 1, {}),
        (FROM_HOUR, {"task": "HealthCheck"}),
        (FROM_HOUR, {"stack": "other"}),
        (FROM_HOUR, {"suspend": True}),
    ],
)
async def test_nothing_is_measured_before_its_hour_or_for_nobody(hour: int, spec: dict[str, Any]) -> None:
    rig = world()
    window(rig, **spec)
    at_hour(rig, hour)
    await passes(rig)
    assert writes(rig) == 0


async def test_it_is_taken_once_a_day_and_what_a_window_measured_first_counts() -> None:
    rig = world()
    window(rig)
    at_hour(rig, 3, days=1)
    await planned(rig)
    before = kept(rig)
    at_hour(rig, FROM_HOUR)
    rig.overlay = lambda facts: type(facts)(**{**facts.__dict__, "database_bytes": 1})
    stacks = StackController(rig.life.ports, rig.life.prober, lambda _key: None)
    asked = rig.life.faults.calls
    for _ in range(100):
        await stacks.reconcile(STACK_KEY)
        for _ in range(100):
            await asyncio.sleep(0)
        rig.clock.advance(30)
    assert kept(rig) == before
    assert asked.count(f"get configmaps/{SAMPLES}") <= 2, "looked at once a day, and by the plan"


async def test_while_the_api_server_is_away_it_is_tried_again_but_not_at_each_pass() -> None:
    rig = world()
    window(rig)
    at_hour(rig, FROM_HOUR)
    away = True

    def fails(name: str, _number: int) -> BaseException | None:
        return Unavailable("503") if away and name.endswith(SAMPLES) else None

    life = rig.start(Faults(raise_for=fails))
    stacks = StackController(life.ports, life.prober, lambda _key: None)
    for number in range(60):
        away = number < 30
        await stacks.reconcile(STACK_KEY)
        for _ in range(200):
            await asyncio.sleep(0)
        rig.clock.advance(60)
    assert len(kept(rig).days) == 1
    assert 3 <= life.faults.calls.count(f"get configmaps/{SAMPLES}") <= 5


async def test_killed_at_every_call_there_is_one_sample_and_the_same() -> None:
    calm = world()
    at_hour(calm, FROM_HOUR)
    await _sampled(calm, Faults())
    expected, calls = kept(calm), calm.life.faults.count
    for number in range(1, calls + 1):
        for when in ("kill_before", "kill_after"):
            rig = world()
            at_hour(rig, FROM_HOUR)
            with pytest.raises(KilledError):
                await _sampled(rig, Faults(**{when: number}))
            await _sampled(rig, Faults())
            assert kept(rig) == expected, (when, number)


async def _sampled(rig: Rig, faults: Faults) -> None:
    life = rig.start(faults)
    found = await life.ports.cluster.get(STACK, NAMESPACE, "docuquery")
    await DailySampler(life.ports).sample(STACK_KEY, Stack.model_validate(found))
