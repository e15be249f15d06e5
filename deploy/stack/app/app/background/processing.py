"""What the worker does with one document."""

import uuid
from collections.abc import Sequence
from typing import Self

import httpx
import psycopg
from psycopg.rows import TupleRow

from app import qdrant, schema, text
from app.config import Settings

_CONFLICT = 409
_MISSING = 404


class DocumentMissing(LookupError):
    """The task names a document that the database does not have."""


class Processor:
    """Cuts a document, embeds the chunks, and stores both halves."""

    def __init__(self, database: psycopg.Connection[TupleRow], client: httpx.Client, collection: str) -> None:
        """Work on connections that are open already."""
        self._database = database
        self._client = client
        self._collection = collection

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect and create what is missing on both sides."""
        database = psycopg.connect(**settings.connection("docuquery-worker"), autocommit=True)  # type: ignore[arg-type]
        client = httpx.Client(base_url=settings.qdrant_url, timeout=10)
        processor = cls(database, client, settings.qdrant_collection)
        try:
            processor.prepare()
        except (psycopg.Error, httpx.HTTPError):
            processor.close()
            raise
        return processor

    def prepare(self) -> None:
        """Create the tables and the collection."""
        with self._database.transaction():
            for statement in schema.STATEMENTS:
                self._database.execute(statement)
        self._create_collection()

    def close(self) -> None:
        """Let both connections go."""
        self._database.close()
        self._client.close()

    def run(self, document: uuid.UUID) -> int:
        """Process `document` and return its number of chunks."""
        title, body = self._take(document)
        parts = text.chunks(body)
        # Qdrant first: a chunk row promises a point, so a crash in between must leave points without rows, not rows
        # without points. The task comes again and writes the same ids.
        self._store_points(document, title, parts)
        self._store_chunks(document, parts)
        return len(parts)

    def fail(self, document: uuid.UUID, reason: str) -> None:
        """Note that `document` cannot be processed."""
        self._set_status(document, "failed", reason)

    def _take(self, document: uuid.UUID) -> tuple[str, str]:
        statement = "UPDATE documents SET status = 'processing', updated_at = now() WHERE id = %s RETURNING title, body"
        row = self._database.execute(statement, (document,)).fetchone()
        if row is None:
            raise DocumentMissing(f"there is no document {document}")
        return row[0], row[1]

    def _store_points(self, document: uuid.UUID, title: str, parts: Sequence[str]) -> None:
        call = qdrant.upsert(self._collection, document, title, parts)
        answer = self._send(call)
        if answer.status_code == _MISSING:
            self._create_collection()
            answer = self._send(call)
        answer.raise_for_status()

    def _store_chunks(self, document: uuid.UUID, parts: Sequence[str]) -> None:
        rows = [(document, position, text.point_id(document, position), part) for position, part in enumerate(parts)]
        with self._database.transaction(), self._database.cursor() as cursor:
            cursor.execute("DELETE FROM chunks WHERE document_id = %s", (document,))
            cursor.executemany("INSERT INTO chunks (document_id, position, point_id, body) VALUES (%s, %s, %s, %s)", rows)
            self._set_status(document, "processed", None)

    def _set_status(self, document: uuid.UUID, status: str, reason: str | None) -> None:
        self._database.execute(
            "UPDATE documents SET status = %s, error = %s, updated_at = now() WHERE id = %s", (status, reason, document)
        )

    def _create_collection(self) -> None:
        if self._send(qdrant.describe(self._collection)).is_success:
            return
        answer = self._send(qdrant.create_collection(self._collection))
        if answer.status_code != _CONFLICT:
            answer.raise_for_status()

    def _send(self, call: qdrant.Call) -> httpx.Response:
        return self._client.request(call.method, call.path, json=call.json, params=call.params)
