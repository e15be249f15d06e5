"""Faults of the scenarios, made in the running stack as they happen in life."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace


def process(ns: StackNamespace, pod: str, program: str) -> int:
    """Id of a container's first process on this machine, which no signal from inside the pod reaches."""
    found = ns.api.read("pods", pod)
    container = found["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    for directory in Path("/proc").iterdir():
        try:
            cgroup = (directory / "cgroup").read_text()
            inside = container in cgroup or found["metadata"]["uid"] in cgroup
            if inside and program in (directory / "cmdline").read_text():
                return int(directory.name)
        except (OSError, ValueError):
            continue
    raise AssertionError(f"no process {program} of {pod} is found on this machine")


def redis_signal(ns: StackNamespace, number: int) -> None:
    """To the server itself."""
    os.kill(process(ns, "redis-0", "redis-server"), number)


def freeze_redis(ns: StackNamespace) -> None:
    """Redis listens and answers nobody."""
    redis_signal(ns, signal.SIGSTOP)
    wait_for("a Redis that answers nobody", lambda: ns.redis_problem() or None, 20)


def qdrant_signal(ns: StackNamespace, number: int) -> None:
    """To the double itself."""
    os.kill(process(ns, "qdrant-0", "qdrant_double"), number)


def starts(ns: StackNamespace, pod: str) -> int:
    """How often Kubernetes has started the pod's container anew."""
    status = (ns.api.read("pods", pod)["status"].get("containerStatuses") or [{}])[0]
    return int(status.get("restartCount", 0))


def waiting(ns: StackNamespace) -> str:
    """Why the database's container waits, '' when it runs."""
    statuses = ns.database_pod()["status"].get("containerStatuses") or [{}]
    reason: str = (statuses[0].get("state", {}).get("waiting") or {}).get("reason", "")
    return reason


def oom_kills(ns: StackNamespace) -> int:
    """Restarts of the container whose last end was the kernel's."""
    status = (ns.database_pod()["status"].get("containerStatuses") or [{}])[0]
    ends = [status.get(s, {}).get("terminated") or {} for s in ("state", "lastState")]
    killed = any(end.get("reason") == "OOMKilled" for end in ends)
    return int(status["restartCount"]) + (1 if "terminated" in status["state"] else 0) if killed else 0


# Many small processes, so that the kernel finds none larger than the server, which offers itself first.
HOG = """echo 1000 > /proc/$(pgrep -o postgres)/oom_score_adj
for _ in $(seq 200); do (x=$(head -c 4M /dev/zero | tr '\\0' a); sleep 20) & done; wait"""


def out_of_memory(ns: StackNamespace, count: int) -> None:
    """Use up the container's memory until the kernel has ended the server `count` times since it was made."""
    deadline = time.monotonic() + 60
    while oom_kills(ns) < count:
        assert time.monotonic() < deadline, f"the kernel never killed the server: {ns.database_pod()['status']}"
        ns.api.exec("postgres-0", "bash", "-c", HOG, check=False)
        time.sleep(1)


@contextlib.contextmanager
def leaked_sessions(ns: StackNamespace) -> Iterator[list[psycopg.Connection[Any]]]:
    """Sessions of the application's role that begin a transaction and forget it, until the server takes no more."""
    sessions: list[psycopg.Connection[Any]] = []
    try:
        while not refused(ns, sessions):
            assert len(sessions) < 60, "the server takes connections without end"
        yield sessions
    finally:
        for session in sessions:
            session.close()


def refused(ns: StackNamespace, sessions: list[psycopg.Connection[Any]]) -> bool:
    """Whether the next session was refused; else it is kept."""
    try:
        session = ns.connect(timeout=5)
    except psycopg.OperationalError:
        return True
    session.execute("select 1")
    sessions.append(session)
    return False


def alive(session: psycopg.Connection[Any]) -> bool:
    """Whether the server still knows it."""
    try:
        session.execute("select 1")
        return True
    except psycopg.Error:
        return False


def no_database_for_the_api() -> dict[str, Any]:
    """The api may talk to anything but the database's port."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "no-database"},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "api"}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}, {"port": 6379}]}],
        },
    }


SETTINGS = "pgdata/postgresql.auto.conf"


def take_back_settings(ns: StackNamespace) -> None:
    """Take back what ALTER SYSTEM has set, in the server that runs."""
    ns.psql("alter system reset all")
    ns.psql("select pg_reload_conf()")


def mend_volume(ns: StackNamespace) -> None:
    """Take back what ALTER SYSTEM has set on the volume of a server that does not start, as a person does: from another pod."""
    pod = ns.database_pod()["spec"]
    container = pod["containers"][0] | {"name": "mender", "command": ["truncate", "--size=0", f"/data/{SETTINGS}"]}
    mounts = [{"name": "data", "mountPath": "/data"}]
    kept = {k: v for k, v in container.items() if k in ("name", "image", "imagePullPolicy", "command", "securityContext")}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod["securityContext"],
        "containers": [kept | {"volumeMounts": mounts}],
        "volumes": [v for v in pod["volumes"] if v["name"] == "data"],
    }
    ns.api.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mender"}, "spec": spec})
    wait_for("the volume to be mended", lambda: ns.api.read("pods", "mender")["status"].get("phase") == "Succeeded", 60)
    ns.api.delete("pods", "mender")
    # The kubelet would wait for minutes before it tries once more.
    ns.api.delete("pods", "postgres-0")


def shorten(runbook: dict[str, Any], cause: str, action: str, timeout: str) -> None:
    """Give one step of one cause less time."""
    found = next(c for c in runbook["spec"]["causes"] if c["name"] == cause)
    next(s for s in found["remediate"] if s["action"] == action)["timeout"] = timeout
