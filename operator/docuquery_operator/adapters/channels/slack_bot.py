"""Slack by a bot: one thread for each round of an incident, whose first message always shows how it stands.

chat.postMessage begins the thread and says in it what is new; chat.update keeps the first message up to date. Where the
thread is stands in the receipt, so that a process that was killed finds it again.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...domain.paging.messages import Message
from ...domain.paging.threads import RECEIPT, receipt
from ...ports import Receipt
from .base import SetupError, needed
from .http import Poster
from .slack_blocks import payload

API = "https://slack.com/api/"
READ = 256 * 1024
REMEMBERED = 1000
# Slack itself has a problem; everything else needs somebody to mend something.
LATER = ("ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
LOST = ("message_not_found", "thread_not_found", "cant_update_message", "channel_not_found")
WORD = re.compile(r"[a-z_]{1,60}")


class SlackBot:
    """Remembers where threads are until their receipts are written down."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._threads: OrderedDict[str, str] = OrderedDict()

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""
        channel = needed(secret, "channel", "the id of the channel that the bot was invited to, such as C0123ABCD")
        buttons = secret.get("interactive", "").strip() == "true"
        if message.members:
            # One message for several incidents is nobody's thread.
            return (await self._call(secret, "chat.postMessage", {"channel": channel, **payload(message)}, timeout))[0]
        parent = message.parent or self._threads.get(message.thread, "")
        if parent:
            said, error = await self._say(secret, parent, message, buttons, timeout)
            if error not in LOST:
                return said
        return await self._begin(secret, channel, message, buttons, timeout)

    async def _begin(
        self, secret: Mapping[str, str], channel: str, message: Message, buttons: bool, timeout: float
    ) -> Receipt:
        said, answer = await self._call(
            secret, "chat.postMessage", {"channel": channel, **payload(message, buttons)}, timeout
        )
        if not said.accepted:
            return said
        note = receipt(f"{answer.get('channel')}/{answer.get('ts')}")
        found = RECEIPT.fullmatch(note)
        if found is None:
            return Receipt(True)
        self._threads[message.thread] = found[1]
        while len(self._threads) > REMEMBERED:
            self._threads.popitem(last=False)
        return Receipt(True, note)

    async def _say(
        self, secret: Mapping[str, str], parent: str, message: Message, buttons: bool, timeout: float
    ) -> tuple[Receipt, str]:
        """What is new in the thread, and in the channel as well where somebody is called; then the first message."""
        channel, _, ts = parent.partition("/")
        reply = {"channel": channel, "thread_ts": ts, "reply_broadcast": message.kind == "trigger", **payload(message)}
        said, answer = await self._call(secret, "chat.postMessage", reply, timeout * 0.6)
        if not said.accepted:
            return said, str(answer.get("error", ""))
        # Should this fail, the next message brings it up to date; what is new was said, and must not be said twice.
        with suppress(TimeoutError, OSError):
            await self._call(
                secret, "chat.update", {"channel": channel, "ts": ts, **payload(message, buttons)}, timeout * 0.3
            )
        return Receipt(True, receipt(parent)), ""

    async def _call(
        self, secret: Mapping[str, str], method: str, body: Mapping[str, Any], timeout: float
    ) -> tuple[Receipt, dict[str, Any]]:
        """One request to the Web API; it answers 200 also to what it refuses."""
        token = needed(secret, "token", "the bot's token, xoxb-…")
        if not token.isascii() or not token.isprintable():
            raise SetupError("token must be the bot's token, xoxb-…")
        url = (secret.get("api", "").strip() or API).rstrip("/") + f"/{method}"
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {token}"}
        said, raw = await self._poster.exchange(
            url, json.dumps(body).encode(), headers, timeout, ca=secret.get("ca.crt", ""), read=READ
        )
        if not said.accepted:
            return said, {}
        answer = _read(raw)
        if answer.get("ok") is True:
            return said, answer
        error = answer.get("error")
        word = error if isinstance(error, str) and WORD.fullmatch(error) else "answer that cannot be read"
        return Receipt(False, f"Slack: {word}", hard=bool(answer) and word not in LATER), answer


def _read(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
