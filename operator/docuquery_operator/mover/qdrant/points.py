"""Ids of points, for the comparison with documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ...domain.backups.request import QdrantRequest
from .client import connected, path

PAGE = 5000
BATCH = 1000


async def point_ids(request: QdrantRequest, secrets: Path, collection: str) -> AsyncIterator[str]:
    """Every id as text, in the server's order, without payload and vectors. `collection` may be an alias."""
    async with connected(request.server, secrets, request.timeout_seconds) as client:
        offset: Any = None
        while True:
            body: dict[str, Any] = {"limit": PAGE, "with_payload": False, "with_vector": False}
            if offset is not None:
                body["offset"] = offset
            page = await client.post(f"{path('collections', collection)}/points/scroll", body)
            for point in page["points"]:
                yield str(point["id"])
            offset = page.get("next_page_offset")
            if offset is None:
                return


async def delete_points(request: QdrantRequest, secrets: Path, collection: str, ids: AsyncIterator[str]) -> int:
    """Delete these points and wait for it; how many were ordered. Ids that are not there are no failure."""
    deleted = 0
    async with connected(request.server, secrets, request.timeout_seconds) as client:
        where = f"{path('collections', collection)}/points/delete?wait=true"
        batch: list[int | str] = []
        async for each in ids:
            batch.append(int(each) if each.isdigit() else each)
            if len(batch) >= BATCH:
                await client.post(where, {"points": batch})
                deleted += len(batch)
                batch = []
        if batch:
            await client.post(where, {"points": batch})
            deleted += len(batch)
    return deleted
