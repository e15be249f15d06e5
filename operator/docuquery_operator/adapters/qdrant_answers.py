"""What Qdrant's answers mean. They come from outside: what does not fit is left out, or the answer is worth nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..ports import QdrantCluster, QdrantCollection

NAME_LIMIT = 255
TEXT_LIMIT = 200
BYTES = {"float32": 4, "float16": 2, "uint8": 1}
LARGEST_VECTOR = 65_536
SNAPSHOTS = ("snapshot_creation_running", "snapshot_recovery_running")
MEMORY = "memory_resident_bytes"


def parsed(body: bytes) -> Any:
    """The JSON, None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def result(body: bytes) -> Any:
    """`result` of the envelope of a good answer."""
    envelope = parsed(body)
    return envelope.get("result") if isinstance(envelope, dict) else None


def error(body: bytes) -> str:
    """The words of a bad answer, capped."""
    envelope = parsed(body)
    status = envelope.get("status") if isinstance(envelope, dict) else None
    words = status.get("error") if isinstance(status, dict) else None
    return str(words if words is not None else body.decode(errors="replace"))[:TEXT_LIMIT]


def version(body: bytes) -> str:
    """Version of the server in the answer of `/`."""
    found = parsed(body)
    return str(found.get("version", ""))[:32] if isinstance(found, dict) else ""


def names(found: Any) -> list[str] | None:
    """Names of the collections, None when the answer is no list of them."""
    listed = found.get("collections") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        return None
    named = [c.get("name") if isinstance(c, dict) else None for c in listed]
    if not all(isinstance(n, str) and 0 < len(n) <= NAME_LIMIT for n in named):
        return None
    return sorted(str(n) for n in named)


def collection(name: str, found: Any) -> QdrantCollection | None:
    """State and settings in force; None when the answer says not even the status."""
    if not isinstance(found, dict) or not isinstance(found.get("status"), str):
        return None
    config = _map(found.get("config"))
    params = _map(config.get("params"))
    vector, size, on_disk, width = _vectors(_map(params.get("vectors")))
    return QdrantCollection(
        name=name,
        status=found["status"][:16],
        optimizer_error=_optimizer(found.get("optimizer_status")),
        points=number(found.get("points_count")),
        indexed=number(found.get("indexed_vectors_count")),
        segments=number(found.get("segments_count")),
        shards=max(1, number(params.get("shard_number")) or 1),
        bytes_per_point=width,
        vector=vector,
        size=size,
        on_disk=on_disk,
        queue=number(_map(found.get("update_queue")).get("length")),
        optimizers=_settings(config.get("optimizer_config")),
        hnsw=_settings(config.get("hnsw_config")),
    )


def pending(found: Any) -> int | None:
    """Optimisations queued or running."""
    summary, running = _map(_map(found).get("summary")), _map(found).get("running")
    queued = number(summary.get("queued_optimizations"))
    return queued + len(running) if queued is not None and isinstance(running, list) else None


def hits(found: Any) -> int | None:
    """How many points a search has found; None when the answer is none to a search."""
    points = _map(found).get("points")
    return len(points) if isinstance(points, list) else None


def cluster(found: Any) -> QdrantCluster | None:
    """Whether this is a cluster, and its peers."""
    status = _map(found).get("status")
    if status == "disabled":
        return QdrantCluster(False)
    if status != "enabled":
        return None
    return QdrantCluster(True, len(_map(found.get("peers"))) or 1, len(_map(found.get("message_send_failures"))))


def with_shards(known: QdrantCluster, told: Sequence[Any]) -> QdrantCluster:
    """With the shards of these collections; a collection that tells nothing leaves the numbers out."""
    local, remote = 0, 0
    states: list[Any] = []
    for each in told:
        own, others = _map(each).get("local_shards"), _map(each).get("remote_shards")
        if not isinstance(own, list) or not isinstance(others, list):
            return known
        local, remote = local + len(own), remote + len(others)
        states += [_map(s).get("state") for s in (*own, *others)]
    return replace(known, local_shards=local, remote_shards=remote, inactive_shards=sum(s != "Active" for s in states))


def figures(metrics: bytes) -> tuple[int | None, int | None]:
    """Running snapshots and resident bytes of memory, out of Prometheus text; None where it is not there."""
    seen: dict[str, int] = {}
    for line in metrics.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name == MEMORY or name.partition("{")[0] in SNAPSHOTS:
            count = _float(value)
            if count is not None:
                key = name.partition("{")[0]
                seen[key] = seen.get(key, 0) + count
    running = [seen[n] for n in SNAPSHOTS if n in seen]
    return sum(running) if running else None, seen.get(MEMORY)


def number(value: Any) -> int | None:
    """A count; anything else is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _float(text: str) -> int | None:
    try:
        value = float(text.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None
    return int(value) if 0 <= value < 2**63 else None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _optimizer(status: Any) -> str:
    """'' when it is well; an answer that is neither ok nor an error is none to rely on."""
    if status == "ok":
        return ""
    words = _map(status).get("error")
    return " ".join(str(words if words is not None else f"unknown state {str(status)[:32]}").split())[:TEXT_LIMIT] or "error"


def _vectors(vectors: Mapping[str, Any]) -> tuple[str, int, bool | None, int]:
    """A dense vector to search by and its size, whether all are on disk, and bytes of a point's dense vectors."""
    named = {"": vectors} if "size" in vectors else {str(k)[:NAME_LIMIT]: _map(v) for k, v in vectors.items()}
    sizes = {n: number(v.get("size")) or 0 for n, v in named.items()}
    width = sum(s * BYTES.get(str(named[n].get("datatype") or "float32"), 4) for n, s in sizes.items())
    on_disk = [v.get("on_disk") for v in named.values()]
    # One of several vectors a point needs another form of query.
    plain = [n for n in sorted(named) if 0 < sizes[n] <= LARGEST_VECTOR and not named[n].get("multivector_config")]
    chosen = plain[0] if plain else ""
    return chosen, sizes[chosen] if plain else 0, all(on_disk) if on_disk and None not in on_disk else None, width


def _settings(value: Any) -> dict[str, int | float | str | bool | None]:
    """Plain values only, and few of them."""
    plain = {str(k)[:64]: v for k, v in list(_map(value).items())[:32]}
    return {k: v[:64] if isinstance(v, str) else v for k, v in plain.items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    # Not a number is none: it has no JSON either.
    finite = not isinstance(value, float) or math.isfinite(value)
    return finite and (value is None or isinstance(value, (int, float, str, bool)))
