"""Webhooks V3 of PagerDuty: whoever takes or closes our alert there, has taken or closed the Incident.

An event is ours by `data.incident_key`, the dedup key that the operator chose: the Incident's uid, with `/<group>` for later
groups. Only what a user did counts: the operator itself and timers of PagerDuty close alerts too.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from ...domain.paging import replies
from ...ports import Clock
from .answers import Answers
from .metrics import ReceiverMetrics
from .secrets import PAGERDUTY, SecretFiles
from .signatures import Seen, pagerduty_signed

USER = re.compile(r"[A-Z0-9]{4,30}")
AHEAD = timedelta(minutes=5)
log = logging.getLogger(__name__)


class PagerDuty:
    """Answers `/pagerduty`."""

    def __init__(self, secrets: SecretFiles, answers: Answers, clock: Clock, metrics: ReceiverMetrics) -> None:
        self._secrets = secrets
        self._answers = answers
        self._clock = clock
        self._metrics = metrics
        self._seen = Seen()

    async def answer(self, body: bytes, headers: Mapping[str, str]) -> web.Response:
        """200 once it is stored, or can never be; raises ApiError when it could not be stored."""
        secrets = self._secrets.lines(PAGERDUTY)
        if not secrets:
            return web.Response(status=404, text="no secret of PagerDuty's webhooks is set up")
        if not pagerduty_signed(secrets, body, headers.get("X-PagerDuty-Signature", "")):
            self._metrics.answer("pagerduty", "not_signed")
            return web.Response(status=401, text="the signature is not right")
        event = _event(body)
        name = event.get("id") if isinstance(event.get("id"), str) else ""
        outcome = "replayed" if name and name in self._seen else await self._event(event)
        if name:
            self._seen.add(name)
        self._metrics.answer("pagerduty", outcome)
        log.info("event of pagerduty", extra={"outcome": outcome})
        return web.Response()

    async def _event(self, event: Mapping[str, Any]) -> str:
        kind, now = event.get("event_type"), self._clock.now()
        if kind not in ("incident.acknowledged", "incident.resolved"):
            return "not_needed"
        agent, data = event.get("agent"), event.get("data")
        user = agent.get("id") if isinstance(agent, dict) and agent.get("type") == "user_reference" else None
        if not isinstance(user, str) or not USER.fullmatch(user):
            return "not_a_user"
        key, at = data.get("incident_key") if isinstance(data, dict) else None, _time(event.get("occurred_at"))
        if not isinstance(key, str) or at is None or at > now + AHEAD:
            return "not_readable"
        ref = await self._answers.find(key.partition("/")[0])
        if ref is None:
            return "not_ours"
        by = f"pagerduty:{user}"
        if kind == "incident.acknowledged":
            return await self._answers.write(ref, lambda i: replies.acknowledge(i, None, by, at, now))
        return await self._answers.write(ref, lambda i: replies.resolve(i, by, "closed at PagerDuty", at, now))


def _event(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    event = found.get("event") if isinstance(found, dict) else None
    return event if isinstance(event, dict) else {}


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if at is None else (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        return None
