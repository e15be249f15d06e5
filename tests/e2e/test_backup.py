"""Both stores are lost and come back from a proved set, while a client uploads documents all the time.

What the RestoreJob says is held against requests of our own: rows, hashes, ids of points, and answers of the application.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any

import pytest

from tests.e2e import backups, sets
from tests.e2e.backups import KIM, LEE, Sent, Writer, wait_field
from tests.e2e.checks import Deploy, incidents
from tests.e2e.sets import Bucket, Markers, Volume
from tests.harness import release
from tests.harness.cluster import JSON, host_address, kubectl, wait_for
from tests.harness.stackns import StackNamespace, holds
from tests.stack.services import http

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
DATABASE = "docuquery_ai"
OURS = "ops.docuquery.ai/v1alpha1"
RECONCILE = {"database": DATABASE, "query": "select point_id from chunks", "collection": backups.COLLECTION}
ASSERTION = {"name": "hasDocuments", "database": DATABASE, "query": "select count(*) >= 40 from documents", "expect": "true"}
PLAIN = {"feature": "on", "limit": "7"}


def test_backup(stack: Deploy) -> None:
    """A volume, then S3; a restore that stays, then one that is rolled back; nothing secret anywhere but where it belongs."""
    markers = Markers()
    ns = stack(qdrant=True, edit_objects=lambda objects: sets.planted(markers, objects))
    with sets.bucket(markers) as bucket, Writer(ns).running() as writer:
        volume, public = prepare(ns, markers, bucket)
        before = filled(ns, writer)
        scheduled(ns)
        lost_and_restored(ns, volume, writer, before)
        rolled_back(ns, bucket, public, writer, before, markers)
        ran_by_the_clock(ns)
        told(ns)
        dropped_in_time(ns)
        nothing_secret(ns, markers, volume, bucket)
    assert len(writer.sent) > 300, (len(writer.sent), writer.refused)


def prepare(ns: StackNamespace, markers: Markers, bucket: Bucket) -> tuple[Volume, str]:
    """Worker, claim, Secrets, an account for the configuration."""
    private, public = sets.key_pair(markers)
    volume = Volume(ns, "backups")
    image = ns.api.read("deployments", "api")["spec"]["template"]["spec"]["containers"][0]["image"]
    account = "restorer"
    rights = [{"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get", "create", "patch"]}]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": ns.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
    rbac, meta = "rbac.authorization.k8s.io/v1", {"name": account}
    ns.api.apply(
        *volume.objects(image),
        *backups.policies(host_address()),
        backups.worker(ns),
        sets.secret("s3", accessKeyId=bucket.access, secretAccessKey=bucket.secret),
        sets.secret("backup-identity", identity=private),
        sets.secret("qdrant-read", **{"api-key": markers.new("qdrant-read/api-key")}),
        sets.secret("qdrant-manage", **{"api-key": markers.new("qdrant-manage/api-key")}),
        sets.app_keys(markers),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app-settings"}, "data": PLAIN},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": rights},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": meta, "subjects": [subject], "roleRef": role},
    )
    assert len(markers.values) >= 21
    return volume, public


def filled(ns: StackNamespace, writer: Writer) -> list[Sent]:
    """Documents that are wholly there, in both stores."""
    wait_for("forty documents", lambda: len(writer.sent) >= 40 or None, 60, 0.5)
    first = list(writer.sent)[:40]
    done = "select count(*) from documents where status = 'processed' and id = any(%s::uuid[])"
    wait_for("a worker", lambda: backups.rows(ns, done, ([s.id for s in first],)) == [(40,)] or None, 120, 0.5)
    return first


def injected(ns: StackNamespace, victim: Sent) -> tuple[str, str]:
    """One point that no document has, and one document whose point is gone: (orphan, missing)."""
    orphan = str(uuid.uuid4())
    ((missing,),) = backups.rows(ns, "select point_id from chunks where document_id = %s", (victim.id,))
    body = {"points": [{"id": orphan, "vector": [0.125] * 64, "payload": {"title": "orphan"}}]}
    backups.qdrant(ns, "PUT", f"/collections/{backups.COLLECTION}/points?wait=true", body)
    backups.qdrant(ns, "POST", f"/collections/{backups.COLLECTION}/points/delete?wait=true", {"points": [str(missing)]})
    return orphan, str(missing)


# The first story: a volume, and a collection that is no alias


def lost_and_restored(ns: StackNamespace, volume: Volume, writer: Writer, before: list[Sent]) -> None:
    """All is lost but the set, and comes back exactly as it was at the cut."""
    orphan, missing = injected(ns, before[7])
    took = backed_up(ns, "to-volume", {"volume": {"claimName": volume.claim, "path": "sets"}})
    set_ = sets.manifest(volume.files(), "to-volume")
    known = list(writer.sent)
    backups.scale_worker(ns, 0)
    lost = time.time()
    with ns.connect(5) as connection:
        connection.execute("drop table chunks, documents, heartbeat")
    backups.qdrant(ns, "DELETE", f"/collections/{backups.COLLECTION}")
    assert not backups.finds(ns, before[3])
    status = restored(ns, "after-the-loss", "to-volume", wrong_first=True, keepPreviousFor="60s")
    beside_the_live(ns, "p", "")
    compared(ns, set_, lost)
    # Both directions, by ids of our own: the worker stands still, so nothing has changed since the comparison.
    points, promised = backups.points(ns), backups.known(ns)
    reported = status["reconciled"]
    late = {str(p) for p in points - promised} - {orphan}
    assert (set(reported["missingIds"]), reported["missingInQdrant"]) == ({missing}, 1)
    assert (set(reported["orphanIds"]), reported["orphansInQdrant"]) == ({orphan} | late, 1 + len(late))
    assert promised - points == {missing}
    allowed = {str(uuid.uuid5(uuid.UUID(s.id), "0")) for s in known if s.ended > took - 5}
    assert late <= allowed, "points that were there before the cut have no document"
    there = {str(row[0]) for row in backups.rows(ns, "select id from documents")}
    assert {s.id for s in known if s.ended < took} <= there
    assert backups.finds(ns, before[3])
    back = time.time()
    backups.scale_worker(ns, 1)
    new = wait_for("a document that was sent after the restore", lambda: writer.between(back, time.time()), 30)[0]
    wait_for("an answer with it", lambda: backups.finds(ns, new) or None, 90, 0.5)


def backed_up(ns: StackNamespace, name: str, destination: JSON, **spec: Any) -> float:
    """One run, proved by a restore in a pod of its own; a time before its cut."""
    began = time.time()
    include = {"postgres": {}, "qdrant": {}, "configuration": {"configMaps": ["app-settings"]}} | spec.pop("include", {})
    wish = {
        "stackRef": {"name": "docuquery"},
        "include": include,
        "destination": destination,
        "verification": {"level": "Restore", "assertions": [ASSERTION]} | spec.pop("verification", {}),
        "credentials": {"postgres": {"secretName": "postgres-backup"}, "qdrant": {"secretName": "qdrant-read"}},
        **spec,
    }
    ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": name}, "spec": wish})
    status = wait_field(ns, "backupjobs", name, "proved", lambda s: holds(s, "Verified") and holds(s, "Complete"), 180)
    (run,) = [r for r in status["runs"] if r["state"] == "Complete"]
    assert (run["verified"], run["level"], run["attempt"]) == ("Verified", "Restore", 1), run
    assert run["rto"]
    shown = kubectl("-n", ns.name, "get", "backupjobs", name).splitlines()
    assert shown[0].split()[:6] == ["NAME", "PHASE", "PROGRESS", "LAST-SUCCESS", "LAST-VERIFIED", "SIZE"]
    assert shown[1].split()[:2] == [name, "Complete"], shown
    return began


def restored(
    ns: StackNamespace,
    name: str,
    backup: str,
    wrong_first: bool = False,
    phases: tuple[str, ...] = ("Complete",),
    **spec: Any,
) -> JSON:
    """Kim plans and applies, Lee approves; the status at the end."""
    wish = {
        "backup": {"jobRef": {"name": backup}, "run": "latestVerified"},
        "target": {"stackRef": {"name": "docuquery"}},
        "confirm": "docuquery",
        "credentials": {"postgres": {"secretName": "postgres-restore"}, "qdrant": {"secretName": "qdrant-manage"}},
        "reconcile": RECONCILE,
        **spec,
    }
    meta = {"name": name, "annotations": {"ops.docuquery.ai/created-by": KIM}}
    ns.api.apply({"apiVersion": OURS, "kind": "RestoreJob", "metadata": meta, "spec": wish}, user=KIM)
    status = wait_field(ns, "restorejobs", name, "planned", lambda s: s.get("phase") == "Planned", 90)
    digest, lines = status["plan"]["digest"], "\n".join(status["plan"]["lines"])
    assert DATABASE in lines, lines
    assert backups.COLLECTION in lines, lines
    if wrong_first:
        refused(ns, name, digest)
    patch(ns, name, KIM, mode="Apply", planDigest=digest)
    wait_field(ns, "restorejobs", name, "asking", lambda s: holds(s, "NeedsApproval"), 30)
    if wrong_first:
        patch(ns, name, KIM, approval={"by": KIM, "planDigest": digest, "decision": "Approve"})
        own = wait_field(ns, "restorejobs", name, "still asking", lambda s: "second person" in s["message"], 30)
        assert own["phase"] == "AwaitingApproval"
        with pytest.raises(AssertionError, match="by"):
            patch(ns, name, KIM, approval={"by": LEE, "planDigest": digest, "decision": "Approve"})
    patch(ns, name, LEE, approval={"by": LEE, "planDigest": digest, "decision": "Approve"})
    ended = (*phases, "Failed", "RestoredUnverified")
    status = wait_field(ns, "restorejobs", name, "ended", lambda s: s["phase"] in ended, 240)
    assert status["phase"] in phases, json.dumps(status, indent=1)[:6000]
    return status


def refused(ns: StackNamespace, name: str, digest: str) -> None:
    """Another digest than the plan's begins nothing, and the message says what to write."""
    with pytest.raises(AssertionError, match="planDigest"):
        patch(ns, name, KIM, mode="Apply")
    patch(ns, name, KIM, mode="Apply", planDigest="000000000000")
    status = wait_field(ns, "restorejobs", name, "refused", lambda s: digest in s["message"], 30)
    assert "read status.plan" in status["message"]
    assert status["phase"] == "Planned"
    assert not status.get("steps")


