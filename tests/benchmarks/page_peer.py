"""B12's peer in the same run: a naive kopf operator, on the same API server, with the same storm, receivers and kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.fakes.sinks import KEY, ROUTING, Sinks, certificate
from tests.harness.apiserver import ApiServer
from tests.harness.operator import HostOperator

from . import page_rounds
from .api import Client
from .figures import footprint
from .page_rounds import Storm, World

NAMESPACE = "pages-naive"
PAGER = Path(__file__).resolve().parent / "naive_pager.py"
# From the end of the storm's story on; what has not come by then is lost.
WITHIN = 50.0


async def measure(server: ApiServer, folder: Path, incidents: int, kills: Sequence[float]) -> Storm:
    """One storm."""
    context, ca = certificate(folder)
    trusted = folder / "naive-ca.crt"
    trusted.write_text(ca)
    async with Client(server) as client, Sinks(context) as sinks:
        page_rounds.trouble(sinks)
        world = World(client, NAMESPACE)
        await page_rounds.prepare(world, sinks, ca)
        urls = {"webhook": sinks.webhook.url, "slack": sinks.slack.url, "pagerduty": sinks.pagerduty.url}
        environ = {
            "KUBECONFIG": str(server.kubeconfig), "MALLOC_ARENA_MAX": "2", "PAGER_CA": str(trusted), "PAGER_KEY": KEY,
            "PAGER_ROUTING": ROUTING, "PAGER_LEAD_AFTER": str(page_rounds.LEAD_AFTER),
            # Ours has a mail server that is not there; here it is a receiver that is not there.
            "PAGER_URLS": json.dumps(urls | {"email": "https://localhost:1/"}),
        }  # fmt: skip
        command = [sys.executable, "-m", "kopf", "run", "--standalone", "--quiet", "--namespace", NAMESPACE, str(PAGER)]
        async with _running(HostOperator(environ, folder / f"{NAMESPACE}.log", command)) as operator:
            before = await client.requests()
            began = time.monotonic()
            await page_rounds.story(world, operator, incidents, kills, began)
            await _arrived(world, sinks)
            seconds = time.monotonic() - began
            rss = footprint(operator.pid).rss
        after = await client.requests()
    return page_rounds.judge(world, sinks, [], len(kills), page_rounds.written(before, after), rss, seconds)


@contextlib.asynccontextmanager
async def _running(operator: HostOperator) -> AsyncIterator[HostOperator]:
    operator.start()
    try:
        # It says nothing when its watch is open; twice what it takes.
        await asyncio.sleep(6.0)
        assert operator.alive(), operator.tail()
        yield operator
    finally:
        await asyncio.to_thread(operator.kill)


async def _arrived(world: World, sinks: Sinks) -> None:
    """Until everything that is owed has come, or the time is up."""
    deadline = time.monotonic() + WITHIN
    while page_rounds.missing(world, page_rounds.arrived(world, sinks)[1]) and time.monotonic() < deadline:
        await asyncio.sleep(1.0)
    await asyncio.sleep(3.0)
