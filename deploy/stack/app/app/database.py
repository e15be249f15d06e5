"""What the api reads from and writes to PostgreSQL."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from app import schema, text
from app.config import Settings

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]


def make_pool(settings: Settings) -> Pool:
    """A bounded pool; a caller waits two seconds at most for a connection."""
    return AsyncConnectionPool(
        kwargs={**settings.connection("docuquery-api"), "row_factory": dict_row},
        connection_class=AsyncConnection[DictRow],
        # No connection is kept on principle: an api must start, and stay up, while the database is away.
        min_size=0,
        max_size=settings.database_pool_max,
        timeout=2.0,
        max_idle=60.0,
        max_waiting=50,
        # The pool's own retries back off to minutes; giving up early makes the next caller try afresh.
        reconnect_timeout=2.0,
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="api",
    )


async def create_schema(connection: AsyncConnection[Any]) -> None:
    """Create what is missing, in one transaction."""
    async with connection.transaction():
        for statement in schema.STATEMENTS:
            await connection.execute(statement)


@dataclass(frozen=True)
class NewDocument:
    """A document as a client sends it."""

    title: str
    text: str

    @property
    def id(self) -> uuid.UUID:
        """The id that follows from the content."""
        return text.document_id(self.title, self.text)


class Documents:
    """The document tables; every method is one short transaction."""

    def __init__(self, pool: Pool) -> None:
        """Work on the connections of `pool`."""
        self._pool = pool

    async def prepare(self) -> None:
        """Create the schema."""
        async with self._pool.connection() as connection:
            await create_schema(connection)

    async def add(self, documents: Sequence[NewDocument]) -> None:
        """Store the documents that are not there yet; they are not yet sent to the queue."""
        rows = [(document.id, document.title, document.text) for document in documents]
        statement = "INSERT INTO documents (id, title, body) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
        async with self._pool.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(statement, rows)

    async def unsent(self, limit: int = 200) -> list[uuid.UUID]:
        """Documents for which no task was put on the queue yet, oldest first."""
        statement = "SELECT id FROM documents WHERE enqueued_at IS NULL ORDER BY created_at LIMIT %s"
        return [row["id"] for row in await self._all(statement, (limit,))]

    async def mark_sent(self, ids: Sequence[uuid.UUID]) -> None:
        """Remember that the queue holds a task for each of `ids`."""
        async with self._pool.connection() as connection:
            await connection.execute("UPDATE documents SET enqueued_at = now() WHERE id = ANY(%s)", (list(ids),))

    async def get(self, document: uuid.UUID) -> DictRow | None:
        """One document with its number of chunks."""
        rows = await self._all(
            """SELECT id, title, status, error, created_at, updated_at,
                      (SELECT count(*) FROM chunks WHERE document_id = documents.id) AS chunks
               FROM documents WHERE id = %s""",
            (document,),
        )
        return rows[0] if rows else None

    async def counts(self) -> tuple[dict[str, int], int]:
        """Documents by status, and the number of chunks."""
        by_status = await self._all("SELECT status, count(*) AS number FROM documents GROUP BY status")
        chunks = await self._all("SELECT count(*) AS number FROM chunks")
        return {row["status"]: row["number"] for row in by_status}, chunks[0]["number"]

    async def chunks(self, points: Sequence[uuid.UUID]) -> dict[uuid.UUID, DictRow]:
        """The chunks behind `points`, by point id."""
        rows = await self._all(
            """SELECT point_id, document_id, position, chunks.body AS text, title
               FROM chunks JOIN documents ON documents.id = document_id WHERE point_id = ANY(%s)""",
            (list(points),),
        )
        return {row["point_id"]: row for row in rows}

    async def _all(self, statement: str, parameters: Sequence[Any] = ()) -> list[DictRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return list(await cursor.fetchall())