def patch(ns: StackNamespace, name: str, user: str, **spec: Any) -> None:
    """As this person, with kubectl."""
    who = [f"--as={user}", "--as-group=system:masters"]
    text = json.dumps({"spec": spec})
    kubectl("-n", ns.name, "patch", "restorejobs", name, *who, "--type=merge", "-p", text)


def compared(ns: StackNamespace, set_: JSON, lost: float) -> None:
    """The live database against the manifest: rows and hashes of what is older than the loss."""
    (database,) = set_["postgres"]["databases"]
    then = {t["name"]: (t["rows"], t["content"]) for t in database["tables"]}
    where = "where created_at < %(before)s"
    assert backups.content(ns, "documents", backups.DOCUMENTS, where, lost) == then["documents"]
    assert backups.content(ns, "chunks", backups.CHUNKS, "", lost) == then["chunks"]
    assert then["documents"][0] >= 40


# The second story: S3, encrypted, with configuration, by an alias, everything running; and the way back


def rolled_back(
    ns: StackNamespace, bucket: Bucket, public: str, writer: Writer, before: list[Sent], markers: Markers
) -> None:
    """Restored from S3 while the worker runs as well, and put back to what it was."""
    destination = {
        "s3": {"bucket": bucket.NAME, "prefix": "p", "endpoint": bucket.endpoint, "secretRef": {"secretName": "s3"}}
    }
    configuration = {"configMaps": ["app-settings"], "secrets": ["app-keys"]}
    backed_up(
        ns,
        "to-s3",
        destination,
        include={"configuration": configuration},
        encryption={"recipients": [public]},
        verification={"decryption": {"secretName": "backup-identity"}},
    )
    set_ = sets.manifest(bucket.files(), "to-s3")
    # The logs of its Jobs go with it.
    assert searched(markers, sets.told(ns)) == {}
    from_the_store(ns, "to-s3")
    keys = ns.api.read("secrets", "app-keys")["data"]
    lost = time.time()
    with ns.connect(5) as connection:
        connection.execute("truncate documents, chunks")
    gone = {"points": sorted(backups.points(ns))}
    backups.qdrant(ns, "POST", f"/collections/{backups.COLLECTION}/points/delete?wait=true", gone)
    assert len(backups.points(ns)) < len(gone["points"]) / 2
    ns.api.delete("secrets", "app-keys")
    ns.api.patch("configmaps", "app-settings", {"data": {"limit": "8"}})
    only_since = wait_for("a document of afterwards", lambda: writer.between(lost, time.time()), 30)[0]
    wait_for("an answer with it", lambda: backups.finds(ns, only_since) or None, 60, 0.5)
    status = restored(
        ns,
        "from-s3",
        "to-s3",
        decryption={"secretName": "backup-identity"},
        mover={"serviceAccountName": "restorer"},
        include={"postgres": {}, "qdrant": {}, "configuration": configuration},
    )
    assert backups.finds(ns, before[3])
    assert not backups.finds(ns, only_since)
    where = "where created_at < %(before)s"
    then = {t["name"]: t["rows"] for t in set_["postgres"]["databases"][0]["tables"]}
    assert backups.content(ns, "documents", backups.DOCUMENTS, where, lost)[0] == then["documents"]
    assert ns.api.read("secrets", "app-keys")["data"] == keys
    assert ns.api.read("configmaps", "app-settings")["data"] == PLAIN
    assert status["times"]["previousUntil"]
    saved_first(ns, "from-s3")
    patch(ns, "from-s3", LEE, rollback=True, keepPreviousFor="20s")
    wait_field(ns, "restorejobs", "from-s3", "rolled back", lambda s: s["phase"] == "RolledBack", 90)
    assert wait_for("what was live before", lambda: backups.finds(ns, only_since) or None, 30)
    assert not backups.finds(ns, before[3])


