"""PagerDuty by its Events API v2: trigger, acknowledge, resolve. A phone is a service there whose urgency is a call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...domain.paging.messages import Message
from ...ports import Receipt
from .base import SetupError, needed
from .http import Poster

ENQUEUE = "https://events.pagerduty.com/v2/enqueue"
SEVERITIES = {"P0": "critical", "P1": "error", "P2": "warning", "P3": "info"}
SUMMARY, DEDUP, BODY, TEXT, NAMES = 1024, 255, 500_000, 8000, 200
ACTIONS = {"trigger": "trigger", "acknowledge": "acknowledge", "resolve": "resolve"}


class PagerDuty:
    """Alerts are told apart by the incident, and by the group from the second step on."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try. 202 says that the event was taken, not that somebody was called."""
        own = secret.get(f"routingKey.{message.to}", "").strip()
        routing = own or needed(secret, "routingKey", "the integration key of a service with Events API v2")
        if len(routing) != 32 or not routing.isalnum():
            raise SetupError("routingKey must be the 32 letters and digits of an Events API v2 integration")
        url = secret.get("url", "").strip() or ENQUEUE
        if message.kind == "change":
            url = re.sub(r"/v2/enqueue/?$", "/v2/change/enqueue", url)
        body = json.dumps(payload(message, routing)).encode()
        headers = {"Content-Type": "application/json"}
        return await self._poster.post(url, body, headers, timeout, ca=secret.get("ca.crt", ""))


def payload(message: Message, routing_key: str) -> dict[str, Any]:
    """The JSON that PagerDuty takes; what nobody needs to be called for updates the alert."""
    if message.kind == "change":
        return _change(message, routing_key)
    event = {
        "routing_key": routing_key,
        "event_action": ACTIONS.get(message.kind, "trigger"),
        "dedup_key": message.alert[:DEDUP],
    }
    if message.kind in ("acknowledge", "resolve"):
        return event
    details = {
        "text": message.text[:TEXT],
        "incident": f"{message.namespace}/{message.incident}",
        "phase": message.phase,
        "contacts": ", ".join(message.contacts)[:1000],
        "key": message.key,
    }
    if message.members:
        details["incidents"] = ", ".join(message.members[:NAMES])
    return {
        **event,
        "payload": {
            "summary": message.title[:SUMMARY] or message.incident,
            "source": f"{message.namespace}/{message.stack}",
            "severity": SEVERITIES[message.severity.value],
            "timestamp": message.at.isoformat(),
            "component": message.component or message.stack,
            "group": message.stack,
            "class": message.incident_type,
            "custom_details": details,
        },
        "client": "DocuQuery operator",
        "links": [{"href": href, "text": text} for text, href in message.links],
    }


def _change(message: Message, routing_key: str) -> dict[str, Any]:
    """A change event: what the operator does, beside the alerts and without a call."""
    return {
        "routing_key": routing_key,
        "payload": {
            "summary": message.title[:SUMMARY] or message.incident,
            "source": f"{message.namespace}/{message.stack}",
            "timestamp": message.at.isoformat(),
            "custom_details": {"incident": f"{message.namespace}/{message.incident}", "key": message.key},
        },
        "links": [{"href": href, "text": text} for text, href in message.links],
    }
