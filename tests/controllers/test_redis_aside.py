"""FLUSHALL in two halves: set aside, then put back or dropped, each only with two persons' yes to exactly this."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.ports import Aside, Key
from tests.fakes.faults import Faults
from tests.fakes.rig import Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
DATA = {"celery": ("jobs", 1e12), "rate_limit:1": ("9", 1e12), "session:1": ("x", 1e12)}
LATER = {"session:2": ("y", 1e12)}


def world() -> Rig:
    rig = Rig()
    rig.with_redis()
    rig.redis.set_keys = dict(DATA)
    return rig


async def asked(rig: Rig, wish: str, name: str = "flush") -> tuple[Key, dict[str, Any]]:
    """An incident with this wish, up to its question."""
    key = rig.redis_incident(name, parameters={"data": wish})
    status = await rig.run(key, seconds=90, until=lambda s: condition(s, "NeedsApproval") != "")
    return key, status


def approve(rig: Rig, key: Key, status: dict[str, Any], *persons: str) -> None:
    step = status["steps"][-1]
    answers = [{"step": step["name"], "planDigest": step["planDigest"], "by": by, "decision": "Approve"} for by in persons]
    rig.edit_incident(key, lambda i: i["spec"].update(approvals=answers))


async def done(rig: Rig, wish: str, name: str) -> dict[str, Any]:
    key, status = await asked(rig, wish, name)
    assert condition(status, "NeedsApproval") == "WaitingForApproval"
    approve(rig, key, status, "me", "another")
    return await rig.run(key)


async def test_set_aside_and_put_back_lose_nothing() -> None:
    rig = world()
    status = await done(rig, "SetAside", "aside")
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("setAsideRedis", "Healed")])
    assert (rig.redis.set_keys, rig.redis.spare) == ({}, DATA)
    rig.redis.set_keys = dict(LATER)
    status = await done(rig, "PutBack", "back")
    assert (condition(status, "Resolved"), steps(status)) == ("Healed", [("putBackRedis", "Healed")])
    assert (rig.redis.set_keys, rig.redis.spare) == (DATA, LATER), "what has come since lies aside"


async def test_nothing_happens_without_two_persons() -> None:
    rig = world()
    key, status = await asked(rig, "SetAside")
    await rig.run(key, seconds=60)
    approve(rig, key, status, "me")
    await rig.run(key, seconds=60)
    assert (rig.redis.set_keys, rig.redis.swaps) == (DATA, [])
    assert "two persons" in rig.status(key)["summary"] + str(rig.status(key)["conditions"])


async def test_only_what_was_approved_is_dropped() -> None:
    rig = world()
    await done(rig, "SetAside", "aside")
    key, status = await asked(rig, "Drop", "drop")
    assert status["steps"][-1]["plan"]["keys"] == len(DATA)
    rig.redis.spare["one-more"] = ("z", 1e12)
    rig.redis.aside = Aside("aside", 0, len(rig.redis.spare), rig.redis.aside.attempt, rig.redis.aside.since)
    approve(rig, key, status, "me", "another")
    await rig.run(key, seconds=120)
    assert len(rig.redis.spare) == len(DATA) + 1, "something else than what was approved is gone"
    status = await done(rig, "Drop", "drop-this")
    assert (condition(status, "Resolved"), rig.redis.spare) == ("Healed", {})


async def test_somebody_elses_keys_in_the_spare_database_are_left_alone() -> None:
    rig = world()
    rig.redis.aside, rig.redis.spare = Aside("foreign", 0, 1), {"theirs": ("x", 1e12)}
    for wish in ("SetAside", "PutBack", "Drop"):
        await rig.run(rig.redis_incident(wish.lower(), parameters={"data": wish}), seconds=90)
    assert (rig.redis.set_keys, rig.redis.spare, rig.redis.swaps) == (DATA, {"theirs": ("x", 1e12)}, [])


async def approved(faults: Faults) -> tuple[Rig, dict[str, Any]]:
    """The exchange, by a process that is told of it when all have said yes."""
    rig = world()
    key, status = await asked(rig, "SetAside")
    approve(rig, key, status, "me", "another")
    rig.start(faults)
    return rig, await rig.run(key)


@pytest.mark.parametrize("when", ["kill_before", "kill_after"])
async def test_killed_around_the_exchange_it_is_exchanged_once(when: str) -> None:
    plain = Faults()
    await approved(plain)
    faults = Faults(**{when: plain.calls.index("set aside") + 1})
    rig, status = await approved(faults)
    assert (faults.dead, faults.calls[-1]) == (True, "set aside")
    assert (condition(status, "Resolved"), len(rig.redis.swaps), rig.redis.spare) == ("Healed", 1, DATA)
