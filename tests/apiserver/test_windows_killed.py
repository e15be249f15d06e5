"""Windows that update images while the operator is killed at all that it tells, before and after it: the same end as without.

The process, the API server and the controller of Deployments are real; nothing runs in the pods.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness.apiserver import ApiServer
from tests.harness.cluster import Access
from tests.harness.operator import HostOperator, revived, settings
from tests.kill.image_world import BROKEN, OLD, SOUND, ImageWorld, controllers
from tests.kill.writes import Fact, Point, Targets, TellingProxy, points

pytestmark = pytest.mark.timeout(500)
OURS = "ops.docuquery.ai/v1alpha1"
VERSIONS = {"sound": SOUND, "broken": BROKEN}
# The gate of a broken version stays shut for this less 45 s, which are kept for the way back.
TIMEOUT = {"sound": "5m", "broken": "120s"}
MUST = {
    *(f"PATCH deployments/sound: annotation ops.docuquery.ai/image-update {state}" for state in ("Rolling", "Done")),
    *(f"PATCH deployments/broken: annotation ops.docuquery.ai/image-update {state}" for state in ("Undoing", "Undone")),
    *(f"PATCH maintenancewindows/sound/status: tasks UpdateImages {state}" for state in ("Running", "Succeeded")),
    "PATCH maintenancewindows/broken/status: tasks UpdateImages Failed",
}


def test_the_end_is_the_same_at_all_that_is_told(server: ApiServer, tmp_path: Path) -> None:
    sides = [Side(server, side, tmp_path) for side in ("before", "after")]
    with controllers(server), ThreadPoolExecutor(len(sides)) as pool:
        list(pool.map(Side.run, sides))
    for side in sides:
        print(side.line())
    for side in sides:
        for name in side.names:
            check(side.world, name)
        assert side.told >= MUST, sorted(MUST - side.told)
        assert not side.left, sorted(side.left)
        assert side.operator.starts - 1 == side.targets.kills, "it was not started again exactly once for each kill"


class Side:
    """A namespace and an operator of its own, that is killed before all that it tells, or after it."""

    names = ("sound-0", "broken-0", "sound-1", "broken-1")

    def __init__(self, server: ApiServer, side: str, folder: Path) -> None:
        self.side, self.world = side, ImageWorld(server, f"windows-killed-{side}")
        self._config, self._log = folder / f"{side}.kubeconfig", folder / f"{side}.log"
        # What is told of the second of a kind is the same as what is told of the first.
        self.targets = Targets(lambda: self.operator.pid, lambda fact: re.sub(r"-\d(?=[/:-]|$)", "", fact))
        self.told: set[Fact] = set()
        self.left: set[Point] = set()

    def run(self) -> None:
        """Windows without a kill, and the same with one at each point."""
        server, namespace = self.world.server, self.world.namespace
        code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        assert code == 201, answer
        with self.world.running():
            for name in self.names:
                self.world.deploy(name)
            until(lambda: all(runs(self.world, name) == {OLD} for name in self.names), 60, "pods of all")
            environ = settings(self._config, namespace, namespace) | {
                "DOCUQUERY_PLAIN_REGISTRIES": self.world.registry,
                "RES_OPTIONS": "timeout:1 attempts:1",
            }
            self.operator = HostOperator(environ, self._log)
            proxy = TellingProxy(Access(server.url, server.tls()), self.targets, bearer=server.token)
            proxy.start()
            proxy.kubeconfig(self._config)
            try:
                self._windows()
            finally:
                self.operator.kill()
                proxy.stop()

    def _windows(self) -> None:
        with revived(self.operator):
            ended_all(self.world, self.names[:2])
            # How often a Stack says something new depends on the clock.
            self.told = {fact for fact in self.targets.told if "stacks/" not in fact}
            self.targets.todo = points(self.told, self.side)
            # One after the other: an update that is put back has a certain time for that, and each kill takes of it.
            for name in self.names[2:]:
                ended_all(self.world, [name])
            # Killed at its very last write, it has to come back and leave everything as it is.
            time.sleep(6)
            self.left = self.targets.todo

    def line(self) -> str:
        """For people."""
        return (
            f"{len(self.told)} facts, killed {self.side} each: {self.targets.kills} kills, {len(self.left)} points not met"
        )


def ended_all(world: ImageWorld, names: Sequence[str]) -> None:
    """A window for each of them, at the same time."""
    for name in names:
        version = name.partition("-")[0]
        world.tags[name] = VERSIONS[version]
        opened(world, name, TIMEOUT[version])
    until(lambda: all(ended(world, n) for n in names), 200, lambda: [tasks(world, n) for n in names])


def opened(world: ImageWorld, name: str, timeout: str) -> None:
    """A window of this Stack, from this moment."""
    spec = {
        "stackRef": {"name": name},
        "schedule": {"at": datetime.now(UTC).replace(microsecond=0).isoformat()},
        "duration": "30m",
        "tasks": [{"type": "UpdateImages", "timeout": timeout}],
    }
    world.ours("MaintenanceWindow", "maintenancewindows", name, spec)


def check(world: ImageWorld, name: str) -> None:
    """What was asked for, done once, and told so."""
    version = VERSIONS[name.partition("-")[0]]
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
