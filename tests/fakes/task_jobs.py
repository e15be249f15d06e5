"""Jobs of tasks in the simulated world: a kubelet that runs whatever has its request, and ends with an outcome."""

from __future__ import annotations

from datetime import datetime, timedelta

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.backups.report import Result
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.ports import CONFIG_MAP, JOB, JSON, POD
from tests.fakes.cluster import FakeServer

ATTEMPT = "ops.docuquery.ai/attempt"
OUTCOME = TaskOutcome(state="Succeeded", summary="done by a Job", evidence=("dead rows before: 9", "dead rows after: 0"))


class TaskJobs:
    """Ticks with the clock; every attempt that began is counted."""

    def __init__(self, server: FakeServer, takes: float = 20.0, outcome: TaskOutcome = OUTCOME) -> None:
        self.server, self.takes, self.outcome = server, takes, outcome
        self.began: dict[str, datetime] = {}
        self.ran: list[str] = []

    def tick(self, now: datetime) -> None:
        """One step of the kubelet and of the Job controller."""
        for job in self.server.all(JOB):
            if not (job.get("status") or {}).get("conditions"):
                self._job(job, now)

    def _job(self, job: JSON, now: datetime) -> None:
        meta, namespace = job["metadata"], job["metadata"]["namespace"]
        attempt, pod = meta["labels"][ATTEMPT], f"{meta['name']}-abcde"
        if self.server.find(CONFIG_MAP, namespace, meta["name"]) is None:
            return
        if attempt not in self.began:
            self.began[attempt] = now
            self.ran.append(attempt)
            labels = {ATTEMPT: attempt}
            running = [{"state": {"running": {}}}]
            body = {"metadata": {"name": pod, "namespace": namespace, "labels": labels}, "status": {"phase": "Running"}}
            body["status"]["containerStatuses"] = running
            self.server.put(POD, body)
        since = now - self.began[attempt]
        late = since > timedelta(seconds=job["spec"]["activeDeadlineSeconds"])
        if late or since >= timedelta(seconds=self.takes):
            outcome = TaskOutcome(state="Aborted", summary="stopped between two tables") if late else self.outcome
            line = Result(ok=not late, reason="Done", at=now, outcome=outcome)
            self.server.log_texts[pod, False] = f"{format_time(now)} {line.to_json().decode()}\n"
            ended = {"conditions": [{"type": "Failed" if late else "Complete", "status": "True", "reason": "Done"}]}
            self.server.edit(JOB, namespace, meta["name"], lambda j: j.update(status=ended))
