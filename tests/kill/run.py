"""One run of the scenario: a frozen PostgreSQL, an operator that dies at one write, and what is true in the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.harness import cluster, stackns
from tests.harness.operator import COMMAND, HostOperator, settings
from tests.harness.proxy import FaultProxy, KillPoint
from tests.harness.stackns import StackNamespace, condition

INCIDENT = "killed"
POSTGRES = {"app.kubernetes.io/name": "postgres"}
VERIFY = {"settle": "1s", "symptomClearFor": "2s", "within": "60s", "noRegression": True}
RUN_SECONDS = 120.0
QUIET_SECONDS = 1.5


@dataclass(frozen=True)
class End:
    """The end state, without what differs by nature: times, names and identities."""

    phase: str = ""
    resolved: str = ""
    cause: str = ""
    steps: tuple[tuple[str, str], ...] = ()
    timeline: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    same_attempt_everywhere: bool = False
    restarts_ordered: int = 0
    new_pods: int = 0
    ledger: tuple[str, ...] = ()
    report: bool = False
    evidence: int = 0
    healthy: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    point: KillPoint | None
    end: End
    reached: bool
    starts: int
    seconds: float
    writes: tuple[str, ...]
    problem: str = ""


class Worker:
    """A namespace, a proxy and an operator of its own; runs one scenario after the other."""

    def __init__(self, name: str, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self.ns = StackNamespace(name)
        self.proxy = FaultProxy(cluster.access(), lambda: self.operator.pid)
        self._folder = folder
        self._starts = 0
        self._config = folder / f"{name}.kubeconfig"
        environ = settings(self._config, name, name)
        self.operator = HostOperator(environ, folder / f"{name}.log", command)

    def open(self, ready: str = "leading") -> None:
        """Deploy the stack and start the operator behind the proxy."""
        self.ns.deploy(verify=VERIFY)
        self.proxy.start()
        self.proxy.kubeconfig(self._config)
        self.operator.start()
        self.operator.wait_for_line(ready)

    def close(self) -> None:
        """End the operator, then the rest."""
        self.operator.kill()
        self.proxy.stop()
        cluster.delete_namespace(self.ns.name)

    def run(self, point: KillPoint | None) -> Outcome:
        """Freeze the database, open the incident, let the operator die at the point, and look at the end."""
        self._prepare()
        self._starts = self.operator.starts
        revisions, began = self._revisions(), time.monotonic()
        with seen_pods(self.ns, self._folder) as pods:
            self.ns.freeze()
            # A pod that is still Ready leaves by the rollout, one that is not by an eviction: all runs take the same way.
            cluster.wait_for("a pod that is not ready", self._unready, 60)
            self.proxy.arm(point)
            self.ns.open(INCIDENT)
            problem = self._follow()
            # Whoever is killed from now on would not be started again.
            self.proxy.disarm()
            time.sleep(QUIET_SECONDS)
            writes = tuple(self.proxy.writes)
            end = self._end(revisions, pods)
        reached = point is None or self.proxy.killed.is_set()
        return Outcome(point, end, reached, self.operator.starts - self._starts, time.monotonic() - began, writes, problem)

    def _prepare(self) -> None:
        self.proxy.arm(None)
        self.ns.api.delete("incidents", INCIDENT)
        cluster.wait_for("the report's end", lambda: self.ns.api.get("configmaps", f"{INCIDENT}-report") is None, 60)
        self.ns.forget_attempts()
        cluster.wait_for("a healthy stack before the run", self._ready, 90)
        assert self.operator.alive(), self.operator.tail()

    def _ready(self) -> bool:
        """A client can work, and the operator, too, has seen it: its late writes then belong to no run."""
        status = self.ns.api.read("stacks", "docuquery").get("status") or {}
        return self.ns.healthy() and not any(c["state"] != "Operational" for c in status.get("components") or [])

    def _unready(self) -> bool:
        conditions = self.ns.database_pod()["status"].get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "False" for c in conditions)

    def _follow(self) -> str:
        """Start the killed operator again, until the incident is over; '' or what never came."""
        restarted = False
        deadline = time.monotonic() + RUN_SECONDS
        while not self._over():
            if self.proxy.killed.is_set() and not restarted:
                self.operator.kill()
                self.operator.start()
                restarted = True
            if time.monotonic() > deadline:
                return f"not over after {RUN_SECONDS:g} s: {stackns.brief(self.ns.incident(INCIDENT))}"
            if not self.operator.alive() and not self.proxy.killed.is_set():
                return f"the operator ended by itself: {self.operator.tail()}"
            time.sleep(0.1)
        return ""

    def _over(self) -> bool:
        """Resolved, reported, and the ledger closed."""
        status = self.ns.incident(INCIDENT)
        done = status.get("phase") == "Resolved" and status.get("report")
        if not done or not all(a.get("outcome") for a in self.ns.attempts()):
            return False
        # A late write of the Stack may be the one at which the proxy is about to kill.
        self.proxy.killed.wait(QUIET_SECONDS)
        return not self._to_restart()

    def _to_restart(self) -> bool:
        """Killed at its very last write: the end counts only when the operator has come back and looked."""
        return self.proxy.killed.is_set() and not self._came_back()

    def _came_back(self) -> bool:
        # Right after the signal it still counts as alive: only a later start is one that came back.
        return (
            self.operator.starts > self._starts
            and self.operator.alive()
            and '"leading"' in self.operator.tail(400).rpartition("--- start ")[2]
        )

    def _revisions(self) -> dict[str, str]:
        found = self.ns.api.list("controllerrevisions", **POSTGRES)
        return {r["metadata"]["uid"]: stackns.attempt_of(r["data"]) for r in found}

    def _end(self, before: Mapping[str, str], pods: Path) -> End:
        status = self.ns.incident(INCIDENT)
        ordered = [attempt for uid, attempt in self._revisions().items() if uid not in before]
        return replace(
            self._story(status, ordered),
            restarts_ordered=len(ordered),
            new_pods=len(set(pods.read_text().split())) - 1,
            healthy=self.ns.healthy(),
        )

    def _story(self, status: Mapping[str, Any], ordered: Sequence[str]) -> End:
        steps, attempts = status.get("steps") or [], self.ns.attempts()
        ids = {s.get("attemptId") for s in steps} | set(ordered) | {a["id"] for a in attempts}
        report = (self.ns.api.get("configmaps", f"{INCIDENT}-report") or {}).get("data") or {}
        return End(
            phase=status.get("phase", ""),
            resolved=condition(status, "Resolved").get("reason", ""),
            cause=(status.get("cause") or {}).get("name", ""),
            steps=tuple(stackns.steps(status)),
            timeline=tuple(e["event"] for e in status.get("timeline") or []),
            decisions=tuple(stackns.decisions(status)),
            same_attempt_everywhere=len(ids) == 1,
            ledger=tuple(a.get("outcome", "") for a in attempts),
            report="Phase: Resolved" in report.get("report.md", ""),
            evidence=sum(key.startswith("evidence-") for key in report),
        )


@contextmanager
def seen_pods(ns: StackNamespace, folder: Path) -> Iterator[Path]:
    """Uids of every database pod that lives meanwhile, by a watch: a poll could miss one that lives shortly."""
    output = folder / f"{ns.name}.pods"
    command = [cluster.tool("kubectl"), f"--kubeconfig={cluster.KUBECONFIG}", "-n", ns.name, "get", "pods", "--watch"]
    command += ["--selector=app.kubernetes.io/name=postgres", '--output=jsonpath={.metadata.uid}{"\\n"}']
    with output.open("wb") as file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file) as watch:
        try:
            cluster.wait_for("the watch on pods", lambda: bool(output.read_text().strip()), 15)
            yield output
        finally:
            watch.kill()
