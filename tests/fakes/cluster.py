"""An in-memory API server, and the Cluster port of one process that talks to it."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docuquery_operator.api.common import format_time
from docuquery_operator.ports import JSON, LOG_BYTES, POD, POD_METRICS, Clock, Conflict, Kind, Refused
from tests.fakes.faults import Faults

WITH_STATUS = {
    "incidents", "stacks", "runbooks", "maintenancewindows", "backupjobs", "restorejobs",
    "pods", "deployments", "statefulsets", "jobs",
}  # fmt: skip
OBJECT_LIMIT = 1_500_000
CONFIG_MAP_LIMIT = 1_048_576
LOG_PIECE = 4096
Id = tuple[str, str, str]
ATOMS = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True)
class Write:
    """One write that the server took."""

    verb: str
    plural: str
    namespace: str
    name: str
    subresource: str
    body: JSON


class FakeServer:
    """Objects with uid, resourceVersion and generation, as the API server keeps them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._objects: dict[Id, JSON] = {}
        # Of each kind that was listed since one came or went.
        self._by_name: dict[str, list[Id]] = {}
        self._version = 100
        self._uid = 0
        self.writes: list[Write] = []
        self.budgets: dict[str, str] = {}
        self.log_texts: dict[tuple[str, bool], str] = {}
        self.streams: dict[str, list[tuple[datetime, str]]] = {}
        self.unserved: set[str] = set()
        self.pod_usage: list[JSON] = []
        self.admission: list[Callable[[Kind, JSON], None]] = []
        self.on_delete: list[Callable[[Kind, JSON], None]] = []

    def put(self, kind: Kind, body: Mapping[str, Any]) -> JSON:
        """Create with its status, as a controller of Kubernetes would."""
        return self._insert(kind, copied(dict(body)))

    def find(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        """A copy of the object."""
        found = self._objects.get((kind.plural, namespace, name))
        return copied(found) if found is not None else None

    def all(self, kind: Kind, namespace: str = "", selector: str = "") -> list[JSON]:
        """Copies of all objects that match, by name."""
        return [copied(obj) for obj in self.seen(kind, namespace, selector)]

    def seen(self, kind: Kind, namespace: str = "", selector: str = "") -> list[JSON]:
        """The same, themselves, for one that only reads: what is stored is never changed, another takes its place."""
        wanted = [pair.partition("=")[::2] for pair in selector.split(",") if pair]
        if kind.plural not in self._by_name:
            self._by_name[kind.plural] = sorted(each for each in self._objects if each[0] == kind.plural)
        found = [self._objects[each] for each in self._by_name[kind.plural] if namespace in ("", each[1])]
        return [o for o in found if all((o["metadata"].get("labels") or {}).get(k) == v for k, v in wanted)]

    def stored(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        """`find` for one that only reads."""
        return self._objects.get((kind.plural, namespace, name))

    def edit(self, kind: Kind, namespace: str, name: str, change: Callable[[JSON], None]) -> JSON:
        """Change an object in place, as a person or a controller would; spec changes raise the generation."""
        before = self._objects[kind.plural, namespace, name]
        after = copied(before)
        change(after)
        return self._replace(kind, before, after)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object at once."""
        gone = self._objects.pop((kind.plural, namespace, name), None)
        self._by_name.pop(kind.plural, None)
        if gone is not None:
            for listener in self.on_delete:
                listener(kind, gone)

    def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        """POST."""
        fresh = copied(body)
        fresh["metadata"]["namespace"] = namespace
        if (kind.plural, namespace, fresh["metadata"]["name"]) in self._objects:
            raise Conflict(f"{kind.plural} '{fresh['metadata']['name']}' already exists")
        if kind.plural in WITH_STATUS:
            fresh.pop("status", None)
        made = self._insert(kind, fresh)
        self.writes.append(Write("create", kind.plural, namespace, made["metadata"]["name"], "", copied(body)))
        return made

    def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str) -> JSON | None:
        """PATCH by merge patch."""
        before = self._objects.get((kind.plural, namespace, name))
        if before is None:
            return None
        meta = body.get("metadata") or {}
        for key in ("resourceVersion", "uid"):
            if meta.get(key) is not None and meta[key] != before["metadata"][key]:
                raise Conflict(f"{kind.plural} '{name}': {key} is {before['metadata'][key]}, not {meta[key]}")
        part: JSON = copied(body)
        if kind.plural in WITH_STATUS:
            part = {k: v for k, v in part.items() if (k == "status") == (subresource == "status") or k == "metadata"}
        after = merged(before, part)
        for key in ("uid", "resourceVersion", "generation", "creationTimestamp", "name", "namespace"):
            if key in before["metadata"]:
                after["metadata"][key] = before["metadata"][key]
        written = self._replace(kind, before, after)
        self.writes.append(Write("patch", kind.plural, namespace, name, subresource, copied(body)))
        return written

    def _insert(self, kind: Kind, body: JSON) -> JSON:
        meta = body["metadata"]
        self._uid += 1
        self._version += 1
        meta.setdefault("uid", f"uid-{self._uid:05d}")
        meta.setdefault("creationTimestamp", format_time(self._clock.now()))
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("generation", 1)
        self._admit(kind, body)
        self._objects[kind.plural, meta["namespace"], meta["name"]] = body
        self._by_name.pop(kind.plural, None)
        return copied(body)

    def _replace(self, kind: Kind, before: JSON, after: JSON) -> JSON:
        if after == before:
            return copied(before)
        self._admit(kind, after)
        self._version += 1
        after["metadata"]["resourceVersion"] = str(self._version)
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        meta = after["metadata"]
        self._objects[kind.plural, meta["namespace"], meta["name"]] = after
        return copied(after)

    def _admit(self, kind: Kind, body: JSON) -> None:
        size = len(json.dumps(body).encode())
        if size > OBJECT_LIMIT:
            raise Refused(413, f"{kind.kind} is too large: {size}")
        data = sum(len(str(v).encode()) for v in (body.get("data") or {}).values())
        if kind.plural == "configmaps" and data > CONFIG_MAP_LIMIT:
            raise Refused(422, f"data: Too long: must have at most {CONFIG_MAP_LIMIT} bytes")
        for check in self.admission:
            check(kind, body)


class FakeCluster:
    """ports.Cluster of one process: every call can be made to fail, and none works once the process is dead."""

    def __init__(self, server: FakeServer, faults: Faults | None = None) -> None:
        self.server = server
        self.faults = faults or Faults()

    async def get(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        async def effect() -> JSON | None:
            return self.server.find(kind, namespace, name)

        return await self.faults.around(f"get {kind.plural}/{name}", effect)

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", pick: Callable[[JSON], JSON] | None = None
    ) -> Sequence[JSON]:
        async def effect() -> Sequence[JSON]:
            if kind is POD_METRICS:
                return copied(self.server.pod_usage)
            found = self.server.all(kind, namespace, selector)
            return [pick(o) for o in found] if pick else found

        return await self.faults.around(f"list {kind.plural}", effect)

    async def served(self, kind: Kind, namespace: str) -> bool:
        async def effect() -> bool:
            return kind.plural not in self.server.unserved

        return await self.faults.around(f"served {kind.plural}", effect)

    async def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        async def effect() -> JSON:
            return self.server.create(kind, namespace, body)

        return await self.faults.around(f"create {kind.plural}/{body['metadata'].get('name')}", effect)

    async def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        async def effect() -> JSON | None:
            return self.server.patch(kind, namespace, name, body, subresource)

        return await self.faults.around(f"patch {kind.plural}/{name}{'/' + subresource if subresource else ''}", effect)

    async def evict(self, namespace: str, pod: str, uid: str, dry_run: bool = False) -> str:
        async def effect() -> str:
            found = self.server.find(POD, namespace, pod)
            if found is None or found["metadata"]["uid"] != uid:
                return ""
            held = self.server.budgets.get(pod, "")
            if held or dry_run:
                return held
            self.server.writes.append(Write("evict", POD.plural, namespace, pod, "eviction", {}))
            self.server.edit(POD, namespace, pod, _terminating)
            return ""

        return await self.faults.around(f"{'dry-run ' if dry_run else ''}evict {pod}", effect)

    async def logs(
        self, namespace: str, pod: str, container: str, previous: bool, lines: int, limit: int = LOG_BYTES
    ) -> str:
        async def effect() -> str:
            return self.server.log_texts.get((pod, previous), "")[:limit]

        return await self.faults.around(f"logs {pod}", effect)

    async def log_stream(
        self, namespace: str, pod: str, container: str, since: datetime, limit: int
    ) -> AsyncGenerator[bytes, None]:
        async def effect() -> bytes:
            start = since.replace(microsecond=0)
            lines = self.server.streams.get(pod, [])
            return b"".join(f"{_stamp(at)} {text}\n".encode() for at, text in lines if at >= start)[:limit]

        text = await self.faults.around(f"log stream {pod}", effect)
        for start in range(0, len(text), LOG_PIECE):
            yield text[start : start + LOG_PIECE]


def _stamp(at: datetime) -> str:
    """As the kubelet writes it: always nine digits of the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond * 1000:09d}Z"


def _terminating(pod: JSON) -> None:
    pod["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")


def copied(value: Any) -> Any:
    """A copy of what is JSON. The general one remembers each object that it met: most of the time of a simulated world."""
    if type(value) is dict:
        return {key: part if type(part) in ATOMS else copied(part) for key, part in value.items()}
    if type(value) is list:
        return [part if type(part) in ATOMS else copied(part) for part in value]
    return value if type(value) in ATOMS else copy.deepcopy(value)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, written from the RFC and not from the code under test."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = copied(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
