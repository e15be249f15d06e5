"""BackupJob in the simulated world: what is told is what is in the store."""

from __future__ import annotations

import pytest

from docuquery_operator.domain.backups.report import Result
from docuquery_operator.domain.backups.request import AnyRequest
from docuquery_operator.ports import BACKUP_JOB, CLAIM, INCIDENT, JOB, POD, SECRET, STACK
from tests.fakes.backup_rig import NIGHTLY, SPEC, BackupRig, runs
from tests.fakes.movers import Fate, Store
from tests.fakes.rig import NAMESPACE, condition

# Each lives through hours or days of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
HOUR, DAY = 3600.0, 86400.0


def done(status: dict) -> bool:  # type: ignore[type-arg]
    return status.get("phase") in ("Complete", "Failed") and not status.get("work")


async def test_one_run_from_nothing_to_a_checked_set() -> None:
    rig = BackupRig()
    key = rig.backup()
    status = await rig.run(key, HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert status["phase"] == "Complete"
    assert [condition(status, c) for c in ("Ready", "Complete", "Verified")] == [
        "RunComplete",
        "RunComplete",
        "CheckVerified",
    ]
    assert status["lastSuccessful"]["id"] == status["runs"][0]["id"]
    assert list(rig.movers.store.entries) == [status["runs"][0]["attemptId"]]
    assert (status["sets"], status["totalSize"]) == (1, 1000)
    assert len(rig.ran("backup")) == 1
    # It is over: whoever looks again starts nothing and writes nothing.
    await rig.run(key, HOUR, lambda s: done(s) and not s["catalogue"].get("dueAgain"))
    writes, ran = rig.writes(key), list(rig.movers.ran)
    await rig.run(key, 2 * DAY)
    assert (rig.writes(key), rig.movers.ran) == (writes, ran)


async def test_a_job_is_restricted_and_has_no_more_secrets_than_it_needs() -> None:
    rig = BackupRig()
    rig.secret("s3", accessKeyId="a", secretAccessKey="b")
    destination = {"s3": {"bucket": "bucket", "secretRef": {"secretName": "s3"}}}
    key = rig.backup({**SPEC, "destination": destination})
    await rig.run(key, HOUR, done)
    by_kind = {j["metadata"]["labels"]["ops.docuquery.ai/work"]: j for j in rig.server.all(JOB)}
    assert set(by_kind) == {"backup", "verify", "catalogue"}
    for job in by_kind.values():
        pod = job["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        security = pod["containers"][0]["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 86400)
        assert job["metadata"]["ownerReferences"][0]["name"] == "nightly"
        assert "hunter2" not in str(job)
    mounted = {
        kind: {v["secret"]["secretName"] for v in j["spec"]["template"]["spec"]["volumes"] if "secret" in v}
        for kind, j in by_kind.items()
    }
    assert mounted == {"backup": {"s3", "postgres-operator"}, "verify": {"s3"}, "catalogue": {"s3"}}


async def test_progress_is_shown_in_coarse_steps() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda _r, _n: Fate(takes=3600.0)
    rig.step = 30.0
    key = rig.backup()
    await rig.run(key, 20000, lambda s: (s.get("work") or {}).get("kind") == "Backup")
    before, seen = rig.writes(key), set()

    def note(status: dict) -> bool:  # type: ignore[type-arg]
        seen.add((status.get("work") or {}).get("progress", ""))
        return (status.get("work") or {}).get("kind") != "Backup"

    await rig.run(key, 4000, note)
    assert "dump 45%" in seen
    # An hour of work is 360 looks and some twenty writes.
    assert rig.writes(key) - before < 30


async def test_a_failed_try_is_made_again_with_another_set() -> None:
    rig = BackupRig()

    def fate(request: AnyRequest, number: int) -> Fate:
        return Fate(ok=request.command != "backup" or request.attempt_id.endswith(".2"))

    rig.movers.fate = fate
    key = rig.backup()
    status = await rig.run(key, HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert [a.rpartition(".")[2] for a in rig.ran("backup")] == ["1", "2"]
    assert "TryFailed" in rig.events()


async def test_a_run_that_fails_each_time_has_failed_and_says_why() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "backup")
    key = rig.backup()
    status = await rig.run(key, HOUR, done)
    assert runs(status) == [("Failed", "Pending")]
    assert len(rig.ran("backup")) == 3
    assert "the server was away" in status["runs"][0]["message"]
    assert (condition(status, "Failed"), condition(status, "Stalled")) == ("RunFailed", "RunFailed")
    assert "lastSuccessful" not in status


async def test_what_cannot_be_mended_by_another_try_is_not_tried_again() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "backup", retry=False)
    status = await rig.run(rig.backup(), HOUR, done)
    assert runs(status) == [("Failed", "Pending")]
    assert len(rig.ran("backup")) == 1


