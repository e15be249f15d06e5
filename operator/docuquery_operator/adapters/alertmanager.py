"""Silences of Alertmanager by its API v2 (alertmanager: api/v2/openapi.yaml)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ..domain.maintenance.silences import Seen
from ..domain.redaction import redact
from ..ports import AlertmanagerTarget
from .bodies import whole

BODY_LIMIT = 4 * 1024 * 1024
LONGEST = 200
# 0.25 answers 500 where a silence has ended already; newer ones 200 or 404.
ENDED = ("already expired", "not found")


class AlertmanagerRest:
    """ports.Alertmanager; a connection for each request, as there are a few an hour."""

    async def silences(self, target: AlertmanagerTarget, label: tuple[str, str], timeout: float) -> Sequence[Seen] | str:
        """GET, filtered by the server."""
        query = quote(f"{label[0]}={json.dumps(label[1])}", safe="")
        status, body = await _call("GET", target, f"/silences?filter={query}", None, timeout)
        if status != 200:
            return body
        try:
            return [_seen(item) for item in json.loads(body)]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            return f"not an answer of Alertmanager ({type(problem).__name__})"

    async def put(self, target: AlertmanagerTarget, silence: Mapping[str, Any], timeout: float) -> str:
        """POST; which id it has now is seen by the next look."""
        status, body = await _call("POST", target, "/silences", silence, timeout)
        return "" if status == 200 else body

    async def expire(self, target: AlertmanagerTarget, silence_id: str, timeout: float) -> str:
        """DELETE; what has ended already is fine."""
        status, body = await _call("DELETE", target, f"/silence/{quote(silence_id, safe='')}", None, timeout)
        return "" if status in (200, 404) or any(word in body for word in ENDED) else body


async def _call(
    method: str, target: AlertmanagerTarget, path: str, body: Mapping[str, Any] | None, timeout: float
) -> tuple[int, str]:
    """Status and body; 0 and the reason where there is no answer. Redirects are not followed."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    url = f"http://{host}:{target.port}{target.prefix}/api/v2{path}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.request(method, URL(url, encoded=True), json=body, allow_redirects=False) as answer,
        ):
            raw = await whole(answer.content, BODY_LIMIT)
            if raw is None:
                return 0, "the answer is too long"
            text = raw.decode(errors="replace")
            return answer.status, text if answer.status == 200 else _why(answer.status, text)
    except TimeoutError:
        return 0, f"no answer within {timeout:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        return 0, redact(f"{type(problem).__name__}: {problem}")[:LONGEST]


def _why(status: int, body: str) -> str:
    return f"HTTP {status}: {redact(' '.join(body.split()))}"[:LONGEST]


def _seen(item: Mapping[str, Any]) -> Seen:
    found = tuple((str(m["name"]), str(m["value"]), bool(m["isRegex"])) for m in item["matchers"] if m.get("isEqual", True))
    return Seen(
        id=str(item["id"]),
        state=str(item["status"]["state"]),
        ends_at=datetime.fromisoformat(item["endsAt"]),
        created_by=str(item["createdBy"]),
        comment=str(item["comment"]),
        matchers=found,
    )
