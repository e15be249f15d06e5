"""Alertmanager's message as alerts that can be put somewhere.

Form: version 4 of the webhook (alertmanager template/template.go). The status of the group says nothing of one alert: each
alert's own is read; `endsAt` of a firing alert is no end (alertmanager #3341). Unknown fields are ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...api.alerts import FINGERPRINT
from ...api.common import NAME_PATTERN, TYPE_NAME_PATTERN, Severity
from ...domain.incidents.draft import as_written
from ...domain.incidents.intake import Alert
from ...domain.redaction import redact

SEVERITIES = {
    "critical": Severity.P0,
    "page": Severity.P1,
    "error": Severity.P1,
    "high": Severity.P1,
    "warning": Severity.P2,
    "info": Severity.P3,
    "none": Severity.P3,
} | {s.value.lower(): s for s in Severity}
NAME, SUMMARY = 128, 256
# Alertmanager writes times with up to nine digits of the second; datetime reads six.
FRACTION = re.compile(r"(\.\d{6})\d+")


class GarbageError(ValueError):
    """Bytes that can never be a message; sending them again is of no use."""


@dataclass(frozen=True)
class Message:
    """What one request said. bad: alerts that could not be read. left_out: alerts that the sender had no room for."""

    alerts: tuple[Alert, ...]
    bad: int = 0
    left_out: int = 0
    truncated: bool = False


def parse(body: bytes, truncated: bool, namespace: str = "", stack: str = "") -> Message:
    """The alerts of a body. truncated: it is only the beginning. namespace, stack: what counts where labels do not say.

    Raises GarbageError where nothing can be read.
    """
    if truncated:
        found, left_out = list(_whole_alerts(body.decode(errors="replace"))), 0
        if not found:
            raise GarbageError("no alert could be read at the beginning of a body that is too large")
    else:
        found, left_out = _all(body)
    alerts = [a for a in (_alert(raw, namespace, stack) for raw in found) if a is not None]
    return Message(tuple(alerts), len(found) - len(alerts), max(left_out, int(truncated)), truncated)


def _all(body: bytes) -> tuple[list[Any], int]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise GarbageError("the body is not JSON") from problem
    alerts = message.get("alerts") if isinstance(message, dict) else None
    if not isinstance(alerts, list):
        raise GarbageError("the body is no message of Alertmanager: it has no list `alerts`")
    left_out = message.get("truncatedAlerts")
    return alerts, left_out if isinstance(left_out, int) and 0 < left_out < 10**6 else 0


def _whole_alerts(text: str) -> Iterator[Any]:
    """Alerts that stand whole at the beginning of a message; Alertmanager writes its list early."""
    start = re.search(r'"alerts"\s*:\s*\[', text)
    at, decoder = start.end() if start else len(text), json.JSONDecoder()
    while at < len(text):
        gap = re.compile(r"[\s,]*").match(text, at)
        at = gap.end() if gap else at
        try:
            alert, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield alert


def _alert(raw: Any, namespace: str, stack: str) -> Alert | None:
    labels = _strings(raw.get("labels")) if isinstance(raw, dict) else {}
    if not labels:
        return None
    begins, ends = _time(raw.get("startsAt")), _time(raw.get("endsAt"))
    status = raw.get("status")
    if begins is None or status not in ("firing", "resolved"):
        return None
    given = raw.get("fingerprint")
    notes = _strings(raw.get("annotations"))
    return Alert(
        fingerprint=given if isinstance(given, str) and re.fullmatch(FINGERPRINT, given) else _fingerprint(labels),
        name=_line(labels.get("alertname", ""), NAME),
        starts_at=begins,
        ends_at=None if status == "firing" else max(begins, ends or begins),
        namespace=labels.get("docuquery_namespace") or labels.get("namespace") or namespace,
        stack=labels.get("docuquery_stack") or stack,
        incident_type=_matching(labels.get("docuquery_type", ""), TYPE_NAME_PATTERN),
        component=_matching(labels.get("docuquery_component", ""), NAME_PATTERN),
        severity=SEVERITIES.get(labels.get("severity", "").strip().lower()),
        summary=_line(notes.get("summary") or notes.get("description") or notes.get("message") or "", SUMMARY),
    )


def _strings(value: Any) -> Mapping[str, str]:
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def _fingerprint(labels: Mapping[str, str]) -> str:
    """Where the sender gives none: the same labels are the same alert."""
    return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]


def _time(value: Any) -> datetime | None:
    """A time as it will be written, so that it can be compared with what is read back."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(FRACTION.sub(r"\1", value))
        return as_written(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _matching(value: str, pattern: str) -> str:
    return value if len(value) <= 63 and re.fullmatch(pattern, value) else ""


def _line(text: str, limit: int) -> str:
    """Text from outside is data: one line, without secrets and control characters, capped (rule 31)."""
    flat = " ".join(redact(text).split())
    return "".join(c for c in flat if c.isprintable())[:limit]
