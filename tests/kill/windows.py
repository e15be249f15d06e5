"""A window with all its effects and tasks, whose operator dies whenever it is about to tell something new, or has just done so.

Each run is one window: it opens over a healing that has begun, mutes and blocks a second fault, silences a real Alertmanager,
checks a backup, rotates a log under its writer, vacuums a bloated table, and ends while the second fault burns.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.e2e import worked_on
from tests.e2e.backups import wait_field
from tests.e2e.receivers import Hook, RealAlertmanager
from tests.harness import cluster
from tests.harness.cluster import JSON, wait_for
from tests.harness.operator import HostOperator, revived, settings
from tests.harness.stackns import StackNamespace, condition, decisions, holds, steps
from tests.kill.writes import Fact, Point, Targets, TellingProxy

OURS = "ops.docuquery.ai/v1alpha1"
VERIFY = {"settle": "1s", "symptomClearFor": "2s", "within": "60s", "noRegression": True}
CLAIM = "backups"
RUNNING, MUTED = "running", "muted"
LINES = 200
LONG = timedelta(minutes=50)
TASKS: list[JSON] = [
    {"type": "HealthCheck", "timeout": "5m"},
    {"type": "VerifyBackups", "timeout": "10m", "verifyBackups": {"maxAge": "1s"}},
    {"type": "RotateLogs", "timeout": "10m", "rotateLogs": {"component": "api", "path": worked_on.FOLDER, "keep": 60}},
    {
        "type": "VacuumDatabase",
        "timeout": "10m",
        "vacuumDatabase": {"credentials": {"secretName": "postgres-maintenance"}},
    },
]
EFFECTS = {"paging": "Mute", "healing": "Block", "alertmanagerSilence": True}
# Whoever is killed at the very last write has to come back and leave everything as it is.
QUIET = 4.0
KINDS = ("rotatelogs", "vacuumdatabase", "verify")
WORK = "ops.docuquery.ai/work"


@dataclass(frozen=True)
class End:
    """What is true after a window, without what differs by nature: times, names and identities."""

    window: tuple[str, ...]
    tasks: tuple[tuple[str, str], ...]
    report: tuple[str, ...]
    jobs: tuple[tuple[str, int], ...]
    verdicts: int
    dead_rows: int
    archives: int
    silences: int
    incidents: tuple[tuple[str, ...], ...]
    pages: tuple[tuple[str, str], ...]
    repeated: int
    early: int
    restarts: int
    left: tuple[str, ...]
    healthy: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    end: End
    kills: int
    starts: int
    met: frozenset[Point]
    told: frozenset[Fact]
    seconds: float
    said: tuple[str, ...]


class Worker:
    """A stack with a writer and a proved set, an operator behind proxies, and all that people see of it."""

    def __init__(self, name: str, folder: Path, sink: Hook, server: RealAlertmanager) -> None:
        self.ns, self.sink, self._server = StackNamespace(name), sink, server
        self.targets = Targets(lambda: self.operator.pid)
        self._api = TellingProxy(cluster.access(), self.targets)
        to = cluster.Access(f"http://{server.host}:{server.port}", ssl.create_default_context())
        self._alertmanager = TellingProxy(to, self.targets, host=server.host)
        config = folder / f"{name}.kubeconfig"
        environ = settings(config, name, name) | {"DOCUQUERY_NOTIFY_ALLOW": f"{server.host}/32"}
        self.operator = HostOperator(environ, folder / f"{name}.log")
        self._config = config

    def open(self) -> None:
        """Deploy all, start the operator, take a set."""
        volumes = worked_on.with_writer(LINES)
        self.ns.deploy(verify=VERIFY, edit_objects=lambda objects: [*volumes(objects), worked_on.claim(CLAIM)])
        self._api.start()
        self._alertmanager.start()
        self._api.kubeconfig(self._config)
        self._connected()
        self.operator.start()
        self.operator.wait_for_line('"leading"')
        spec = {
            "stackRef": {"name": "docuquery"},
            "include": {"postgres": {}},
            "destination": {"volume": {"claimName": CLAIM, "path": "sets"}},
            "credentials": {"postgres": {"secretName": "postgres-backup"}},
            "verification": {"level": "Restore"},
        }
        self.ns.api.apply({"apiVersion": OURS, "kind": "BackupJob", "metadata": {"name": "small"}, "spec": spec})
        wait_field(self.ns, "backupjobs", "small", "proved", lambda s: holds(s, "Verified") and holds(s, "Complete"), 120)

    def _connected(self) -> None:
        way = RealAlertmanager(self._server.host, self._alertmanager.port)
        self.ns.api.apply(self.sink.secret("to-hook"), *way.service("alertmanager"))
        talk = {
            "channels": {"webhook": {"secretRef": {"secretName": "to-hook"}}},
            "routes": {"P0": ["webhook"]},
            "contacts": {"onCall": ["ana"]},
        }
        known = {"service": "alertmanager", "port": way.port, "labels": {"namespace": self.ns.name}}
        self.ns.api.patch("stacks", "docuquery", {"spec": {"communication": talk, "alertmanager": known}})

    def close(self) -> None:
        """End everything."""
        self.operator.kill()
        self._api.stop()
        self._alertmanager.stop()
        if self.ns.api.get("maintenancewindows", "night") is not None:
            self.ns.api.patch("maintenancewindows", "night", {"metadata": {"finalizers": None}})
        cluster.delete_namespace(self.ns.name)

    def log(self) -> worked_on.Log:
        """What the writer has written over all windows: its end."""
        return worked_on.stopped(self.ns)

    def run(self, points: Collection[Point]) -> Outcome:
        """One window; the operator dies once at each of the points that it comes to."""
        self._prepare()
        before, began = _Before(self), time.monotonic()
        self.targets.aim(points)
        with revived(self.operator):
            since = self._opened()
            self._worked()
            until = self._burning(since)
            self._closed()
            time.sleep(QUIET)
        end = before.compared(until)
        return Outcome(
            end,
            self.targets.kills,
            self.operator.starts - before.starts,
            frozenset(self.targets.met),
            frozenset(self.targets.told),
            time.monotonic() - began,
            tuple(f"{t['type']}: {t.get('summary', '')}" for t in self._status()["tasks"]),
        )

    def _prepare(self) -> None:
        """The same world before each run."""
        self.targets.aim(())
        if self.ns.api.get("maintenancewindows", "night") is not None:
            self.ns.api.delete("maintenancewindows", "night")
        for incident in self.ns.api.list("incidents"):
            self.ns.api.delete("incidents", incident["metadata"]["name"])
        wait_for("the end of all that they own", lambda: not self._owned(), 60)
        self.ns.forget_attempts()
        wait_for("a healthy stack before the run", self._ready, 90)
        worked_on.bloated(self.ns)

    def _ready(self) -> bool:
        found = self.ns.api.read("stacks", "docuquery").get("status") or {}
        return self.ns.healthy() and not any(c["state"] != "Operational" for c in found.get("components") or [])

    def _owned(self) -> list[str]:
        reports = [n for n in (c["metadata"]["name"] for c in self.ns.api.list("configmaps")) if n.endswith("-report")]
        return [
            *reports,
            *(j["metadata"]["name"] for j in self.ns.api.list("jobs") if j["metadata"]["name"].startswith("night")),
        ]

    def _opened(self) -> datetime:
        """From this moment, with a healing on its way."""
        self.ns.freeze()
        wait_for("a pod that is not ready", self._unready, 60)
        ordered = len(self.ns.restarts_ordered())
        self.ns.open(RUNNING)
        wait_for("a restart that was ordered", lambda: len(self.ns.restarts_ordered()) > ordered, 90, 0.05)
        since = datetime.now(UTC).replace(microsecond=0)
        spec = {
            "stackRef": {"name": "docuquery"},
            "schedule": {"at": since.isoformat()},
            "duration": f"{LONG.seconds}s",
            "effects": EFFECTS,
            "tasks": TASKS,
        }
        body = {"apiVersion": OURS, "kind": "MaintenanceWindow", "metadata": {"name": "night"}, "spec": spec}
        self.ns.api.create("maintenancewindows", body)
        return since

    def _unready(self) -> bool:
        found = self.ns.database_pod()["status"].get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "False" for c in found)

    def _worked(self) -> None:
        self.ns.wait_resolved(RUNNING, 180)
        wait_field(self.ns, "maintenancewindows", "night", "its tasks have ended", _ended, 300)
        wait_for("the silence", self.silences, 60)

    def _burning(self, since: datetime) -> datetime:
        """A second fault that waits, and then the end of the window, which is told by its duration."""
        # The ledger would keep a second restart back for ten minutes; that is not what is asked here.
        self.ns.forget_attempts()
        self.ns.freeze()
        self.ns.open(MUTED)
        waits = {"PagingMuted", "MaintenanceWindow"}
        self.ns.wait_incident(MUTED, "it waits", lambda s: waits <= set(decisions(s)), 120)
        length = int((datetime.now(UTC) - since).total_seconds()) + 3
        self.ns.api.patch("maintenancewindows", "night", {"spec": {"duration": f"{length}s"}})
        return since + timedelta(seconds=length)

    def _closed(self) -> None:
        wait_field(self.ns, "maintenancewindows", "night", "closed", lambda s: s.get("phase") == "Completed", 120)
        self.ns.wait_resolved(MUTED, 180)
        wait_for("the report", lambda: self.ns.incident(MUTED).get("report"), 60)
        wait_for("all is told", lambda: not self._untold(), 60)
        window = self.ns.api.read
        wait_for("no finalizer", lambda: not window("maintenancewindows", "night")["metadata"].get("finalizers"), 60)

    def _untold(self) -> list[str]:
        found = [n for i in self.ns.api.list("incidents") for n in (i.get("status") or {}).get("notifications") or []]
        return [n["key"] for n in found if n["state"] in ("Due", "Failed")]

    def _status(self) -> JSON:
        found: JSON = self.ns.api.read("maintenancewindows", "night")["status"]
        return found

    def silences(self) -> list[JSON]:
        """Of this Stack, that are not over."""
        mine = [{m["name"]: m["value"] for m in s["matchers"]} for s in self._server.living()]
        return [m for m in mine if m.get("namespace") == self.ns.name]


class _Before:
    """What there was before a run, so that only what came by it is counted."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._ns, self._sink = worker, worker.ns, worker.sink
        self.starts = worker.operator.starts
        self._jobs, self._taken = self._counted(), len(self._sink.taken)
        self._archives, self._restarts = self._archived(), len(self._ns.restarts_ordered())
        self._verified = self._run()["verifiedAt"]

    def compared(self, until: datetime) -> End:
        """The end of the run."""
        window = self._ns.api.read("maintenancewindows", "night")
        status, run, told = window["status"], self._run(), self._sink.taken[self._taken :]
        keys = [m["key"] for _, m in told]
        return End(
            window=(status["phase"], *(p["outcome"] for p in status["history"])),
            tasks=tuple((t["type"], t["state"]) for t in status["tasks"]),
            report=tuple(sorted(self._ns.api.read("configmaps", status["history"][-1]["report"])["data"])),
            jobs=tuple((kind, count - self._jobs[kind]) for kind, count in self._counted().items()),
            verdicts=int(run["verified"] == "Verified" and run["verifiedAt"] > self._verified),
            dead_rows=worked_on.number(self._ns, worked_on.DEAD),
            archives=self._archived() - self._archives,
            silences=len(self._worker.silences()),
            incidents=tuple(_story(self._ns.incident(name)) for name in (RUNNING, MUTED)),
            pages=tuple(sorted({(str(m["incident"]), str(m["what"])) for _, m in told})),
            repeated=max(0, len(keys) - len(set(keys)) - self._worker.targets.kills),
            early=sum(at < until for at, m in told if m["incident"] == MUTED),
            restarts=len(self._ns.restarts_ordered()) - self._restarts,
            left=(*(window["metadata"].get("finalizers") or []), *(["silence"] if status.get("silence") else [])),
            healthy=self._ns.healthy(),
        )

    def _run(self) -> JSON:
        found: JSON = self._ns.api.read("backupjobs", "small")["status"]["runs"][-1]
        return found

    def _counted(self) -> dict[str, int]:
        """Jobs, by what they do."""
        found = [(j["metadata"].get("labels") or {}).get(WORK) for j in self._ns.api.list("jobs")]
        return {kind: found.count(kind) for kind in KINDS}

    def _archived(self) -> int:
        names = worked_on.in_writer(self._ns, f"import os; print(*os.listdir('{worked_on.FOLDER}'))").split()
        return sum(name.endswith(".zst") for name in names)


def _story(status: JSON) -> tuple[str, ...]:
    """An incident's end."""
    told = [f"{name} {state}" for name, state in steps(status)]
    asked = [r for r in ("PagingMuted", "MaintenanceWindow", "StepFinishes") if r in decisions(status)]
    return (str(status["phase"]), condition(status, "Resolved")["reason"], status["cause"]["name"], *told, *asked)


def _ended(status: JSON) -> bool:
    found = [t["state"] for t in status.get("tasks") or []]
    return bool(found) and not {"Pending", "Running"} & set(found)


def brief(outcome: Outcome, reference: End) -> dict[str, Any]:
    """What differs from the reference, and what the tasks say."""
    ours, theirs = vars(outcome.end), vars(reference)
    return {key: (theirs[key], value) for key, value in ours.items() if theirs[key] != value} | {"said": outcome.said}
