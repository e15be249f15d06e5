"""The mirror as a whole: it reads an API server, and both copies follow what changes there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.api.common import format_time
from docuquery_operator.domain.names import LOOKED_ANNOTATION
from docuquery_operator.web.mirror import process, statuspageio
from docuquery_operator.web.mirror.settings import MirrorSettings
from tests.page import world
from tests.page.sink import KEY, PAGE, Sink, running_sink
from tests.page.test_reading import FakeApi, until
from tests.page.world import NOW

pytestmark = pytest.mark.services


@asynccontextmanager
async def mirroring(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[FakeApi]:
    for module, name, value in (
        (process, "SETTLE_SECONDS", 0.05),
        (process, "RETRY_SECONDS", 0.2),
        (statuspageio, "PACE_SECONDS", 0.0),
        (statuspageio, "UNSURE_SECONDS", 0.2),
    ):
        monkeypatch.setattr(module, name, value)
    api = FakeApi()
    api.lease = {"metadata": {"annotations": {LOOKED_ANNOTATION: format_time(NOW)}}}
    app = web.Application()
    app.router.add_get("/apis/{group}/{version}/namespaces/{namespace}/{plural:.*}", api.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    wanted = MirrorSettings(namespace="docuquery", http_host="127.0.0.1", http_port=0, **settings)
    task = asyncio.create_task(process.mirror(wanted, api, lambda: NOW))
    try:
        yield api
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await runner.cleanup()


def says(file: Path, text: str) -> bool:
    return file.exists() and text in file.read_text()


async def test_files_follow_what_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    index = tmp_path / "index.html"
    async with mirroring(monkeypatch, export_url=tmp_path.as_uri()) as api:
        await until(lambda: says(index, "No service is shown yet"))
        api.put("stacks", world.stack())
        await until(lambda: says(index, "All systems operational"))
        api.put("incidents", world.incident(1, "Identified", "Sign-in is slow.", opened=NOW - timedelta(hours=1)))
        await until(lambda: says(index, "Sign-in is slow."))
        api.delete("incidents", "db-down-1")
        await until(lambda: says(index, "All systems operational"))


async def test_statuspage_follows_and_a_fault_there_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    async with running_sink() as sink:
        there: dict[str, Any] = {"statuspage_api": sink.url, "statuspage_page": PAGE, "statuspage_key_file": key}
        files = tmp_path / "files"
        async with mirroring(monkeypatch, export_url=files.as_uri(), **there) as api:
            api.put("stacks", world.stack())
            sink.fault = lambda n: "after" if n % 2 else "503"
            api.put("incidents", world.incident(1, "Identified", opened=NOW - timedelta(hours=1)))
            await until(lambda: says(files / "index.html", "Disruption: Database"))
            await until(lambda: len(sink.calls) > 3)
            sink.fault = lambda _: ""
            await until(lambda: bool(sink.incidents))
            await asyncio.sleep(0.3)
            assert _told(sink) == ["identified"]
            api.put("incidents", world.incident(1, "Resolved", opened=NOW - timedelta(hours=1)))
            await until(lambda: _told(sink) == ["resolved"])
            assert sink.wrong == []


def _told(sink: Sink) -> list[str]:
    return [i["status"] for i in sink.incidents.values()]


async def test_a_key_that_cannot_be_read_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with running_sink() as sink:
        there: dict[str, Any] = {"statuspage_api": sink.url, "statuspage_page": PAGE, "statuspage_key_file": key}
        async with mirroring(monkeypatch, **there) as api:
            api.put("stacks", world.stack())
            await asyncio.sleep(0.3)
            assert sink.calls == []
            key.write_text(KEY)
            await until(lambda: bool(sink.calls))
