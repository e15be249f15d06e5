"""Once a month the oldest kept set is checked as well as the newest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.backup_job import BackupJob
from docuquery_operator.domain.backups.checks import MONTH, oldest_check
from docuquery_operator.domain.backups.draft import Draft
from docuquery_operator.domain.backups.facts import BackupWorld
from docuquery_operator.domain.backups.request import AnyRequest, VerifyRequest
from docuquery_operator.domain.world import Problem
from tests.fakes.backup_rig import NIGHTLY, BackupRig
from tests.fakes.movers import Fate

pytestmark = pytest.mark.timeout(120)
DAY = 86400.0
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def run(day: int, **more: Any) -> dict[str, Any]:
    at = f"2026-02-{day:02}T02:00:00Z"
    made = {"id": f"202602{day:02}T020000Z-1a2b3c4d", "state": "Complete", "startedAt": at, "finishedAt": at}
    return {**made, "attemptId": f"202602{day:02}T020000Z-1a2b3c4d.1", "verified": "Verified", "level": "Restore", **more}


def chosen(*runs: dict[str, Any], last: datetime | None = None, schedule: bool = True, problem: bool = False) -> str | None:
    spec: dict[str, Any] = dict(NIGHTLY)
    if not schedule:
        del spec["schedule"]
    meta = {"name": "nightly", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    status: dict[str, Any] = {"runs": list(runs), "oldestCheckedAt": last.isoformat() if last else None}
    job = BackupJob.model_validate({"metadata": meta, "spec": spec, "status": status})
    world = BackupWorld(check_problem=Problem("SecretNotFound", "no key") if problem else None)
    found = oldest_check(Draft(job, world, NOW), 3)
    return found.id[6:8] if found else None


def test_which_set_it_is() -> None:
    assert chosen(run(2), run(9), run(28)) == "02"
    assert chosen(run(1, state="Missed"), run(2), run(28)) == "02"
    # One that is checked once a month is not checked again before.
    assert chosen(run(2), run(28), last=NOW - MONTH + timedelta(minutes=1)) is None
    assert chosen(run(2), run(28), last=NOW - MONTH) == "02"


def test_when_there_is_none() -> None:
    assert chosen(run(2)) is None
    assert chosen(run(2), run(28), schedule=False) is None
    assert chosen(run(2), run(28), problem=True) is None
    assert chosen(run(2, verified="Failed"), run(28)) is None
    assert chosen(run(2, checks=3), run(28)) is None
    assert chosen(run(2, checkAfter="2026-03-01T00:10:00Z"), run(28)) is None


async def lived(fate: str = "Verified") -> tuple[BackupRig, list[tuple[int, str]]]:
    """Ten weeks with a set a week, each checked; age in days and set of each check of an older one."""
    rig = BackupRig()
    rig.step = 600.0
    old: list[tuple[int, str]] = []

    def met(request: AnyRequest, _number: int) -> Fate:
        if not isinstance(request, VerifyRequest):
            return Fate(takes=600.0)
        made = datetime.strptime(request.set_id[:8], "%Y%m%d").replace(tzinfo=UTC)
        age = (rig.clock.now() - made).days
        if age < 2:
            return Fate(takes=600.0)
        if not old or old[-1][1] != request.set_id:
            old.append((age, request.set_id))
        return Fate(takes=600.0, verdict=fate)

    rig.movers.fate = met
    spec = {**NIGHTLY, "schedule": {"cron": "0 2 * * 0"}, "retention": {"keepLast": 5}, "verification": {"every": "Run"}}
    await rig.run(rig.backup(spec), 70 * DAY)
    return rig, old


async def test_a_month_apart_and_the_newest_every_week_all_the_same() -> None:
    rig, old = await lived()
    assert len(old) == 2, old
    checks = [r for r in rig.movers.requests if isinstance(r, VerifyRequest)]
    assert 11 <= len(checks) <= 13, len(checks)


async def test_one_that_is_spoilt_is_told_and_asks_for_nothing_else() -> None:
    """A new backup would not bring it back, and the newest is as good as before."""
    rig, old = await lived("Failed")
    assert old
    assert any("CheckFailed" in each for each in rig.events())
