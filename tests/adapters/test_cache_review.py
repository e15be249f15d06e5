"""Hit rates and evictions as a real Redis tells them."""

from __future__ import annotations

import pytest
import redis as redis_py

from docuquery_operator.adapters.redis import RedisPy
from docuquery_operator.catalogue.tasks import review_stores
from docuquery_operator.ports import RedisTarget
from tests.stack.services import Redis

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


def client_of(redis: Redis) -> redis_py.Redis:
    return redis_py.Redis(port=redis.port)


async def looked(redis: Redis) -> review_stores.CacheReview:
    seen = await RedisPy().look(RedisTarget("127.0.0.1", redis.port), 3.0)
    return review_stores.cache_of("redis", seen)


async def test_a_fresh_server_has_no_rate(redis: Redis) -> None:
    found = await looked(redis)
    assert found.hits is None
    assert review_stores.cache_figures(found)["redis: look-ups that hit (%)"] is None
    assert review_stores.cache_figures(found)["redis: evicted keys"] == 0


async def test_look_ups_that_hit_and_that_miss(redis: Redis) -> None:
    with client_of(redis) as client:
        client.set("a", "1")
        for _ in range(3):
            client.get("a")
        client.get("b")
    found = await looked(redis)
    assert found.hits == 75.0
    assert list(review_stores.cache_findings(found)) == []


@pytest.mark.parametrize("redis", [["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]], indirect=True)
async def test_evictions_are_a_finding(redis: Redis) -> None:
    with client_of(redis) as client:
        for n in range(3000):
            client.set(f"k{n}", "x" * 2000)
    found = await looked(redis)
    assert (found.number("evicted_keys") or 0) > 100
    (told,) = review_stores.cache_findings(found)
    assert told.rank == "Warning"
    assert "keys were evicted since it began" in told.text


async def test_a_server_that_is_away_is_told(redis: Redis) -> None:
    redis.process.stop()
    found = await looked(redis)
    assert found.problem.startswith("refused")
    assert set(review_stores.cache_figures(found).values()) == {None}