async def test_a_set_whose_job_left_no_log_is_found_in_the_store() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(log=r.command != "backup")
    status = await rig.run(rig.backup(), HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert len(rig.ran("backup")) == 1


async def test_a_job_without_log_and_without_set_has_failed() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(log=r.command != "backup", ok=r.command != "backup", commits=False)
    status = await rig.run(rig.backup(), HOUR, done)
    assert runs(status) == [("Failed", "Pending")]
    assert len(rig.ran("backup")) == 3


async def test_a_job_that_somebody_deletes_is_made_up_for() -> None:
    rig = BackupRig()
    key = rig.backup()
    status = await rig.run(key, HOUR, lambda s: (s.get("work") or {}).get("kind") == "Backup" and s["work"].get("seen"))
    name = next(n for n in rig.jobs() if n.endswith("-1"))
    rig.server.remove(JOB, NAMESPACE, name)
    status = await rig.run(key, HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert [a.rpartition(".")[2] for a in rig.ran("backup")] == ["1", "2"]


async def test_a_suspicious_set_is_kept_and_not_good() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(state="Suspicious")
    status = await rig.run(rig.backup(), HOUR, lambda s: s.get("runs", [{}])[-1].get("verified") == "Verified")
    assert status["runs"][0]["state"] == "Suspicious"
    assert "lastSuccessful" not in status
    assert "lastVerified" not in status
    assert condition(status, "Complete") == ""


async def test_a_set_that_does_not_stand_its_check_is_replaced_once_and_told() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(verdict="Failed")
    key = rig.backup(NIGHTLY)
    status = await rig.run(key, 1.5 * DAY)
    first = [r for r in status["runs"] if not r["again"]]
    again = [r for r in status["runs"] if r["again"]]
    # One night: its own run, and one in its place; that is not replaced in turn.
    assert len(first) == len(again)
    assert all(r["verified"] == "Failed" for r in status["runs"])
    assert "lastSuccessful" not in status
    incidents = [i for i in rig.server.all(INCIDENT) if i["spec"]["type"] == "VerificationFailure"]
    assert len(incidents) == len(status["runs"])
    assert all(a["opened"] for a in status["alarms"])


async def test_the_store_is_read_first_and_tells_all_in_an_empty_cluster() -> None:
    store = Store()
    old = BackupRig(store)
    await old.run(old.backup(NIGHTLY), 3.05 * DAY)
    assert len(store.entries) == 3
    fresh = BackupRig(store)
    fresh.server.remove(STACK, NAMESPACE, "docuquery")
    key = fresh.backup({**NIGHTLY, "suspend": True})
    status = await fresh.run(key, 300)
    assert [r["attemptId"] for r in status["runs"]] == sorted(store.entries)
    assert all(pair == ("Complete", "Verified") for pair in runs(status))
    assert status["lastVerified"]["id"] == status["runs"][-1]["id"]
    assert status["sets"] == 3
    assert not fresh.ran("backup")
    assert condition(status, "Stalled") == "StackNotFound"


async def test_nights_pass_and_retention_is_left_to_the_store() -> None:
    rig = BackupRig()
    key = rig.backup({**NIGHTLY, "retention": {"keepLast": 2}})
    status = await rig.run(key, 5 * DAY)
    assert len(rig.ran("backup")) == 5
    assert len(rig.movers.store.entries) == 2
    assert [r["attemptId"] for r in status["runs"]] == sorted(rig.movers.store.entries)
    assert status["catalogue"]["dryRun"] is False
    assert status["catalogue"]["kept"] == 2
    assert [r["reason"] for r in status["catalogue"]["removals"]] == ["keepLast"]
    assert len(status["next"]) == 5
    assert condition(status, "Stale") == ""


async def test_after_downtime_one_run_is_made_up_for_and_the_others_are_told() -> None:
    rig = BackupRig()
    key = rig.backup({**NIGHTLY, "schedule": {"cron": "0 * * * *"}})
    await rig.run(key, 1.5 * HOUR)
    before = len(rig.ran("backup"))
    rig.advance(5 * HOUR)
    status = await rig.run(key, 1200)
    assert len(rig.ran("backup")) == before + 1
    assert "RunsMissed" in rig.events()
    assert status["runs"][-1]["state"] == "Complete"


async def test_a_run_that_is_too_late_is_missed() -> None:
    rig = BackupRig()
    key = rig.backup({**NIGHTLY, "startingDeadline": "10m"})
    await rig.run(key, 60)
    rig.advance(20 * HOUR)
    status = await rig.run(key, 60)
    assert runs(status) == [("Missed", "Pending")]
    assert not rig.ran("backup")
    assert "RunMissed" in rig.events()


async def test_the_next_run_is_skipped_while_one_is_going_on() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(takes=2.5 * HOUR if r.command == "backup" else 5.0)
    rig.step = 60.0
    key = rig.backup({**NIGHTLY, "schedule": {"cron": "0 * * * *"}, "verification": {"every": "1w"}})
    status = await rig.run(key, 4 * HOUR)
    assert [s for s, _ in runs(status)][:3] == ["Complete", "Missed", "Missed"]
    assert "still going on" in status["runs"][1]["message"]


async def test_nothing_starts_while_suspended_and_nothing_is_made_up_for() -> None:
    rig = BackupRig()
    key = rig.backup({**NIGHTLY, "suspend": True})
    status = await rig.run(key, 3 * DAY)
    assert (status["phase"], status.get("runs"), status.get("next")) == ("Suspended", None, None)
    rig.edit(key, lambda o: o["spec"].update(suspend=False))
    status = await rig.run(key, HOUR)
    assert not rig.ran("backup")
    assert condition(status, "Stale") == ""
    await rig.run(key, DAY)
    assert len(rig.ran("backup")) == 1


async def test_a_missing_run_makes_it_stale_and_opens_one_incident() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "backup")
    key = rig.backup(NIGHTLY)
    status = await rig.run(key, 2.5 * DAY)
    assert condition(status, "Stale") == "NoGoodRun"
    assert condition(status, "Ready") == ""
    incidents = [i["metadata"]["name"] for i in rig.server.all(INCIDENT)]
    assert len(incidents) == 1
    # Its end is left to people and to the symptom: a deleted Incident is not opened again.
    rig.server.remove(INCIDENT, NAMESPACE, incidents[0])
    await rig.run(key, DAY)
    assert rig.server.all(INCIDENT) == []
    rig.movers.fate = lambda _r, _n: Fate()
    status = await rig.run(key, DAY)
    assert condition(status, "Stale") == ""


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda rig: rig.server.remove(CLAIM, NAMESPACE, "backups"), "ClaimNotFound"),
        (lambda rig: rig.server.remove(STACK, NAMESPACE, "docuquery"), "StackNotFound"),
        (lambda rig: rig.server.remove(SECRET, NAMESPACE, "postgres-operator"), "SecretNotFound"),
    ],
    ids=["claim", "stack", "secret"],
)
async def test_what_is_missing_is_named_and_waited_for(break_it, reason: str) -> None:  # type: ignore[no-untyped-def]
    rig = BackupRig()
    kept = {k: rig.server.all(k) for k in (CLAIM, STACK, SECRET)}
    break_it(rig)
    key = rig.backup()
    status = await rig.run(key, 600)
    assert condition(status, "Stalled") == reason
    assert not rig.ran("backup")
    writes = rig.writes(key)
    await rig.run(key, 1800)
    assert rig.writes(key) == writes
    for kind, objects in kept.items():
        for obj in objects:
            if rig.server.find(kind, NAMESPACE, obj["metadata"]["name"]) is None:
                rig.server.put(kind, obj)
    status = await rig.run(key, HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert condition(status, "Stalled") == ""


async def test_a_component_that_the_stack_does_not_have() -> None:
    rig = BackupRig()
    status = await rig.run(rig.backup({**SPEC, "include": {"qdrant": {}}}), 300)
    assert condition(status, "Stalled") == "ComponentNotFound"
    assert "has no Qdrant for include.qdrant" in next(c["message"] for c in status["conditions"] if c["type"] == "Stalled")


async def test_a_schedule_that_cannot_be_used_says_what_to_write() -> None:
    rig = BackupRig()
    status = await rig.run(rig.backup({**NIGHTLY, "schedule": {"cron": "99 * * * *"}}), 300)
    assert condition(status, "Stalled") == "ScheduleInvalid"


async def test_an_encrypted_set_without_its_key_is_saved_and_not_proved() -> None:
    rig = BackupRig()
    age = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    spec = {**SPEC, "encryption": {"recipients": [age]}, "verification": {"level": "Restore"}}
    key = rig.backup(spec)
    status = await rig.run(key, HOUR)
    assert runs(status) == [("Complete", "Pending")]
    text = next(c["message"] for c in status["conditions"] if c["type"] == "Verified")
    assert "needs verification.decryption" in text


async def test_a_set_is_proved_by_a_restore_in_a_pod_of_its_own() -> None:
    rig = BackupRig()
    key = rig.backup({**SPEC, "verification": {"level": "Restore"}})
    status = await rig.run(key, HOUR, done)
    run = status["runs"][0]
    assert (run["verified"], run["level"], run["rto"]) == ("Verified", "Restore", "20s")
    job = next(j for j in rig.server.all(JOB) if j["metadata"]["labels"]["ops.docuquery.ai/work"] == "verify")
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"


async def test_a_check_that_gives_no_verdict_is_tried_again_and_then_left() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "verify")
    status = await rig.run(rig.backup(), 2 * HOUR)
    assert runs(status) == [("Complete", "Pending")]
    assert len(rig.ran("verify")) == 3


