"""A set in memory, and a filled collection on the double."""

import hashlib
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from docuquery_operator.domain.backups.manifest import (
    IntentNote,
    Manifest,
    ObjectEntry,
    ObjectKind,
    QdrantPart,
    Source,
)
from docuquery_operator.domain.backups.request import QdrantRequest, Server
from docuquery_operator.mover.clock import now
from docuquery_operator.mover.contracts import DamagedError, MoverError
from tests.stack.services import QdrantDouble, http

SIZE = 16


@dataclass
class Memory:
    """ObjectWriter and ObjectReader."""

    recipients: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, ObjectEntry] = field(default_factory=dict)
    notes: list[IntentNote] = field(default_factory=list)
    encrypted: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)

    async def write(
        self, name: str, kind: ObjectKind, plain: AsyncIterator[bytes], *, compress: bool = True, encrypt: bool | None = None
    ) -> ObjectEntry:
        """Keep it only when the stream has ended well."""
        if encrypt and not self.recipients:
            raise MoverError("NoRecipients", "no recipients")
        assert name not in self.tried
        self.tried.add(name)
        data = b"".join([chunk async for chunk in plain])
        if encrypt or (encrypt is None and self.recipients):
            self.encrypted.add(name)
        self.put(name, kind, data)
        return self.entries[name]

    def put(self, name: str, kind: ObjectKind, data: bytes) -> None:
        """As if it had been written so: the hashes are right."""
        digest = hashlib.sha256(data).hexdigest()
        self.objects[name] = data
        self.entries[name] = ObjectEntry(
            name=name,
            kind=kind,
            plain_bytes=len(data),
            plain_sha256=digest,
            stored_bytes=len(data),
            stored_sha256=digest,
            compression="none",
        )

    async def note(self, note: IntentNote) -> None:
        """Remember."""
        self.notes.append(note)

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        """In pieces; damage shows at the end."""
        data = self.objects[entry.name]
        for start in range(0, len(data), 1 << 16):
            yield data[start : start + (1 << 16)]
        if hashlib.sha256(data).hexdigest() != entry.plain_sha256:
            raise DamagedError(f"{entry.name} is not what was written")

    def manifest(self, part: QdrantPart) -> Manifest:
        """Of a set with this part alone."""
        source = Source(namespace="demo", stack="docuquery", backup_job="nightly")
        return Manifest(
            set_id="20261125T020000Z-1a2b3c4d.1",
            run="20261125T020000Z-1a2b3c4d",
            source=source,
            operator_version="0",
            started_at=now(),
            finished_at=now(),
            objects=list(self.entries.values()),
            qdrant=part,
        )


def quiet(step: str, done: int, total: int) -> None:
    """A Report that says nothing."""


def server_of(double: QdrantDouble) -> Server:
    """Its address."""
    return Server(host="127.0.0.1", port=double.port)


def asked(double: QdrantDouble, *collections: str, **more: Any) -> QdrantRequest:
    """A request for these collections, or all."""
    return QdrantRequest(server=server_of(double), collections=list(collections) or ["*"], **{"timeout_seconds": 30, **more})


def vector(chance: random.Random, size: int = SIZE) -> list[float]:
    """By chance."""
    return [chance.gauss(0, 1) for _ in range(size)]


def fill(
    double: QdrantDouble, name: str = "documents", count: int = 600, shards: int = 2, seed: int = 7, **payload: Any
) -> None:
    """A collection with an index and points."""
    chance = random.Random(seed)
    url = f"{double.url}/collections/{quote(name)}"
    settings = {"vectors": {"size": SIZE, "distance": "Cosine"}, "shard_number": shards}
    assert http("PUT", url, settings).status == 200
    assert http("PUT", f"{url}/index?wait=true", {"field_name": "n", "field_schema": "integer"}).status == 200
    upsert(
        double,
        name,
        [{"id": n, "vector": vector(chance), "payload": {"n": n, "text": f"point {n}", **payload}} for n in range(count)],
    )


def upsert(double: QdrantDouble, name: str, points: list[dict[str, Any]]) -> None:
    """And wait."""
    answer = http("PUT", f"{double.url}/collections/{quote(name)}/points?wait=true", {"points": points})
    assert answer.status == 200, answer.body


def count(double: QdrantDouble, name: str) -> int:
    """Exactly."""
    return int(
        http("POST", f"{double.url}/collections/{quote(name)}/points/count", {"exact": True}).json()["result"]["count"]
    )


def faults(double: QdrantDouble, **given: int) -> None:
    """Order the double to behave badly."""
    assert http("PUT", f"{double.url}/double/faults", given).status == 200


def left_on(double: QdrantDouble) -> list[str]:
    """Snapshot files on the server's disk."""
    return sorted(
        str(path.relative_to(double.snapshots))
        for path in double.snapshots.rglob("*")
        if re.search("snapshot|checksum", path.name)
    )
