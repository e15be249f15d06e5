"""Snapshots: the same four verbs for the store, a collection and a shard, and the way back for a collection."""

import asyncio
import pathlib
import tempfile

from aiohttp import BodyPartReader, web

from qdrant_double.errors import NotFoundError, QdrantError, WrongInputError
from qdrant_double.server import FAULTS, SNAPSHOTS, STORE, body, succeeded

routes = web.RouteTableDef()

_SCOPES = ("", "/collections/{name}", "/collections/{name}/shards/{shard}")


def _scope(request: web.Request) -> tuple[str | None, int | None]:
    shard = request.match_info.get("shard")
    if shard is not None and not shard.isdigit():
        raise WrongInputError("Validation error in path parameters: shard id is not a number")
    return request.match_info.get("name"), None if shard is None else int(shard)


async def create(request: web.Request) -> web.Response:
    """Make a snapshot."""
    faults = request.app[FAULTS]
    counters = request.app[SNAPSHOTS].counters
    name, _ = _scope(request)
    archived = [request.app[STORE].get(name)] if name is not None and faults.get("snapshot") else []
    counters.creating += 1
    for collection in archived:
        collection.archiving = True
    try:
        await asyncio.sleep(faults.get("snapshot", 0) / 1000)
    finally:
        counters.creating -= 1
        for collection in archived:
            collection.archiving = False
    if faults.get("snapshot_fails", 0) > 0:
        faults["snapshot_fails"] -= 1
        raise QdrantError("Service internal error: No space left on device (os error 28)")
    return succeeded(request, await asyncio.to_thread(request.app[SNAPSHOTS].create, *_scope(request)))


async def listing(request: web.Request) -> web.Response:
    """List the snapshots."""
    return succeeded(request, await asyncio.to_thread(request.app[SNAPSHOTS].listing, *_scope(request)))


async def download(request: web.Request) -> web.StreamResponse:
    """Send the file; a wrong name is answered in plain text, as the server does."""
    try:
        path = request.app[SNAPSHOTS].find(request.match_info["snapshot"], *_scope(request))
    except NotFoundError as error:
        return web.Response(text=error.message, status=404)
    if cut := request.app[FAULTS].get("short_download", 0):
        return web.Response(body=path.read_bytes()[:-cut], content_type="application/octet-stream")
    return web.FileResponse(path)


async def delete(request: web.Request) -> web.Response:
    """Remove a snapshot."""
    await asyncio.to_thread(request.app[SNAPSHOTS].delete, request.match_info["snapshot"], *_scope(request))
    return succeeded(request, True)


for _prefix in _SCOPES:
    routes.post(f"{_prefix}/snapshots")(create)
    routes.get(f"{_prefix}/snapshots")(listing)
    routes.get(_prefix + "/snapshots/{snapshot}")(download)
    routes.delete(_prefix + "/snapshots/{snapshot}")(delete)


@routes.get("/collections/{name}/shards/{shard}/snapshot")
async def stream(request: web.Request) -> web.StreamResponse:
    """Send a shard without keeping the file."""
    snapshots = request.app[SNAPSHOTS]
    name, shard = _scope(request)
    made = await asyncio.to_thread(snapshots.create, name, shard)
    path = snapshots.find(made["name"], name, shard)
    content = await asyncio.to_thread(path.read_bytes)
    if cut := request.app[FAULTS].get("short_download", 0):
        content = content[:-cut]
    await asyncio.to_thread(snapshots.delete, made["name"], name, shard)
    return web.Response(body=content, content_type="application/octet-stream")


@routes.put("/collections/{name}/snapshots/recover")
async def recover(request: web.Request) -> web.Response:
    """Restore from a file that the server has already."""
    given = await body(request)
    snapshots = request.app[SNAPSHOTS]
    path = snapshots.local_file(str(given.get("location", "")))
    await asyncio.to_thread(snapshots.recover, request.match_info["name"], path, given.get("checksum"))
    return succeeded(request, True)


@routes.post("/collections/{name}/snapshots/upload")
async def upload(request: web.Request) -> web.Response:
    """Restore from a file in the request."""
    snapshots = request.app[SNAPSHOTS]
    with tempfile.TemporaryDirectory(dir=snapshots.folder()) as work:
        path = await _receive(request, pathlib.Path(work) / "uploaded.snapshot")
        await asyncio.to_thread(snapshots.recover, request.match_info["name"], path, request.query.get("checksum"))
    return succeeded(request, True)


@routes.put("/collections/{name}/shards/{shard}/snapshots/recover")
async def recover_shard(request: web.Request) -> web.Response:
    """Restore one shard from a file that the server has already."""
    given = await body(request)
    snapshots = request.app[SNAPSHOTS]
    name, shard = _scope(request)
    path = snapshots.local_file(str(given.get("location", "")))
    await asyncio.to_thread(snapshots.recover_shard, str(name), shard or 0, path, given.get("checksum"))
    return succeeded(request, True)


@routes.post("/collections/{name}/shards/{shard}/snapshots/upload")
async def upload_shard(request: web.Request) -> web.Response:
    """Restore one shard from a file in the request."""
    snapshots = request.app[SNAPSHOTS]
    name, shard = _scope(request)
    with tempfile.TemporaryDirectory(dir=snapshots.folder()) as work:
        path = await _receive(request, pathlib.Path(work) / "uploaded.snapshot")
        await asyncio.to_thread(snapshots.recover_shard, str(name), shard or 0, path, request.query.get("checksum"))
    return succeeded(request, True)


async def _receive(request: web.Request, path: pathlib.Path) -> pathlib.Path:
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.name == "snapshot":
            await _store(part, path)
            return path
    raise WrongInputError("Wrong input: multipart field snapshot is missing")


async def _store(part: BodyPartReader, path: pathlib.Path) -> None:
    with path.open("wb") as target:
        while chunk := await part.read_chunk(1 << 16):
            await asyncio.to_thread(target.write, chunk)
