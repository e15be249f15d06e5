"""Qdrant as controllers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class QdrantTarget:
    """Where to ask, and with which key."""

    host: str
    port: int
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class QdrantCollection:
    """State of one collection.

    status: green, yellow (an optimisation or a snapshot runs), grey (work is pending, nothing has started it), red.
    optimizer_error: '' while the optimisers are well. pending: optimisations queued or running; None where the server
    cannot say (before 1.17) or was not asked. bytes_per_point: of dense vectors. vector, size: a dense vector to search
    by, of size 0 where there is none.
    """

    name: str
    status: str
    optimizer_error: str = ""
    points: int | None = None
    indexed: int | None = None
    segments: int | None = None
    shards: int = 1
    bytes_per_point: int = 0
    vector: str = ""
    size: int = 0
    on_disk: bool | None = None
    queue: int | None = None
    pending: int | None = None
    optimizers: Mapping[str, Any] = field(default_factory=dict)
    hnsw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QdrantCluster:
    """Peers and shards as this node sees them; failing: peers that messages could not be sent to."""

    enabled: bool
    peers: int = 1
    failing: int = 0
    local_shards: int | None = None
    remote_shards: int | None = None
    inactive_shards: int | None = None


@dataclass(frozen=True)
class QdrantFacts:
    """What one look at a Qdrant gives.

    outcome: ok, refused, timeout, unreachable, auth, not_ready, stalled (something answers, and the storage does not in
    time), error, no_address, no_credentials. collections: at most 64 of `total`; None when they were not told.
    """

    outcome: str
    message: str = ""
    latency_ms: float = 0.0
    version: str = ""
    total: int | None = None
    collections: tuple[QdrantCollection, ...] | None = None
    snapshots_running: int | None = None
    memory_bytes: int | None = None
    cluster: QdrantCluster | None = None


@dataclass(frozen=True)
class QdrantAnswer:
    """One request: outcome as in QdrantFacts, or missing; how long it took; the collection where one was asked for."""

    outcome: str
    message: str = ""
    latency_ms: float = 0.0
    collection: QdrantCollection | None = None


class Qdrant(Protocol):
    """Qdrant by its REST surface; never raises for a sick server: the outcome says it."""

    async def look(self, target: QdrantTarget, timeout: float) -> QdrantFacts:
        """Health, collections, cluster and figures within `timeout` seconds; nothing is written."""

    async def search(self, target: QdrantTarget, collection: QdrantCollection, timeout: float) -> QdrantAnswer:
        """One nearest neighbour of a constant vector, as a client would ask for it; nothing is written."""

    async def collection(self, target: QdrantTarget, name: str, timeout: float) -> QdrantAnswer:
        """One collection, with what its optimisers have still to do."""

    async def reconfigure(
        self, target: QdrantTarget, name: str, optimizers: Mapping[str, Any], timeout: float
    ) -> QdrantAnswer:
        """Change these optimiser settings; any change, also an empty one, starts the optimisers."""
