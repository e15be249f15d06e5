"""What the page knows of the API server: whatever the line does, it ends with what is there, and old data grow old."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.names import LOOKED_ANNOTATION
from docuquery_operator.web.page import kube, source
from docuquery_operator.web.page.kube import Reader
from docuquery_operator.web.page.settings import PageSettings
from docuquery_operator.web.page.source import Source
from tests.page import world

pytestmark = pytest.mark.services
JSON = dict[str, Any]


class FakeApi:
    """Lists in pages of two, and watches; each change has a number, as at etcd."""

    server = ""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, dict[str, JSON]] = {"stacks": {}, "incidents": {}, "maintenancewindows": {}}
        self.watches: list[tuple[str, asyncio.Queue[bytes]]] = []
        self.lease: JSON | None = None
        self.down = False
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer t"}

    def ssl_context(self) -> bool:
        return True

    def put(self, plural: str, obj: JSON, told: bool = True) -> None:
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        known = obj["metadata"]["name"] in self.objects[plural]
        self.objects[plural][obj["metadata"]["name"]] = obj
        if told:
            self.tell(plural, {"type": "MODIFIED" if known else "ADDED", "object": obj})

    def delete(self, plural: str, name: str, told: bool = True) -> None:
        self.version += 1
        obj = self.objects[plural].pop(name)
        if told:
            self.tell(plural, {"type": "DELETED", "object": obj})

    def tell(self, plural: str, event: JSON) -> None:
        self.raw(plural, json.dumps(event).encode() + b"\n")

    def raw(self, plural: str, data: bytes) -> None:
        for of, queue in self.watches:
            if of == plural:
                queue.put_nowait(data)

    def cut(self) -> None:
        """End all watches; an empty piece is the end."""
        for _, queue in self.watches:
            queue.put_nowait(b"")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.tokens.add(request.headers.get("Authorization", ""))
        plural = request.match_info["plural"]
        self.asked.append(f"{plural} watch={request.query.get('watch', 'no')}")
        if self.down:
            return web.Response(status=503, text="away")
        if plural.startswith("leases/"):
            return web.json_response(self.lease, status=200 if self.lease else 404)
        if request.query.get("watch") == "true":
            return await self._watch(request, plural)
        items, at = list(self.objects[plural].values()), int(request.query.get("continue") or 0)
        more = str(at + 2) if at + 2 < len(items) else ""
        meta = {"resourceVersion": str(self.version), **({"continue": more} if more else {})}
        return web.json_response({"items": items[at : at + 2], "metadata": meta})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        mark = (plural, queue)
        self.watches.append(mark)
        try:
            while piece := await queue.get():
                await answer.write(piece)
        finally:
            self.watches.remove(mark)
        return answer


@asynccontextmanager
async def reading(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeApi, Source]]:
    monkeypatch.setattr(kube, "SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(kube, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(source, "LEASE_SECONDS", 0.05)
    api = FakeApi()
    app = web.Application()
    app.router.add_get("/apis/{group}/{version}/namespaces/{namespace}/{plural:.*}", api.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Reader(api) as reader:
        found = Source(reader, PageSettings(namespace="docuquery"))
        task = asyncio.create_task(found.run())
        try:
            yield api, found
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await runner.cleanup()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)


def ids(found: Source) -> int:
    return len(found.facts().incidents)


async def watching(api: FakeApi) -> None:
    await until(lambda: {of for of, _ in api.watches} == set(api.objects))


async def test_all_pages_of_a_list_and_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        await watching(api)
        assert found.missing == ""
        assert ids(found) == 0
        for n in range(5):
            api.put("incidents", world.incident(n))
        await until(lambda: ids(found) == 5)
        before = found.version
        api.put("incidents", world.incident(3, message="News"))
        await until(lambda: any(i.message == "News" for i in found.facts().incidents))
        assert found.version > before
        api.delete("incidents", "db-down-3")
        await until(lambda: ids(found) == 4)
        assert api.tokens == {"Bearer t"}


async def test_a_page_that_starts_reads_everything_before_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        api.down = True
        for n in range(7):
            api.objects["incidents"][f"db-down-{n}"] = world.incident(n)
        await asyncio.sleep(0.1)
        assert found.missing == "stacks, incidents, maintenancewindows"
        api.down = False
        await until(lambda: found.missing == "")
        assert ids(found) == 7


async def test_what_happened_while_the_line_was_cut_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        for n in range(3):
            api.objects["incidents"][f"db-down-{n}"] = world.incident(n)
        await watching(api)
        await until(lambda: ids(found) == 3)
        api.down = True
        api.cut()
        await until(lambda: not api.watches)
        api.delete("incidents", "db-down-1", told=False)
        api.put("incidents", world.incident(9), told=False)
        await asyncio.sleep(0.05)
        assert ids(found) == 3
        api.down = False
        await until(lambda: {i.id for i in found.facts().incidents} == {_id(n) for n in (0, 2, 9)})


def _id(number: int) -> str:
    fact = world.facts([], [world.incident(number)], []).incidents[0]
    return fact.id


@pytest.mark.parametrize(
    "piece",
    [
        json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).encode() + b"\n",
        b"not json\n",
        b'{"type": "ADDED", "object": {"metadata": {"na',
        b"\xff\xfe\n",
    ],
    ids=["410", "not-json", "cut-in-a-line", "not-text"],
)
async def test_a_watch_that_cannot_go_on_is_begun_anew(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    async with reading(monkeypatch) as (api, found):
        await watching(api)
        api.put("incidents", world.incident(1), told=False)
        api.raw("incidents", piece)
        api.cut()
        await until(lambda: ids(found) == 1)


async def test_an_object_that_cannot_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        await watching(api)
        api.put("incidents", {**world.incident(1), "spec": {"type": 7}})
        api.put("incidents", {**world.incident(2), "status": {"phase": "Nonsense"}})
        api.put("incidents", world.incident(3))
        api.put("stacks", {**world.stack(), "spec": {"components": []}})
        await until(lambda: ids(found) == 1)
        assert found.facts().stacks == []
        api.put("stacks", world.stack())
        await until(lambda: len(found.facts().stacks) == 1)


async def test_bookmarks_and_large_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        await watching(api)
        version = found.version
        api.tell("incidents", {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}})
        big = world.incident(1)
        big["status"]["timeline"] = [{**big["status"]["timeline"][0], "message": "x" * 500}] * 200
        api.put("incidents", big)
        await until(lambda: ids(found) == 1)
        assert found.version == version + 1


async def test_the_last_look_of_the_operator_is_remembered_and_never_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(monkeypatch) as (api, found):
        await watching(api)
        assert found.facts().looked is None
        for annotations in (None, {}, {LOOKED_ANNOTATION: "yesterday"}, {LOOKED_ANNOTATION: "2026-11-29T13:00:00"}):
            api.lease = {"metadata": {"annotations": annotations}, "spec": {"renewTime": format_time(world.NOW)}}
            await asyncio.sleep(0.12)
            assert found.facts().looked is None
        api.lease = {"metadata": {"annotations": {LOOKED_ANNOTATION: format_time(world.NOW)}}}
        await until(lambda: found.facts().looked == world.NOW)
        api.down = True
        await asyncio.sleep(0.12)
        assert found.facts().looked == world.NOW
        assert timedelta(0) < world.PATIENCE
