"""A process that opens one shard with the embedded engine and tells what is in it.

Damaged files can end the engine by a panic or a signal; then this process is what dies, and that is an answer too.
In: a `Question` in JSON on standard input; out: an `Answer` on standard output. No payload leaves it, only hashes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...domain.backups.manifest import Canary, Document
from .records import record_hash

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard

PAGE = 256
SCAN = 200_000
# Stored as 16-bit floats or bytes, vectors come back that much different.
NORM = 1e-2


class Question(Document):
    """What to ask of the shard in this folder. distances: of the dense vectors by name."""

    folder: str
    sample_ids: list[str] = []
    canaries: list[Canary] = []
    top: int = 10
    own: int = 20
    distances: dict[str, str] = {}


class Hit(Document):
    """One result of a search."""

    id: str
    score: float


class Answer(Document):
    """What the shard holds. error: why it does not open."""

    error: str = ""
    points: int = 0
    payload_types: dict[str, str] = {}
    samples: dict[str, str] = {}
    canaries: list[list[Hit]] = []
    scanned: int = 0
    # Ids of points whose vector is not of length 1 although the distance is Cosine, or not a number at all.
    odd: list[str] = []
    zero: int = 0
    own_asked: int = 0
    # Ids of points that a search for their own vector does not find.
    own_missed: list[str] = []


def main() -> int:
    """Exit code 0 when there is an answer."""
    question = Question.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(ask(question).to_json().decode() + "\n")
    return 0


def ask(question: Question) -> Answer:
    """Open the shard and go through it."""
    from qdrant_edge import CountRequest, EdgeShard

    try:
        shard = EdgeShard.load(question.folder)
    except Exception as error:  # noqa: BLE001 - the engine raises no narrower class
        return Answer(error=str(error)[:300])
    scan = _Scan(shard, question)
    for record in _records(shard):
        scan.look(record)
    hits = [[Hit(id=str(h.id), score=h.score) for h in _search(shard, canary, question.top)] for canary in question.canaries]
    return Answer(
        points=shard.count(CountRequest(exact=True)),
        payload_types={field: _type_name(index.data_type) for field, index in shard.info().payload_schema.items()},
        samples=_samples(shard, question.sample_ids),
        canaries=hits,
        scanned=scan.seen,
        odd=scan.odd,
        zero=scan.zero,
        own_asked=scan.asked,
        own_missed=scan.missed,
    )


def _records(shard: EdgeShard) -> Iterator[Any]:
    from qdrant_edge import ScrollRequest

    offset: Any = None
    seen = 0
    while seen < SCAN:
        page, offset = shard.scroll(ScrollRequest(offset=offset, limit=PAGE, with_payload=True, with_vector=True))
        yield from page
        seen += len(page)
        if offset is None:
            return


class _Scan:
    """Goes over the points; keeps the first ids of those that are not right."""

    def __init__(self, shard: EdgeShard, question: Question) -> None:
        self._shard = shard
        self._question = question
        self._every = max(1, min(shard.info().points_count, SCAN) // max(1, question.own))
        self.seen = self.zero = self.asked = 0
        self.odd: list[str] = []
        self.missed: list[str] = []

    def look(self, record: Any) -> None:
        vectors = record.vector if isinstance(record.vector, dict) else {"": record.vector}
        for name, distance in self._question.distances.items():
            vector = vectors.get(name)
            if not isinstance(vector, list) or (vector and isinstance(vector[0], list)):
                continue
            length = math.sqrt(sum(value * value for value in vector))
            if length == 0:
                self.zero += 1
                continue
            if not math.isfinite(length) or (distance == "Cosine" and abs(length - 1) > NORM):
                self._remember(self.odd, record)
            elif self.seen % self._every == 0:
                self._search_itself(record, name, vector, distance, length)
        self.seen += 1

    def _search_itself(self, record: Any, name: str, vector: list[float], distance: str, length: float) -> None:
        self.asked += 1
        expected = {"Cosine": 1.0, "Dot": length * length}.get(distance, 0.0)
        only = record.id if distance == "Dot" else None
        hits = _search(self._shard, Canary(vector_name=name, vector=vector, expected=[]), 1, only)
        if not hits or abs(hits[0].score - expected) > NORM * max(1.0, abs(expected)):
            self._remember(self.missed, record)

    @staticmethod
    def _remember(where: list[str], record: Any) -> None:
        if len(where) < 20:
            where.append(str(record.id))


def _search(shard: EdgeShard, canary: Canary, limit: int, only: Any = None) -> list[Any]:
    from qdrant_edge import Filter, HasIdCondition, QuantizationSearchParams, Query, QueryRequest, SearchParams

    return shard.query(
        QueryRequest(
            limit=limit,
            query=Query.Nearest(canary.vector, using=canary.vector_name or None),
            filter=None if only is None else Filter(must=[HasIdCondition({only})]),
            params=SearchParams(exact=True, quantization=QuantizationSearchParams(ignore=True)),
        )
    )


def _samples(shard: EdgeShard, ids: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(ids), PAGE):
        wanted: list[Any] = [int(each) if each.isdigit() else each for each in ids[start : start + PAGE]]
        for record in shard.retrieve(wanted, True, True):
            found[str(record.id)] = record_hash(record.id, record.payload, record.vector)
    return found


def _type_name(kind: object) -> str:
    return str(kind).rpartition(".")[2].lower()


if __name__ == "__main__":
    sys.exit(main())