async def test_checks_once_a_week() -> None:
    rig = BackupRig()
    key = rig.backup({**NIGHTLY, "verification": {"every": "1w"}})
    await rig.run(key, 9 * DAY)
    assert len(rig.ran("backup")) == 9
    assert len(rig.ran("verify")) == 2


async def test_a_store_that_cannot_be_read_does_not_keep_backups_from_being_made() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "catalogue")
    status = await rig.run(rig.backup(), 2 * HOUR, lambda s: runs(s) == [("Complete", "Verified")])
    assert runs(status) == [("Complete", "Verified")]
    assert "the server was away" in status["catalogue"]["message"]
    assert "StoreNotRead" in rig.events()


async def test_a_store_that_cannot_be_read_is_told_while_it_is_tried_again() -> None:
    """The first thing that a wrong bucket or address shows."""
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "catalogue", retry=False)
    for name, spec in (("once", SPEC), ("nightly", NIGHTLY)):
        key = rig.backup(spec, name=name)
        status = await rig.run(key, HOUR, lambda s: (s.get("catalogue") or {}).get("tries") == 1)
        (ready,) = [c for c in status["conditions"] if c["type"] == "Ready"]
        assert (ready["status"], ready["reason"]) == ("False", "StoreNotRead")
        assert "the server was away" in ready["message"]


