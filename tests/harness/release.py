"""One helm release of the operator for all scenarios of a test run, shared by parallel workers."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.harness import cluster
from tests.harness.cluster import CHECKOUT, helm, kubectl
from tests.harness.stackns import LABELS

CHART = CHECKOUT / "charts" / "docuquery-operator"
NAME = "e2e"
NAMESPACE = "e2e-operator"
IMAGES = (
    "docuquery-operator:dev",
    "docuquery-app:dev",
    "docuquery-local/postgres:17",
    "docuquery-local/redis:8",
    "docuquery-local/qdrant-double:dev",
)
SELECTOR = f"app.kubernetes.io/instance={NAME}"


@contextmanager
def shared(state: Path, watched: Sequence[str]) -> Iterator[None]:
    """Installed by the first user, removed by the last one."""
    _enter(state, watched)
    try:
        yield
    finally:
        _leave(state, watched)


def _enter(state: Path, watched: Sequence[str]) -> None:
    with _users(state) as count:
        if count[0] == 0:
            install(watched)
        count[0] += 1


def _leave(state: Path, watched: Sequence[str]) -> None:
    with _users(state) as count:
        count[0] -= 1
        if count[0] == 0:
            remove(watched)


@contextmanager
def _users(state: Path) -> Iterator[list[int]]:
    """The number of users, under a lock that other processes respect."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "release.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        count = [int(json.loads(file.read() or "0"))]
        yield count
        file.seek(0)
        file.truncate()
        file.write(json.dumps(count[0]))


def install(watched: Sequence[str]) -> None:
    """Cluster, images, CRDs, namespaces, and the chart as a user installs it, but with the rights of these namespaces only."""
    cluster.ensure_up(IMAGES)
    cluster.install_crds()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: cluster.ensure_namespace(name, LABELS), [NAMESPACE, *watched]))
    helm(
        "upgrade", "--install", NAME, str(CHART), "--namespace", NAMESPACE, "--wait", "--timeout=3m",
        # Both are of the whole cluster: another release may own them.
        "--set=crds.enabled=false", "--set=rbac.aggregate=false",
        "--set=settings.plainRegistries={" + cluster.registry_address() + "}",
        "--set=watchNamespaces={" + ",".join(watched) + "}",
        # A pod of an earlier run may still run an older image under the same tag.
        f"--set-string=podAnnotations.e2e-run={time.time_ns()}",
    )  # fmt: skip


def remove(watched: Sequence[str]) -> None:
    """Uninstall, and delete the namespaces with all that is in them."""
    helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait", "--ignore-not-found")
    for name in [*watched, NAMESPACE]:
        cluster.delete_namespace(name)


def logs() -> str:
    """What all replicas have logged."""
    return kubectl("-n", NAMESPACE, "logs", "-l", SELECTOR, "--tail=-1", "--prefix", check=False)


def leader() -> str:
    """Name of the pod that holds the operator's Lease, '' while nobody does."""
    holders = [(lease.get("spec") or {}).get("holderIdentity") for lease in cluster.Namespace(NAMESPACE).list("leases")]
    return next((h for h in holders if h), "")


def pods() -> list[cluster.JSON]:
    """Pods of the operator."""
    return cluster.Namespace(NAMESPACE).list("pods", **{"app.kubernetes.io/instance": NAME})
