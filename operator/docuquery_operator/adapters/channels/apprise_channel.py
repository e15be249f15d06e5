"""Whatever apprise knows (Telegram, Teams, ntfy, Opsgenie, …), by URLs of the Secret; sent by adapters/apprise_process.py.

An URL may hold {key}, which is the same for all tries of a message, {alert}, which is the same for all messages of an alert,
{severity} and {event}: so a service that knows repeated messages by such a word can be told it.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ...domain.paging.messages import Message
from ...ports import Receipt
from .base import SetupError, needed
from .guard import Guard
from .http import trusted

PROCESS = "docuquery_operator.adapters.apprise_process"
URLS, SIDE_BY_SIDE, REMEMBERED, ANSWER = 8, 2, 1000, 64 * 1024
BUSY_WAIT = 5.0
TYPES = {"resolve": "success", "update": "info", "acknowledge": "info", "change": "info"}
MISSING = (
    "this image has no apprise: build it with --build-arg EXTRAS=apprise, or use slack, pagerduty, email or webhook instead"
)


class AppriseChannel:
    """Each URL is sent a message until it has taken it, and no more; the message counts when all have.

    Which have is known to this process alone: after a kill all are sent it again, as with every channel.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # 44 MiB each, and the operator's own memory is bounded; so no more than a few at once, of all Stacks.
        self._room = asyncio.Semaphore(SIDE_BY_SIDE)
        self._taken: OrderedDict[str, set[str]] = OrderedDict()

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""
        if importlib.util.find_spec("apprise") is None:
            raise SetupError(MISSING)
        urls = _urls(secret)
        trusted(secret.get("ca.crt", ""))
        known = self._taken.get(message.key, set())
        left = [n for n, url in enumerate(urls) if _digest(url) not in known]
        request = _request(secret, message, timeout, [(n, urls[n]) for n in left], self._guard)
        answers: dict[int, Mapping[str, Any]] = {}
        late = False
        try:
            async with asyncio.timeout(timeout):
                if not await self._admitted(timeout / 2):
                    return Receipt(False, "other messages go first", retry_after=BUSY_WAIT)
                try:
                    await _run(request, answers)
                finally:
                    self._room.release()
        except TimeoutError:
            late = True
        self._remember(message.key, known | {_digest(urls[n]) for n, a in answers.items() if a["taken"]}, len(urls))
        return _receipt(
            left, answers, f"no answer within {timeout:g} s" if late else "apprise ended without an answer", len(urls)
        )

    async def _admitted(self, within: float) -> bool:
        try:
            await asyncio.wait_for(self._room.acquire(), within)
        except TimeoutError:
            return False
        return True

    def _remember(self, key: str, taken: set[str], of: int) -> None:
        self._taken.pop(key, None)
        if 0 < len(taken) < of:
            self._taken[key] = taken
        while len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)


def filled(url: str, message: Message) -> str:
    """The URL of this message."""
    values = {"key": message.key, "alert": message.alert, "severity": message.severity.value, "event": message.kind}
    for name, value in values.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return url


def _request(
    secret: Mapping[str, str], message: Message, timeout: float, urls: Iterable[tuple[int, str]], guard: Guard
) -> bytes:
    links = "".join(f"\n{text}: {href}" for text, href in message.links)
    grave = "failure" if message.severity.value in ("P0", "P1") else "warning"
    request = {
        "urls": [[n, filled(url, message)] for n, url in urls],
        "title": message.title,
        "body": f"{message.text}\n{links}" if links else message.text,
        "type": TYPES.get(message.kind, grave),
        "ca": secret.get("ca.crt", ""),
        "plain": secret.get("allowHttp", "").strip() == "true",
        "allowed": guard.allowed,
        "refused": guard.refused,
        "seconds": timeout,
    }
    return json.dumps(request).encode()


async def _run(request: bytes, answers: dict[int, Mapping[str, Any]]) -> None:
    """The process, ended with this call in whatever way; what it has answered until then counts. Nothing of it is logged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-B", "-m", PROCESS,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2"}, limit=ANSWER, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.close()
        async for line in process.stdout:
            found = json.loads(line)
            answers[int(found["url"])] = found
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _receipt(asked: Sequence[int], answers: Mapping[int, Mapping[str, Any]], silence: str, of: int) -> Receipt:
    silent = {"taken": False, "note": silence, "hard": False, "wait": 0.0}
    failed = {n: answer for n in asked if not (answer := answers.get(n, silent))["taken"]}
    if not failed:
        return Receipt(True)
    first = min(failed)
    which = f"URL {first + 1} of {of}: " if of > 1 else ""
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    hard, wait = all(a["hard"] for a in failed.values()), max(float(a["wait"]) for a in failed.values())
    return Receipt(False, f"{which}{failed[first]['note']}{more}", hard, wait)


def _urls(secret: Mapping[str, str]) -> list[str]:
    lines = (line.strip() for line in needed(secret, "urls", "one URL of apprise a line").splitlines())
    found = list(dict.fromkeys(line for line in lines if line))
    if len(found) > URLS:
        raise SetupError(f"urls holds more than {URLS} lines; write one URL a line, {URLS} at most")
    return found


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
