"""An answer that only the person sees who has pressed a button, by the `response_url` of the press.

Slack's addresses of that kind are https://hooks.slack.com/actions/… (hooks.slack-gov.com for the government's cloud).
Any other is refused although the press was signed: whoever has the signing secret must not send this process elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Collection
from urllib.parse import urlsplit

from ..ports.speaker import Said
from .channels.base import SetupError
from .channels.guard import Guard
from .channels.http import Poster

log = logging.getLogger(__name__)
HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
PATH, LONGEST = "/actions/", 1024


class SlackReply:
    """ports.Speaker."""

    def __init__(self, allowed: Collection[str] = (), ca: str = "") -> None:
        """allowed: networks of DOCUQUERY_NOTIFY_ALLOW, of which loopback alone may stand in for Slack.

        ca: certificates to trust instead of the system's.
        """
        self._guard = Guard(allowed)
        self._poster = Poster(self._guard)
        self._ca = ca

    async def say(self, address: str, text: str, timeout: float) -> Said:
        """One POST; the words are told to nobody else, and the message with the buttons stays as it is."""
        if not self.fine(address):
            log.warning("an address for an answer is not one of Slack's and was not used")
            return "refused"
        body = json.dumps({"response_type": "ephemeral", "replace_original": False, "text": text}).encode()
        try:
            headers = {"Content-Type": "application/json"}
            receipt = await self._poster.post(address, body, headers, timeout, ca=self._ca)
        except (SetupError, OSError) as problem:
            log.warning("a reason could not be told", extra={"problem": type(problem).__name__})
            return "refused" if isinstance(problem, SetupError) else "failed"
        return "sent" if receipt.accepted else "failed"

    def fine(self, address: str) -> bool:
        """Whether it is one of Slack's addresses for answers to presses."""
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            return False
        plain = address.isascii() and address.isprintable() and not set(address) & set(" \\@#")
        if len(address) > LONGEST or not plain or parts.scheme != "https" or not parts.path.startswith(PATH):
            return False
        return (parts.hostname in HOSTS and port in (None, 443)) or self._stands_in(parts.hostname or "")

    def _stands_in(self, host: str) -> bool:
        try:
            found = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            return False
        return found.is_loopback and not self._guard.refuses(str(found))