async def test_a_job_that_gets_no_pod_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ServiceAccount that does not exist, or a quota: the Job's own events tell it."""
    rig = BackupRig()
    monkeypatch.setattr(rig.movers, "_pod", lambda *_: None)
    status = await rig.run(rig.backup(), 60)
    (job,) = rig.jobs()
    assert f"kubectl describe job {job}" in status["work"]["message"]
    (working,) = [c for c in status["conditions"] if c["type"] == "Reconciling"]
    assert (working["status"], working["message"]) == ("True", status["work"]["message"])


async def test_a_pod_that_cannot_start_says_why() -> None:
    rig = BackupRig()
    rig.movers.stuck = True
    key = rig.backup()
    await rig.run(key, 60)
    pod = rig.server.all(POD, selector="app.kubernetes.io/name=docuquery-mover")[0]["metadata"]["name"]
    waiting = [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]
    rig.server.edit(POD, NAMESPACE, pod, lambda p: p["status"].update(containerStatuses=waiting))
    status = await rig.run(key, 30)
    assert status["work"]["message"] == "its pod waits: ImagePullBackOff: no such image"


async def test_sets_stay_when_the_object_goes() -> None:
    rig = BackupRig()
    key = rig.backup()
    await rig.run(key, HOUR, done)
    assert not rig.server.find(BACKUP_JOB, NAMESPACE, key.name)["metadata"].get("finalizers")  # type: ignore[index]
    rig.edit(key, lambda o: o["metadata"].update(deletionTimestamp="2026-03-29T02:00:00Z"))
    assert await rig.once(key) is None
    assert len(rig.movers.store.entries) == 1


