"""Pure text work: chunks, a deterministic embedding, and the ids that make processing idempotent."""

import hashlib
import math
import re
import uuid

DIMENSIONS = 64
CHUNK_WORDS = 80
OVERLAP_WORDS = 16

_NAMESPACE = uuid.UUID("6f7a2f0e-6a5d-4c33-9c0e-0d6c75f0a4d1")
_WORD = re.compile(r"\w+")


def document_id(title: str, text: str) -> uuid.UUID:
    """The same content is the same document, however often it is sent."""
    return uuid.uuid5(_NAMESPACE, f"{title}\x1f{text}")


def point_id(document: uuid.UUID, position: int) -> uuid.UUID:
    """The Qdrant id of one chunk; the same chunk always lands on the same point."""
    return uuid.uuid5(document, str(position))


def chunks(text: str, size: int = CHUNK_WORDS, overlap: int = OVERLAP_WORDS) -> list[str]:
    """Split into runs of `size` words that share `overlap` words, so that no sentence is lost at a cut."""
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and below size {size}, not {overlap}")
    words = text.split()
    last_start = max(len(words) - overlap, 1)
    return [" ".join(words[start : start + size]) for start in range(0, last_start, size - overlap) if words]


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Hash every word into a signed bucket and normalise: no model, equal on every machine."""
    vector = [0.0] * dimensions
    for word in _WORD.findall(text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        sign = 1.0 if digest[7] & 1 else -1.0
        vector[int.from_bytes(digest[:4], "big") % dimensions] += sign
    norm = math.sqrt(sum(value * value for value in vector))
    if norm == 0.0:
        # Cosine distance needs a direction; text without words gets a fixed one.
        return [1.0] + [0.0] * (dimensions - 1)
    return [value / norm for value in vector]
