"""The storm itself: incidents on five components, late answers, a dead, a slow and a busy channel, and the killer at work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from tests.benchmarks import page_rounds
from tests.benchmarks.api import JSON, Client, parallel
from tests.benchmarks.report import Row, short
from tests.fakes.sinks import Sinks, certificate
from tests.harness.apiserver import ApiServer
from tests.kill import pages
from tests.kill.pages import Killer, Verdict

OPENED_WITHIN = 4.0
PATH: Sequence[JSON] = (
    {"to": "onCall", "after": "0s"},
    {"to": "teamLead", "after": "12s"},
    {"to": "engineeringManager", "after": "16s"},
)
ANSWERED_AFTER, RESOLVED_AFTER = 8.0, 18.0
# The operator is away from before the team lead is due until after the manager is.
LATE = 6
AWAY = 18.0


async def run(
    server: ApiServer, namespace: str, folder: Path, incidents: int, sides: int, most: int, within: float
) -> tuple[Verdict, list[JSON]]:
    """The verdict on the storm, and the incidents that were opened before a long absence of the operator."""
    context, ca = certificate(folder)
    killer, proxy = pages.subject(server, namespace, folder, sides, most)
    try:
        async with Client(server) as client, Sinks(context) as sinks:
            sinks.slack.answer = lambda n: (429, {"Retry-After": "2"}) if n % 2 else (0, {})
            sinks.pagerduty.slow = 1.0
            world = page_rounds.World(client, namespace)
            await page_rounds.prepare(world, sinks, ca, PATH)
            pages.listen(sinks, killer)
            async with _revived(killer):
                await _storm(world, incidents, within)
                await _settled(world, within)
            late = [f"late-{n}" for n in range(LATE)]
            await _absence(world, killer, late)
            await _settled(world, within)
            found = [i for i in await world.incidents() if i["metadata"]["name"] in world.created]
            return pages.judge(sinks, killer, found), [i for i in found if i["metadata"]["name"] in late]
    finally:
        killer.operator.kill()
        proxy.stop()


def rows(seen: Verdict, late: Sequence[JSON]) -> list[Row]:
    """For build/bench.json."""

    def row(id_: str, what: str, ours: float, unit: str, goal: str = "", met: bool | None = None) -> Row:
        return Row(id_, what, short(ours), None, None, None, goal, met, unit, 1, {})

    worst, left_out = max(seen.late, default=0.0), pages.superseded(late)["teamLead"]
    return [
        row("kill-kinds", "kinds of writes and sends of a storm at which the operator was killed", len(seen.kinds), "kinds"),
        row("kill-kills", "kills", seen.kills, "kills"),
        row("kill-lost", "messages lost", len(seen.lost), "messages", "== 0", not seen.lost),
        row("kill-doubled", "messages that came again without a kill since", len(seen.doubled), "messages", "== 0", not seen.doubled),
        row("kill-twice", "messages that came once more for each kill, at most", seen.twice / max(1, seen.kills), "messages"),
        row("kill-late", "due to sent while the process was there, the latest", worst, "s", "<= 5", worst <= 5),
        row("kill-catch-up", "steps left out after an absence over two of them", left_out, "steps", f"== {LATE}", left_out == LATE),
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def _revived(killer: Killer) -> AsyncIterator[None]:
    await asyncio.to_thread(killer.up)
    reviver = asyncio.create_task(killer.revive())
    try:
        yield
    finally:
        # One that is just being started is waited for: the rest of the story needs it.
        killer.most = 0
        while killer.up_since == 0.0 and not reviver.done():
            await asyncio.sleep(0.1)
        reviver.cancel()


async def _storm(world: page_rounds.World, incidents: int, within: float) -> None:
    began = time.monotonic()
    names = [f"storm-{n:04d}" for n in range(incidents)]
    for index, name in enumerate(names):
        await page_rounds.wait(began + OPENED_WITHIN * index / incidents)
        await page_rounds.open_incident(world, name, index)
    await page_rounds.wait(began + ANSWERED_AFTER)
    await _each(world, names[1::2], {"acknowledged": {"by": "ana"}})
    await page_rounds.wait(began + RESOLVED_AFTER)
    # What is over is not told any more: with so many kills the end waits until the steps are out.
    await _until(world, lambda i: not pages.waits(i) and _path_told(i), within)
    await _each(world, names, {"resolved": {"by": "ana"}})


async def _absence(world: page_rounds.World, killer: Killer, names: Sequence[str]) -> None:
    """The first call goes out; then nobody is there while two steps fall due."""
    for index, name in enumerate(names):
        await page_rounds.open_incident(world, name, index)
    await asyncio.sleep(4.0)
    await asyncio.to_thread(killer.down)
    await asyncio.sleep(AWAY - 4.0)
    await asyncio.to_thread(killer.up)
    await asyncio.sleep(5.0)
    await _each(world, names, {"resolved": {"by": "ana"}})


async def _each(world: page_rounds.World, names: Sequence[str], spec: JSON) -> None:
    await parallel([lambda n=n: page_rounds.patch(world, n, spec) for n in names])  # type: ignore[misc]


async def _settled(world: page_rounds.World, within: float) -> None:
    """Until all are over and nothing is left to be sent, but by the dead channel."""
    await _until(world, lambda i: (i.get("status") or {}).get("phase") == "Resolved" and not pages.left(i), within)


def _path_told(incident: JSON) -> bool:
    status = incident.get("status") or {}
    last = (status.get("escalation") or [{}])[-1]
    return bool(last.get("sentAt"))


async def _until(world: page_rounds.World, done: Callable[[JSON], bool], within: float) -> None:
    """Until it holds of all incidents, or the time is up: what is missing then is told as lost."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = [i for i in await world.incidents() if i["metadata"]["name"] in world.created]
        if len(found) == len(world.created) and all(done(i) for i in found):
            return
        await asyncio.sleep(0.5)
