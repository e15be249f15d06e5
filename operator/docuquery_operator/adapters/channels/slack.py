"""Slack by an incoming webhook: text and blocks within their limits. Also takes what speaks the same, such as Mattermost.

Limits: a section has 3000 characters, a whole message stays below 10000 (bolt-js #2509); & < > are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...domain.messages import Message
from ...ports import Receipt
from .base import needed
from .http import Poster

SECTION, TEXT, WHOLE = 3000, 2000, 9500
COLOURS = {"P0": ":red_circle:", "P1": ":large_orange_circle:", "P2": ":large_yellow_circle:", "P3": ":white_circle:"}
MEMBER = re.compile(r"[UW][A-Z0-9]{6,20}")
USERGROUP = re.compile(r"S[A-Z0-9]{6,20}")


class Slack:
    """One message a letter; an incoming webhook cannot change or thread what it has sent."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""
        url = needed(secret, "url", "the address of an incoming webhook, https://hooks.slack.com/services/…")
        body = json.dumps(payload(message)).encode()
        headers = {"Content-Type": "application/json"}
        return await self._poster.post(url, body, headers, timeout, ca=secret.get("ca.crt", ""))


def payload(message: Message) -> dict[str, Any]:
    """The JSON that Slack takes."""
    mark = ":large_green_circle:" if message.kind == "resolve" else COLOURS[message.severity.value]
    title = f"{mark} *{escaped(message.title, 600)}*"
    who = _whole((_mention(c) for c in message.contacts), " ", 600)
    blocks: list[dict[str, Any]] = [_section(f"{title}\n{who}".rstrip()), _section(escaped(message.text, SECTION))]
    links = _whole(
        (f"<{_href(href)}|{escaped(text, 200).replace('|', '/')}>" for text, href in message.links), " | ", SECTION
    )
    if links:
        blocks.append(_section(links))
    found: dict[str, Any] = {"text": escaped(f"{message.title}\n{message.text}", TEXT), "blocks": blocks}
    while len(json.dumps(found, ensure_ascii=False)) > WHOLE and len(blocks) > 1:
        blocks.pop()
    return found


def _whole(pieces: Iterable[str], between: str, limit: int) -> str:
    """As many pieces as there is room for, none of them cut: half a link is no link."""
    found = ""
    for piece in pieces:
        longer = f"{found}{between}{piece}" if found else piece
        if len(longer) <= limit:
            found = longer
    return found


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text or "-"}}


def escaped(text: str, limit: int) -> str:
    """As Slack asks for, at most so many characters, and never half an escape."""
    found, size = [], 0
    for char in text:
        piece = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(char, char)
        if size + len(piece) > limit:
            break
        found.append(piece)
        size += len(piece)
    return "".join(found)


def _mention(contact: str) -> str:
    """A member or user group by its id is called; a name or an address is only written."""
    if MEMBER.fullmatch(contact):
        return f"<@{contact}>"
    return f"<!subteam^{contact}>" if USERGROUP.fullmatch(contact) else escaped(contact, 100)


def _href(href: str) -> str:
    return href.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
