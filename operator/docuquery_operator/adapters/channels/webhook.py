"""A signed POST of JSON to a receiver of one's own.

The signature is HMAC-SHA256 with the key of the Secret over `v1:<timestamp>:<body>`; a receiver compares it in constant time
and refuses timestamps older than five minutes. `Idempotency-Key` is the same for all tries of one message.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from ...domain.paging.messages import Message
from ...ports import Clock, Receipt
from .base import SetupError, needed
from .http import Poster

SHORTEST_KEY = 16


class Webhook:
    """Every message, one by one."""

    def __init__(self, poster: Poster, clock: Clock) -> None:
        self._poster = poster
        self._clock = clock

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try."""
        url, key = needed(secret, "url", "the receiver's address"), needed(secret, "key", "the key of the signature")
        if len(key) < SHORTEST_KEY:
            raise SetupError(f"key must have at least {SHORTEST_KEY} characters, for example from openssl rand -hex 32")
        plain = secret.get("allowHttp", "").strip() == "true"
        now = self._clock.now().timestamp()
        body = json.dumps(payload(message)).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            "X-DocuQuery-Timestamp": str(int(now)),
            "X-DocuQuery-Signature": f"v1={signature(key, int(now), body)}",
        }
        return await self._poster.post(url, body, headers, timeout, secret.get("ca.crt", ""), plain, now)


def signature(key: str, timestamp: int, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256."""
    return hmac.new(key.encode(), f"v1:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()


def payload(message: Message) -> dict[str, Any]:
    """The JSON; fields are only ever added to version 1."""
    return {
        "version": "1",
        "key": message.key,
        "alert": message.alert,
        "event": message.kind,
        "what": message.what,
        "severity": message.severity.value,
        "title": message.title,
        "text": message.text,
        "to": message.to,
        "contacts": list(message.contacts),
        "namespace": message.namespace,
        "stack": message.stack,
        "component": message.component,
        "incident": message.incident,
        "type": message.incident_type,
        "phase": message.phase,
        "at": message.at.isoformat(),
        "links": [{"text": text, "href": href} for text, href in message.links],
    }
