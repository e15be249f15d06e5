"""Jobs of movers: looked for by attempt id, started once, and read by their logs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..domain.backups.facts import JobFacts, JobState
from ..domain.backups.jobs import ATTEMPT_LABEL, CONTAINER, Order, config_map_of, job_of
from ..domain.backups.manifest import Document
from ..domain.backups.report import Line, parsed
from ..domain.backups.work import job_name
from ..ports import CONFIG_MAP, JOB, JSON, POD, ApiError, Conflict, Ports, Transient

TAIL_LINES, TAIL_BYTES = 20, 64 * 1024
# A whole log: a line that lists many sets is long, and the kubelet keeps 10 MiB of a container.
ALL_LINES, ALL_BYTES = 20_000, 8 * 1024 * 1024
STARTING = {"ContainerCreating", "PodInitializing"}
log = logging.getLogger(__name__)


class Attempt(Protocol):
    """Whatever has a Job at work."""

    @property
    def attempt_id(self) -> str:
        """On the Job's label and in its name."""


class Movers:
    """One for each controller that starts Jobs."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def look(self, namespace: str, owner: str, uid: str, work: Attempt | None) -> JobFacts:
        """What the cluster shows of the Job of this work."""
        if work is None:
            return JobFacts()
        job = await self._ports.cluster.get(JOB, namespace, job_name(owner, work.attempt_id))
        if job is None or not _ours(job, work, uid):
            return JobFacts()
        pods = await self._ports.cluster.list(POD, namespace, f"{ATTEMPT_LABEL}={work.attempt_id}")
        pods = sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp", "")))
        ended = _ended(job)
        if ended is None:
            return await self._running(namespace, job["metadata"]["name"], pods)
        lines = await self._said(namespace, pods)
        reason, message = _why(pods, *ended)
        return JobFacts(JobState.ENDED, reason, message, lines)

    async def _running(self, namespace: str, name: str, pods: Sequence[JSON]) -> JobFacts:
        if not pods:
            why = "a ServiceAccount that does not exist, or a quota"
            text = f"its pod is not made yet; if that lasts, kubectl describe job {name} says why, such as {why}"
            return JobFacts(JobState.RUNNING, "", text)
        pod = pods[-1]
        waiting = _waiting(pod)
        if waiting is not None:
            return JobFacts(JobState.RUNNING, waiting, waiting)
        text = await self._ports.cluster.logs(namespace, pod["metadata"]["name"], CONTAINER, False, TAIL_LINES, TAIL_BYTES)
        return JobFacts(JobState.RUNNING, lines=_lines(text))

    async def _said(self, namespace: str, pods: Sequence[JSON]) -> tuple[Line, ...]:
        """What the pods have said, oldest first. A log that cannot be had is none: then the store is asked."""
        lines: list[Line] = []
        for pod in pods:
            name = pod["metadata"]["name"]
            try:
                text = await self._ports.cluster.logs(namespace, name, CONTAINER, False, ALL_LINES, ALL_BYTES)
            except ApiError as problem:
                log.warning("no log of a mover", extra={"pod": name, "problem": str(problem)[:200]})
                continue
            lines += _lines(text)
        return tuple(lines)

    async def start(self, order: Order, request: Document, patch: Callable[[JSON], JSON] | None = None) -> None:
        """Make the Job and then its request, unless they are there: the pod waits for the request.

        patch: changes the Job before it is made.
        """
        cluster, namespace = self._ports.cluster, order.namespace
        if not self._ports.leader.leading():
            raise Transient("not the leader any more", 1.0)
        wanted = patch(job_of(order)) if patch else job_of(order)
        config_map_of(order, {"metadata": {"name": order.name, "uid": ""}}, request)
        try:
            job = await cluster.create(JOB, namespace, wanted)
            log.info("job started", extra={"job": order.name, "work": order.kind})
        except Conflict:
            found = await cluster.get(JOB, namespace, order.name)
            if found is None:
                raise Transient("the Job was deleted just now", 1.0) from None
            job = found
        try:
            await cluster.create(CONFIG_MAP, namespace, config_map_of(order, job, request))
        except Conflict:
            return

    async def lacks_request(self, namespace: str, owner: str, work: Attempt | None, facts: JobFacts) -> bool:
        """Whether the process died between the Job and its request: only a pod that has said nothing yet can wait for it."""
        if work is None or facts.state is not JobState.RUNNING or facts.lines:
            return False
        return await self._ports.cluster.get(CONFIG_MAP, namespace, job_name(owner, work.attempt_id)) is None

    async def cancel(self, namespace: str, owner: str, work: Attempt) -> None:
        """End it: Kubernetes stops a Job whose time is up, its pod has its grace."""
        body: JSON = {"spec": {"activeDeadlineSeconds": 1}}
        await self._ports.cluster.patch(JOB, namespace, job_name(owner, work.attempt_id), body)


def _ours(job: JSON, work: Attempt, uid: str) -> bool:
    """Not one that a former object of the same name has left."""
    meta = job["metadata"]
    owners = {o.get("uid") for o in meta.get("ownerReferences") or []}
    return (meta.get("labels") or {}).get(ATTEMPT_LABEL) == work.attempt_id and (not owners or uid in owners)


def _ended(job: JSON) -> tuple[str, str] | None:
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition.get("reason") or condition["type"]), str(condition.get("message") or "")
    return None


def _why(pods: Sequence[JSON], reason: str, message: str) -> tuple[str, str]:
    """The pod knows better than the Job, where it is still there."""
    for pod in reversed(pods):
        status = pod.get("status") or {}
        if status.get("reason"):
            return str(status["reason"]), f"its pod: {status['reason']}: {status.get('message', '')}"[:400]
        for container in status.get("containerStatuses") or []:
            ended = (container.get("state") or {}).get("terminated")
            if ended and ended.get("reason") == "OOMKilled":
                return "OOMKilled", "its pod has used more memory than mover.resources allows; raise it"
            if ended and ended.get("exitCode"):
                return str(
                    ended.get("reason") or "Error"
                ), f"its pod ended with code {ended['exitCode']} and without a result"
    if reason == "DeadlineExceeded":
        return reason, "it took longer than it may; raise spec.timeout"
    return reason, message[:400] and f"its Job ended: {reason}: {message}"[:400]


def _waiting(pod: JSON) -> str | None:
    """Why the pod does not run yet, None when it runs."""
    status: dict[str, Any] = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        if "running" in state or "terminated" in state:
            return None
        waiting = state.get("waiting") or {}
        if waiting.get("reason") not in STARTING:
            return f"its pod waits: {waiting.get('reason', '')}: {waiting.get('message', '')}"[:300]
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"its pod is not placed: {condition.get('message', '')}"[:300]
    return None if status.get("phase") in ("Running", "Succeeded", "Failed") else "its pod starts"


def _lines(text: str) -> tuple[Line, ...]:
    """Reports in a log whose lines begin with their time."""
    return tuple(parsed(line.partition(" ")[2] for line in text.splitlines()))
