"""kill -9 at every call, lost and doubled passes, errors of the API server, a clock that jumps: one Job a try, the same end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.backups.request import AnyRequest
from docuquery_operator.ports import BACKUP_JOB, INCIDENT, Conflict, Key, Refused, Unavailable
from tests.fakes.backup_rig import NIGHTLY, SPEC, BackupRig, runs
from tests.fakes.faults import Faults
from tests.fakes.movers import Fate
from tests.fakes.rig import NAMESPACE

# Each runs whole stories in a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(300)
PARTS = 8
HOUR, DAY = 3600.0, 86400.0


def over(status: dict[str, Any]) -> bool:
    return (
        status.get("phase") in ("Complete", "Failed") and not status.get("work") and not status["catalogue"].get("dueAgain")
    )


def spoilt_first(request: AnyRequest, _number: int) -> Fate:
    """The first try fails, the second one's log is lost, its check finds it wanting, and all is well with the next run."""
    first = request.attempt_id.endswith(".1")
    if request.command == "backup":
        return Fate(ok=not first, log=first)
    return Fate()


def end_of(rig: BackupRig, status: dict[str, Any]) -> dict[str, Any]:
    """What must be the same however often the process died."""
    return {
        "phase": status.get("phase"),
        "runs": runs(status),
        "tries": [r["attempt"] for r in status.get("runs", [])],
        "backups": len(rig.ran("backup")),
        "twice": len(rig.movers.ran) - len(set(rig.movers.ran)),
        "sets": len(rig.movers.store.entries),
        "told": status.get("sets"),
        "conditions": sorted((c["type"], c["status"], c["reason"]) for c in status.get("conditions", [])),
        "incidents": len(rig.server.all(INCIDENT)),
    }


async def story(faults: Faults | None = None, spec: dict[str, Any] | None = None) -> tuple[BackupRig, dict[str, Any]]:
    rig = BackupRig(faults=faults)
    rig.movers.fate = spoilt_first
    key = rig.backup(spec or SPEC)
    return rig, end_of(rig, await rig.run(key, 2 * HOUR, over))


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_call_is_a_kill_point(part: int) -> None:
    reference, expected = await story()
    total = reference.rig.life.faults.count
    assert total > 60
    assert (expected["runs"], expected["tries"], expected["backups"]) == ([("Complete", "Verified")], [2], 2)
    assert (expected["twice"], expected["sets"], expected["told"]) == (0, 1, 1)
    different = []
    for n in range(1 + part, total + 1, PARTS):
        rig, found = await story(Faults(kill_before=n))
        assert rig.crashes == []
        if found != expected:
            different.append((n, reference.rig.life.faults.calls[n - 1], found))
    assert different == []


async def test_every_call_is_a_kill_point_of_a_check_that_fails() -> None:
    """An Incident once, one run in its place, whatever dies in between."""

    async def spoilt(faults: Faults | None = None) -> tuple[BackupRig, dict[str, Any]]:
        rig = BackupRig(faults=faults)
        rig.movers.fate = lambda r, _n: Fate(verdict="Failed" if len(rig.ran("verify")) == 1 else "Verified")
        status = await rig.run(rig.backup(), HOUR, lambda s: over(s) and len(s.get("runs", [])) == 2)
        return rig, end_of(rig, status)

    reference, expected = await spoilt()
    assert expected["runs"] == [("Complete", "Failed"), ("Complete", "Verified")]
    assert (expected["incidents"], expected["twice"]) == (1, 0)
    for n in range(1, reference.rig.life.faults.count + 1, 3):
        _, found = await spoilt(Faults(kill_before=n))
        assert found == expected, (n, reference.rig.life.faults.calls[n - 1])


async def test_the_sets_go_with_the_object_wherever_it_dies() -> None:
    async def gone(faults: Faults | None = None) -> BackupRig:
        rig = BackupRig()
        key = rig.backup({**SPEC, "deletionPolicy": "Delete"})
        await rig.run(key, HOUR, over)
        rig.edit(key, lambda o: o["metadata"].update(deletionTimestamp="2026-03-29T02:00:00Z"))
        rig.begin(faults)
        await rig.run(key, 600)
        return rig

    reference = await gone()
    for n in range(1, reference.rig.life.faults.count + 1, 2):
        rig = await gone(Faults(kill_before=n))
        assert rig.movers.store.entries == {}
        assert rig.server.find(BACKUP_JOB, NAMESPACE, "nightly")["metadata"]["finalizers"] == []  # type: ignore[index]


TURNS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["run", "run", "doubled", "early"]), st.just(0.0)),
        st.tuples(st.sampled_from(["lost", "late"]), st.floats(1.0, 400.0)),
    ),
    min_size=1,
    max_size=10,
)
ERRORS = st.dictionaries(st.integers(1, 150), st.sampled_from(["conflict", "unavailable", "refused"]), max_size=12)
KILLS = st.lists(st.integers(1, 120), max_size=2)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(turns=TURNS, errors=ERRORS, kills=KILLS)
async def test_passes_in_any_order_end_the_same(
    turns: list[tuple[str, float]], errors: dict[int, str], kills: list[int]
) -> None:
    rig = BackupRig()
    rig.movers.fate = spoilt_first
    key = rig.backup()
    calls = 0

    def meet(name: str, _number: int) -> BaseException | None:
        nonlocal calls
        calls += 1
        what = errors.get(calls)
        if what is None or (what == "conflict" and name.partition(" ")[0] not in ("create", "patch")):
            return None
        return {"conflict": Conflict("x"), "unavailable": Unavailable("503"), "refused": Refused(403, "no")}[what]

    def begin() -> None:
        faults = Faults(kill_before=kills.pop(0) if kills else 0)
        faults.raise_for = meet
        rig.begin(faults)

    begin()
    lives = len(rig.rig.lives)
    for turn in range(400):
        what, seconds = turns[turn % len(turns)] if turn < 40 else ("run", 0.0)
        after: float | None = seconds
        if what != "lost":
            after = await rig.once(key)
            if what == "doubled":
                await rig.once(key)
        if len(rig.rig.lives) != lives:
            begin()
            lives = len(rig.rig.lives)
        if after is None and over(rig.status(key)):
            break
        wait = 600.0 if after is None else after
        rig.advance(max(0.05, {"early": min(wait, 0.3), "late": wait + seconds}.get(what, wait)))
    found = end_of(rig, rig.status(key))
    assert rig.crashes == []
    assert (found["runs"], found["twice"], found["sets"]) == ([("Complete", "Verified")], 0, 1)


async def nights(jump_at: float, jump: float) -> tuple[BackupRig, Key]:
    rig = BackupRig()
    rig.step = 10.0
    key = rig.backup(NIGHTLY)
    await rig.run(key, jump_at)
    rig.clock.jump(jump)
    rig.movers.tick(rig.clock.now())
    await rig.run(key, 3 * DAY - jump_at)
    return rig, key


@pytest.mark.parametrize("jump", [-DAY, -HOUR, -60.0, 60.0, HOUR])
@pytest.mark.parametrize("jump_at", [HOUR, 1.6 * HOUR, 30 * HOUR])
async def test_a_clock_that_jumps_runs_nothing_twice(jump_at: float, jump: float) -> None:
    rig, key = await nights(jump_at, jump)
    assert len(rig.movers.ran) == len(set(rig.movers.ran))
    good = [r["id"][:8] for r in rig.status(key)["runs"] if r["state"] == "Complete"]
    # At most one night is lost by it, and none is run twice.
    assert len(good) == len(set(good))
    assert 2 <= len(good) <= 3
