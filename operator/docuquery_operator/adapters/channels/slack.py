"""Slack by an incoming webhook, which others such as Mattermost speak too, or by a bot where the Secret has a token."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...domain.paging.messages import Message
from ...ports import Receipt
from .base import needed
from .http import Poster
from .slack_blocks import payload
from .slack_bot import SlackBot


class Slack:
    """One message a letter; an incoming webhook cannot change or thread what it has sent."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._bot = SlackBot(poster)

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try. A token of a bot goes before the address of a webhook."""
        if secret.get("token", "").strip():
            return await self._bot.send(secret, message, timeout)
        url = needed(secret, "url", "the address of an incoming webhook, https://hooks.slack.com/services/…")
        body = json.dumps(payload(message)).encode()
        headers = {"Content-Type": "application/json"}
        return await self._poster.post(url, body, headers, timeout, ca=secret.get("ca.crt", ""))
