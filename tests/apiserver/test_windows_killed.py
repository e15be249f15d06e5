"""Windows that update images while the operator is killed at its writes, before and after them: the same end as without.

The process, the API server and the controller of Deployments are real; nothing runs in the pods.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness.apiserver import ApiServer
from tests.harness.cluster import Access
from tests.harness.operator import HostOperator, settings
from tests.harness.proxy import KillPoint
from tests.kill.image_world import BROKEN, OLD, SOUND, ImageWorld
from tests.kill.pages import Killer, KillingProxy

pytestmark = pytest.mark.timeout(400)
NAMESPACE = "windows-killed"
WORLD = {"sound-0": SOUND, "sound-1": SOUND, "broken-0": BROKEN, "broken-1": BROKEN}
OURS = "ops.docuquery.ai/v1alpha1"
# The gate of a broken version stays shut for this less 45 s.
TIMEOUT = {SOUND: "5m", BROKEN: "120s"}
# A window's own writes are told apart by their number up to this one, as are those of a Deployment, a report and a ledger.
NUMBERED = {"maintenancewindows": 4, "deployments": 4, "configmaps": 2, "leases": 2}
# A process that has just come back is not killed at its first write, so which numbers it dies at is never twice the same.
ALWAYS = {("deployments", "before"), ("deployments", "after")}
LEAST = 8


class Proxy(KillingProxy):
    """A write is named by its kind and by how often this object was written."""

    def _dies_at(self, point: KillPoint) -> bool:
        verb, what = point.write.split(" ", 1)
        words = what.replace(" ", "/").split("/")
        number = int(point.write.rpartition("#")[2])
        if words[0] not in NUMBERED:
            return False
        return self._killer.meets(f"{verb} {words[0]} #{min(number, NUMBERED[words[0]])}", point.when)


def test_the_end_is_the_same_at_every_write(server: ApiServer, tmp_path: Path) -> None:
    code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    assert code == 201, answer
    with ImageWorld(server, NAMESPACE).running() as world:
        for name in WORLD:
            world.deploy(name)
        until(lambda: all(runs(world, name) == {OLD} for name in WORLD), 60, "pods of all")
        config = tmp_path / "kubeconfig"
        environ = settings(config, NAMESPACE, NAMESPACE) | {
            "DOCUQUERY_PLAIN_REGISTRIES": world.registry,
            "RES_OPTIONS": "timeout:1 attempts:1",
        }
        killer = Killer(HostOperator(environ, tmp_path / "log"))
        proxy = Proxy(Access(server.url, server.tls()), killer, server.token)
        proxy.start()
        proxy.kubeconfig(config)
        try:
            stormed(world, killer)
        finally:
            killer.operator.kill()
            proxy.stop()
        print(f"{len(killer.done)} kills: {sorted(killer.done)}")
        for name, version in WORLD.items():
            check(world, name, version)
    assert {(kind.split()[1], side) for kind, side in killer.done} >= ALWAYS, sorted(killer.done)
    assert len(killer.done) >= LEAST, sorted(killer.done)


def stormed(world: ImageWorld, killer: Killer) -> None:
    """Windows two by two; whoever is killed is started again, until all tasks have ended."""
    over = threading.Event()

    def revive() -> None:
        while not over.wait(0.05):
            if killer.up_since == 0.0 or not killer.operator.alive():
                killer.up()

    reviver = threading.Thread(target=revive)
    killer.up()
    reviver.start()
    try:
        # What is broken has less time, so the others meet most of the kills.
        for version in (SOUND, BROKEN):
            names = [name for name, wanted in WORLD.items() if wanted == version]
            for name in names:
                world.tags[name] = version
                opened(world, name, TIMEOUT[version])
            until(lambda names=names: all(ended(world, n) for n in names), 150, lambda: [tasks(world, n) for n in WORLD])
        # Killed at its very last write, it has to come back and leave everything as it is.
        time.sleep(6)
    finally:
        over.set()
        reviver.join()


def opened(world: ImageWorld, name: str, timeout: str) -> None:
    """A window of this Stack, from this moment."""
    spec = {
        "stackRef": {"name": name},
        "schedule": {"at": datetime.now(UTC).replace(microsecond=0).isoformat()},
        "duration": "30m",
        "tasks": [{"type": "UpdateImages", "timeout": timeout}],
    }
    world.ours("MaintenanceWindow", "maintenancewindows", name, spec)


def check(world: ImageWorld, name: str, version: str) -> None:
    """What was asked for, done once, and told so."""
    broken = version == BROKEN
    ((state, summary),) = tasks(world, name)
    assert (state, summary) == (("Failed", "1 put back") if broken else ("Succeeded", "1 updated")), name
    stays = OLD if broken else version
    deployment = world.get("apps/v1", "deployments", name)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"{world.image(name)}@{stays}"
    assert runs(world, name) == {stays}
    record = json.loads(deployment["metadata"]["annotations"]["ops.docuquery.ai/image-update"])
    assert record["state"] == ("Undone" if broken else "Done")
    attempt = record["attempt"]
    assert orders(world, name) == ["", attempt, *([f"{attempt}-u"] if broken else [])], name
    reports = [c for c in world.get("v1", "configmaps")["items"] if c["metadata"]["name"].startswith(f"{name}-")]
    (outcome,) = [json.loads(v) for c in reports for k, v in (c.get("data") or {}).items() if k.endswith(".outcome.json")]
    assert (outcome["state"], outcome["summary"]) == (state, summary)


def tasks(world: ImageWorld, name: str) -> list[tuple[str, str]]:
    status = world.get(OURS, "maintenancewindows", name).get("status") or {}
    return [(t["state"], t.get("summary", "")) for t in status.get("tasks") or []]


def ended(world: ImageWorld, name: str) -> bool:
    found = tasks(world, name)
    return bool(found) and all(state not in ("Pending", "Running") for state, _ in found)


def runs(world: ImageWorld, name: str) -> set[str]:
    """Digests of its pods."""
    pods = [p for p in world.get("v1", "pods")["items"] if p["metadata"]["labels"].get("app") == name]
    return {s["imageID"].rpartition("@")[2] for p in pods for s in p["status"].get("containerStatuses") or []}


def orders(world: ImageWorld, name: str) -> list[str]:
    """Attempt ids of its rollouts, oldest first."""
    sets = [s for s in world.get("apps/v1", "replicasets")["items"] if s["metadata"]["labels"]["app"] == name]
    ordered = sorted(sets, key=lambda s: int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
    templates = [s["spec"]["template"]["metadata"].get("annotations") or {} for s in ordered]
    return [t.get("ops.docuquery.ai/attempt", "") for t in templates]


def until(done: Any, seconds: float, what: Any) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what() if callable(what) else what}"
        time.sleep(0.3)
