"""One collection: its shards on disk, its configuration, and every operation on its points."""

import json
import pathlib
import random
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from qdrant_edge import CountRequest, EdgeShard, Filter, Query, QueryRequest, Record, Sample, ScrollRequest, UpdateOperation

from qdrant_double import config, convert
from qdrant_double.errors import WrongInputError

Json = dict[str, Any]


class Collection:
    """Shards behind one lock: a double needs to be right, not fast."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        """Open the collection that `folder` holds."""
        self.name = name
        self.folder = folder
        self.config: Json = json.loads((folder / "config.json").read_text())
        self.optimizing = False
        self.archiving = False
        self._operation = 0
        self._lock = threading.RLock()
        self._shards = self._load()

    @classmethod
    def create(cls, name: str, folder: pathlib.Path, settings: Json) -> "Collection":
        """Make an empty collection and open it."""
        for number in range(settings["params"]["shard_number"]):
            shard = folder / str(number)
            shard.mkdir(parents=True)
            EdgeShard.create(str(shard), config.engine(settings)).close()
        (folder / "config.json").write_text(json.dumps(settings))
        return cls(name, folder)

    def _load(self) -> list[EdgeShard]:
        settings = config.engine(self.config)
        count = self.config["params"]["shard_number"]
        return [EdgeShard.load(str(self.folder / str(number)), settings) for number in range(count)]

    def close(self) -> None:
        """Write everything down and let the files go."""
        with self._lock:
            for shard in self._shards:
                shard.close()
            self._shards = []

    def drop(self) -> None:
        """Remove it from disk."""
        with self._lock:
            self.close()
            shutil.rmtree(self.folder)

    def change(self, body: Json) -> None:
        """Take over new settings; an empty one also starts the optimisers again, as on the server."""
        settings = config.patched(self.config, body)
        with self._lock:
            self.close()
            temporary = self.folder / "config.json.new"
            temporary.write_text(json.dumps(settings))
            temporary.rename(self.folder / "config.json")
            self.config = settings
            self._shards = self._load()

    def optimize(self) -> None:
        """Merge, vacuum and index as the settings ask; the state is yellow meanwhile."""
        self.optimizing = True
        try:
            with self._lock:
                for shard in self._shards:
                    shard.optimize()
        finally:
            self.optimizing = False

    def flushed(self, work: Callable[[pathlib.Path], None]) -> None:
        """Let `work` read the folder while nothing writes to it."""
        with self._lock:
            for shard in self._shards:
                shard.flush()
            work(self.folder)

    def replace_shard(self, number: int, prepared: pathlib.Path) -> None:
        """Put the shard in `prepared` in the place of one; it must open with this collection's settings first."""
        with self._lock:
            self.close()
            try:
                EdgeShard.load(str(prepared), config.engine(self.config)).close()
                shutil.rmtree(self.folder / str(number))
                shutil.move(prepared, self.folder / str(number))
            finally:
                self._shards = self._load()

    def index(self, body: Json) -> int:
        """Index a field of the payload."""
        with self._lock:
            for shard in self._shards:
                shard.update(UpdateOperation.create_field_index(body["field_name"], convert.field_schema(body)))
            return self._next_operation()

    def info(self) -> Json:
        """What GET /collections/{name} reports."""
        with self._lock:
            infos = [shard.info() for shard in self._shards]
        return {
            "status": "yellow" if self.optimizing or self.archiving else "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": sum(info.indexed_vectors_count for info in infos),
            "points_count": sum(info.points_count for info in infos),
            "segments_count": sum(info.segments_count for info in infos),
            "config": self.config,
            "payload_schema": convert.schema([info.payload_schema for info in infos]),
            "update_queue": {"length": 0},
        }

    def shard_counts(self) -> list[int]:
        """Points in each shard."""
        with self._lock:
            return [shard.count(CountRequest(exact=True)) for shard in self._shards]

    def upsert(self, body: Json) -> int:
        """Insert or replace points and return the number of the operation."""
        new = convert.points(body)
        for point in new:
            self._check_size(point.vector)
        with self._lock:
            for number, shard in enumerate(self._shards):
                own = [point for point in new if self._home(point.id) == number]
                if own:
                    shard.update(UpdateOperation.upsert_points(own))
            return self._next_operation()

    def delete(self, body: Json) -> int:
        """Delete points by id or by filter."""
        if "points" not in body and "filter" not in body:
            raise WrongInputError(
                "Format error in JSON body: data did not match any variant of untagged enum PointsSelector"
            )
        if "filter" in body:
            # An empty filter matches every point.
            matching = convert.condition_filter(body["filter"]) or Filter()
            operation = UpdateOperation.delete_points_by_filter(matching)
        else:
            operation = UpdateOperation.delete_points([convert.point_id(each) for each in body["points"]])
        with self._lock:
            for shard in self._shards:
                shard.update(operation)
            return self._next_operation()

    def count(self, body: Json) -> int:
        """Number of points that match."""
        request = CountRequest(exact=bool(body.get("exact", True)), filter=convert.condition_filter(body.get("filter")))
        with self._lock:
            return sum(shard.count(request) for shard in self._shards)

    def query(self, body: Json) -> list[Json]:
        """The nearest points over all shards."""
        vector = body.get("query")
        if vector == {"sample": "random"}:
            return self._by_chance(body)
        if isinstance(vector, dict):
            vector = vector.get("nearest")
        self._check_size(vector)
        limit, offset = int(body.get("limit") or 10), int(body.get("offset") or 0)
        request = QueryRequest(
            limit=limit + offset,
            query=Query.Nearest([float(value) for value in vector]),  # type: ignore[union-attr]
            with_payload=body.get("with_payload") or False,
            with_vector=body.get("with_vector") or False,
            filter=convert.condition_filter(body.get("filter")),
            score_threshold=body.get("score_threshold"),
        )
        with self._lock:
            hits = [hit for shard in self._shards for hit in shard.query(request)]
        nearest_first = self.config["params"]["vectors"]["distance"] in {"Cosine", "Dot"}
        hits.sort(key=lambda hit: hit.score, reverse=nearest_first)
        return [convert.scored(hit) for hit in hits[offset : offset + limit]]

    def _by_chance(self, body: Json) -> list[Json]:
        limit = int(body.get("limit") or 10)
        request = QueryRequest(limit=limit, query=Sample.Random, with_payload=body.get("with_payload") or False)
        with self._lock:
            hits = [hit for shard in self._shards for hit in shard.query(request)]
        return [convert.scored(hit) for hit in random.sample(hits, min(limit, len(hits)))]

    def scroll(self, body: Json) -> Json:
        """One page in the order of ids, and where the next one starts."""
        limit = int(body.get("limit") or 10)
        with_payload = body.get("with_payload", True)
        start = body.get("offset")
        request = ScrollRequest(
            offset=None if start is None else convert.point_id(start),
            limit=limit + 1,
            filter=convert.condition_filter(body.get("filter")),
            with_payload=with_payload,
            with_vector=body.get("with_vector") or False,
        )
        with self._lock:
            found = [record for shard in self._shards for record in shard.scroll(request)[0]]
        found.sort(key=lambda record: convert.order(record.id))
        following = convert.shown(found[limit].id) if len(found) > limit else None
        page = [convert.record(record, bool(with_payload)) for record in found[:limit]]
        return {"points": page, "next_page_offset": following}

    def retrieve(self, body: Json) -> list[Json]:
        """Points by id; those that are not there are left out."""
        ids = [convert.point_id(each) for each in body.get("ids", [])]
        with_payload = body.get("with_payload", True)
        found = self._by_id(ids, with_payload, body.get("with_vector") or False)
        return [convert.record(record, bool(with_payload)) for record in found]

    def _by_id(self, ids: Sequence[convert.PointId], with_payload: Any, with_vector: Any) -> list[Record]:
        with self._lock:
            return [
                record
                for number, shard in enumerate(self._shards)
                for record in shard.retrieve([each for each in ids if self._home(each) == number], with_payload, with_vector)
            ]

    def _home(self, value: convert.PointId) -> int:
        number = value if isinstance(value, int) else uuid.UUID(str(value)).int
        return number % len(self._shards)

    def _check_size(self, vector: object) -> None:
        expected = self.config["params"]["vectors"]["size"]
        if not isinstance(vector, list):
            raise WrongInputError("Format error in JSON body: the double searches by one dense vector, expected a list")
        if len(vector) != expected:
            raise WrongInputError(f"Wrong input: Vector dimension error: expected dim: {expected}, got {len(vector)}")

    def _next_operation(self) -> int:
        self._operation += 1
        return self._operation
