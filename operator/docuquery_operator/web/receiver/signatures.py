"""Signatures of what comes in, over the raw bytes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Sequence

OLDEST_SECONDS, AHEAD_SECONDS = 300.0, 60.0
REMEMBERED = 10_000


def slack_timestamp(text: str, now: float) -> bool:
    """Whether a request of this time may be new: five minutes old at most, and one ahead, as clocks differ."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        return False
    return -AHEAD_SECONDS <= now - int(text) <= OLDEST_SECONDS


def slack_signed(secrets: Sequence[str], timestamp: str, body: bytes, given: str) -> bool:
    """`v0=` and HMAC-SHA256 over `v0:<timestamp>:<body>`, with one of the secrets."""
    signed = b"v0:" + timestamp.encode(errors="replace") + b":" + body
    return _any(secrets, signed, ["v0"], [given])


def pagerduty_signed(secrets: Sequence[str], body: bytes, given: str) -> bool:
    """`v1=` and HMAC-SHA256 over the body; several stand side by side, separated by commas, while a secret is exchanged."""
    return _any(secrets, body, ["v1"], [part.strip() for part in given.split(",")][:8])


def _any(secrets: Sequence[str], signed: bytes, versions: Sequence[str], given: Sequence[str]) -> bool:
    """All are compared, so that the time says nothing."""
    good = [f"{v}={hmac.new(s.encode(), signed, hashlib.sha256).hexdigest()}".encode() for s in secrets for v in versions]
    matches = [hmac.compare_digest(g, have.encode(errors="replace")) for g in good for have in given]
    return any(matches)


class Seen:
    """What was answered lately; it only spares work, as every answer is stored at most once anyway."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def add(self, key: str) -> None:
        """It was answered."""
        self._known[key] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
