"""Redis in a simulated world: restarted once when it hangs, relieved of idle clients, and left alone where a restart hurts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.ports import SECRET, HttpAnswer, RedisFacts
from tests.controllers.test_detector import Watch
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig, condition, steps

# Each lives through minutes of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
PARTS = 12
NAME = "docuquery-redis-connection-1"
Status = dict[str, Any]


def rig_with_redis(**options: Any) -> Rig:
    rig = Rig(**options)
    rig.with_redis()
    return rig


def restarts(rig: Rig, workload: str = "redis") -> int:
    """Pods that were made after the first ones."""
    return sum(name.startswith(workload) for name, _ in rig.simulator.created)


def says(rig: Rig, outcome: str, **facts: Any) -> None:
    """The server answers so from now on."""
    rig.redis_overlay = lambda seen: replace(seen, outcome=outcome, message=outcome.upper(), **facts)


async def test_a_frozen_redis_is_restarted_once_and_the_evidence_is_kept() -> None:
    rig = rig_with_redis()
    rig.freeze("redis-0")
    status = await rig.run(rig.redis_incident())
    assert rig.crashes == []
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("ProcessDown", "Healed")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert (restarts(rig), restarts(rig, "postgres"), restarts(rig, "api")) == (1, 0, 0)
    data = rig.reports()[0]["data"]
    assert any("redis_info" in text for name, text in data.items() if name.startswith("evidence-"))


async def test_idle_clients_are_ended_and_redis_is_not_restarted() -> None:
    rig = rig_with_redis()
    rig.idle_clients(58)
    status = await rig.run(rig.redis_incident())
    assert (status["cause"]["name"], condition(status, "Resolved")) == ("TooManyClients", "Healed")
    assert steps(status) == [("killIdleClients", "Healed")]
    assert len(rig.redis.ended) == 50
    assert (restarts(rig), restarts(rig, "api")) == (0, 0)


async def test_clients_that_are_used_are_left_alone_and_a_person_is_asked() -> None:
    rig = rig_with_redis()
    rig.idle_clients(58, idle=60)
    status = await rig.run(rig.redis_incident(), seconds=400)
    assert condition(status, "NeedsHuman") == "NotOldEnough"
    assert (rig.redis.ended, restarts(rig), restarts(rig, "api")) == ([], 0, 0)


async def test_let_in_by_chance_it_ends_the_idle_clients_that_kept_it_out() -> None:
    rig = rig_with_redis()
    rig.idle_clients(58)
    rig.redis_overlay = lambda _: RedisFacts("maxclients", "max number of clients reached")
    key = rig.redis_incident()
    status = await rig.run(key, seconds=60)
    assert (status["cause"]["name"], condition(status, "NeedsHuman")) == ("TooManyClients", "TargetsNotKnown")
    assert (rig.redis.ended, rig.simulator.created) == ([], [])
    rig.redis_overlay = lambda seen: seen
    status = await rig.run(key)
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("killIdleClients", "Healed")])


async def test_a_client_that_leaks_on_is_restarted_after_its_clients_were_ended_in_vain() -> None:
    rig = rig_with_redis()
    rig.worker()
    rig.simulator.created.clear()
    rig.idle_clients(58, address="10.61.1.1")
    kept = dict(rig.redis.clients)

    def leaks(seen: RedisFacts) -> RedisFacts:
        leaking = rig.simulator.pods("worker")[0]["status"]["podIP"] == "10.61.1.1"
        clients = tuple(kept.values()) if leaking else ()
        return replace(seen, used=5 + len(clients), clients=clients)

    rig.redis_overlay = leaks
    status = await rig.run(rig.redis_incident(), seconds=1500)
    assert [name for name, _ in steps(status)] == ["killIdleClients", "killMoreIdleClients", "restartLeakingClient"]
    assert condition(status, "Resolved") == "Healed"
    assert (restarts(rig), restarts(rig, "worker")) == (0, 1)


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [("misconf", "PersistenceFailed"), ("auth", "AuthFailed"), ("error", "Unknown")],
)
async def test_nothing_is_done_where_nothing_helps(outcome: str, cause: str) -> None:
    rig = rig_with_redis()
    says(rig, outcome, used=None, clients=None)
    key = rig.redis_incident()
    status = await rig.run(key, seconds=120)
    assert condition(status, "NeedsHuman") == cause
    assert [s for s in status.get("steps", []) if s.get("attemptId")] == []
    assert (rig.redis.ended, rig.simulator.created, rig.ledger("redis")) == ([], [], None)
    rig.redis_overlay = lambda seen: seen
    status = await rig.run(key)
    assert condition(status, "Resolved") == "Recovered"


async def test_a_redis_that_loads_is_waited_for() -> None:
    rig = rig_with_redis()
    says(rig, "loading", loading=True)
    key = rig.redis_incident()
    await rig.run(key, seconds=120)
    assert restarts(rig) == 0
    rig.redis_overlay = lambda seen: seen
    status = await rig.run(key)
    assert (condition(status, "Resolved"), steps(status)) == ("Recovered", [("waitForRecovery", "Healed")])


async def test_a_full_memory_is_a_proposal() -> None:
    rig = rig_with_redis()
    says(rig, "oom")
    status = await rig.run(rig.redis_incident(), seconds=120)
    assert steps(status) == [("dropCacheKeys", "Skipped"), ("proposeMemory", "Skipped")]
    assert "raise maxmemory from 96mb to 144mb" in status["steps"][1]["summary"]
    assert restarts(rig) == 0


async def test_the_password_of_the_secret_is_used_and_its_absence_is_told() -> None:
    rig = rig_with_redis()
    rig.edit_stack(lambda s: s["spec"]["components"]["redis"].update(credentials={"secretName": "redis-operator"}))
    key = rig.redis_incident()
    status = await rig.run(key, seconds=40)
    assert condition(status, "NeedsHuman") == "SecretNotFound"
    rig.server.put(
        SECRET, {"metadata": {"name": "redis-operator", "namespace": NAMESPACE}, "data": {"password": "czNjcmV0"}}
    )
    await rig.run(key, seconds=20)
    assert {(t.user, t.password) for t in rig.redis.targets} == {("", "s3cret")}


def end_of(rig: Rig, status: Status) -> Status:
    """What must be the same however often the process died."""
    ledger = rig.ledger("redis") or {}
    attempts = json.loads(ledger["metadata"]["annotations"]["ops.docuquery.ai/attempts"])
    return {
        "reason": condition(status, "Resolved"),
        "cause": status["cause"]["name"],
        "steps": steps(status),
        "ledger": [a["outcome"] for a in attempts],
        "report": status["report"]["configMap"],
        "ended": len(rig.redis.ended),
        "restarts": (restarts(rig), restarts(rig, "api")),
    }


async def told(fault: str, faults: Faults | None = None) -> tuple[Rig, Status]:
    """A story to its end."""
    rig = rig_with_redis()
    if faults is not None:
        rig.start(faults)
    if fault == "frozen":
        rig.freeze("redis-0")
    else:
        rig.idle_clients(58)
    status = await rig.run(rig.redis_incident())
    assert rig.crashes == []
    return rig, end_of(rig, status)


@pytest.mark.parametrize("fault", ["frozen", "clients"])
@pytest.mark.parametrize("part", range(PARTS))
async def test_killed_at_any_call_it_ends_the_same(fault: str, part: int) -> None:
    """A sample: each twelfth part looks at every sixth call of its own."""
    reference, expected = await told(fault)
    different = []
    for n in range(1 + part, reference.life.faults.count + 1, PARTS * 6):
        _, found = await told(fault, Faults(kill_before=n))
        if found != expected:
            different.append((n, found))
    assert different == []


async def test_a_fault_of_redis_opens_one_incident_and_the_api_is_only_a_symptom() -> None:
    rig = rig_with_redis()
    answer = rig.network.http

    def unhealthy_without_redis(host: str, path: str) -> HttpAnswer:
        said = answer(host, path)
        return replace(said, status=503) if '"redis": "down"' in said.body else said

    rig.network.http = unhealthy_without_redis
    watch = Watch(rig)
    await watch.live(60)
    assert watch.names() == []
    rig.freeze("redis-0")
    await watch.live(60, watch.names)
    assert watch.names() == [NAME]
    spec = watch.incidents()[0]["spec"]
    assert (spec["component"], spec["type"]) == ("redis", "RedisConnection")
    assert "Only its symptoms: api" in spec["description"]
    await watch.live(300, lambda: watch.over(NAME))
    assert (condition(watch.status(NAME), "Resolved"), restarts(rig)) == ("Healed", 1)
    await watch.live(60)
    assert watch.names() == [NAME]


async def test_a_redis_that_loads_after_a_start_opens_nothing() -> None:
    rig = rig_with_redis()
    watch = Watch(rig)
    await watch.live(30)
    says(rig, "loading", loading=True)
    await watch.live(120)
    rig.redis_overlay = lambda seen: seen
    await watch.live(60)
    assert watch.names() == []
