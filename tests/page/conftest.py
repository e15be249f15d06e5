"""The page's real server over given objects, a real browser, and npm packages in a cache outside the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web

from docuquery_operator.domain.public.page import Facts
from docuquery_operator.web.page.server import Sites, application
from docuquery_operator.web.page.settings import PageSettings
from tests.page import world

NODE = Path(__file__).parent / "node"


@dataclass
class Served:
    """A running server. facts may be replaced at any time."""

    facts: Facts
    now: datetime = world.NOW
    version: int = 1
    missing: str = ""
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def show(self, facts: Facts) -> None:
        self.facts, self.version = facts, self.version + 1


@asynccontextmanager
async def served(facts: Facts, title: str = "Example status", url: str = "") -> AsyncIterator[Served]:
    state = Served(facts)

    class Source:
        """Of the parts of the real one that the server uses."""

        version = property(lambda _: state.version)
        missing = property(lambda _: state.missing)

        def facts(self) -> Facts:
            return state.facts

    settings = PageSettings(namespace="n", title=title, url=url)
    sites = Sites(Source(), settings, lambda: state.now)  # type: ignore[arg-type]
    runner = web.AppRunner(application(sites, lambda: state.missing), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield state
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Folder with the packages of the lock file, each checked against its integrity by npm."""
    lock = (NODE / "package-lock.json").read_bytes()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docuquery-operator"
    folder = base / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / ".ready").exists():
        fresh = folder.with_name(f"{folder.name}-{os.getpid()}")
        fresh.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, fresh / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=fresh, check=True, stdin=subprocess.DEVNULL, timeout=120)
        (fresh / ".ready").touch()
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder


@pytest.fixture(scope="session")
def axe(node_modules: Path) -> str:
    return (node_modules / "node_modules" / "axe-core" / "axe.min.js").read_text()


Payloads = Callable[[], list[str]]
