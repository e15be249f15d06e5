"""The life of the page's process: watch, serve, end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from .kube import Login, Reader
from .server import Sites, application
from .settings import PageSettings
from .source import Source

log = logging.getLogger(__name__)


async def serve(settings: PageSettings, login: Login, now: Callable[[], datetime]) -> int:
    """Exit code: 0 after SIGTERM, 1 when reading ended by itself."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Reader(login) as reader:
        source = Source(reader, settings)
        app = application(Sites(source, settings, now), lambda: source.missing)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=5.0)
        await runner.setup()
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        log.info("serving the status page", extra={"port": runner.addresses[0][1]})
        reading = asyncio.create_task(source.run())
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                log.error("stopping because reading ended", exc_info=reading.exception())
            return 1 if reading.done() else 0
        finally:
            for task in (reading, waiting):
                task.cancel()
            await runner.cleanup()
