"""Points: write, find, count, page through."""

import asyncio

from aiohttp import web

from qdrant_double import convert
from qdrant_double.collection_routes import collection
from qdrant_double.errors import NotFoundError
from qdrant_double.server import FAULTS, body, succeeded

routes = web.RouteTableDef()


def _updated(request: web.Request, operation: int) -> web.Response:
    waited = request.query.get("wait", "false").lower() == "true"
    return succeeded(request, {"operation_id": operation, "status": "completed" if waited else "acknowledged"})


@routes.put("/collections/{name}/points")
async def upsert(request: web.Request) -> web.Response:
    """Insert or replace; always applied before the answer."""
    return _updated(request, await asyncio.to_thread(collection(request).upsert, await body(request)))


@routes.post("/collections/{name}/points/delete")
async def delete(request: web.Request) -> web.Response:
    """Delete by id or filter."""
    return _updated(request, await asyncio.to_thread(collection(request).delete, await body(request)))


@routes.post("/collections/{name}/points/count")
async def count(request: web.Request) -> web.Response:
    """Count what matches."""
    return succeeded(request, {"count": await asyncio.to_thread(collection(request).count, await body(request))})


@routes.post("/collections/{name}/points/query")
async def query(request: web.Request) -> web.Response:
    """The nearest points; later where a test has made searches slow."""
    opened, faults = collection(request), request.app[FAULTS]
    points = await asyncio.to_thread(opened.query, await body(request))
    slow = faults.get("query", 0)
    if faults.get("unindexed") and not (await asyncio.to_thread(opened.info))["indexed_vectors_count"]:
        slow += faults["unindexed"]
    await asyncio.sleep(slow / 1000)
    return succeeded(request, {"points": points})


@routes.post("/collections/{name}/points/scroll")
async def scroll(request: web.Request) -> web.Response:
    """One page."""
    return succeeded(request, await asyncio.to_thread(collection(request).scroll, await body(request)))


@routes.post("/collections/{name}/points")
async def retrieve(request: web.Request) -> web.Response:
    """Points by their ids."""
    return succeeded(request, await asyncio.to_thread(collection(request).retrieve, await body(request)))


@routes.get("/collections/{name}/points/{id}")
async def one(request: web.Request) -> web.Response:
    """One point."""
    raw = request.match_info["id"]
    wanted = convert.point_id(int(raw) if raw.isdigit() else raw)
    everything = {"ids": [convert.shown(wanted)], "with_payload": True, "with_vector": True}
    found = await asyncio.to_thread(collection(request).retrieve, everything)
    if not found:
        raise NotFoundError(f"Not found: Point with id {raw} does not exists!")
    return succeeded(request, found[0])
