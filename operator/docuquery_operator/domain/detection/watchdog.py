"""An alert that always fires: how long it was not heard, and what its incident holds. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...api.alerts import IncidentAlert, Watchdog
from ...api.common import delta
from ..incidents.draft import as_written
from ..names import label_of

# The Lease of a namespace on which the receiver notes when it has heard each Stack's watchdog.
LEASE_NAME = "docuquery-watchdog"
HEARD = "watchdog.ops.docuquery.ai/"


def key_of(stack: str) -> str:
    """Annotation of the Lease with the time at which the Stack's watchdog was last heard."""
    return HEARD + label_of(stack)


def heard(lease: Mapping[str, Any] | None, stack: str) -> datetime | None:
    """When it was last heard, or when waiting for it began; None when nothing that can be read is noted."""
    text = (((lease or {}).get("metadata") or {}).get("annotations") or {}).get(key_of(stack), "")
    try:
        at = datetime.fromisoformat(text)
        return as_written(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, TypeError, OverflowError):
        return None


def silent(watchdog: Watchdog, heard_at: datetime, alive_since: datetime, now: datetime) -> bool:
    """Whether it should have been heard by now. While nobody was there to notice, nothing counts."""
    return now - max(heard_at, alive_since) > delta(watchdog.after)


def entry(stack: str, watchdog: Watchdog, heard_at: datetime, ended: datetime | None = None) -> IncidentAlert:
    """Its line in the Incident: it began when the alert was last heard."""
    fingerprint = hashlib.sha256(f"watchdog/{stack}".encode()).hexdigest()[:16]
    return IncidentAlert(
        fingerprint=fingerprint, name=f"{watchdog.alert} is not heard"[:128], starts_at=heard_at, ends_at=ended
    )
