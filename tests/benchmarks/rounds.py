"""One round: a subject starts, 500 Incidents are created, then acknowledged, then nothing happens for a while."""

from __future__ import annotations

import asyncio
import functools
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness.apiserver import CHECKOUT, ApiServer

from .api import GROUP, JSON, Client, Request, lease_writes, parallel, reads, writes
from .figures import Footprint, cpu_seconds, footprint
from .watcher import Watcher

INCIDENTS = 500
# Generous: only a subject that is stuck needs so long.
WITHIN = 600.0
STACK = CHECKOUT / "deploy" / "stack" / "stack.yaml"
Subject = Callable[[ApiServer, str, Path], AbstractContextManager[subprocess.Popen[bytes]]]


@dataclass(frozen=True)
class Phase:
    """What one part of a round took."""

    seconds: float
    p50: float
    p95: float
    cpu: float
    changes: int
    writes: Counter[Request]
    lease: int
    reads: int

    def incident_writes(self) -> int:
        """Writes to Incident objects and their status."""
        return sum(n for (_, resource), n in self.writes.items() if resource.split("/")[0] == "incidents")

    def all_writes(self) -> int:
        """Writes to anything but the leader Lease."""
        return sum(self.writes.values())


@dataclass(frozen=True)
class Round:
    """All that was measured of one subject in one round."""

    ready: float
    idle: Footprint
    after: Footprint
    quiet_after: Footprint
    created: Phase
    flipped: Phase
    quiet: Phase


async def run_round(server: ApiServer, client: Client, subject: Subject, namespace: str, log: Path, quiet: float) -> Round:
    """One subject in a namespace of its own."""
    await _prepare(client, namespace)
    await _nobody_watches(client)
    began = time.monotonic()
    with subject(server, namespace, log) as process:
        await _watching(client, process, log)
        ready = time.monotonic() - began
        await asyncio.sleep(5.0)
        async with Watcher(client, namespace) as watcher:
            found = await _measure(client, process.pid, namespace, watcher, quiet, ready)
    await client.write("DELETE", f"{GROUP}/namespaces/{namespace}/incidents", "incidents")
    return found


async def _measure(client: Client, pid: int, namespace: str, watcher: Watcher, quiet: float, ready: float) -> Round:
    idle = footprint(pid)
    gauge = _Gauge(client, pid, watcher)
    path = f"{GROUP}/namespaces/{namespace}/incidents"

    def create(name: str) -> Any:
        return client.write("POST", path, "incidents", incident(name))

    def flip(name: str) -> Any:
        body = {"spec": {"acknowledged": {"by": "bench"}}}
        return client.write("PATCH", f"{path}/{name}", "incidents", body)

    created = await gauge.phase(create, _identified)
    after = footprint(pid)
    flipped = await gauge.phase(flip, _acknowledged)
    still = await gauge.silence(quiet)
    return Round(ready, idle, after, footprint(pid), created, flipped, still)


class _Gauge:
    """Reads all counters before and after a part of a round."""

    def __init__(self, client: Client, pid: int, watcher: Watcher) -> None:
        self._client = client
        self._pid = pid
        self._watcher = watcher

    async def phase(self, change: Callable[[str], Any], done: Callable[[JSON], bool]) -> Phase:
        """Change all incidents, and wait until each shows the answer and no write follows."""
        before, cpu, changes = await self._client.requests(), cpu_seconds(self._pid), self._watcher.changes
        began: dict[str, float] = {}

        async def one(name: str) -> None:
            began[name] = time.monotonic()
            await change(name)

        start = time.monotonic()
        await parallel(functools.partial(one, n) for n in names())
        end = await self._watcher.until(done, INCIDENTS, WITHIN)
        used = cpu_seconds(self._pid) - cpu
        after = await self._settled()
        delays = sorted(self._watcher.last_change[n] - began[n] for n in began)
        return Phase(
            end - start,
            delays[len(delays) // 2],
            delays[len(delays) * 95 // 100],
            used,
            self._watcher.changes - changes,
            writes(before, after),
            lease_writes(before, after),
            reads(before, after),
        )

    async def silence(self, length: float) -> Phase:
        """Nothing happens: whatever is written now is one write too many."""
        before, cpu, changes = await self._client.requests(), cpu_seconds(self._pid), self._watcher.changes
        await asyncio.sleep(length)
        after = await self._client.requests()
        return Phase(
            length,
            0.0,
            0.0,
            cpu_seconds(self._pid) - cpu,
            self._watcher.changes - changes,
            writes(before, after),
            lease_writes(before, after),
            reads(before, after),
        )

    async def _settled(self) -> Counter[Request]:
        """The counters once nothing was written for three seconds: late writes belong to the change that caused them."""
        before = await self._client.requests()
        while True:
            await asyncio.sleep(3.0)
            now = await self._client.requests()
            if not writes(before, now):
                return now
            before = now


def names() -> list[str]:
    """Names of the incidents."""
    return [f"incident-{n:03}" for n in range(INCIDENTS)]


def incident(name: str) -> JSON:
    """The smallest incident that is only observed."""
    return {
        "apiVersion": "ops.docuquery.ai/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": name},
        "spec": {"stackRef": {"name": "docuquery"}, "type": "DatabaseConnectionFailure", "mode": "Observe"},
    }


def _identified(status: JSON) -> bool:
    return status.get("phase") == "Identified" and bool((status.get("cause") or {}).get("name"))


def _acknowledged(status: JSON) -> bool:
    return any(c["type"] == "Acknowledged" and c["status"] == "True" for c in status.get("conditions") or [])


async def _prepare(client: Client, namespace: str) -> None:
    """Namespace, Secret and Stack; the workloads that the Stack names do not exist."""
    await client.write("POST", "/api/v1/namespaces", "namespaces", {"metadata": {"name": namespace}})
    secret = {
        "metadata": {"name": "postgres-operator"},
        "stringData": {"username": "docuquery_operator", "password": secrets.token_hex(8)},
    }
    await client.write("POST", f"/api/v1/namespaces/{namespace}/secrets", "secrets", secret)
    stack: JSON = yaml.safe_load(STACK.read_text(encoding="utf-8"))
    stack["spec"]["detection"] = {"interval": "1s", "timeout": "1s", "openIncidents": False}
    await client.write("POST", f"{GROUP}/namespaces/{namespace}/stacks", "stacks", stack)


async def _nobody_watches(client: Client) -> None:
    """The subject before has gone: its open watch would look like that of the next."""
    async with asyncio.timeout(60.0):
        while await client.open_watches("incidents"):
            await asyncio.sleep(0.1)


async def _watching(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ready is who watches."""
    async with asyncio.timeout(60.0):
        while not await client.open_watches("incidents"):
            if process.poll() is not None:
                raise RuntimeError(f"the subject did not start: {log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.1)
