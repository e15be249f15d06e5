"""A window verifies a backup and updates an image whose new version is broken, and a later one whose new version is sound.

The operator's leading process is ended by SIGKILL in the midst of each. The scenario runs alone: the operator is everybody's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e import faults
from tests.e2e.backups import wait_field
from tests.e2e.checks import Deploy, incidents, watched
from tests.e2e.registry import Versions, registry
from tests.harness import release
from tests.harness.cluster import JSON, wait_for
from tests.harness.stackns import StackNamespace, holds
from tests.stack.services import http

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
OURS = "ops.docuquery.ai/v1alpha1"
RECORD = "ops.docuquery.ai/image-update"
CLAIM = "backups"
UPDATE = {"type": "UpdateImages", "timeout": "110s", "updateImages": {"components": ["api"]}}
VERIFY = {"type": "VerifyBackups", "timeout": "3m", "verifyBackups": {"maxAge": "1s"}}


def test_maintenance_updates(stack: Deploy) -> None:
    """The same end as without a kill, told as it is, and clients of the api have noticed nothing."""
    with registry() as versions:
        old = versions.release("first")
        ns = watched(stack, edit_objects=lambda objects: from_registry(objects, versions))
        assert running(ns) == {old}
        first = backed_up(ns)
        with Client(ns).asking() as client:
            broken = versions.release("broken", "--cmd", "sleep,infinity")
            undone(ns, versions, (old, broken), first)
            sound = versions.release("sound")
            updated(ns, versions, sound)
    assert client.asked > 300, client
    assert client.failed == [], client
    assert incidents(ns) == []


def from_registry(objects: list[JSON], versions: Versions) -> list[JSON]:
    """The api runs an image by tag, and its pods leave as they do in the shipped stack; a claim for sets."""
    api = next(o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Deployment", "api"))
    pod = api["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 4
    pod["containers"][0] |= {"image": versions.image, "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}
    claim: JSON = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM}, "spec": spec}
    return [*objects, claim]


@dataclass
class Client:
    """Asks the api all the time, each time by a new connection."""

    ns: StackNamespace
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event, repr=False)

    @contextlib.contextmanager
    def asking(self) -> Iterator[Client]:
        """Until the end of the block."""
        host = self.ns.api.read("services", "api")["spec"]["clusterIP"]
        thread = threading.Thread(target=self._run, args=(f"http://{host}:8000/readyz",))
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _run(self, url: str) -> None:
        while not self._end.wait(0.2):
            self.asked += 1
            try:
                answer = http("GET", url)
            except OSError as problem:
                self.failed.append(f"{datetime.now(UTC):%T} {problem}")
                continue
            if answer.status != 200:
                self.failed.append(f"{datetime.now(UTC):%T} {answer.status}")


def backed_up(ns: StackNamespace) -> JSON:
    """One small set, proved by a drill; the run."""
    spec = {
        "stackRef": {"name": "docuquery"},
        "include": {"postgres": {}},
        "destination": {"volume": {"claimName": CLAIM, "path": "sets"}},
        "credentials": {"postgres": {"secretName": "postgres-backup"}},
        "verification": {"level": "Restore"},
    }
    ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": "small"}, "spec": spec})
    status = wait_field(ns, "backupjobs", "small", "proved", lambda s: holds(s, "Verified") and holds(s, "Complete"), 120)
    run: JSON = status["runs"][-1]
    return run


def undone(ns: StackNamespace, versions: Versions, digests: tuple[str, str], first: JSON) -> None:
    """One window: a drill, then an update that is put back; a kill after the drill's Job, one after the intent, one in the way back."""
    old, broken = digests
    before = drills(ns)
    opened(ns, "night", VERIFY, UPDATE)
    (drill,) = wait_for("a new drill's Job", lambda: drills(ns) - before, 60, 0.05)
    pids = [kill_leader()]
    rolling = record_when(ns, lambda r: r["state"] == "Rolling", 150)
    pids.append(kill_leader())
    assert (rolling["before"]["api"], rolling["after"]["api"]) == tuple(f"{versions.image}@{d}" for d in (old, broken))
    record_when(ns, lambda r: r["state"] == "Undoing", 150)
    pids.append(kill_leader())
    status = ended(ns, "night", 150)
    assert len(set(pids)) == 3
    assert [(t["type"], t["state"]) for t in status["tasks"]] == [("VerifyBackups", "Succeeded"), ("UpdateImages", "Failed")]
    verified(ns, status, first)
    assert drills(ns) <= {drill, *before}, "one more drill, though the operator died"
    record = record_of(ns)
    assert record["state"] == "Undone", record
    assert (running(ns), image_of(ns)) == ({old}, record["before"]["api"])
    assert ns.healthy(), ns.health()
    said = status["tasks"][1]
    assert said["summary"] == "1 put back"
    (line,) = [e for e in said["evidence"] if e.startswith("api/api:")]
    assert f"{short(old)} → {short(broken)}" in line
    assert "the former version was put back and is healthy" in line
    report = report_of(ns, "UpdateImages")
    assert report["figures"] == {"updated": 0, "put back": 1, "only reported": 0}
    assert [short(old), short(broken)] == report["tables"][0]["rows"][0][2:4]
    orders(ns, [rolling["attempt"], f"{rolling['attempt']}-u"])
    assert ledger(ns) == [(rolling["attempt"], "Regressed")]


