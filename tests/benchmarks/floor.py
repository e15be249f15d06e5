"""The floor process: imports the libraries that the operator needs, does nothing, and waits to be measured."""

from __future__ import annotations

import asyncio
import importlib
import sys

LIBRARIES = (
    "aiohttp.web",
    "kopf",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "pythonjsonlogger.json",
    "redis.asyncio",
    "yaml",
)


async def wait() -> None:
    """An event loop that turns, until standard input is closed."""
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    asyncio.run(wait())
