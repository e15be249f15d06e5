"""The peer of B12: pages sent straight from kopf's handlers, as its pages on handlers, sub-handlers and daemons suggest.

One sub-handler a channel, so that a channel that fails is tried again alone: after its Retry-After, else after 5 s, three times in
all as ours is before it fails. Progress is where kopf keeps it. No outbox, no limits, no grouping.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import hashlib
import hmac
import json
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import kopf

KIND = ("ops.docuquery.ai", "v1alpha1", "incidents")
URLS: Mapping[str, str] = json.loads(os.environ["PAGER_URLS"])
KEY, ROUTING, LEAD_AFTER = os.environ["PAGER_KEY"], os.environ["PAGER_ROUTING"], float(os.environ["PAGER_LEAD_AFTER"])
TRUSTED = ssl.create_default_context(cafile=os.environ["PAGER_CA"])
TOLD = "pager.example.org/lead-told"
ACTIONS = {"Resolved": "resolve"}


@kopf.on.create(*KIND)
async def opened(**_: Any) -> None:
    """The first call."""
    for channel in URLS:
        kopf.register(functools.partial(page, channel, "Step", "onCall"), id=channel, retries=3, backoff=5.0)


@kopf.on.update(*KIND, field="spec.resolved")
async def resolved(**_: Any) -> None:
    """The end."""
    for channel in URLS:
        kopf.register(functools.partial(page, channel, "Resolved", "onCall"), id=channel, retries=3, backoff=5.0)


@kopf.daemon(*KIND)
async def escalate(body: kopf.Body, stopped: kopf.DaemonStopped, patch: kopf.Patch, name: str, uid: str, **_: Any) -> None:
    """The team lead, unless somebody has it or it is over by then; told once, so far as the annotation is written."""
    created = datetime.datetime.fromisoformat(body["metadata"]["creationTimestamp"])
    wait = LEAD_AFTER - (datetime.datetime.now(datetime.UTC) - created).total_seconds()
    if TOLD in body["metadata"].get("annotations", {}) or await stopped.wait(max(0.0, wait)):
        return
    if {"acknowledged", "resolved"} & set(body["spec"]):
        return
    await asyncio.gather(*(_again(channel, name, uid) for channel in URLS))
    patch.meta["annotations"] = {TOLD: "true"}


async def _again(channel: str, name: str, uid: str) -> None:
    """Three tries, as the sub-handlers have."""
    for _ in range(3):
        try:
            return await page(channel, "Step", "teamLead", name=name, uid=uid)
        except kopf.TemporaryError as problem:
            await asyncio.sleep(problem.delay or 5.0)
        except (OSError, aiohttp.ClientError):
            await asyncio.sleep(5.0)


async def page(channel: str, what: str, to: str, name: str, uid: str, **_: Any) -> None:
    """One POST; the key is the same for all tries."""
    key = f"{uid}/{what}/{to}/{channel}"
    raw = json.dumps(_body(channel, what, to, name, uid, key)).encode()
    stamp = str(int(time.time()))
    signed = hmac.new(KEY.encode(), b"v1:" + stamp.encode() + b":" + raw, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    headers |= {"X-DocuQuery-Timestamp": stamp, "X-DocuQuery-Signature": f"v1={signed}"}
    limit = aiohttp.ClientTimeout(total=10.0)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.post(URLS[channel], data=raw, headers=headers, ssl=TRUSTED) as answer,
    ):
        if answer.status >= 300:
            raise kopf.TemporaryError(f"HTTP {answer.status}", delay=float(answer.headers.get("Retry-After", "5")))


def _body(channel: str, what: str, to: str, name: str, uid: str, key: str) -> Mapping[str, Any]:
    if channel == "slack":
        return {"text": f"{what} {name} for {to}"}
    if channel == "pagerduty":
        event = {"routing_key": ROUTING, "event_action": ACTIONS.get(what, "trigger"), "dedup_key": f"{uid}/{to}"}
        details = {"incident": name}
        return event | {"payload": {"summary": name, "source": "naive", "severity": "critical", "custom_details": details}}
    return {"key": key, "incident": name, "what": what, "to": to}
