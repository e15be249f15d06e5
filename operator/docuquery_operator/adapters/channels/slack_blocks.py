"""Text and blocks of a message within Slack's limits.

A section has 3000 characters, a whole message stays below 10000 (bolt-js #2509); a button's text has 75, its value 2000;
& < > are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ...domain.paging.buttons import VALUE_LIMIT
from ...domain.paging.messages import Message

SECTION, TEXT, WHOLE = 3000, 2000, 9500
COLOURS = {"P0": ":red_circle:", "P1": ":large_orange_circle:", "P2": ":large_yellow_circle:", "P3": ":white_circle:"}
MEMBER = re.compile(r"[UW][A-Z0-9]{6,20}")
USERGROUP = re.compile(r"S[A-Z0-9]{6,20}")


def payload(message: Message, buttons: bool = False) -> dict[str, Any]:
    """The JSON that Slack takes; buttons: with those that can be pressed now."""
    actions = _actions(message) if buttons else []
    room = WHOLE - len(json.dumps(actions, ensure_ascii=False))
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
    while len(json.dumps(found, ensure_ascii=False)) > room and len(blocks) > 1:
        blocks.pop()
    blocks += actions
    return found


def _actions(message: Message) -> list[dict[str, Any]]:
    """One block of buttons, or none where nothing is to be answered."""
    if message.button is None or len(message.button.value()) > VALUE_LIMIT:
        return []
    value, found = message.button.value(), []
    if not message.taken:
        found.append(_button("acknowledge", "Acknowledge", value))
    if message.button.digest:
        found += [_button("approve", "Approve", value, "primary"), _button("reject", "Reject", value, "danger")]
    return [{"type": "actions", "elements": found}] if found else []


def _button(action: str, text: str, value: str, style: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"type": "button", "action_id": action, "text": {"type": "plain_text", "text": text}}
    return made | {"value": value} | ({"style": style} if style else {})


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
