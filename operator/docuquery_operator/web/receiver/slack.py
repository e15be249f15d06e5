"""Buttons in Slack: acknowledge, approve, reject.

Slack wants an answer within 3 s; a request that comes again (`X-Slack-Retry-Num`) is stored once. Why a press did not count
is told to whoever pressed, by its `response_url`, after that answer and beside it. Nothing goes out for what is not signed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from ...api.alerts import SLACK_USER
from ...domain.paging import replies
from ...domain.paging.buttons import Button
from ...ports import Clock
from ...ports.speaker import Speaker
from .answers import Answers, Ref
from .metrics import ReceiverMetrics
from .secrets import SLACK, SecretFiles
from .signatures import Seen, slack_signed, slack_timestamp

log = logging.getLogger(__name__)
TELLING, TELL_SECONDS = 32, 3.0


class Slack:
    """Answers `/slack/actions`."""

    def __init__(
        self, secrets: SecretFiles, answers: Answers, clock: Clock, metrics: ReceiverMetrics, speaker: Speaker
    ) -> None:
        self._secrets = secrets
        self._speaker = speaker
        self._telling: set[asyncio.Task[None]] = set()
        self._answers = answers
        self._clock = clock
        self._metrics = metrics
        self._seen = Seen()

    async def answer(self, body: bytes, headers: Mapping[str, str]) -> web.Response:
        """200 once it is stored, or can never be; raises ApiError when it could not be stored."""
        secrets = self._secrets.lines(SLACK)
        if not secrets:
            return web.Response(status=404, text="no signing secret of Slack is set up")
        stamp, given = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
        now = self._clock.now()
        signed = slack_signed(secrets, stamp, body, given)
        if not slack_timestamp(stamp, now.timestamp()) or not signed:
            self._metrics.answer("slack", "not_signed")
            return web.Response(status=401, text="the signature is not right, or too old")
        press = hashlib.sha256(body).hexdigest()
        payload = _payload(body)
        outcome = "replayed" if press in self._seen else await self._press(payload, now)
        self._seen.add(press)
        # Sent again by Slack it is known because of the first time.
        if not (outcome == "known" and "X-Slack-Retry-Num" in headers):
            self._tell(payload, outcome)
        self._metrics.answer("slack", outcome)
        log.info("button pressed", extra={"outcome": outcome})
        return web.Response()

    async def told(self) -> None:
        """Wait for the words that are on their way."""
        while self._telling:
            await asyncio.wait(set(self._telling))

    def _tell(self, payload: Mapping[str, Any], outcome: str) -> None:
        address = payload.get("response_url")
        button = Button.read(_action(payload).get("value"))
        text = replies.reason(outcome, button.namespace if button else "", button.incident if button else "")
        if not text or not isinstance(address, str):
            return
        if len(self._telling) >= TELLING:
            self._metrics.reason("too_many")
            return
        task = asyncio.ensure_future(self._say(address, text))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _say(self, address: str, text: str) -> None:
        self._metrics.reason(await self._speaker.say(address, text, TELL_SECONDS))

    async def _press(self, payload: Mapping[str, Any], now: datetime) -> str:
        user, action = payload.get("user"), _action(payload)
        by = f"slack:{user.get('id')}" if isinstance(user, dict) else ""
        button = Button.read(action.get("value"))
        if payload.get("type") != "block_actions" or not re.fullmatch(SLACK_USER, by) or button is None:
            return "not_a_button"
        ref = Ref(button.namespace, button.incident, button.uid, button.round)
        name = action.get("action_id")
        if name == "acknowledge":
            at = _time(action.get("action_ts")) or now
            return await self._answers.write(ref, lambda i: replies.acknowledge(i, ref.round, by, at, now))
        if name not in ("approve", "reject"):
            return "not_a_button"
        stack = await self._answers.stack_of(ref)
        approvers = stack.spec.approvers if stack is not None else []
        decision: replies.Decision = "Approve" if name == "approve" else "Reject"
        return await self._answers.write(
            ref, lambda i: replies.decide(i, ref.round, button.step, button.digest, by, decision, approvers)
        )


def _action(payload: Mapping[str, Any]) -> dict[str, Any]:
    actions = payload.get("actions")
    return actions[0] if isinstance(actions, list) and actions and isinstance(actions[0], dict) else {}


def _payload(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_qs(body.decode(), max_num_fields=8)
        found = json.loads(fields.get("payload", [""])[0])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(text: Any) -> datetime | None:
    """Seconds since 1970 with a fraction, as a text."""
    try:
        return datetime.fromtimestamp(float(text), UTC) if isinstance(text, str) else None
    except (ValueError, OverflowError, OSError):
        return None