def verified(ns: StackNamespace, status: JSON, first: JSON) -> None:
    """A second verdict on the same set."""
    run = ns.api.read("backupjobs", "small")["status"]["runs"][-1]
    assert (run["id"], run["verified"], run["level"]) == (first["id"], "Verified", "Restore")
    assert run["verifiedAt"] > first["verifiedAt"]
    assert status["tasks"][0]["summary"] == "1 of 1 BackupJobs have a verified newest set"


def drills(ns: StackNamespace) -> set[str]:
    """Jobs that check a set."""
    return {j["metadata"]["name"] for j in ns.api.list("jobs", **{"ops.docuquery.ai/work": "verify"})}


def updated(ns: StackNamespace, versions: Versions, sound: str) -> None:
    """A newer version than the broken one is rolled out and stays."""
    before = record_of(ns)
    # The ledger would keep it back for a minute after the failure; that is not what is asked here.
    ns.forget_attempts()
    opened(ns, "next-night", UPDATE)
    status = ended(ns, "next-night", 100)
    assert [(t["state"], t["summary"]) for t in status["tasks"]] == [("Succeeded", "1 updated")], status["tasks"]
    assert (running(ns), image_of(ns)) == ({sound}, f"{versions.image}@{sound}")
    orders(ns, [before["attempt"], f"{before['attempt']}-u", record_of(ns)["attempt"]])
    assert ledger(ns) == [(record_of(ns)["attempt"], "Healed")]
    assert ns.healthy(), ns.health()


# Windows


def opened(ns: StackNamespace, name: str, *tasks: JSON) -> None:
    """From this moment; paging and healing as they always are: nothing keeps a runbook from fighting it."""
    spec = {
        "stackRef": {"name": "docuquery"},
        "schedule": {"at": datetime.now(UTC).replace(microsecond=0).isoformat()},
        "duration": "15m",
        "effects": {"paging": "None", "healing": "Allow", "statusPage": False},
        "tasks": list(tasks),
    }
    ns.api.create(
        "maintenancewindows",
        {"apiVersion": OURS, "kind": "MaintenanceWindow", "metadata": {"name": name}, "spec": spec},
    )


def ended(ns: StackNamespace, name: str, seconds: float) -> JSON:
    """Its status once no task is left."""

    def over(status: JSON) -> bool:
        states = [t["state"] for t in status.get("tasks", [])]
        return bool(states) and not {"Pending", "Running"} & set(states)

    return wait_field(ns, "maintenancewindows", name, "its tasks have ended", over, seconds)


def report_of(ns: StackNamespace, type_: str) -> Any:
    """What the report's figures say of one task."""
    (name,) = [c["metadata"]["name"] for c in ns.api.list("configmaps") if c["metadata"]["name"].endswith("-report")]
    figures = json.loads(ns.api.read("configmaps", name)["data"]["report.json"])
    return next(t["outcome"] for t in figures["tasks"] if t["type"] == type_)


# The api, without asking the operator


def running(ns: StackNamespace) -> set[str]:
    """Digests that the api's pods run, as the kubelet says it."""
    pods = [p for p in ns.api.list("pods", **{"app.kubernetes.io/name": "api"}) if "deletionTimestamp" not in p["metadata"]]
    return {s["imageID"].rpartition("@")[2] for p in pods for s in p["status"].get("containerStatuses") or []}


def image_of(ns: StackNamespace) -> str:
    """What the Deployment names."""
    image: str = ns.api.read("deployments", "api")["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def record_of(ns: StackNamespace) -> JSON:
    """What the update has written on the Deployment, {} when it has not yet."""
    annotations = ns.api.read("deployments", "api")["metadata"].get("annotations") or {}
    found: JSON = json.loads(annotations.get(RECORD, "{}"))
    return found


def record_when(ns: StackNamespace, fits: Callable[[JSON], bool], seconds: float) -> JSON:
    """As soon as it says so."""

    def asked() -> JSON | None:
        found = record_of(ns)
        return found if found and fits(found) else None

    return wait_for("what the update writes on the Deployment", asked, seconds, 0.03)


def orders(ns: StackNamespace, expected: list[str]) -> None:
    """Attempt ids of the rollouts, oldest first: each was ordered once."""
    sets = ns.api.list("replicasets", **{"app.kubernetes.io/name": "api"})
    ordered = sorted(sets, key=lambda s: int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
    ids = [s["spec"]["template"]["metadata"].get("annotations", {}).get("ops.docuquery.ai/attempt", "") for s in ordered]
    assert ids == ["", *expected]


def ledger(ns: StackNamespace) -> list[tuple[str, str]]:
    """What healing knows of it."""
    return [(a["id"], a.get("outcome", "")) for a in ns.attempts("api")]


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def kill_leader() -> int:
    """SIGKILL to the process that leads; its id on this machine."""
    pod = wait_for("a leader", release.leader, 30)
    pid = faults.process(StackNamespace(release.NAMESPACE), pod, "docuquery_operator")
    os.kill(pid, signal.SIGKILL)
    return pid
