"""RestoreJob in the simulated world: nothing live is touched before a plan and two persons, and what is told is true."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.controllers.gather import Gatherer
from docuquery_operator.domain.backups.request import AnyRequest, CatalogueRequest, RestoreRequest
from docuquery_operator.ports import BACKUP_JOB, JOB, LEASE, RESTORE_JOB, SECRET, Conflict, Key, Refused, Unavailable
from tests.fakes.backup_rig import NIGHTLY, SPEC, BackupRig, runs
from tests.fakes.faults import Faults
from tests.fakes.movers import Fate
from tests.fakes.rig import NAMESPACE, condition

# Each lives through hours or days of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
HOUR, DAY = 3600.0, 86400.0


async def backed_up(spec: dict[str, Any] | None = None, faults: Faults | None = None) -> BackupRig:
    rig = BackupRig(faults=faults)
    await rig.run(rig.backup(spec or SPEC), HOUR, lambda s: runs(s) == [("Complete", "Verified")] and not s.get("work"))
    return rig


async def planned(rig: BackupRig, **spec: Any) -> Key:
    key = rig.restore(**spec)
    status = await rig.run(key, 300, lambda s: s.get("phase") == "Planned")
    assert status["phase"] == "Planned", status
    return key


def phases(rig: BackupRig) -> list[str]:
    """Phases that movers really began, in order."""
    return [r.phase for r in rig.movers.requests if isinstance(r, RestoreRequest)]


def restored(status: dict[str, Any]) -> bool:
    return status.get("phase") in ("Complete", "RestoredUnverified", "Failed") and not status.get("work")


def holder(rig: BackupRig) -> str | None:
    lease = rig.server.find(LEASE, NAMESPACE, "docuquery-restore-docuquery")
    return (lease or {}).get("spec", {}).get("holderIdentity") if lease else None


async def test_a_plan_touches_nothing_and_waits() -> None:
    rig = await backed_up()
    key = await planned(rig)
    plan = rig.status(key)["plan"]
    assert plan["lines"] == ["postgres/app: 3 rows would be lost"]
    assert plan["run"] == rig.status(Key(BACKUP_JOB.plural, NAMESPACE, "nightly"))["lastVerified"]["id"]
    writes = rig.writes(key)
    await rig.run(key, DAY)
    assert phases(rig) == ["plan"]
    assert rig.writes(key) == writes
    assert holder(rig) is None


async def test_plan_digest_approval_restore_and_the_drop_of_what_was_replaced() -> None:
    rig = await backed_up()
    key = await planned(rig)
    rig.approve(key)
    status = await rig.run(key, HOUR, restored)
    assert status["phase"] == "Complete"
    assert [(s["name"], s["state"]) for s in status["steps"]] == [
        ("postgres/app/restore", "Done"),
        ("postgres/app/swap", "Done"),
    ]
    assert status["reconciled"] == {"missingInQdrant": 1, "orphansInQdrant": 2, "missingIds": ["a"], "orphanIds": ["b", "c"]}
    assert condition(status, "Complete") == "Complete"
    assert phases(rig) == ["plan", "apply"]
    apply = next(r for r in rig.movers.requests if isinstance(r, RestoreRequest) and r.phase == "apply")
    assert apply.plan_digest == status["plan"]["digest"]
    assert apply.safety is not None
    assert holder(rig) is None
    assert rig.movers.dropped == []
    await rig.run(key, 23 * HOUR)
    assert rig.movers.dropped == []
    status = await rig.run(key, 2 * HOUR)
    assert rig.movers.dropped == [apply.restore_id]
    assert "previousUntil" not in status["times"]
    jobs = rig.movers.ran
    await rig.run(key, DAY)
    assert rig.movers.ran == jobs


@pytest.mark.parametrize(
    ("creator", "by", "words"),
    [
        ("kim", "kim", "cannot be the second person"),
        ("", "lee", "nobody knows who made this object"),
        ("kim", "", "another person"),
    ],
    ids=["same person", "unknown", "nobody"],
)
async def test_one_person_alone_restores_nothing(creator: str, by: str, words: str) -> None:
    rig = await backed_up()
    key = await planned(rig, creator=creator)
    if by:
        rig.approve(key, by)
    else:
        digest = rig.status(key)["plan"]["digest"]
        rig.edit(key, lambda o: o["spec"].update(mode="Apply", planDigest=digest))
    status = await rig.run(key, DAY)
    assert status["phase"] == "AwaitingApproval"
    assert words in status["message"]
    assert condition(status, "NeedsApproval") == "WaitingForApproval"
    assert phases(rig) == ["plan"]


async def test_an_answer_to_another_plan_is_none() -> None:
    rig = await backed_up()
    key = await planned(rig)
    rig.approve(key)
    rig.edit(key, lambda o: o["spec"].update(planDigest="000000000000"))
    status = await rig.run(key, HOUR)
    assert "the plan is" in status["message"]
    assert phases(rig) == ["plan"]


async def test_a_no_is_the_end() -> None:
    rig = await backed_up()
    key = await planned(rig)
    rig.approve(key, decision="Reject")
    status = await rig.run(key, HOUR)
    assert (status["phase"], status["message"]) == ("Failed", "rejected by lee")
    assert phases(rig) == ["plan"]


async def test_the_set_is_chosen_with_the_plan_and_no_newer_one_takes_its_place() -> None:
    rig = await backed_up({**NIGHTLY, "schedule": {"cron": "0 * * * *"}})
    key = await planned(rig, backup={"jobRef": {"name": "nightly"}, "run": "latest"})
    first = rig.status(key)["setId"]
    nightly = Key(BACKUP_JOB.plural, NAMESPACE, "nightly")
    await rig.run(nightly, 2 * HOUR)
    assert rig.status(nightly)["runs"][-1]["attemptId"] != first
    rig.approve(key)
    await rig.run(key, HOUR, restored)
    apply = next(r for r in rig.movers.requests if isinstance(r, RestoreRequest) and r.phase == "apply")
    assert apply.set_id == first


async def test_a_job_that_is_killed_is_started_again_with_the_same_restore_id() -> None:
    rig = await backed_up()
    first: list[str] = []

    def fate(request: AnyRequest, _number: int) -> Fate:
        if not isinstance(request, RestoreRequest) or request.phase != "apply":
            return Fate()
        first.append(request.attempt_id)
        return Fate(ok=False, log=False) if request.attempt_id == first[0] else Fate()

    rig.movers.fate = fate
    key = await planned(rig)
    rig.approve(key)
    status = await rig.run(key, HOUR, restored)
    assert status["phase"] == "Complete"
    applies = [r for r in rig.movers.requests if isinstance(r, RestoreRequest) and r.phase == "apply"]
    assert len(applies) == 2
    assert len({r.restore_id for r in applies}) == 1
    assert len({r.attempt_id for r in applies}) == 2
    safeties = [r.safety for r in applies if r.safety]
    assert [s.set_id[-2:] for s in safeties] == [".1", ".2"]
    assert len({s.set_id[:-2] for s in safeties}) == 1
    # What made the restore necessary must not become the newest backup of anybody.
    assert {s.source.backup_job for s in safeties} == {"back-safety"}


async def test_what_cannot_be_proved_is_not_called_complete() -> None:
    rig = await backed_up()
    rig.movers.fate = lambda r, _n: Fate(state="RestoredUnverified")
    key = await planned(rig)
    rig.approve(key)
    status = await rig.run(key, HOUR, restored)
    assert status["phase"] == "RestoredUnverified"
    assert condition(status, "Complete") == ""


async def test_a_failed_restore_gives_the_stack_back_and_says_why() -> None:
    rig = await backed_up()
    rig.movers.fate = lambda r, _n: Fate(ok=getattr(r, "phase", "") != "apply", retry=False)
    key = await planned(rig)
    rig.approve(key)
    status = await rig.run(key, HOUR, restored)
    assert (status["phase"], condition(status, "Failed")) == ("Failed", "Failed")
    assert "the server was away" in status["message"]
    assert holder(rig) is None


async def test_copies_of_a_restore_that_failed_before_the_exchange_do_not_stay_for_ever() -> None:
    rig = await backed_up()
    rig.movers.fate = lambda r, _n: Fate(ok=getattr(r, "phase", "") != "apply", retry=False, steps=())
    key = await planned(rig)
    rig.approve(key)
    status = await rig.run(key, HOUR, restored)
    assert "dropped when keepPreviousFor is over" in status["message"]
    await rig.run(key, 23 * HOUR)
    assert rig.movers.dropped == []
    status = await rig.run(key, 3 * HOUR)
    assert len(rig.movers.dropped) == 1
    assert status["phase"] == "Failed"
    assert "previousUntil" not in status["times"]
    assert holder(rig) is None


async def test_rollback_while_what_was_replaced_is_kept() -> None:
    rig = BackupRig()
    every_night = rig.backup({**NIGHTLY, "retention": {"keepLast": 1}})
    await rig.run(every_night, 2 * DAY, lambda s: runs(s) == [("Complete", "Verified")] and not s.get("work"))
    key = await planned(rig, keepPreviousFor="48h")
    rig.approve(key)
    await rig.run(key, HOUR, restored)
    rig.edit(key, lambda o: o["spec"].update(rollback=True))
    status = await rig.run(key, HOUR, lambda s: s.get("phase") == "RolledBack" and not s.get("work"))
    assert status["phase"] == "RolledBack"
    assert phases(rig) == ["plan", "apply", "rollback"]
    rig.movers.requests.clear()
    await rig.run(every_night, 30 * HOUR)
    assert rig.movers.dropped == []
    kept = [r.keep.pinned for r in rig.movers.requests if isinstance(r, CatalogueRequest) and r.keep]
    assert kept
    assert all(status["plan"]["run"] in pinned for pinned in kept)
    rig.movers.requests.clear()
    # The copy that is not live any more does not stay for ever, and the set that tells its names stays as long.
    status = await rig.run(key, DAY)
    assert phases(rig) == ["dropPrevious"]
    assert len(rig.movers.dropped) == 1
    assert (status["phase"], "previousUntil" in status["times"]) == ("RolledBack", False)
    assert holder(rig) is None


async def test_rollback_after_the_drop_is_refused_in_words() -> None:
    rig = await backed_up()
    key = await planned(rig)
    rig.approve(key)
    await rig.run(key, 26 * HOUR)
    rig.edit(key, lambda o: o["spec"].update(rollback=True))
    status = await rig.run(key, HOUR)
    assert condition(status, "RollbackRefused") == "NothingKept"
    assert "rollback" not in phases(rig)


async def test_one_restore_a_stack_at_a_time() -> None:
    rig = await backed_up()
    first, second = await planned(rig), await planned(rig, name="other")
    rig.movers.fate = lambda _r, _n: Fate(takes=600.0)
    rig.approve(first)
    rig.approve(second)
    await rig.run(first, 60)
    status = await rig.run(second, 60)
    assert "RestoreJob back replaces the data of the same Stack" in status["message"]
    await rig.run(first, HOUR, restored)
    status = await rig.run(second, HOUR, restored)
    assert status["phase"] == "Complete"
    assert phases(rig) == ["plan", "plan", "apply", "apply"]


async def test_a_throwaway_copy_touches_nothing_live() -> None:
    rig = await backed_up()
    target = {"scratch": {"size": "10Gi", "keepFor": "2h"}}
    key = rig.restore(target=target, confirm=None, mode="Apply", creator="")
    status = await rig.run(key, HOUR, restored)
    assert status["phase"] == "Complete"
    assert phases(rig) == ["plan", "scratch"]
    assert holder(rig) is None
    job = next(j for j in rig.server.all(JOB) if j["metadata"]["labels"]["ops.docuquery.ai/work"] == "scratch")
    spec = job["spec"]["template"]["spec"]
    assert {v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v} == set()
    ephemeral = next(v["ephemeral"] for v in spec["volumes"] if "ephemeral" in v)
    assert ephemeral["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert job["spec"]["activeDeadlineSeconds"] == 8 * 3600
    scratch = next(r for r in rig.movers.requests if isinstance(r, RestoreRequest) and r.phase == "scratch")
    assert scratch.keep_seconds == 7200


async def test_healing_and_backups_stand_still_while_data_is_replaced() -> None:
    rig = await backed_up({**NIGHTLY, "schedule": {"cron": "0 * * * *"}})
    key = await planned(rig)
    rig.movers.fate = lambda r, _n: Fate(takes=3 * HOUR if isinstance(r, RestoreRequest) else 20.0)
    rig.step = 30.0
    rig.approve(key)
    await rig.run(key, 60)
    stack = rig.rig.life.prober
    gatherer = Gatherer(rig.rig.life.ports, stack)
    found = await gatherer.stack(NAMESPACE, "docuquery")
    assert await gatherer._restoring(found) == "back"  # type: ignore[arg-type]
    nightly = Key(BACKUP_JOB.plural, NAMESPACE, "nightly")
    before = len(rig.ran("backup"))
    status = await rig.run(nightly, 1.5 * HOUR)
    assert len(rig.ran("backup")) == before
    assert "RestoreJob back replaces" in next(c["message"] for c in status["conditions"] if c["type"] == "Reconciling")
    await rig.run(key, 3 * HOUR, restored)
    assert await gatherer._restoring(found) == ""  # type: ignore[arg-type]
    await rig.run(nightly, HOUR)
    assert len(rig.ran("backup")) > before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backup": {"jobRef": {"name": "other"}}}, "BackupJobNotFound"),
        ({"backup": {"jobRef": {"name": "nightly"}, "run": "20200101T000000Z-00000000"}}, "RunNotFound"),
        ({"target": {"stackRef": {"name": "other"}}, "confirm": "other"}, "StackNotFound"),
        ({"include": {"qdrant": {}}}, "ComponentNotFound"),
        ({"decryption": {"secretName": "none"}}, "SecretNotFound"),
        ({"credentials": {"postgres": {"secretName": "none"}}}, "SecretNotFound"),
    ],
    ids=["job", "run", "stack", "component", "identity", "credentials"],
)
async def test_what_is_missing_is_named_and_waited_for(change: dict[str, Any], reason: str) -> None:
    rig = await backed_up()
    key = rig.restore(**change)
    status = await rig.run(key, 600)
    assert condition(status, "Stalled") == reason
    assert phases(rig) == []


async def test_owners_rights_are_mounted_in_the_restore_alone() -> None:
    rig = await backed_up()
    rig.secret("owner", username="postgres", password="owner-password")
    key = await planned(rig, credentials={"postgres": {"secretName": "owner"}})
    rig.approve(key)
    await rig.run(key, HOUR, restored)
    for job in rig.server.all(JOB):
        secrets = {v["secret"]["secretName"] for v in job["spec"]["template"]["spec"]["volumes"] if "secret" in v}
        restore = job["metadata"]["annotations"]["ops.docuquery.ai/owner"].startswith(RESTORE_JOB.plural)
        assert ("owner" in secrets) is restore
        assert "owner-password" not in str(job)
    assert rig.server.find(SECRET, NAMESPACE, "owner") is not None


def end_of(rig: BackupRig, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "phase": status.get("phase"),
        "steps": [(s["name"], s["state"]) for s in status.get("steps", [])],
        "phases": phases(rig),
        "twice": len(rig.movers.ran) - len(set(rig.movers.ran)),
        "held": holder(rig),
        "dropped": len(rig.movers.dropped),
    }


async def story(faults: Faults | None = None) -> tuple[BackupRig, dict[str, Any]]:
    rig = await backed_up()
    rig.begin(faults)
    key = rig.restore()
    await rig.run(key, 600, lambda s: s.get("phase") == "Planned")
    rig.approve(key)
    await rig.run(key, HOUR, restored)
    rig.advance(24.1 * HOUR)
    return rig, end_of(rig, await rig.run(key, 900))


@pytest.mark.parametrize("part", range(4))
async def test_every_call_is_a_kill_point(part: int) -> None:
    reference, expected = await story()
    assert (expected["phases"], expected["twice"], expected["held"]) == (["plan", "apply", "dropPrevious"], 0, None)
    for n in range(1 + part, reference.rig.life.faults.count + 1, 4):
        rig, found = await story(Faults(kill_before=n))
        assert len(rig.rig.lives) > len(reference.rig.lives), "it must have died"
        assert found == expected, (n, reference.rig.life.faults.calls[n - 1])


@pytest.mark.parametrize("seed", range(12))
async def test_errors_of_the_api_server_end_the_same(seed: int) -> None:
    rig = await backed_up()
    faults, calls = Faults(), 0

    def meet(name: str, _number: int) -> BaseException | None:
        nonlocal calls
        calls += 1
        if calls > 120 or (calls * 7 + seed) % 5:
            return None
        errors: list[BaseException] = [Unavailable("503"), Refused(403, "no"), Conflict("x")]
        chosen = errors[(calls + seed) % 3]
        return None if isinstance(chosen, Conflict) and name.partition(" ")[0] not in ("create", "patch") else chosen

    faults.raise_for = meet
    rig.begin(faults)
    key = rig.restore()
    await rig.run(key, 4 * HOUR, lambda s: s.get("phase") == "Planned")
    rig.approve(key)
    await rig.run(key, 4 * HOUR, restored)
    rig.advance(24.1 * HOUR)
    found = end_of(rig, await rig.run(key, 2 * HOUR))
    assert rig.crashes == []
    assert (found["phase"], found["twice"], found["held"], found["dropped"]) == ("Complete", 0, None, 1)
