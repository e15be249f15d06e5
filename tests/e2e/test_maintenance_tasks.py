"""Tasks of a MaintenanceWindow on the cluster: what they say is held against requests of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyrage
import pytest
import zstandard

from tests.e2e import sets
from tests.e2e.backups import wait_field
from tests.e2e.checks import Deploy
from tests.e2e.worked_on import DEAD, FOLDER, RATE, bloated, number, stopped, with_writer
from tests.harness.cluster import JSON
from tests.harness.stackns import StackNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SIZE = "select pg_relation_size('events')"


def test_maintenance_tasks(stack: Deploy) -> None:
    """A bloated table is vacuumed and a log rotated into a bucket under its writer; the window's figures are the servers'."""
    ns, markers = stack(edit_objects=with_writer()), sets.Markers()
    with sets.bucket(markers) as bucket:
        private, public = sets.key_pair(markers)
        ns.api.apply(sets.secret("s3", accessKeyId=bucket.access, secretAccessKey=bucket.secret), backup_job(bucket, public))
        maintained(ns, bucket, private)


def backup_job(bucket: sets.Bucket, public: str) -> JSON:
    """It never runs here: its store is where archives of logs go."""
    s3 = {"bucket": bucket.NAME, "prefix": "p", "endpoint": bucket.endpoint, "secretRef": {"secretName": "s3"}}
    spec = {"stackRef": {"name": "docuquery"}, "schedule": {"cron": "0 0 1 1 *"}, "suspend": True, "include": {"postgres": {}},
            "destination": {"s3": s3}, "encryption": {"recipients": [public]}}  # fmt: skip
    return {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "BackupJob", "metadata": {"name": "nightly"}, "spec": spec}


def maintained(ns: StackNamespace, bucket: sets.Bucket, private: str) -> None:
    """The window, to the end of its tasks."""
    dead = bloated(ns)
    size = number(ns, SIZE)
    at = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    credentials = {"credentials": {"secretName": "postgres-maintenance"}}
    logs = {"component": "api", "path": FOLDER, "keep": 0, "archive": {"backupJob": "nightly"}}
    tasks = [
        {"type": "HealthCheck", "timeout": "2m"},
        {"type": "VacuumDatabase", "timeout": "5m", "vacuumDatabase": credentials},
        {"type": "RotateLogs", "timeout": "5m", "rotateLogs": logs},
    ]
    spec = {"stackRef": {"name": "docuquery"}, "schedule": {"at": at.isoformat()}, "duration": "15m", "tasks": tasks}
    ns.api.apply(
        {
            "apiVersion": "ops.docuquery.ai/v1alpha1",
            "kind": "MaintenanceWindow",
            "metadata": {"name": "weekly"},
            "spec": spec,
        }
    )
    status = wait_field(ns, "maintenancewindows", "weekly", "its tasks have ended", ended, 300)
    assert [(t["type"], t["state"]) for t in status["tasks"]] == [(t["type"], "Succeeded") for t in tasks], status["tasks"]
    vacuumed(ns, status, dead, size)
    rotated(ns, status, archives(bucket, private))


def ended(status: JSON) -> bool:
    states = [t["state"] for t in status.get("tasks", [])]
    return len(states) == 3 and not {"Pending", "Running"} & set(states)


def vacuumed(ns: StackNamespace, status: JSON, dead: int, size: int) -> None:
    line = next(e for e in status["tasks"][1]["evidence"] if "public.events" in e)
    assert f"dead rows {dead} → 0" in line
    assert (number(ns, DEAD), number(ns, SIZE) < size / 2) == (0, True)


def archives(bucket: sets.Bucket, private: str) -> list[bytes]:
    """Of the log, oldest first, as a person with the private key reads them."""
    found = {key: data for key, data in bucket.files().items() if key.startswith("p/docuquery/logs/api/api-logs/app.log.")}
    stored = {key: data for key, data in found.items() if key.endswith(".zst.age")}
    assert set(found) == {*stored, *(f"{key}.json" for key in stored)}, sorted(found)
    identity = pyrage.x25519.Identity.from_str(private)
    plain = [pyrage.decrypt(stored[key], [identity]) for key in sorted(stored)]
    return [zstandard.ZstdDecompressor().stream_reader(data).read() for data in plain]


def rotated(ns: StackNamespace, status: JSON, archived: list[bytes]) -> None:
    assert any("app.log" in e for e in status["tasks"][2]["evidence"]), status["tasks"][2]
    log = stopped(ns)
    assert log.lines / log.seconds > RATE * 0.5
    # With `keep: 0` what is proved to be in the bucket is on the volume no longer.
    assert (bool(archived), list(log.files)) == (True, ["app.log"])
    assert b"".join([*archived, log.files["app.log"]]) == log.expected()
