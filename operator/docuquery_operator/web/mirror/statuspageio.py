"""Statuspage.io's API: one request a second, and none again before it is known what became of the last."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from ...domain.public.page import Page
from .plan import JSON, Request, plan

log = logging.getLogger(__name__)
PACE_SECONDS = 1.05
# After an answer that was lost: the request may still be on its way there, and a second one would be a second incident.
UNSURE_SECONDS = 45.0
BUSY_SECONDS = 60.0
BUSY = (420, 429)
PAGE_SIZE, MOST_PAGES = 100, 5
TIMEOUT = aiohttp.ClientTimeout(total=20)


class MirrorProblem(Exception):
    """It cannot be told now; look again after so many seconds."""

    def __init__(self, text: str, after: float) -> None:
        super().__init__(text)
        self.after = after


class StatuspageIo:
    """Makes one page there show what ours shows. key: read anew for each round, as Secrets are rotated."""

    def __init__(
        self,
        api: str,
        page: str,
        key: Callable[[], str],
        mapped: Mapping[str, str],
        notify: bool = True,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base = f"{api.rstrip('/')}/v1/pages/{page}/"
        self._key, self._mapped, self._notify, self._pause = key, mapped, notify, pause

    async def sync(self, page: Page) -> int:
        """One round: read, decide, do; how many changes were made. MirrorProblem."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, headers={"Authorization": f"OAuth {self._key()}"}) as session:
            remote = await self._incidents(session)
            components = await self._call(session, Request("GET", "components")) if self._mapped else []
            requests = plan(page, remote, components, self._mapped, self._notify)
            for request in requests:
                await self._call(session, request)
            return len(requests)

    async def _incidents(self, session: aiohttp.ClientSession) -> list[JSON]:
        found: list[JSON] = []
        for number in range(1, MOST_PAGES + 1):
            some = await self._call(session, Request("GET", f"incidents?limit={PAGE_SIZE}&page={number}"))
            found += some
            if len(some) < PAGE_SIZE:
                break
        return found

    async def _call(self, session: aiohttp.ClientSession, request: Request) -> Any:
        await self._pause(PACE_SECONDS)
        where = f"{request.method} {request.path.partition('?')[0]}"
        try:
            async with session.request(
                request.method, self._base + request.path, json=request.body, allow_redirects=False
            ) as answer:
                text = await answer.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as problem:
            raise MirrorProblem(f"{where}: {type(problem).__name__}", UNSURE_SECONDS) from None
        if answer.status in BUSY:
            raise MirrorProblem(f"{where}: {answer.status}, too many requests", _after(answer))
        if answer.status == 404 and request.method in ("PATCH", "DELETE"):
            # Somebody has taken it away there; the next round sees it so.
            return None
        if answer.status >= 300:
            raise MirrorProblem(f"{where}: {answer.status}", UNSURE_SECONDS if answer.status >= 500 else BUSY_SECONDS)
        try:
            found = json.loads(text) if text else None
        except ValueError:
            raise MirrorProblem(f"{where}: the answer is no JSON", UNSURE_SECONDS) from None
        if request.method == "GET" and not isinstance(found, list):
            raise MirrorProblem(f"{where}: the answer is no list", BUSY_SECONDS)
        return found


def _after(answer: aiohttp.ClientResponse) -> float:
    try:
        return min(600.0, max(1.0, float(answer.headers.get("Retry-After", BUSY_SECONDS))))
    except ValueError:
        return BUSY_SECONDS
