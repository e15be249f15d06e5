"""Between the REST API's JSON and the engine's objects."""

import uuid
from collections.abc import Callable
from typing import Any

from qdrant_edge import (
    FieldCondition,
    Filter,
    HasIdCondition,
    MatchAny,
    MatchExcept,
    MatchText,
    MatchValue,
    PayloadSchemaType,
    Point,
    RangeFloat,
    Record,
    ScoredPoint,
)

from qdrant_double.errors import NotSupportedError, WrongInputError

Json = dict[str, Any]
PointId = int | uuid.UUID | str

FIELD_TYPES = {
    "keyword": PayloadSchemaType.Keyword,
    "integer": PayloadSchemaType.Integer,
    "float": PayloadSchemaType.Float,
    "geo": PayloadSchemaType.Geo,
    "text": PayloadSchemaType.Text,
    "bool": PayloadSchemaType.Bool,
    "datetime": PayloadSchemaType.Datetime,
    "uuid": PayloadSchemaType.Uuid,
}


def point_id(value: object) -> PointId:
    """A point id: an unsigned number or a UUID."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise WrongInputError(
        f"Format error in JSON body: value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID"
    )


def order(value: PointId) -> tuple[int, int]:
    """Numbers first, then UUIDs, as the engine scrolls."""
    return (0, value) if isinstance(value, int) else (1, uuid.UUID(str(value)).int)


def shown(value: PointId) -> int | str:
    """A point id as JSON."""
    return value if isinstance(value, int) else str(value)


def points(body: Json) -> list[Point]:
    """The points of an upsert, as a list or as a batch of columns."""
    if "batch" in body:
        batch = body["batch"]
        payloads = batch.get("payloads") or [None] * len(batch["ids"])
        rows = [
            dict(zip(("id", "vector", "payload"), row, strict=True))
            for row in zip(batch["ids"], batch["vectors"], payloads, strict=True)
        ]
    else:
        rows = body.get("points")  # type: ignore[assignment]
    if not isinstance(rows, list):
        raise WrongInputError(
            "Format error in JSON body: data did not match any variant of untagged enum PointInsertOperations"
        )
    return [_point(row) for row in rows]


def _point(row: Json) -> Point:
    vector = row.get("vector")
    if not isinstance(vector, list) or not all(isinstance(value, (int, float)) for value in vector):
        raise NotSupportedError("the double knows one unnamed dense vector per point")
    return Point(point_id(row.get("id")), [float(value) for value in vector], row.get("payload") or {})


def field_schema(body: Json) -> PayloadSchemaType:
    """The kind of an index."""
    given = body.get("field_schema")
    name = given.get("type") if isinstance(given, dict) else given
    if str(name) not in FIELD_TYPES:
        raise NotSupportedError(f"the double knows indexes of the types {sorted(FIELD_TYPES)}")
    return FIELD_TYPES[str(name)]


def schema(shards: list[dict[str, Any]]) -> Json:
    """payload_schema over all shards: type, and how many points have the field."""
    names = {str(kind): name for name, kind in FIELD_TYPES.items()}
    made: Json = {}
    for name, index in ((name, index) for shard in shards for name, index in shard.items()):
        seen = made.setdefault(name, {"data_type": names[str(index.data_type)], "points": 0})
        seen["points"] += index.points
    return made


def record(found: Record, with_payload: bool = True) -> Json:
    """A stored point as JSON."""
    made: Json = {"id": shown(found.id)}
    if with_payload:
        made["payload"] = found.payload or {}
    if found.vector is not None:
        made["vector"] = found.vector
    return made


def scored(found: ScoredPoint) -> Json:
    """A search hit as JSON."""
    made: Json = {"id": shown(found.id), "version": found.version, "score": found.score}
    if found.payload is not None:
        made["payload"] = found.payload
    if found.vector is not None:
        made["vector"] = found.vector
    return made


def condition_filter(body: Json | None) -> Filter | None:
    """A filter, in the forms that DocuQuery uses."""
    if not body:
        return None
    unknown = set(body) - {"must", "should", "must_not"}
    if unknown:
        raise NotSupportedError(f"the double does not know the filter parts {sorted(unknown)}")
    parts = {name: [_condition(each) for each in _as_list(body[name])] for name in body if body[name] is not None}
    return Filter(**parts)  # type: ignore[arg-type]


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _condition(body: Json) -> FieldCondition | HasIdCondition | Filter:
    if "has_id" in body:
        return HasIdCondition({point_id(each) for each in body["has_id"]})
    if "key" not in body:
        nested = condition_filter(body)
        if nested is None:
            raise WrongInputError("Format error in JSON body: an empty condition")
        return nested
    if "match" in body:
        return FieldCondition(body["key"], match=_match(body["match"]))
    if "range" in body:
        return FieldCondition(body["key"], range=RangeFloat(**body["range"]))
    raise NotSupportedError(f"the double does not know the condition {sorted(body)}")


def _match(body: Json) -> MatchValue | MatchAny | MatchExcept | MatchText:
    makers: dict[str, Callable[[Any], MatchValue | MatchAny | MatchExcept | MatchText]] = {
        "value": MatchValue,
        "any": MatchAny,
        "except": MatchExcept,
        "text": MatchText,
    }
    for name, maker in makers.items():
        if name in body:
            return maker(body[name])
    raise NotSupportedError(f"the double does not know the match {sorted(body)}")
