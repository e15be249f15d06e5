"""The time. Movers are short and alone: their decisions are tested with times that are given to them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This instant in UTC, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
