"""StatefulSet and Deployment controllers and a kubelet, as far as a restart needs them.

An OrderedReady StatefulSet waits for ever for a broken pod before it replaces it (kubernetes/kubernetes#67250); an evicted
pod comes back from the newest revision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.ledger import parse_time
from docuquery_operator.ports import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    JSON,
    POD,
    REPLICA_SET,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from tests.fakes.cluster import FakeServer, copied


@dataclass
class Simulator:
    """Moves the workloads of one namespace forward in time."""

    server: FakeServer
    namespace: str
    startup: float = 4.0
    grace: float = 2.0
    unready_after: float = 3.0
    broken: dict[str, datetime] = field(default_factory=dict)
    new_pods_are_broken: bool = False
    stopped: bool = False
    created: list[tuple[str, str]] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    # What tags mean when a pod starts, and digests that never get well.
    tags: dict[str, str] = field(default_factory=dict)
    bad_digests: set[str] = field(default_factory=set)
    _ending: dict[str, datetime] = field(default_factory=dict)
    _now: datetime | None = None
    _started: int = 0

    def workload(self, kind: Kind, name: str, now: datetime, replicas: int = 1) -> None:
        """A workload with ready pods, a Service of the same name and its endpoints."""
        labels = {"app.kubernetes.io/name": name}
        container = {"name": name, "image": f"{name}:1", "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}}}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        self.server.put(kind, {"metadata": self._meta(name), "spec": spec, "status": {"observedGeneration": 0}})
        address = f"10.62.0.{10 + sum(name.encode()) % 200}"
        service = {"selector": labels, "clusterIP": address, "ports": [{"port": 1}]}
        self.server.put(SERVICE, {"metadata": self._meta(name), "spec": service})
        self.tick(now)
        for pod in self.pods(name):
            self.server.edit(POD, self.namespace, pod["metadata"]["name"], lambda p: _age(p, now))
        self.tick(now)

    def break_process(self, pod: str, now: datetime) -> None:
        """The process in the pod hangs: nothing answers, the readiness probe fails a little later."""
        found = self.server.find(POD, self.namespace, pod)
        assert found is not None
        self.broken[found["metadata"]["uid"]] = now

    def mend_process(self) -> None:
        """All hanging processes go on."""
        self.broken.clear()

    def pods(self, name: str) -> list[JSON]:
        """Pods of a workload."""
        return [copied(pod) for pod in self._pods(name)]

    def _pods(self, name: str) -> list[JSON]:
        found = self.server.seen(POD, self.namespace, f"app.kubernetes.io/name={name}")
        return [p for p in found if p["metadata"]["name"] not in self.strangers]

    def serving(self, host: str) -> str:
        """What a connection to this address meets: ok, refused, timeout or unreachable."""
        for service in self.server.seen(SERVICE, self.namespace):
            if service["spec"]["clusterIP"] == host:
                pods = [p for p in self._pods(service["metadata"]["name"]) if _ready(p)]
                return self._process(pods[0]) if pods else "refused"
        pod = next((p for p in self.server.seen(POD, self.namespace) if p["status"].get("podIP") == host), None)
        return self._process(pod) if pod else "unreachable"

    def _process(self, pod: JSON) -> str:
        if pod["metadata"]["uid"] in self.broken:
            return "timeout"
        assert self._now is not None
        return "ok" if self._age_of(pod) >= self.startup else "refused"

    def tick(self, now: datetime) -> None:
        """One look of all controllers."""
        self._now = now
        if self.stopped:
            return
        for kind, step in ((STATEFUL_SET, self._stateful_set), (DEPLOYMENT, self._deployment)):
            for workload in self.server.seen(kind, self.namespace):
                step(workload, now)
        self._endpoints()

    def _stateful_set(self, workload: JSON, now: datetime) -> None:
        name, spec = workload["metadata"]["name"], workload["spec"]
        revision = self._revision(CONTROLLER_REVISION, workload, _stored_in_data)
        self._observed(STATEFUL_SET, workload, revision)
        self._kubelet(name, now)
        pods = {p["metadata"]["name"]: p for p in self._pods(name)}
        for ordinal in range(spec["replicas"]):
            if f"{name}-{ordinal}" not in pods:
                self._start(f"{name}-{ordinal}", workload, {"controller-revision-hash": revision})
                return
        if any(not _ready(p) or "deletionTimestamp" in p["metadata"] for p in pods.values()):
            return
        old = [n for n, p in pods.items() if p["metadata"]["labels"]["controller-revision-hash"] != revision]
        if old:
            self._end(max(old))

    def _deployment(self, workload: JSON, now: datetime) -> None:
        name, spec = workload["metadata"]["name"], workload["spec"]
        revision = self._revision(REPLICA_SET, workload, _stored_in_spec)
        self._observed(DEPLOYMENT, workload, revision)
        self._kubelet(name, now)
        pods = self._pods(name)
        fresh = [p for p in pods if p["metadata"]["labels"]["pod-template-hash"] == revision]
        for number in range(spec["replicas"] - len(fresh)):
            self._start(f"{name}-{revision[-5:]}-{len(self.created)}{number}", workload, {"pod-template-hash": revision})
        for pod in fresh[spec["replicas"] :]:
            self._end(pod["metadata"]["name"])
        if sum(_ready(p) for p in fresh) >= spec["replicas"]:
            for pod in pods:
                if pod not in fresh and "deletionTimestamp" not in pod["metadata"]:
                    self._end(pod["metadata"]["name"])

    def _revision(self, kind: Kind, workload: JSON, stored: Callable[[JSON], JSON]) -> str:
        text = json.dumps(workload["spec"]["template"], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = f"{workload['metadata']['name']}-{digest}"
        label = name if kind is CONTROLLER_REVISION else digest
        if self.server.stored(kind, self.namespace, name) is None:
            labels = workload["spec"]["selector"]["matchLabels"]
            known = self.server.seen(kind, self.namespace, ",".join(f"{k}={v}" for k, v in labels.items()))
            number = len(known) + 1
            meta = self._meta(name, {**labels, "pod-template-hash": digest})
            meta["annotations"] = {"deployment.kubernetes.io/revision": str(number)}
            meta["ownerReferences"] = [{"controller": True, "uid": workload["metadata"]["uid"]}]
            self.server.put(kind, {"metadata": meta, "revision": number, **stored(workload["spec"]["template"])})
        return label

    def _observed(self, kind: Kind, workload: JSON, revision: str) -> None:
        name = workload["metadata"]["name"]
        ready = sum(_ready(p) for p in self._pods(name))
        generation = workload["metadata"]["generation"]
        now = {"observedGeneration": generation, "updateRevision": revision, "readyReplicas": ready}
        if not now.items() <= workload["status"].items():
            self.server.edit(kind, self.namespace, name, lambda obj: obj["status"].update(now))

    def _kubelet(self, name: str, now: datetime) -> None:
        for pod in self._pods(name):
            uid, pod_name = pod["metadata"]["uid"], pod["metadata"]["name"]
            if "deletionTimestamp" in pod["metadata"]:
                since = self._ending.setdefault(uid, now)
                if (now - since).total_seconds() >= self.grace:
                    self.server.remove(POD, self.namespace, pod_name)
                continue
            hangs = uid in self.broken and (now - self.broken[uid]).total_seconds() >= self.unready_after
            ready = self._age_of(pod) >= self.startup and not hangs
            if ready != _ready(pod):
                self.server.edit(POD, self.namespace, pod_name, lambda p, ready=ready: _set_ready(p, ready))

    def _age_of(self, pod: JSON) -> float:
        assert self._now is not None
        return (self._now - parse_time(pod["metadata"]["creationTimestamp"])).total_seconds()

    def _start(self, name: str, workload: JSON, revision: dict[str, str]) -> None:
        template = workload["spec"]["template"]
        labels = {**template["metadata"]["labels"], **revision}
        self._started += 1
        status = {
            "phase": "Running",
            "podIP": f"10.61.0.{self._started + 1}",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
            "containerStatuses": [{"state": {"running": {}}, "restartCount": 0}],
        }
        main = template["spec"]["containers"][0]
        digest = main["image"].partition("@")[2] or self.tags.get(main["image"], "")
        if digest:
            status["containerStatuses"] = [
                {"name": main["name"], "imageID": f"x@{digest}", "state": {"running": {}}, "restartCount": 0}
            ]
        meta = {**self._meta(name, labels), "ownerReferences": [_owner(workload, revision)]}
        made = self.server.put(POD, {"metadata": meta, "spec": template["spec"], "status": status})
        self.created.append((name, made["metadata"]["uid"]))
        if (self.new_pods_are_broken or digest in self.bad_digests) and self._now is not None:
            self.broken[made["metadata"]["uid"]] = self._now

    def _end(self, pod: str) -> None:
        self.server.edit(POD, self.namespace, pod, lambda p: p["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))

    def _endpoints(self) -> None:
        for service in self.server.seen(SERVICE, self.namespace):
            name = service["metadata"]["name"]
            ready = [{"addresses": [p["status"]["podIP"]]} for p in self._pods(name) if _ready(p)]
            known = self.server.stored(ENDPOINT_SLICE, self.namespace, name)
            if known is None:
                meta = self._meta(name, {"kubernetes.io/service-name": name})
                self.server.put(ENDPOINT_SLICE, {"metadata": meta, "endpoints": ready})
            elif known["endpoints"] != ready:
                self.server.edit(ENDPOINT_SLICE, self.namespace, name, lambda s, ready=ready: s.update(endpoints=ready))

    def _meta(self, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": labels or {}}


def _owner(workload: JSON, revision: dict[str, str]) -> JSON:
    digest = revision.get("pod-template-hash")
    name, uid = workload["metadata"]["name"], workload["metadata"]["uid"]
    if digest is None:
        return {"controller": True, "kind": "StatefulSet", "name": name, "uid": uid}
    return {"controller": True, "kind": "ReplicaSet", "name": f"{name}-{digest}", "uid": f"{uid}-{digest}"}


def _stored_in_data(template: JSON) -> JSON:
    return {"data": {"spec": {"template": template}}}


def _stored_in_spec(template: JSON) -> JSON:
    return {"spec": {"template": template}}


def _ready(pod: JSON) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def _set_ready(pod: JSON, ready: bool) -> None:
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "True" if ready else "False"


def _age(pod: JSON, now: datetime) -> None:
    pod["metadata"]["creationTimestamp"] = format_time(now.replace(year=now.year - 1))
