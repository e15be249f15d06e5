"""Tasks of a MaintenanceWindow on the cluster: what they say is held against requests of the test's own."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pyrage
import pytest
import zstandard

from tests.e2e import sets
from tests.e2e.backups import wait_field
from tests.e2e.checks import Deploy
from tests.harness.cluster import JSON, kubectl, wait_for
from tests.harness.stackns import StackNamespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
RATE = 5000
FOLDER = "/var/log/app"
WRITER = f"""
import os, time
fd = os.open("{FOLDER}/app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
began, n = time.monotonic(), 0
while not os.path.exists("{FOLDER}/stop"):
    for _ in range(50):
        os.write(fd, b"%09d %s\\n" % (n, b"x" * (n % 173)))
        n += 1
    time.sleep(max(0.0, n / {RATE} - (time.monotonic() - began)))
with open("{FOLDER}/count.partial", "w") as f:
    f.write("%d %d" % (n, time.monotonic() - began))
os.rename("{FOLDER}/count.partial", "{FOLDER}/count")
time.sleep(10 ** 6)
"""
READ = (
    f"import base64, json, pathlib; print(json.dumps([[p.name, base64.b64encode(p.read_bytes()).decode()]"
    f" for p in sorted(pathlib.Path('{FOLDER}').iterdir(), key=lambda p: p.stat().st_mtime_ns) if p.name.startswith('app.log')]))"
)
BLOATED = """
create table events (id bigint primary key, note text not null) with (autovacuum_enabled = off);
insert into events select i, repeat('x', 200) from generate_series(1, 20000) i;
analyze events;
delete from events where id > 2000;
"""
DEAD = "select coalesce(sum(n_dead_tup), -1) from pg_stat_all_tables where relname = 'events'"
SIZE = "select pg_relation_size('events')"


def with_writer(objects: list[JSON]) -> list[JSON]:
    """A container beside the api that writes a log on a volume."""
    api = next(o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Deployment", "api"))
    pod = api["spec"]["template"]["spec"]
    pod["securityContext"]["fsGroup"] = 10001
    mount = {"name": "logs", "mountPath": FOLDER}
    pod["containers"].append(
        {
            "name": "writer",
            "image": pod["containers"][0]["image"],
            "command": ["python", "-c", WRITER],
            "securityContext": pod["containers"][0].get("securityContext", {}),
            "volumeMounts": [mount],
        }
    )
    pod.setdefault("volumes", []).append({"name": "logs", "persistentVolumeClaim": {"claimName": "api-logs"}})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}
    claim: JSON = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "api-logs"}, "spec": spec}
    return [*objects, claim]


def test_maintenance_tasks(stack: Deploy) -> None:
    """A bloated table is vacuumed and a log rotated into a bucket under its writer; the window's figures are the servers'."""
    ns, markers = stack(edit_objects=with_writer), sets.Markers()
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
    with ns.connect() as session:
        session.execute(BLOATED.encode())
    dead = wait_for("dead rows are counted", lambda: number(ns, DEAD) if number(ns, DEAD) >= 18_000 else 0, 20)
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


def number(ns: StackNamespace, query: str) -> int:
    with ns.connect() as session:
        row = session.execute(query.encode()).fetchone()
    assert row
    return int(row[0])


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
    pods = ns.api.list("pods", **{"app.kubernetes.io/name": "api"})
    pod = next(p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"])

    def run(code: str) -> str:
        return kubectl("-n", ns.name, "exec", pod, "-c", "writer", "--", "python", "-c", code)

    run(f"open('{FOLDER}/stop', 'w').close()")
    count = f"import pathlib; p = pathlib.Path('{FOLDER}/count'); print(p.read_text() if p.exists() else '')"
    said = wait_for("the writer has ended", lambda: run(count).split(), 30)
    lines, seconds = int(said[0]), int(said[1])
    assert lines / seconds > RATE * 0.5
    found: list[list[str]] = json.loads(run(READ))
    parts = {name: base64.b64decode(data) for name, data in found}
    # With `keep: 0` what is proved to be in the bucket is on the volume no longer.
    assert (bool(archived), list(parts)) == (True, ["app.log"])
    written = b"".join([*archived, parts["app.log"].lstrip(b"\0")]).splitlines()
    assert written == [b"%09d %s" % (n, b"x" * (n % 173)) for n in range(lines)]
