"""A Redis without memory: the cache goes, once, and work stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.ports import RedisFacts
from tests.fakes.faults import Faults
from tests.fakes.rig import Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
CACHE = 3000
KEPT = {"celery": ("job", 1e12), "session:1": ("x", 1e12)}


def full(patterns: Sequence[str] = ("cache:*",), **rig: Any) -> Rig:
    """It refuses writes while its cache is there."""
    world = Rig(**rig)
    world.with_redis()
    world.edit_stack(lambda s: s["spec"]["components"]["redis"].update(cacheKeys=list(patterns)))
    world.redis.set_keys = {f"cache:{n}": ("x", 1e12) for n in range(CACHE)} | dict(KEPT)

    def overlay(facts: RedisFacts) -> RedisFacts:
        oom = any(k.startswith("cache:") for k in world.redis.set_keys)
        return replace(facts, outcome="oom", message="command not allowed when used memory > 'maxmemory'") if oom else facts

    world.redis_overlay = overlay
    return world


def left(world: Rig) -> dict[str, Any]:
    return {k: v for k, v in world.redis.set_keys.items() if not k.startswith("docuquery:")}


async def test_the_cache_goes_and_work_stays() -> None:
    world = full()
    status = await world.run(world.redis_incident())
    assert condition(status, "Resolved") == "Healed"
    assert steps(status) == [("dropCacheKeys", "Healed")]
    assert (status["cause"]["name"], left(world)) == ("OutOfMemory", KEPT)
    assert len(world.redis.dropped) == CACHE


async def test_it_goes_on_where_the_time_was_too_short() -> None:
    world = full()
    world.redis.drops_at_once = 700
    status = await world.run(world.redis_incident())
    assert condition(status, "Resolved") == "Healed"
    assert left(world) == KEPT


async def test_killed_before_and_after_every_call_that_drops_or_marks_it_comes_to_the_same_end() -> None:
    plain = full()
    await plain.run(plain.redis_incident())
    points = [n for n, name in enumerate(plain.life.faults.calls, 1) if name in ("drop keys", "deny")]
    assert len(points) == 2
    for faults in [Faults(**{when: number}) for number in points for when in ("kill_before", "kill_after")]:
        world = full()
        world.start(faults)
        status = await world.run(world.redis_incident())
        assert world.lives[-1].faults is not faults, "it was not killed"
        assert (condition(status, "Resolved"), steps(status), left(world)) == ("Healed", [("dropCacheKeys", "Healed")], KEPT)


async def test_without_a_named_cache_nothing_is_dropped_and_a_person_is_called() -> None:
    world = full(patterns=())
    status = await world.run(world.redis_incident(), until=lambda s: bool(condition(s, "NeedsHuman")))
    assert condition(status, "NeedsHuman")
    assert len(left(world)) == CACHE + len(KEPT)
    assert "cacheKeys" in str(status["decisions"])


async def test_a_pattern_that_reaches_the_queue_is_refused() -> None:
    world = full(patterns=("cache:*", "cel*"))
    world.worker()
    key = world.redis_incident()
    status = await world.run(key, until=lambda s: bool(condition(s, "HealBlocked")))
    assert condition(status, "HealBlocked") == "CacheKeysHoldWork"
    assert len(left(world)) == CACHE + len(KEPT)