async def test_sets_go_with_the_object_where_that_is_wanted() -> None:
    rig = BackupRig()
    other = rig.backup(name="other")
    await rig.run(other, HOUR, done)
    key = rig.backup({**SPEC, "deletionPolicy": "Delete"})
    await rig.run(key, HOUR, done)
    assert len(rig.movers.store.entries) == 2
    rig.edit(key, lambda o: o["metadata"].update(deletionTimestamp="2026-03-29T02:00:00Z"))
    await rig.run(key, 300)
    assert [e.source.backup_job for e in rig.movers.store.entries.values()] == ["other"]
    assert rig.server.find(BACKUP_JOB, NAMESPACE, key.name)["metadata"]["finalizers"] == []  # type: ignore[index]


async def test_an_object_that_goes_in_the_middle_of_a_run_leaves_nothing_where_that_is_wanted() -> None:
    rig = BackupRig()
    key = rig.backup({**SPEC, "deletionPolicy": "Delete"})
    await rig.run(key, HOUR, lambda s: (s.get("work") or {}).get("kind") == "Backup" and s["work"].get("seen"))
    rig.edit(key, lambda o: o["metadata"].update(deletionTimestamp="2026-03-29T02:00:00Z"))
    await rig.run(key, 600)
    assert rig.movers.store.entries == {}
    assert rig.server.find(BACKUP_JOB, NAMESPACE, key.name)["metadata"]["finalizers"] == []  # type: ignore[index]


async def test_a_pod_that_is_sent_away_is_no_end_of_its_try() -> None:
    """A drained node ends the pod, which says so; the Job makes another one for the same try."""
    rig = BackupRig()
    rig.movers.fate = lambda _r, _n: Fate(takes=600.0)
    rig.step = 30.0
    key = rig.backup()
    await rig.run(key, HOUR, lambda s: (s.get("work") or {}).get("kind") == "Backup" and s["work"].get("progress"))
    pod = rig.server.all(POD, selector="ops.docuquery.ai/work=backup")[0]["metadata"]["name"]
    gone = Result(ok=False, reason="Terminated", at=rig.clock.now()).to_json().decode()
    rig.server.log_texts[pod, False] = f"2026-03-29T00:31:00Z {gone}\n"
    await rig.once(key)
    assert rig.status(key)["work"]["kind"] == "Backup"
    status = await rig.run(key, 2 * HOUR, done)
    assert runs(status) == [("Complete", "Verified")]
    assert len(rig.ran("backup")) == 1
