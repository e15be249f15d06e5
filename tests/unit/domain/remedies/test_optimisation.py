"""Optimiser settings computed from a collection's own figures."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.remedies.optimisation import improved

SETTINGS = {
    "default_segment_number": 0,
    "max_segment_size": None,
    "indexing_threshold": 10000,
    "max_optimization_threads": None,
}


def found(optimizers: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """100,000 vectors of 1 kB in four segments, all indexed."""
    usual = {"points": 100_000, "indexed": 100_000, "segments": 4, "shards": 1, "bytesPerPoint": 1024}
    return {**usual, "optimizers": {**SETTINGS, **(optimizers or {})}, **changes}


CASES: list[tuple[dict[str, Any], float, dict[str, Any]]] = [
    # Nothing to do.
    (found(), 4, {}),
    (found(points=0, indexed=0), 4, {}),
    (found(segments=None), 4, {}),
    (found(indexed=91_000), 4, {}),
    # Switched off for an upload.
    (found({"indexing_threshold": 0}, indexed=0), 4, {"indexing_threshold": 10000}),
    # Small segments: low enough that they are indexed, but not lower than is of use.
    (found({"indexing_threshold": 0}, indexed=0, points=3000, bytesPerPoint=256), 4, {"indexing_threshold": 100}),
    (found(indexed=0, points=20_000), 4, {"indexing_threshold": 2500}),
    # Segments of this size are indexed, or soon will be: another threshold would change nothing.
    (found(indexed=50_000), 4, {}),
    # Many segments: one a core, not fewer than two.
    (found(segments=40), 4, {"default_segment_number": 4}),
    (found(segments=40), 0, {"default_segment_number": 2}),
    (found(segments=40), 0.5, {"default_segment_number": 2}),
    (found(segments=400), 64, {"default_segment_number": 16}),
    (found(segments=8), 4, {}),
    (found(segments=16, shards=2), 4, {}),
    # Many because none may be larger.
    (found({"max_segment_size": 5000}, segments=40), 4, {}),
    # Few are wanted already: more merging is the server's own.
    (found({"default_segment_number": 2}, segments=40), 4, {}),
    # The optimisers are switched off.
    (found({"max_optimization_threads": 0}), 4, {"max_optimization_threads": "auto"}),
    # What cannot be put back is left alone: not set, or not told.
    (found({"indexing_threshold": None}, indexed=0), 4, {}),
    (found({"default_segment_number": None}, segments=40), 4, {}),
    ({"points": 1000, "indexed": 0, "segments": 90}, 4, {}),
]


@pytest.mark.parametrize(("collection", "cpus", "expected"), CASES)
def test_settings_follow_the_figures(collection: dict[str, Any], cpus: float, expected: dict[str, Any]) -> None:
    assert improved(collection, cpus) == expected


@pytest.mark.parametrize(("collection", "cpus", "expected"), CASES)
def test_what_was_improved_is_not_improved_again(collection: dict[str, Any], cpus: float, expected: dict[str, Any]) -> None:
    """Else each incident would turn the same screw further."""
    in_force = {**collection, "optimizers": {**collection.get("optimizers", {}), **expected}}
    if "max_optimization_threads" in expected:
        in_force["optimizers"]["max_optimization_threads"] = None
    assert improved(in_force, cpus) == {}
