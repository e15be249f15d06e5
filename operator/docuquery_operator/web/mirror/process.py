"""The life of the mirror's process: watch, and copy what has changed; one process, so that no two write at once."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from aiohttp import web

from ...domain.public.page import Page, page_of
from ..page.html import environment
from ..page.kube import Login, Reader
from ..page.server import health
from ..page.site import Site
from ..page.source import Source
from .settings import MirrorSettings
from .statuspageio import MirrorProblem, StatuspageIo
from .store import Export, StoreProblem, opened

log = logging.getLogger(__name__)
# Changes come in bursts: of a burst the end is told.
SETTLE_SECONDS = 3.0
RETRY_SECONDS = 30.0
Copy = Callable[[Page], Awaitable[int]]


async def mirror(settings: MirrorSettings, login: Login, now: Callable[[], datetime]) -> int:
    """Exit code: 0 after SIGTERM, 1 when a part ended by itself."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Reader(login) as reader:
        source = Source(reader, settings)
        app = web.Application()
        health(app, lambda: source.missing)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        keepers = [Keeper(name, copy, source, settings, now).run() for name, copy in copies(settings)]
        work = [asyncio.create_task(part) for part in (source.run(), *keepers)]
        waiting = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait([*work, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                log.error("stopping because a part ended", exc_info=task.exception())
            return 0 if waiting in done else 1
        finally:
            for task in (*work, waiting):
                task.cancel()
            await runner.cleanup()


def copies(settings: MirrorSettings) -> Sequence[tuple[str, Copy]]:
    """What was asked for. StoreProblem where it cannot be."""
    found: list[tuple[str, Copy]] = []
    if settings.export_url:
        export, env = Export(opened(settings.export_url, settings.export_options)), environment()
        found.append(("export", lambda page: export.write(Site(page, env, settings.url))))
    if settings.statuspage_page:
        file = settings.statuspage_key_file
        there = StatuspageIo(
            settings.statuspage_api,
            settings.statuspage_page,
            lambda: _key(file),
            settings.statuspage_components,
            settings.statuspage_notify,
        )
        found.append(("statuspage", there.sync))
    return found


def _key(file: Path | None) -> str:
    try:
        return file.read_text().strip() if file else ""
    except OSError:
        raise MirrorProblem("the file with the API key cannot be read", RETRY_SECONDS) from None


class Keeper:
    """Keeps one copy up to date: after each change, and now and then for the sake of its time stamp."""

    def __init__(self, name: str, copy: Copy, source: Source, settings: MirrorSettings, now: Callable[[], datetime]) -> None:
        self._name, self._copy, self._source, self._settings, self._now = name, copy, source, settings, now

    async def run(self) -> None:
        """For ever."""
        while self._source.missing:
            await asyncio.sleep(0.2)
        while True:
            version = self._source.version
            pause = self._settings.export_seconds
            try:
                changes = await self._copy(self._page())
                log.info("copied", extra={"copy": self._name, "changes": changes})
            except StoreProblem as problem:
                log.warning("not copied", extra={"copy": self._name, "problem": str(problem)})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except MirrorProblem as problem:
                log.warning("not copied", extra={"copy": self._name, "problem": str(problem)})
                await asyncio.sleep(problem.after)
                continue
            await self._change(version, pause)

    async def _change(self, version: int, longest: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + longest
        while self._source.version == version and loop.time() < until:
            await asyncio.sleep(0.5)
        await asyncio.sleep(SETTLE_SECONDS)

    def _page(self) -> Page:
        settings, now = self._settings, self._now()
        return page_of(self._source.facts(), settings.title, now, timedelta(seconds=settings.stale_seconds))