def from_the_store(ns: StackNamespace, name: str) -> None:
    """The object is lost as well; applied anew, and suspended, it finds in the store what can be restored."""
    spec = ns.api.read("backupjobs", name)["spec"]
    before = ns.api.read("backupjobs", name)["status"]
    ns.api.delete("backupjobs", name)
    wait_for("its end", lambda: ns.api.get("backupjobs", name) is None or None, 30)
    again = {**spec, "schedule": {"cron": "0 2 * * *"}, "suspend": True}
    ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": name}, "spec": again})
    status = wait_field(ns, "backupjobs", name, "found again", lambda s: s.get("lastVerified"), 60)
    assert (status["phase"], status["lastVerified"]["id"]) == ("Suspended", before["lastVerified"]["id"])
    assert [r["checksum"] for r in status["runs"]] == [r["checksum"] for r in before["runs"]]


def saved_first(ns: StackNamespace, restore: str) -> None:
    """What the restore found is a set of its own: a BackupJob of that name shows it."""
    spec = {k: v for k, v in ns.api.read("backupjobs", "to-s3")["spec"].items() if k != "verification"}
    name = f"{restore}-safety"
    ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": name}, "spec": spec})
    status = wait_field(ns, "backupjobs", name, "shown", lambda s: s.get("sets"), 60)
    assert [r["state"] for r in status["runs"]] == ["Complete"], status


