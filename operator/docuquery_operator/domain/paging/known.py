"""Whether anybody knows of an incident, by its status as the API server shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ...api.incident import Phase


class Known(Enum):
    """PERHAPS: a call was ordered, and may have been sent by a process that died before it wrote that down."""

    NO = "No"
    PERHAPS = "Perhaps"
    YES = "Yes"


def known(status: Mapping[str, Any]) -> Known:
    """Whether a call of it has come through, or it is over. status: as read, so it may be anything."""
    if status.get("phase") == Phase.RESOLVED.value:
        return Known.YES
    notes = status.get("notifications")
    entries = notes if isinstance(notes, list) else []
    calls = [n.get("state") for n in entries if isinstance(n, Mapping) and n.get("what") == "Step"]
    if not calls:
        return Known.NO
    return Known.YES if "Sent" in calls else Known.PERHAPS
