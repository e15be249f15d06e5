"""The requests that the application makes to Qdrant, as plain data; the api sends them async, the worker sync."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app import text


@dataclass(frozen=True)
class Call:
    """One REST request."""

    method: str
    path: str
    json: dict[str, Any] | None = None
    params: dict[str, str] | None = None


def create_collection(name: str) -> Call:
    """Create the collection; an existing one answers 409."""
    return Call("PUT", f"/collections/{name}", {"vectors": {"size": text.DIMENSIONS, "distance": "Cosine"}})


def describe(name: str) -> Call:
    """Status, number of points and configuration."""
    return Call("GET", f"/collections/{name}")


def count(name: str) -> Call:
    """The exact number of points; it reads data, where /readyz answers from memory for ever."""
    return Call("POST", f"/collections/{name}/points/count", {"exact": True})


def search(name: str, question: str, top: int) -> Call:
    """The nearest chunks."""
    body = {"query": text.embed(question), "limit": top, "with_payload": True}
    return Call("POST", f"/collections/{name}/points/query", body)


def upsert(name: str, document: uuid.UUID, title: str, parts: Sequence[str]) -> Call:
    """Store one point for each chunk and wait until it can be found."""
    points = [
        {
            "id": str(text.point_id(document, position)),
            "vector": text.embed(part),
            "payload": {"document_id": str(document), "position": position, "title": title},
        }
        for position, part in enumerate(parts)
    ]
    return Call("PUT", f"/collections/{name}/points", {"points": points}, {"wait": "true"})
