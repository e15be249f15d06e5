"""Messages as Alertmanager writes them, and a receiver over the in-memory API server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from docuquery_operator.api.common import format_time
from docuquery_operator.ports import INCIDENT, JSON, STACK, Cluster
from docuquery_operator.web.receiver.heartbeat import Heartbeats
from docuquery_operator.web.receiver.metrics import ReceiverMetrics
from docuquery_operator.web.receiver.payload import parse
from docuquery_operator.web.receiver.store import AlertStore
from tests.fakes.clock import ManualClock
from tests.fakes.cluster import FakeCluster, FakeServer
from tests.fakes.rig import COMPONENTS, NAMESPACE, REDIS

TYPES = ["DatabaseConnectionFailure", "RedisConnection", "ServiceLevelBreach", "CertificateExpires"]
NEVER = "0001-01-01T00:00:00Z"


def alert(
    name: str, starts: datetime, ends: datetime | None = None, labels: Mapping[str, str] | None = None, **more: Any
) -> JSON:
    """One alert of a message; without `ends` it fires."""
    given = {"alertname": name, "docuquery_stack": "docuquery", "docuquery_namespace": NAMESPACE} | dict(labels or {})
    return {
        "status": "firing" if ends is None else "resolved",
        "labels": given,
        "annotations": {"summary": f"{name} says so"},
        # With nine digits, as Go writes it.
        "startsAt": f"{starts:%Y-%m-%dT%H:%M:%S}.{starts.microsecond:06d}789Z",
        "endsAt": NEVER if ends is None else format_time(ends),
        "generatorURL": "http://prometheus/graph",
        "fingerprint": hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16],
    } | more


def message(alerts: Sequence[JSON], **more: Any) -> bytes:
    """The body of one webhook request."""
    status = "firing" if any(a["status"] == "firing" for a in alerts) else "resolved"
    body = {
        "receiver": "docuquery", "status": status, "alerts": list(alerts), "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "version": "4",
        "groupKey": '{}:{alertname="x"}', "truncatedAlerts": 0, "notification_reason": "new alerts added",
    }  # fmt: skip
    return json.dumps(body | more).encode()


def outcomes(metrics: ReceiverMetrics) -> dict[str, int]:
    """How many alerts came to what."""
    samples = [s for f in metrics.registry.collect() if f.name == "docuquery_receiver_alerts" for s in f.samples]
    return {s.labels["outcome"]: int(s.value) for s in samples if s.name.endswith("_total")}


@dataclass
class Place:
    """A Stack in an in-memory API server, and one receiver."""

    server: FakeServer
    clock: ManualClock
    store: AlertStore
    metrics: ReceiverMetrics

    async def send(self, body: bytes, truncated: bool = False) -> None:
        await self.store.store(parse(body, truncated))

    def incidents(self) -> list[JSON]:
        return self.server.all(INCIDENT, NAMESPACE)

    def open(self) -> list[JSON]:
        return [i for i in self.incidents() if (i.get("status") or {}).get("phase") != "Resolved"]

    def held(self) -> dict[str, JSON]:
        """All alerts of all incidents by fingerprint; each must be in one incident only."""
        found = [a for i in self.incidents() for a in i["spec"].get("alerts", [])]
        assert len(found) == len({a["fingerprint"] for a in found})
        return {a["fingerprint"]: a for a in found}

    def close(self, name: str, reason: str = "Recovered") -> None:
        """As the operator closes it."""
        now = self.clock.now()
        condition = {"type": "Resolved", "status": "True", "reason": reason, "lastTransitionTime": format_time(now)}
        status = {"phase": "Resolved", "times": {"resolvedAt": format_time(now)}, "conditions": [condition]}

        def ended(obj: JSON) -> None:
            obj["status"] = status

        self.server.edit(INCIDENT, NAMESPACE, name, ended)


def receiver(server: FakeServer, clock: ManualClock, cluster: Cluster | None = None) -> tuple[AlertStore, ReceiverMetrics]:
    """Another receiver of the same server."""
    metrics, client = ReceiverMetrics(), cluster or FakeCluster(server)
    return AlertStore(client, clock, metrics, Heartbeats(client, metrics), [NAMESPACE]), metrics


def place(alerts: JSON | None = None, **spec: Any) -> Place:
    """A Stack that allows some types."""
    clock = ManualClock()
    server = FakeServer(clock)
    body = {"components": COMPONENTS | {"redis": REDIS}, "alerts": alerts or {"types": TYPES}} | spec
    server.put(STACK, {"metadata": {"name": "docuquery", "namespace": NAMESPACE}, "spec": body})
    store, metrics = receiver(server, clock)
    return Place(server, clock, store, metrics)


def secrets(folder: Path, **files: str) -> Path:
    """The mounted Secret."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


MINUTE = timedelta(minutes=1)
