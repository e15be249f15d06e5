"""The simulated world with BackupJobs and RestoreJobs: driven as the queue would, through deaths of the process."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from docuquery_operator.api.backup_job import BackupJob
from docuquery_operator.api.restore_job import RestoreJob
from docuquery_operator.controllers.backup_job import BackupJobController
from docuquery_operator.controllers.restore_job import RestoreJobController
from docuquery_operator.ports import (
    BACKUP_JOB,
    CLAIM,
    JOB,
    JSON,
    RESTORE_JOB,
    SECRET,
    ApiError,
    Conflict,
    Key,
    Kind,
    Refused,
    Transient,
    Unavailable,
)
from tests.fakes.faults import Faults, KilledError
from tests.fakes.movers import Movers, Store
from tests.fakes.rig import NAMESPACE, Rig

IMAGE = "docuquery-operator:test"
SPEC: JSON = {
    "stackRef": {"name": "docuquery"},
    "include": {"postgres": {}},
    "destination": {"volume": {"claimName": "backups"}},
}
NIGHTLY: JSON = {**SPEC, "schedule": {"cron": "0 2 * * *"}, "timeZone": "Etc/UTC"}


class BackupRig:
    """A Rig whose Jobs run, and the controllers of both kinds."""

    def __init__(self, store: Store | None = None, faults: Faults | None = None) -> None:
        self.rig = Rig(mode="Observe")
        self.server, self.clock = self.rig.server, self.rig.clock
        self.movers = Movers(self.server, store)
        self.server.admission.append(_valid)
        self.server.put(CLAIM, {"metadata": {"name": "backups", "namespace": NAMESPACE}})
        self.crashes: list[BaseException] = []
        self.nudged: list[Key] = []
        self.step = 5.0
        self.begin(faults)

    def begin(self, faults: Faults | None = None) -> None:
        """A new process of the operator."""
        life = self.rig.start(faults)
        self.backups = BackupJobController(life.ports, IMAGE, self.nudged.append)
        self.restores = RestoreJobController(life.ports, IMAGE)

    def advance(self, seconds: float) -> None:
        """Move on: at once where no Job runs, in small steps where one does. Workloads stand still meanwhile."""
        left = seconds
        while left > 0:
            step = min(left, self.step) if self.movers.busy() else left
            self.clock.jump(step)
            self.movers.tick(self.clock.now())
            left -= step

    def secret(self, name: str, **data: str) -> None:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        self.server.put(SECRET, {"metadata": {"name": name, "namespace": NAMESPACE}, "data": encoded})

    def backup(self, spec: JSON | None = None, name: str = "nightly", **meta: Any) -> Key:
        body = {"metadata": {"name": name, "namespace": NAMESPACE, **meta}, "spec": dict(spec or SPEC)}
        self.server.put(BACKUP_JOB, body)
        return Key(BACKUP_JOB.plural, NAMESPACE, name)

    def restore(self, name: str = "back", creator: str = "kim", **spec: Any) -> Key:
        """A RestoreJob onto the Stack, made by this person."""
        full: JSON = {
            "backup": {"jobRef": {"name": "nightly"}, "run": "latestVerified"},
            "target": {"stackRef": {"name": "docuquery"}},
            "confirm": "docuquery",
            "mode": "Plan",
            **spec,
        }
        notes = {"ops.docuquery.ai/created-by": creator} if creator else {}
        self.server.put(
            RESTORE_JOB, {"metadata": {"name": name, "namespace": NAMESPACE, "annotations": notes}, "spec": full}
        )
        return Key(RESTORE_JOB.plural, NAMESPACE, name)

    def approve(self, key: Key, by: str = "lee", decision: str = "Approve") -> None:
        """A person sets mode: Apply with the plan's digest, and another one answers."""
        digest = self.status(key)["plan"]["digest"]
        answer = {"by": by, "planDigest": digest, "decision": decision}
        self.edit(key, lambda o: o["spec"].update(mode="Apply", planDigest=digest, approval=answer))

    async def once(self, key: Key) -> float | None:
        """One pass, with the queue's answer to every error."""
        controller = self.backups if key.plural == BACKUP_JOB.plural else self.restores
        try:
            return await controller.reconcile(key)
        except KilledError:
            self.begin()
            return 1.0
        except Transient as problem:
            return problem.after
        except Conflict:
            return 0.05
        except Unavailable as problem:
            return max(problem.after, 2.0)
        except Refused:
            return 30.0
        except ApiError as problem:
            self.crashes.append(problem)
            return 2.0

    async def run(self, key: Key, seconds: float, until: Callable[[JSON], bool] | None = None) -> JSON:
        """Drive the object for so long, or until this holds. A pass that nothing asks for comes with the resync."""
        end = self.clock.now().timestamp() + seconds
        while True:
            after = await self.once(key)
            status = self.status(key)
            if until is not None and until(status):
                return status
            left = end - self.clock.now().timestamp()
            if left <= 0:
                return status
            self.advance(max(0.05, min(600.0 if after is None else after, left)))

    def kind(self, key: Key) -> Kind:
        return BACKUP_JOB if key.plural == BACKUP_JOB.plural else RESTORE_JOB

    def status(self, key: Key) -> JSON:
        found = self.server.find(self.kind(key), key.namespace, key.name)
        status: JSON = (found or {}).get("status") or {}
        return status

    def edit(self, key: Key, change: Callable[[JSON], None]) -> None:
        self.server.edit(self.kind(key), key.namespace, key.name, change)

    def jobs(self) -> list[str]:
        return [j["metadata"]["name"] for j in self.server.all(JOB)]

    def ran(self, kind: str) -> list[str]:
        """Attempts whose movers really began, by their command."""
        return [r.attempt_id for r in self.movers.requests if r.command == kind]

    def events(self) -> list[str]:
        return self.rig.all_events()

    def writes(self, key: Key) -> int:
        return len([w for w in self.server.writes if (w.plural, w.name, w.subresource) == (key.plural, key.name, "status")])


def runs(status: JSON) -> list[tuple[str, str]]:
    """State and verdict of each run."""
    return [(r["state"], r["verified"]) for r in status.get("runs", [])]


def _valid(kind: Kind, body: JSON) -> None:
    """As the CRD would: a status that the schema does not know is refused."""
    if kind is BACKUP_JOB and body.get("status"):
        BackupJob.model_validate(body)
    if kind is RESTORE_JOB and body.get("status"):
        RestoreJob.model_validate(body)
