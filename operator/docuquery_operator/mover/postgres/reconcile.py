"""Documents' ids for the comparison with Qdrant, and the statement that repairs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ...domain.backups.request import PostgresRequest
from ..contracts import MoverError
from .session import connect, login

ID_LIMIT = 1024


async def document_ids(request: PostgresRequest, secrets: Path, database: str, query: str) -> AsyncIterator[str]:
    """Ids as text, one at a time, by a session that can only read; the query gives one column. NULL is passed over."""
    async with connect(login(request.server, secrets), database) as session:
        await session.execute('set search_path = "$user", public')
        await session.execute("begin isolation level repeatable read, read only")
        if (number := await session.columns(_one(query))) != 1:
            text = f"reconcile.query gives {number} columns; it has to give one, the ids"
            raise MoverError("NoIds", text, retry=False)
        async for (found,) in session.stream(f"select t.id::text from ({_one(query)}\n) as t (id)"):
            if found is not None:
                if len(found) > ID_LIMIT:
                    text = f"reconcile.query gives a value of {len(found)} characters; it has to give ids"
                    raise MoverError("NoIds", text, retry=False)
                yield found


async def run_sql(request: PostgresRequest, secrets: Path, database: str, sql: str, ids: Sequence[str]) -> int:
    """Run one statement with the ids as $1, an array of the type that the statement asks for; rows changed."""
    async with connect(login(request.server, secrets), database) as session:
        await session.execute('set search_path = "$user", public')
        return await session.single(_one(sql), [array(ids)])


def array(values: Sequence[str]) -> str:
    """An array as text, which takes the type of its place."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def _one(statement: str) -> str:
    return statement.strip().rstrip(";")
