"""Optimiser settings of a Qdrant collection, computed from its own figures. Pure.

Sources: qdrant.tech/documentation/ops-optimization/optimizer (merge optimizer: it merges while there are more segments
than default_segment_number; indexing optimizer: a segment is indexed once its vectors exceed indexing_threshold, 0
switches that off, as is advised for a bulk upload and then forgotten) and the API's OptimizersConfigDiff (1 kB is one
vector of size 256; the number of segments should be a factor of the number of search threads; max_optimization_threads 0
switches the optimisers off, "auto" does not bound them).
A setting that cannot be put back, because PATCH has no word for "as it was", is not changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Settings = dict[str, int | float | str]

# The default of the code; the text of the documentation says 20000.
INDEXING_THRESHOLD_KB = 10_000
SMALLEST_THRESHOLD_KB = 100
INDEXED_ENOUGH = 0.9
SEGMENTS_BEYOND = 2
FEWEST_SEGMENTS, MOST_SEGMENTS = 2, 16
SEGMENT_KB_PER_CPU = 256_000
# How the present value is written where it is "not set".
UNSET: Mapping[str, str] = {"max_optimization_threads": "auto"}


def improved(collection: Mapping[str, Any], cpus: float) -> Settings:
    """Settings that differ from those in force and should help; empty when there are none.

    collection: points, indexed, segments, shards, bytesPerPoint, optimizers, as the finding of qdrantCollections has them.
    cpus: cores of the server, 0 when they are not known.
    """
    points, segments = collection.get("points"), collection.get("segments")
    if not points or not segments:
        return {}
    now: Mapping[str, Any] = collection.get("optimizers") or {}
    wanted: Settings = {}
    if now.get("max_optimization_threads") == 0:
        wanted["max_optimization_threads"] = UNSET["max_optimization_threads"]
    number = _segments(collection, now, cpus)
    if number:
        wanted["default_segment_number"] = number
        segments = min(segments, number * collection.get("shards", 1))
    threshold = _threshold(collection, now, size_kb(collection) / segments)
    if threshold:
        wanted["indexing_threshold"] = threshold
    return {k: v for k, v in wanted.items() if former(now, k) is not None}


def former(now: Mapping[str, Any], key: str) -> int | float | str | None:
    """The value in force as PATCH takes it, None when it has no word for it."""
    value = now.get(key)
    return UNSET.get(key) if value is None and key in now else value


def size_kb(collection: Mapping[str, Any]) -> float:
    """Vectors of the whole collection, kB."""
    return float((collection.get("points") or 0) * (collection.get("bytesPerPoint") or 0) / 1024)


def _segments(collection: Mapping[str, Any], now: Mapping[str, Any], cpus: float) -> int:
    """One segment a core of a shard, not fewer than two; 0: leave it.

    More than that are no fault where one would be larger than max_segment_size.
    """
    goal = min(MOST_SEGMENTS, max(FEWEST_SEGMENTS, math.floor(cpus)))
    shards = collection.get("shards", 1)
    largest = now.get("max_segment_size") or SEGMENT_KB_PER_CPU * max(1, math.floor(cpus))
    needed = max(goal, math.ceil(size_kb(collection) / shards / largest))
    present = now.get("default_segment_number")
    too_many = collection["segments"] / shards > SEGMENTS_BEYOND * needed
    # 0 is as many as the machine has cores, of which the container may have few.
    return goal if too_many and present is not None and (present == 0 or present > goal) else 0


def _threshold(collection: Mapping[str, Any], now: Mapping[str, Any], segment_kb: float) -> int:
    """Low enough that the present segments are indexed; 0: leave it."""
    present, indexed = now.get("indexing_threshold"), collection.get("indexed")
    if present is None or indexed is None or indexed >= INDEXED_ENOUGH * collection["points"]:
        return 0
    if 0 < present <= segment_kb:
        # Segments of this size are indexed already, or soon.
        return 0
    wanted = min(INDEXING_THRESHOLD_KB, max(SMALLEST_THRESHOLD_KB, math.floor(segment_kb / 2)))
    return wanted if present == 0 or wanted < present else 0
