"""The system's clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """UTC wall time."""

    def now(self) -> datetime:
        """The present instant."""
        return datetime.now(UTC)