def beside_the_live(ns: StackNamespace, databases: str, collections: str) -> None:
    """Copies of restores on the servers that are not live: p what was replaced, r what was restored."""
    found = "".join(sorted(re.findall(r"__([rpd])_", ns.psql("select datname from pg_database"))))
    aliases = backups.qdrant(ns, "GET", "/aliases")["aliases"]
    live = {a["collection_name"] for a in aliases if a["alias_name"] == backups.COLLECTION}
    names = [c["name"] for c in backups.qdrant(ns, "GET", "/collections")["collections"] if c["name"] not in live]
    assert (found, re.findall(r"__([rpd])_", " ".join(sorted(names)))) == (databases, list(collections)), names


def scheduled(ns: StackNamespace) -> None:
    """Every minute."""
    spec = {
        "stackRef": {"name": "docuquery"},
        "schedule": {"cron": "* * * * *"},
        "include": {"postgres": {}},
        "destination": {"volume": {"claimName": "backups", "path": "clock"}},
        "credentials": {"postgres": {"secretName": "postgres-backup"}},
        "retention": {"keepLast": 2},
    }
    ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": "by-the-clock"}, "spec": spec})


def ran_by_the_clock(ns: StackNamespace) -> None:
    """It has run by itself."""
    status = wait_field(ns, "backupjobs", "by-the-clock", "proved", lambda s: s.get("lastVerified"), 90)
    assert status["next"], status


def dropped_in_time(ns: StackNamespace) -> None:
    """What is not live is gone by now: after the one restore the former data, after the other the restored copy."""
    for name, phase in (("after-the-loss", "Complete"), ("from-s3", "RolledBack")):
        over = wait_field(ns, "restorejobs", name, "dropped", lambda s: not s["times"].get("previousUntil"), 120)
        assert over["phase"] == phase
    beside_the_live(ns, "", "")


def told(ns: StackNamespace) -> None:
    """The Stack and the metrics know of the newest sets, and nobody was called."""
    parts = ("postgres", "qdrant", "configuration")

    def last() -> bool:
        known = (ns.api.read("stacks", "docuquery").get("status") or {}).get("lastBackup") or {}
        return {p["part"] for p in known.get("parts", []) if p.get("provedTime")} == set(parts)

    wait_for("all parts in lastBackup", last, 45)
    text = "".join(http("GET", f"http://{pod['status']['podIP']}:8080/metrics").body.decode() for pod in release.pods())
    for part in parts:
        assert re.search(rf'docuquery_backup_last_verified_age_seconds{{[^}}]*"to-volume"[^}}]*"{part}"', text), part
    assert incidents(ns) == []


def nothing_secret(ns: StackNamespace, markers: Markers, volume: Volume, bucket: Bucket) -> None:
    """Nobody but Secrets and encrypted objects knows them."""
    assert searched(markers, [*sets.told(ns), *sets.opened(volume.files()), *sets.opened(bucket.files())]) == {}
    text = kubectl("-n", ns.name, "get", "secrets", "-o", "json").encode()
    assert markers.found_in(text) == sorted(markers.values), "the search finds them where they are"


def searched(markers: Markers, places: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
    """Names of secret words by the place that holds them."""
    return {where: names for where, text in places if (names := markers.found_in(text))}
