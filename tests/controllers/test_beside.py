"""No backup beside a restore of the same Stack, nor the other way round: whoever comes second waits, and says for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from docuquery_operator.domain.backups.request import AnyRequest, BackupRequest, RestoreRequest
from docuquery_operator.ports import BACKUP_JOB, Key
from tests.fakes.backup_rig import NIGHTLY, BackupRig, runs
from tests.fakes.faults import Faults
from tests.fakes.movers import Fate
from tests.fakes.rig import NAMESPACE

pytestmark = pytest.mark.timeout(240)
HOUR = 3600.0
NIGHT = Key(BACKUP_JOB.plural, NAMESPACE, "nightly")
OVER = ("Complete", "RestoredUnverified", "Failed", "RolledBack")


def slow(request: AnyRequest, _number: int) -> Fate:
    """Backups and restores of live data take 40 minutes, everything else seconds."""
    live = isinstance(request, BackupRequest) or (isinstance(request, RestoreRequest) and request.phase != "plan")
    return Fate(takes=2400.0 if live else 20.0)


async def ready(faults: Faults | None = None) -> tuple[BackupRig, Key]:
    """One proved backup an hour, and the plan of a restore."""
    rig = BackupRig()
    rig.step = 30.0
    rig.backup({**NIGHTLY, "schedule": {"cron": "0 * * * *"}})
    await rig.run(NIGHT, 2 * HOUR, lambda s: ("Complete", "Verified") in runs(s) and not s.get("work"))
    key = rig.restore()
    await rig.run(key, 600, lambda s: s.get("phase") == "Planned")
    rig.movers.fate = slow
    rig.begin(faults)
    return rig, key


def waiting(status: dict[str, Any]) -> str:
    found = [c["message"] for c in status.get("conditions", []) if c["type"] == "Waiting" and c["status"] == "True"]
    return str(found[0]) if found else ""


async def both(rig: BackupRig, key: Key, seconds: float, until: Any) -> None:
    """Passes of both in turn, as the queue would make them."""
    end = rig.clock.now().timestamp() + seconds
    while rig.clock.now().timestamp() < end:
        after = [await rig.once(key), await rig.once(NIGHT)]
        if until():
            return
        rig.advance(max(0.05, min(30.0 if a is None else a for a in after)))


async def at_work(rig: BackupRig) -> None:
    """The hourly backup has begun."""
    before = len(rig.ran("backup"))
    await rig.run(NIGHT, 2 * HOUR, lambda _s: len(rig.ran("backup")) > before)
    assert len(rig.ran("backup")) == before + 1


async def test_a_restore_waits_for_a_backup_and_the_next_backup_for_the_restore() -> None:
    rig, key = await ready()
    await at_work(rig)
    rig.approve(key)
    status = await rig.run(key, 60)
    assert waiting(status) == "BackupJob nightly saves the data of the same Stack"
    assert status["message"] == "BackupJob nightly saves the data of the same Stack; this one waits"
    assert status["phase"] == "Planned"
    backups = len(rig.ran("backup"))
    done = lambda: rig.status(key).get("phase") in OVER  # noqa: E731
    await both(rig, key, 4 * HOUR, done)
    assert rig.status(key)["phase"] == "Complete"
    assert waiting(rig.status(key)) == ""
    assert rig.movers.beside == []
    assert len(rig.ran("backup")) == backups
    await both(rig, key, 2 * HOUR, lambda: len(rig.ran("backup")) > backups)
    assert len(rig.ran("backup")) == backups + 1


async def test_a_backup_that_is_due_stands_behind_a_restore_that_waits() -> None:
    """Else backups that follow one another would keep it out for ever."""
    rig, key = await ready()
    await at_work(rig)
    rig.approve(key)
    await rig.run(key, 60)
    other = rig.backup({**NIGHTLY, "schedule": {"cron": "*/5 * * * *"}}, name="often")
    backups = len(rig.ran("backup"))
    status = await rig.run(other, 900)
    assert len(rig.ran("backup")) == backups
    told = next(c["message"] for c in status["conditions"] if c["type"] == "Reconciling")
    assert "RestoreJob back waits for its turn" in told


async def test_no_backup_beside_a_rollback() -> None:
    rig, key = await ready()
    rig.approve(key)
    await rig.run(key, 2 * HOUR, lambda s: s.get("phase") == "Complete" and not s.get("work"))
    rig.edit(key, lambda o: o["spec"].update(rollback=True))
    await rig.run(key, 120, lambda s: bool(s.get("work")))
    backups = len(rig.ran("backup"))
    status = await rig.run(NIGHT, 1500)
    assert len(rig.ran("backup")) == backups
    assert "RestoreJob back replaces" in next(c["message"] for c in status["conditions"] if c["type"] == "Reconciling")
    await both(rig, key, 3 * HOUR, lambda: rig.status(key).get("phase") == "RolledBack")
    assert rig.movers.beside == []


async def test_a_rollback_waits_for_a_backup() -> None:
    rig, key = await ready()
    rig.approve(key)
    await rig.run(key, 2 * HOUR, lambda s: s.get("phase") == "Complete" and not s.get("work"))
    await at_work(rig)
    rig.edit(key, lambda o: o["spec"].update(rollback=True))
    status = await rig.run(key, 60)
    assert waiting(status) == "BackupJob nightly saves the data of the same Stack"
    await both(rig, key, 3 * HOUR, lambda: rig.status(key).get("phase") == "RolledBack")
    assert rig.status(key)["phase"] == "RolledBack"
    assert rig.movers.beside == []


async def together(faults: Faults | None = None, ahead: int = 0) -> tuple[BackupRig, int]:
    """A backup becomes due in the very second in which a restore is approved. ahead: calls that one pass is before the other."""
    rig, key = await ready()
    rig.movers.fate = lambda _request, _number: Fate(takes=90.0)
    rig.advance(max(0.0, (60 - rig.clock.now().minute) * 60 - rig.clock.now().second + 400))
    rig.approve(key)
    before = len(rig.ran("backup"))
    rig.begin(faults)

    async def late(of: Key, calls: int) -> float | None:
        for _ in range(calls):
            await asyncio.sleep(0)
        return await rig.once(of)

    for _ in range(200):
        after = await asyncio.gather(late(key, max(0, -ahead)), late(NIGHT, max(0, ahead)))
        if rig.status(key).get("phase") in OVER and len(rig.ran("backup")) > before:
            break
        rig.advance(max(0.05, min(30.0 if a is None else a for a in after)))
    assert rig.status(key)["phase"] == "Complete"
    return rig, len(rig.ran("backup")) - before


@pytest.mark.parametrize("ahead", range(-12, 13))
async def test_two_that_begin_at_once_never_meet(ahead: int) -> None:
    """Whatever the order of their calls to the API server."""
    rig, made = await together(ahead=ahead)
    assert (rig.movers.beside, made) == ([], 1)


async def test_killed_anywhere_they_never_meet_and_both_come_to_their_end() -> None:
    reference, made = await together(Faults())
    assert (reference.movers.beside, made) == ([], 1)
    calls = reference.rig.life.faults.calls
    deciding = [n for n, name in enumerate(calls, 1) if name.startswith(("create", "patch", "list restore", "list backup"))]
    for n in deciding[:30]:
        rig, made = await together(Faults(kill_before=n))
        assert rig.movers.beside == [], calls[n - 1]
        assert made == 1, calls[n - 1]
