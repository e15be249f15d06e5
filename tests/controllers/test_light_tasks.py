"""VerifyBackups and OptimizeCollections in the simulated world, beside the controllers and servers that they ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from docuquery_operator.catalogue.tasks import optimize_collections, verify_backups
from docuquery_operator.domain.backups.checks import CHECK_AGAIN
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.ports import BACKUP_JOB, Key
from tests.controllers.test_qdrant import UNINDEXED, forgotten_index, rig_with_qdrant
from tests.fakes.backup_rig import NIGHTLY, BackupRig
from tests.fakes.movers import Fate
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context

pytestmark = pytest.mark.timeout(120)
DAY = 86400.0
OF_ANOTHER = {**NIGHTLY, "stackRef": {"name": "other"}}


async def verified(world: BackupRig, *keys: Key, stop: str = "", timeout: float = 1800.0, **parameters: Any) -> TaskOutcome:
    """The task, while the BackupJobs' own controller goes on."""

    async def pause(seconds: float) -> None:
        for key in keys:
            await world.once(key)
        world.advance(seconds)

    made = context(world.rig, {"type": "VerifyBackups", "verifyBackups": parameters}, stopping=lambda: stop)
    return await verify_backups.run(replace(made, pause=pause, timeout=timeout))


async def nightly(world: BackupRig, **spec: Any) -> Key:
    """A BackupJob whose newest set was verified a while ago, and is not checked each time."""
    key = world.backup({**NIGHTLY, "verification": {"level": "Restore", "every": "52w"}, **spec})
    await world.run(key, 2 * DAY)
    assert world.status(key)["runs"][0]["verified"] == "Verified"
    return key


async def test_a_set_whose_verdict_is_old_is_drilled_again_and_waited_for() -> None:
    world = BackupRig()
    key = await nightly(world)
    checks = len(world.ran("verify"))
    found = await verified(world, key, maxAge="1h")
    assert (found.state, found.summary) == ("Succeeded", "1 of 1 BackupJobs have a verified newest set")
    assert len(world.ran("verify")) == checks + 1
    newest = world.status(key)["runs"][-1]
    assert (newest["verified"], newest["level"]) == ("Verified", "Restore")
    assert newest["id"] in found.evidence[0]
    # Asked again in the same window, nothing more is checked.
    again = await verified(world, key, maxAge="1h")
    assert (again.state, len(world.ran("verify"))) == ("Succeeded", checks + 1)
    # Nor is the next set, which has its own time.
    await world.run(key, 1.5 * DAY)
    assert len(world.ran("verify")) == checks + 1


async def test_a_young_verdict_is_enough() -> None:
    world = BackupRig()
    key = world.backup({**NIGHTLY, "verification": {"level": "Restore", "every": "Run"}})
    await world.run(key, 1.5 * DAY)
    checks = len(world.ran("verify"))
    found = await verified(world, key, maxAge="168h")
    assert (found.state, len(world.ran("verify"))) == ("Succeeded", checks)
    assert CHECK_AGAIN not in (world.server.find(BACKUP_JOB, NAMESPACE, "nightly")["metadata"].get("annotations") or {})  # type: ignore[index]


async def test_a_spoilt_set_and_a_job_without_one_are_failures_in_words() -> None:
    world = BackupRig()
    world.backup(OF_ANOTHER, name="other")
    key = await nightly(world)
    world.movers.fate = lambda _request, _number: Fate(verdict="Failed")
    bare = world.backup({**NIGHTLY, "schedule": {"cron": "0 2 1 1 *"}}, name="yearly")
    found = await verified(world, key, bare, maxAge="1h")
    assert (found.state, found.figures["backup jobs"]) == ("Failed", 2)
    texts = sorted(f.text for f in found.findings)
    assert "nightly: set" in texts[0]
    assert "did not stand its check" in texts[0]
    assert texts[1] == "yearly: it has no set"


async def test_a_verdict_that_does_not_come_is_not_waited_for_for_ever() -> None:
    world = BackupRig()
    key = await nightly(world)
    world.movers.stuck = True
    late = await verified(world, key, timeout=120.0, maxAge="1h")
    assert (late.state, "did not come in time" in late.findings[0].text) == ("Failed", True)
    stopped = await verified(world, key, stop="suspend was set", maxAge="1h")
    assert (stopped.state, stopped.summary.startswith("suspend was set; ")) == ("Aborted", True)


async def test_without_backups_it_is_skipped_and_a_checksum_alone_is_said() -> None:
    world = BackupRig()
    assert (await verified(world)).state == "Skipped"
    key = world.backup({**NIGHTLY, "verification": {"level": "Checksum"}})
    await world.run(key, 1.5 * DAY)
    found = await verified(world, key)
    assert found.state == "Succeeded"
    assert "for a restore drill set verification.level: Restore" in found.findings[0].text


async def optimised(rig: Rig, timeout: float = 600.0, stop: str = "", **parameters: Any) -> TaskOutcome:
    async def pause(seconds: float) -> None:
        rig.clock.advance(seconds)

    made = context(rig, {"type": "OptimizeCollections", "optimizeCollections": parameters}, stopping=lambda: stop)
    return await optimize_collections.run(replace(made, pause=pause, timeout=timeout))


async def test_a_collection_without_an_index_is_indexed_with_figures_before_and_after() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.collections["documents"] = UNINDEXED
    forgotten_index(rig)
    found = await optimised(rig)
    assert found.state == "Succeeded", found
    row = dict(zip(found.tables[0].columns, found.tables[0].rows[0], strict=True))
    assert (row["collection"], row["indexed before (vectors)"]) == ("documents", 0)
    assert row["indexed after (vectors)"] == rig.qdrant.collections["documents"].indexed
    assert row["indexed after (vectors)"] == 100_000
    again = await optimised(rig)
    assert (again.state, again.tables) == ("Succeeded", ())


async def test_only_those_that_are_named_and_not_beyond_the_time() -> None:
    rig = rig_with_qdrant()
    rig.qdrant.collections["documents"] = UNINDEXED
    assert (await optimised(rig, collections=["others"])).tables == ()
    assert rig.qdrant.patches == []
    late = await optimised(rig, timeout=30.0)
    assert late.state == "Failed"
    assert "not at its end in time" in late.summary
    assert (await optimised(rig, stop="suspend was set")).state in ("Aborted", "Succeeded")


async def test_a_stack_without_qdrant_skips_it() -> None:
    assert (await optimised(Rig())).state == "Skipped"
