"""The operator's requests to the real mover, and the mover's own words back to the operator: a BackupJob over a store on disk.

The cluster is simulated, the mover is the real program as a process of its own; only its paths are those of this machine.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.domain.backups.report import parsed
from docuquery_operator.domain.backups.request import AnyRequest
from docuquery_operator.ports import CONFIG_MAP
from tests.fakes.backup_rig import NIGHTLY, SPEC, BackupRig, runs
from tests.fakes.movers import Fate, Movers
from tests.fakes.rig import NAMESPACE, condition

pytestmark = pytest.mark.timeout(300)
HOUR, DAY = 3600.0, 86400.0
ONLY_CONFIGURATION: dict[str, Any] = {"configuration": {"configMaps": ["app"]}}


class RealMovers(Movers):
    """Jobs are the real program; its store is a folder."""

    def __init__(self, server: Any, folder: Path) -> None:
        super().__init__(server)
        self.folder = folder
        self.log: list[str] = []

    def _finish(self, request: AnyRequest, fate: Fate, began: datetime, now: datetime) -> list[Any]:
        paths = {"secrets_dir": "secrets", "scratch_dir": "scratch", "volume_dir": "store"}
        for name in paths.values():
            (self.folder / name).mkdir(exist_ok=True)
        here = request.model_copy(update={field: str(self.folder / name) for field, name in paths.items()})
        file = self.folder / f"{request.attempt_id}.json"
        file.write_text(here.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
        command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        self.log += [done.stdout, done.stderr]
        return list(parsed(done.stdout.splitlines()))


class RealRig(BackupRig):
    """A rig whose Jobs are real."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        # The mover tells the time of this machine.
        self.clock.jump((datetime.now(UTC) - self.clock.now()).total_seconds())
        self.movers = RealMovers(self.server, folder)
        self.movers.fate = lambda _request, _number: Fate(takes=1.0)
        self.server.put(CONFIG_MAP, {"metadata": {"name": "app", "namespace": NAMESPACE}, "data": {"LIMIT": "100"}})


def settled(status: dict[str, Any]) -> bool:
    return (
        status.get("phase") in ("Complete", "Failed") and not status.get("work") and not status["catalogue"].get("dueAgain")
    )


async def test_a_run_from_nothing_to_a_checked_set(tmp_path: Path) -> None:
    rig = RealRig(tmp_path)
    status = await rig.run(rig.backup({**SPEC, "include": ONLY_CONFIGURATION}), HOUR, settled)
    assert runs(status) == [("Complete", "Verified")], rig.movers.log[-4:]  # type: ignore[attr-defined]
    run = status["runs"][0]
    assert run["parts"] == ["configuration"]
    assert (status["sets"], status["totalSize"]) == (1, run["size"])
    assert condition(status, "Verified") == "CheckVerified"
    committed = list(tmp_path.glob(f"store/**/catalogue/{run['attemptId']}.json"))
    assert len(committed) == 1


async def test_what_the_store_holds_comes_back_in_an_empty_cluster_and_goes_with_its_object(tmp_path: Path) -> None:
    spec = {**NIGHTLY, "include": ONLY_CONFIGURATION}
    old = RealRig(tmp_path)
    await old.run(old.backup(spec), 2.05 * DAY)
    fresh = RealRig(tmp_path)
    key = fresh.backup({**spec, "suspend": True, "deletionPolicy": "Delete"})
    status = await fresh.run(key, 300)
    assert runs(status) == [("Complete", "Verified")] * 2, status
    assert status["lastVerified"]["id"] == status["runs"][-1]["id"]
    fresh.edit(key, lambda o: o["metadata"].update(deletionTimestamp="2026-03-31T02:00:00Z"))
    await fresh.run(key, 600)
    assert list(tmp_path.glob("store/**/catalogue/*.json")) == []
    assert fresh.server.find(fresh.kind(key), NAMESPACE, key.name)["metadata"]["finalizers"] == []  # type: ignore[index]


async def test_a_flipped_bit_is_found_told_and_replaced(tmp_path: Path) -> None:
    rig = RealRig(tmp_path)
    hourly = {**NIGHTLY, "schedule": {"cron": "0 * * * *"}, "verification": {"every": "1d"}}
    key = rig.backup({**hourly, "include": ONLY_CONFIGURATION})
    await rig.run(key, 1.2 * HOUR, lambda s: runs(s) == [("Complete", "Verified")])
    victim = max(
        (p for p in tmp_path.glob("store/**/sets/*/configuration/*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    spoilt = bytearray(victim.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    victim.write_bytes(bytes(spoilt))
    # No newer set takes its place before the next check is due.
    rig.edit(key, lambda o: o["spec"].update(suspend=True))
    status = await rig.run(key, 1.2 * DAY)
    assert runs(status)[0] == ("Complete", "Failed"), rig.movers.log[-4:]  # type: ignore[attr-defined]
    assert "lastSuccessful" not in status
    assert condition(status, "Complete") == ""
