"""What the tasks of a window work on: a log under its writer, and a bloated table."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from tests.harness.cluster import JSON, kubectl, wait_for
from tests.harness.stackns import StackNamespace

# Lines per second.
RATE = 5000
FOLDER = "/var/log/app"
WRITER = """
import os, sys, time
rate = int(sys.argv[1])
fd = os.open("/var/log/app/app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
began, n = time.monotonic(), 0
while not os.path.exists("/var/log/app/stop"):
    for _ in range(50):
        os.write(fd, b"%09d %s\\n" % (n, b"x" * (n % 173)))
        n += 1
    time.sleep(max(0.0, n / rate - (time.monotonic() - began)))
with open("/var/log/app/count.partial", "w") as f:
    f.write("%d %d" % (n, time.monotonic() - began))
os.rename("/var/log/app/count.partial", "/var/log/app/count")
time.sleep(10 ** 6)
"""
READ = (
    f"import base64, json, pathlib; print(json.dumps([[p.name, base64.b64encode(p.read_bytes()).decode()]"
    f" for p in sorted(pathlib.Path('{FOLDER}').iterdir(), key=lambda p: p.stat().st_mtime_ns) if p.name.startswith('app.log')]))"
)
COUNT = f"import pathlib; p = pathlib.Path('{FOLDER}/count'); print(p.read_text() if p.exists() else '')"
DELETED = 18_000
BLOATED = """
drop table if exists events;
create table events (id bigint primary key, note text not null) with (autovacuum_enabled = off);
insert into events select i, repeat('x', 200) from generate_series(1, 20000) i;
analyze events;
delete from events where id > 2000;
"""
DEAD = "select coalesce(sum(n_dead_tup), -1) from pg_stat_all_tables where relname = 'events'"


@dataclass(frozen=True)
class Log:
    """What the writer says that it wrote, and the files of its volume, oldest first."""

    lines: int
    seconds: int
    files: dict[str, bytes]

    def expected(self) -> bytes:
        """All lines, once each."""
        return b"".join(b"%09d %s\n" % (n, b"x" * (n % 173)) for n in range(self.lines))


def with_writer(rate: int = RATE) -> Callable[[list[JSON]], list[JSON]]:
    """A container beside the api that writes a log on a volume."""
    return lambda objects: _with_writer(objects, rate)


def _with_writer(objects: list[JSON], rate: int) -> list[JSON]:
    api = next(o for o in objects if (o["kind"], o["metadata"]["name"]) == ("Deployment", "api"))
    pod = api["spec"]["template"]["spec"]
    pod["securityContext"]["fsGroup"] = 10001
    mount = {"name": "logs", "mountPath": FOLDER}
    pod["containers"].append(
        {
            "name": "writer",
            "image": pod["containers"][0]["image"],
            "command": ["python", "-c", WRITER, str(rate)],
            "securityContext": pod["containers"][0].get("securityContext", {}),
            "volumeMounts": [mount],
        }
    )
    pod.setdefault("volumes", []).append({"name": "logs", "persistentVolumeClaim": {"claimName": "api-logs"}})
    return [*objects, claim("api-logs")]


def claim(name: str) -> JSON:
    """A volume of a quarter of a GiB."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def in_writer(ns: StackNamespace, code: str) -> str:
    """What a program says that runs beside the writer."""
    pods = ns.api.list("pods", **{"app.kubernetes.io/name": "api"})
    pod = next(p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"])
    return kubectl("-n", ns.name, "exec", pod, "-c", "writer", "--", "python", "-c", code)


def stopped(ns: StackNamespace) -> Log:
    """The end of the writer. What was taken out of the front of a file may show as zeros."""
    in_writer(ns, f"open('{FOLDER}/stop', 'w').close()")
    said = wait_for("the writer has ended", lambda: in_writer(ns, COUNT).split(), 30)
    found: list[list[str]] = json.loads(in_writer(ns, READ))
    return Log(int(said[0]), int(said[1]), {name: _plain(name, base64.b64decode(data)) for name, data in found})


def _plain(name: str, data: bytes) -> bytes:
    if name.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return data.lstrip(b"\0")


def bloated(ns: StackNamespace) -> int:
    """A new table of which most rows are deleted; how many of them PostgreSQL counts."""
    with ns.connect() as session:
        session.execute(BLOATED.encode())
    return wait_for("dead rows are counted", lambda: number(ns, DEAD) if number(ns, DEAD) >= DELETED else 0, 20)


def number(ns: StackNamespace, query: str) -> int:
    """The one figure that a query gives."""
    with ns.connect() as session:
        row = session.execute(query.encode()).fetchone()
    assert row
    return int(row[0])
