"""What a collection answers while it is being saved: the copy is held to it later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...domain.backups.manifest import Canary
from ..contracts import MoverError
from .client import AnswerError, Client, path
from .records import record_hash

TOP = 10
# Scores of one search at two times, in 32-bit floats.
SAME = 1e-6
EXACT = {"exact": True, "quantization": {"ignore": True}}


@dataclass(frozen=True)
class Facts:
    """One reading. samples: hash by id as text."""

    points: int
    info: dict[str, Any]
    canaries: tuple[Canary, ...]
    samples: dict[str, str]


async def names(client: Client) -> list[str]:
    """All collections, sorted."""
    listed = await client.get("/collections")
    return sorted(str(each["name"]) for each in listed["collections"])


async def aliases(client: Client) -> dict[str, str]:
    """Collection by alias."""
    listed = await client.get("/aliases")
    return {str(each["alias_name"]): str(each["collection_name"]) for each in listed["aliases"]}


async def exact_count(client: Client, collection: str) -> int:
    """Points, counted."""
    told = await client.post(f"{path('collections', collection)}/points/count", {"exact": True})
    return int(told["count"])


async def describe(client: Client, collection: str) -> dict[str, Any]:
    """State and configuration."""
    told = await client.get(path("collections", collection))
    if not isinstance(told, dict) or "config" not in told:
        raise MoverError("QdrantFailed", f"the answer about collection {collection!r} makes no sense")
    return told


async def first_reading(client: Client, collection: str, canaries: int, sample: int) -> Facts:
    """Before the snapshot: points are chosen by chance."""
    info = await describe(client, collection)
    points = await exact_count(client, collection)
    chosen = await _by_chance(client, collection, max(sample, canaries)) if points else []
    read = await _retrieved(client, collection, chosen)
    asked = [canary for point in read for canary in _questions(info, point)][:canaries]
    asked_now = [await answered(client, collection, canary) for canary in asked]
    return Facts(points, info, tuple(asked_now), _hashes(read[:sample]))


async def second_reading(client: Client, collection: str, first: Facts) -> Facts:
    """After it: the same questions. Only what answers the same both times is kept, as only that must be in the copy."""
    points = await exact_count(client, collection)
    info = await describe(client, collection)
    again = await sampled(client, collection, list(first.samples))
    samples = {each: digest for each, digest in first.samples.items() if again.get(each) == digest}
    pairs = [(canary, await answered(client, collection, canary)) for canary in first.canaries]
    return Facts(points, info, tuple(before for before, after in pairs if _same(before, after)), samples)


async def sampled(client: Client, collection: str, ids: list[str]) -> dict[str, str]:
    """Hash by id of these points, as far as they are there."""
    return _hashes(await _retrieved(client, collection, [_wire_id(each) for each in ids]))


def dense_vectors(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of the dense vectors with one vector a point, by name; '' is the unnamed one."""
    vectors = (config.get("params") or {}).get("vectors") or {}
    named = {"": vectors} if "size" in vectors else vectors
    return {name: each for name, each in named.items() if isinstance(each, dict) and not each.get("multivector_config")}


def payload_types(schema: dict[str, Any]) -> dict[str, str]:
    """Type of each indexed field."""
    return {field: str(each.get("data_type")) for field, each in schema.items() if isinstance(each, dict)}


async def _by_chance(client: Client, collection: str, count: int) -> list[int | str]:
    if count <= 0:
        return []
    where = f"{path('collections', collection)}/points"
    try:
        told = await client.post(f"{where}/query", {"query": {"sample": "random"}, "limit": count, "with_payload": False})
        found = told["points"]
    except AnswerError as error:
        if error.status in {401, 403}:
            raise
        # Servers before 1.11 cannot choose by chance.
        told = await client.post(f"{where}/scroll", {"limit": count, "with_payload": False, "with_vector": False})
        found = told["points"]
    return [point["id"] for point in found]


async def _retrieved(client: Client, collection: str, ids: list[int | str]) -> list[dict[str, Any]]:
    """In steps, for a thousand long vectors are a long answer."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), 100):
        body = {"ids": ids[start : start + 100], "with_payload": True, "with_vector": True}
        found += await client.post(f"{path('collections', collection)}/points", body)
    return sorted(found, key=lambda point: str(point["id"]))


def _hashes(points: list[dict[str, Any]]) -> dict[str, str]:
    return {str(each["id"]): record_hash(each["id"], each.get("payload"), each.get("vector")) for each in points}


def _questions(info: dict[str, Any], point: dict[str, Any]) -> list[Canary]:
    vector = point.get("vector")
    named = vector if isinstance(vector, dict) else {"": vector}
    wanted = dense_vectors(info["config"])
    return [Canary(vector_name=name, vector=named[name], expected=[]) for name in wanted if named.get(name)]


async def answered(client: Client, collection: str, canary: Canary) -> Canary:
    """What the server finds for it now."""
    body: dict[str, Any] = {"query": canary.vector, "limit": TOP, "params": EXACT, "with_payload": False}
    if canary.vector_name:
        body["using"] = canary.vector_name
    told = await client.post(f"{path('collections', collection)}/points/query", body)
    hits = told["points"]
    update = {"expected": [str(hit["id"]) for hit in hits], "scores": [float(hit["score"]) for hit in hits]}
    return canary.model_copy(update=update)


def _same(before: Canary, after: Canary) -> bool:
    pairs = zip(before.scores, after.scores, strict=False)
    return before.expected == after.expected and all(math.isclose(a, b, rel_tol=SAME, abs_tol=SAME) for a, b in pairs)


def _wire_id(text: str) -> int | str:
    return int(text) if text.isdigit() else text
