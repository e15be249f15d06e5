"""Collections and aliases."""

import asyncio

from aiohttp import web

from qdrant_double.collection import Collection
from qdrant_double.server import FAULTS, STORE, TASKS, body, succeeded
from qdrant_double.snapshots import PEER_ID

routes = web.RouteTableDef()


def collection(request: web.Request) -> Collection:
    """The collection that the path names."""
    return request.app[STORE].get(request.match_info["name"])


@routes.get("/collections")
async def names(request: web.Request) -> web.Response:
    """All collections."""
    return succeeded(request, {"collections": [{"name": name} for name in request.app[STORE].names()]})


@routes.get("/collections/{name}")
async def describe(request: web.Request) -> web.Response:
    """State and configuration."""
    return succeeded(request, await asyncio.to_thread(collection(request).info))


@routes.get("/collections/{name}/exists")
async def exists(request: web.Request) -> web.Response:
    """Whether it is there."""
    store = request.app[STORE]
    name = request.match_info["name"]
    return succeeded(request, {"exists": store.aliases.get(name, name) in store.names()})


@routes.put("/collections/{name}")
async def create(request: web.Request) -> web.Response:
    """Make one."""
    await asyncio.to_thread(request.app[STORE].create, request.match_info["name"], await body(request))
    return succeeded(request, True)


@routes.patch("/collections/{name}")
async def change(request: web.Request) -> web.Response:
    """Change settings and start the optimisers, which run on after the answer."""
    opened = collection(request)
    await asyncio.to_thread(opened.change, await body(request))
    task = asyncio.create_task(_optimize(opened, request.app[FAULTS].get("optimize", 0) / 1000))
    request.app[TASKS].add(task)
    task.add_done_callback(request.app[TASKS].discard)
    return succeeded(request, True)


async def _optimize(opened: Collection, after: float) -> None:
    await asyncio.sleep(after)
    await asyncio.to_thread(opened.optimize)


@routes.put("/collections/{name}/index")
async def index(request: web.Request) -> web.Response:
    """Index a field of the payload."""
    operation = await asyncio.to_thread(collection(request).index, await body(request))
    return succeeded(request, {"operation_id": operation, "status": "completed"})


@routes.delete("/collections/{name}")
async def drop(request: web.Request) -> web.Response:
    """Remove one; false when it was not there."""
    return succeeded(request, await asyncio.to_thread(request.app[STORE].drop, request.match_info["name"]))


@routes.get("/collections/{name}/cluster")
async def shards(request: web.Request) -> web.Response:
    """Where the shards are: all here."""
    counts = await asyncio.to_thread(collection(request).shard_counts)
    local = [{"shard_id": number, "points_count": count, "state": "Active"} for number, count in enumerate(counts)]
    result = {
        "peer_id": PEER_ID,
        "shard_count": len(local),
        "local_shards": local,
        "remote_shards": [],
        "shard_transfers": [],
    }
    return succeeded(request, result)


@routes.get("/collections/{name}/optimizations")
async def optimizations(request: web.Request) -> web.Response:
    """Whether the optimisers run; the engine tells nothing about single segments, so none is named."""
    info = await asyncio.to_thread(collection(request).info)
    busy = info["status"] == "yellow"
    summary = {
        "queued_optimizations": int(busy),
        "queued_segments": info["segments_count"] if busy else 0,
        "queued_points": info["points_count"] if busy else 0,
        "idle_segments": 0 if busy else info["segments_count"],
    }
    return succeeded(request, {"summary": summary, "running": []})


@routes.get("/aliases")
async def all_aliases(request: web.Request) -> web.Response:
    """Every alias."""
    return succeeded(request, {"aliases": _shown(request.app[STORE].aliases)})


@routes.get("/collections/{name}/aliases")
async def own_aliases(request: web.Request) -> web.Response:
    """The aliases of one collection."""
    name = collection(request).name
    aliases = {alias: target for alias, target in request.app[STORE].aliases.items() if target == name}
    return succeeded(request, {"aliases": _shown(aliases)})


@routes.post("/collections/aliases")
async def change_aliases(request: web.Request) -> web.Response:
    """Apply a list of changes at once."""
    given = await body(request)
    request.app[STORE].change_aliases(list(given.get("actions", [])))
    return succeeded(request, True)


def _shown(aliases: dict[str, str]) -> list[dict[str, str]]:
    return [{"alias_name": alias, "collection_name": target} for alias, target in sorted(aliases.items())]
