"""What the application itself says after a restore: its health and its information page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

TRIES = 12
PAUSE = 5.0
TIMEOUT = 10.0
LIMIT = 1 << 20
# An api that opens its connections anew is given so long to say that all is well.


async def problem(url: str, tries: int = TRIES, pause: float = PAUSE) -> str:
    """'' when /health says that everything is up and /info answers; else what is wrong, after some tries."""
    found = ""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
        for number in range(tries):
            found = await _asked(session, url)
            if not found:
                return ""
            if number + 1 < tries:
                await asyncio.sleep(pause)
    return found


async def _asked(session: aiohttp.ClientSession, url: str) -> str:
    status, health = await _get(session, f"{url}/health")
    down = [name for name, state in _dependencies(health).items() if state not in ("up", "ok", "healthy", "connected", True)]
    if status != 200 or down:
        return f"GET /health: {status or 'no answer'}" + (f", down: {', '.join(sorted(down))}" if down else "")
    status, _ = await _get(session, f"{url}/info")
    # An application without this page is none the worse for it.
    return "" if status in (200, 404) else f"GET /info: {status or 'no answer'}"


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            body = await answer.content.read(LIMIT)
            try:
                return answer.status, json.loads(body)
            except ValueError:
                return answer.status, None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return 0, None


def _dependencies(health: Any) -> dict[str, Any]:
    found = health.get("dependencies") if isinstance(health, dict) else None
    if not isinstance(found, dict):
        return {}
    return {str(name): state.get("status") if isinstance(state, dict) else state for name, state in found.items()}
