"""A collection's configuration: what the client may set, what the server reports, what the engine is given."""

import copy
from typing import Any

from qdrant_edge import Distance, EdgeConfig, EdgeOptimizersConfig, EdgeVectorParams, HnswIndexConfig

from qdrant_double.errors import NotSupportedError, WrongInputError

Json = dict[str, Any]

_HNSW: Json = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0, "on_disk": False}
_OPTIMIZERS: Json = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
    "prevent_unoptimized": None,
}
_WAL: Json = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
_PARAMS: Json = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}

_BOOLEANS = {"on_disk", "prevent_unoptimized"}
_FLOATS = {"deleted_threshold"}
_DISTANCES = {
    "Cosine": Distance.Cosine,
    "Dot": Distance.Dot,
    "Euclid": Distance.Euclid,
    "Manhattan": Distance.Manhattan,
}


def created(body: Json) -> Json:
    """The full configuration behind `PUT /collections/{name}`."""
    vectors = body.get("vectors")
    if not isinstance(vectors, dict) or "size" not in vectors:
        raise NotSupportedError("the double knows one unnamed dense vector: send vectors: {size, distance}")
    if vectors.get("distance") not in _DISTANCES:
        raise WrongInputError(
            f"Format error in JSON body: unknown variant `{vectors.get('distance')}`, expected one of {list(_DISTANCES)}"
        )
    check("vectors", {"size": vectors["size"]})
    params = {key: body[key] for key in _PARAMS if key in body}
    check("params", {key: value for key, value in params.items() if key != "on_disk_payload"})
    base = {
        "params": {"vectors": {"size": vectors["size"], "distance": vectors["distance"]}, **_PARAMS, **params},
        "hnsw_config": dict(_HNSW),
        "optimizer_config": dict(_OPTIMIZERS),
        "wal_config": dict(_WAL),
        "quantization_config": None,
    }
    return patched(base, body)


def patched(config: Json, body: Json) -> Json:
    """`config` with what `PATCH /collections/{name}` changes."""
    changed = copy.deepcopy(config)
    for key, target in (("optimizers_config", "optimizer_config"), ("hnsw_config", "hnsw_config")):
        given = body.get(key) or {}
        check(key, given)
        changed[target] |= {name: value for name, value in given.items() if value is not None}
    return changed


def check(section: str, given: object) -> None:
    """Refuse values of the wrong type with the real server's words."""
    if not isinstance(given, dict):
        raise WrongInputError(f"Format error in JSON body: invalid type for {section}, expected a map")
    for name, value in given.items():
        _check_value(name, value)


def _check_value(name: str, value: object) -> None:
    expected = "a boolean" if name in _BOOLEANS else "f64" if name in _FLOATS else "usize"
    if value is None or (name == "max_optimization_threads" and value == "auto"):
        return
    if name in _BOOLEANS:
        right = isinstance(value, bool)
    elif name in _FLOATS:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not right:
        kind = "string" if isinstance(value, str) else type(value).__name__
        shown = f'"{value}"' if isinstance(value, str) else value
        raise WrongInputError(
            f"Format error in JSON body: invalid type: {kind} {shown}, expected {expected} at line 1 column 1"
        )


def engine(config: Json) -> EdgeConfig:
    """The same for the engine; it has no word for the settings that only a server has."""
    vectors, hnsw, optimizer = config["params"]["vectors"], config["hnsw_config"], config["optimizer_config"]
    return EdgeConfig(
        vectors=EdgeVectorParams(size=vectors["size"], distance=_DISTANCES[vectors["distance"]]),
        hnsw_config=HnswIndexConfig(
            m=hnsw["m"],
            ef_construct=hnsw["ef_construct"],
            full_scan_threshold=hnsw["full_scan_threshold"],
            max_indexing_threads=hnsw["max_indexing_threads"],
            on_disk=hnsw["on_disk"],
        ),
        optimizers=EdgeOptimizersConfig(
            deleted_threshold=optimizer["deleted_threshold"],
            vacuum_min_vector_number=optimizer["vacuum_min_vector_number"],
            default_segment_number=optimizer["default_segment_number"],
            max_segment_size=optimizer["max_segment_size"],
            indexing_threshold=optimizer["indexing_threshold"],
            prevent_unoptimized=optimizer["prevent_unoptimized"],
        ),
    )
