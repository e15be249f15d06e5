"""The web application: envelope, errors, timing and the routes that belong to the server itself."""

import asyncio
import json
import os
import pathlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from qdrant_double import HEADER, VERSION, exposition
from qdrant_double.errors import QdrantError, WrongInputError
from qdrant_double.snapshots import Snapshots
from qdrant_double.store import Store

STORE = web.AppKey("store", Store)
SNAPSHOTS = web.AppKey("snapshots", Snapshots)
TRAFFIC = web.AppKey("traffic", exposition.Traffic)
TASKS = web.AppKey("tasks", set[asyncio.Task[None]])
FAULTS = web.AppKey("faults", dict[str, int])

# As the server's document says: these need no key.
OPEN_PATHS = {"/", "/livez", "/readyz", "/healthz"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make(storage: pathlib.Path, snapshots: pathlib.Path) -> web.Application:
    """The double over the two folders."""
    from qdrant_double import collection_routes, point_routes, snapshot_routes

    application = web.Application(middlewares=[envelope], client_max_size=64 * 1024 * 1024)
    application[STORE] = Store(storage)
    application[SNAPSHOTS] = Snapshots(application[STORE], snapshots)
    application[TRAFFIC] = exposition.Traffic()
    application[TASKS] = set()
    application[FAULTS] = {}
    application.on_cleanup.append(_close)
    application.add_routes(routes)
    for module in (collection_routes, point_routes, snapshot_routes):
        application.add_routes(module.routes)
    return application


async def _close(application: web.Application) -> None:
    await asyncio.gather(*application[TASKS], return_exceptions=True)
    application[STORE].close()


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into the server's JSON, count the answer, and say that this is a double."""
    request["started"] = time.perf_counter()
    try:
        answer = _refused(request) or await handler(request)
    except QdrantError as error:
        answer = failed(request, error)
    except web.HTTPException as error:
        answer = web.Response(status=error.status)
    except Exception as error:  # the engine raises no narrower class
        answer = failed(request, WrongInputError(f"Wrong input: {error}"))
    if not answer.prepared:
        answer.headers.update(HEADER)
    resource = request.match_info.route.resource
    endpoint = resource.canonical if resource else "unmatched"
    request.app[TRAFFIC].observe(request.method, endpoint, answer.status, elapsed(request))
    return answer


def _refused(request: web.Request) -> web.Response | None:
    wanted = os.environ.get("QDRANT__SERVICE__API_KEY")
    if not wanted or request.path in OPEN_PATHS:
        return None
    given = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if given == wanted:
        return None
    text = "Invalid API key or JWT" if given else "Must provide an API key or an Authorization bearer token"
    return web.Response(text=text, status=401)


def elapsed(request: web.Request) -> float:
    """Seconds since the request came."""
    return time.perf_counter() - float(request["started"])


def succeeded(request: web.Request, result: Any) -> web.Response:
    """The envelope of a good answer."""
    return web.json_response({"result": result, "status": "ok", "time": elapsed(request)})


def failed(request: web.Request, error: QdrantError) -> web.Response:
    """The envelope of a bad one."""
    return web.json_response({"status": {"error": error.message}, "time": elapsed(request)}, status=error.status)


async def body(request: web.Request) -> dict[str, Any]:
    """The JSON body; an absent one is empty."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        parsed = json.loads(raw)
    except ValueError as error:
        raise WrongInputError(f"Format error in JSON body: {error}") from error
    if not isinstance(parsed, dict):
        raise WrongInputError("Format error in JSON body: invalid type, expected a map")
    return parsed


routes = web.RouteTableDef()


@routes.get("/")
async def root(request: web.Request) -> web.Response:
    """Who answers."""
    return web.json_response(
        {"title": "qdrant-edge test double, not a Qdrant server", "version": VERSION, "commit": "double"}
    )


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """Ready once the collections are open."""
    return web.Response(text="all shards are ready")


@routes.get("/livez")
@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """Constant, as on the server."""
    return web.Response(text="healthz check passed")


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Figures."""
    application = request.app
    counters = application[SNAPSHOTS].counters
    text = await asyncio.to_thread(exposition.render, application[STORE], counters, application[TRAFFIC])
    return web.Response(text=text)


@routes.put("/double/faults")
async def faults(request: web.Request) -> web.Response:
    """The double's own, for tests; no Qdrant has it. Milliseconds that a search takes longer.

    `query`: each search. `unindexed`: one in a collection without any index. `optimize`: optimisers begin so much later.
    `snapshot`: a snapshot begins so much later; its collection is yellow all the while. Not times: `snapshot_fails`, how many more snapshots fail;
    `short_download`, how many bytes a download lacks at its end, under a clean 200.
    """
    given = await body(request)
    request.app[FAULTS].clear()
    request.app[FAULTS].update({name: int(value) for name, value in given.items()})
    return web.json_response(request.app[FAULTS])


@routes.get("/cluster")
async def cluster(request: web.Request) -> web.Response:
    """One node."""
    return succeeded(request, {"status": "disabled"})
