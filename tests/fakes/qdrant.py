"""A fake Qdrant: collections with states and settings, that may take time to optimise and may be slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from docuquery_operator.ports import QdrantAnswer, QdrantCluster, QdrantCollection, QdrantFacts, QdrantTarget
from tests.fakes.faults import Faults

SETTINGS: dict[str, Any] = {
    "deleted_threshold": 0.2,
    "default_segment_number": 0,
    "max_segment_size": None,
    "indexing_threshold": 10000,
    "max_optimization_threads": None,
}


def documents(**changes: Any) -> QdrantCollection:
    """A collection of 100,000 vectors of size 256, well indexed."""
    usual: dict[str, Any] = {
        "status": "green",
        "points": 100_000,
        "indexed": 100_000,
        "segments": 4,
        "pending": 0,
        "queue": 0,
    }
    return QdrantCollection(
        **{"name": "documents", "bytes_per_point": 1024, "size": 256, "optimizers": SETTINGS, **usual, **changes}
    )


def settings(**changes: Any) -> dict[str, Any]:
    """Optimiser settings in force."""
    return {**SETTINGS, **changes}


@dataclass
class QdrantState:
    """The server itself, which outlives every process of the operator."""

    answer: Callable[[str], str]
    collections: dict[str, QdrantCollection] = field(default_factory=lambda: {"documents": documents()})
    search_ms: Callable[[QdrantCollection], float] = lambda _collection: 5.0
    overlay: Callable[[QdrantFacts], QdrantFacts] = lambda facts: facts
    patched: Callable[[str], None] = lambda _name: None
    patches: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    targets: list[QdrantTarget] = field(default_factory=list)

    def change(self, name: str = "documents", **changes: Any) -> None:
        """Another state of a collection."""
        self.collections[name] = replace(self.collections[name], **changes)


class FakeQdrant:
    """ports.Qdrant."""

    def __init__(self, state: QdrantState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def look(self, target: QdrantTarget, timeout: float) -> QdrantFacts:
        async def effect() -> QdrantFacts:
            self._state.targets.append(target)
            answer = self._state.answer(target.host)
            if answer != "ok":
                return QdrantFacts(answer, f"{answer} at {target.host}")
            found = tuple(self._state.collections.values())
            return self._state.overlay(
                QdrantFacts(
                    "ok", version="1.18.3", total=len(found), collections=found, snapshots_running=0,
                    memory_bytes=2**26, cluster=QdrantCluster(False),
                )
            )  # fmt: skip

        return await self._faults.around(f"qdrant look {target.host}", effect)

    async def search(self, target: QdrantTarget, collection: QdrantCollection, timeout: float) -> QdrantAnswer:
        async def effect() -> QdrantAnswer:
            answer = self._state.answer(target.host)
            if answer != "ok":
                return QdrantAnswer(answer, latency_ms=1000 * timeout)
            return QdrantAnswer("ok", latency_ms=self._state.search_ms(self._state.collections[collection.name]))

        return await self._faults.around("qdrant search", effect)

    async def collection(self, target: QdrantTarget, name: str, timeout: float) -> QdrantAnswer:
        async def effect() -> QdrantAnswer:
            answer = self._state.answer(target.host)
            if answer != "ok":
                return QdrantAnswer(answer, answer)
            found = self._state.collections.get(name)
            return QdrantAnswer("ok", collection=found) if found else QdrantAnswer("missing", "not found")

        return await self._faults.around("qdrant collection", effect)

    async def reconfigure(
        self, target: QdrantTarget, name: str, optimizers: Mapping[str, Any], timeout: float
    ) -> QdrantAnswer:
        async def effect() -> QdrantAnswer:
            answer = self._state.answer(target.host)
            if answer != "ok":
                return QdrantAnswer(answer, answer)
            self._state.patches.append((name, dict(optimizers)))
            # As on the server: no bound is what it shows for "auto".
            values = {k: None if v == "auto" else v for k, v in optimizers.items()}
            known = self._state.collections[name]
            self._state.change(name, optimizers={**known.optimizers, **values})
            self._state.patched(name)
            return QdrantAnswer("ok")

        return await self._faults.around("qdrant reconfigure", effect)
