"""Points in one form, whether a server or the embedded engine has told them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any


def record_hash(point_id: object, payload: object, vector: object) -> str:
    """SHA-256 in hex over id, payload and vectors. Numbers of vectors count as 32-bit floats, as they are stored."""
    digest = hashlib.sha256()
    digest.update(json.dumps([str(point_id), payload or {}], sort_keys=True, separators=(",", ":"), default=str).encode())
    for name, each in sorted(_named(vector).items()):
        digest.update(f"\n{name}\n".encode())
        digest.update(_packed(each))
    return digest.hexdigest()


def sample_hash(hashes: Iterable[str]) -> str:
    """One hash over those of the sampled points, in their order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _named(vector: object) -> Mapping[str, Any]:
    if vector is None:
        return {}
    return vector if isinstance(vector, dict) else {"": vector}


def _packed(vector: Any) -> bytes:
    indices = vector.get("indices") if isinstance(vector, dict) else getattr(vector, "indices", None)
    if indices is not None:
        values = vector["values"] if isinstance(vector, dict) else vector.values
        pairs = sorted(zip(indices, values, strict=True))
        return b"".join(struct.pack("<If", index, value) for index, value in pairs)
    if vector and isinstance(vector[0], list):
        return b"|".join(_packed(row) for row in vector)
    return struct.pack(f"<{len(vector)}f", *vector)
