"""MaintenanceWindows as the public sees them: each opening is one piece of planned work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ...api.common import delta
from ...api.maintenance_window import MaintenanceWindow
from ..maintenance.openings import open_span
from .incidents import public_id
from .words import MAINTENANCE_TITLE, WINDOW_TEXTS, WindowState, clean

# A nightly window would fill the page: of each window the next openings within so long, and at most so many.
AHEAD, AHEAD_SHOWN = timedelta(days=14), 3


@dataclass(frozen=True)
class PublicWindow:
    """One span of planned work. components: titles; empty means all."""

    id: str
    title: str
    state: WindowState
    message: str
    components: tuple[str, ...]
    begin: datetime
    end: datetime
    announced_at: datetime

    @property
    def body(self) -> str:
        """What is told."""
        fixed = WINDOW_TEXTS[self.state]
        return f"{self.message}\n{fixed}" if self.message else fixed

    @property
    def updated_at(self) -> datetime:
        """When its state began."""
        return {WindowState.SCHEDULED: self.announced_at, WindowState.IN_PROGRESS: self.begin}.get(self.state, self.end)


def read_window(obj: Mapping[str, Any]) -> MaintenanceWindow | None:
    """None for a window that is not to be seen. May raise ValueError."""
    window = MaintenanceWindow.model_validate(obj)
    return window if window.spec.effects.status_page else None


def covered(window: MaintenanceWindow, component: str, now: datetime) -> bool:
    """Whether a component of its Stack is under maintenance by it."""
    return (not window.spec.components or component in window.spec.components) and open_span(window, now) is not None


def shown_windows(window: MaintenanceWindow, titles: Sequence[str], now: datetime) -> list[PublicWindow]:
    """Past, open and coming spans of one window."""
    status = window.status
    created = window.metadata.creation_timestamp or now
    found = []

    def add(state: WindowState, begin: datetime, end: datetime) -> None:
        id_ = public_id(window.metadata.uid, begin.isoformat())
        message = clean(window.spec.public_message)
        found.append(PublicWindow(id_, MAINTENANCE_TITLE, state, message, tuple(titles), begin, end, min(created, begin)))

    length = delta(window.spec.duration)
    span = open_span(window, now)
    if span is not None:
        active = status.active if status else None
        extended = active.until if active is not None and active.since == span.since else span.until
        add(WindowState.IN_PROGRESS, span.since, max(span.until, extended))
    for past in status.history if status else []:
        if past.outcome != "Missed":
            add(WindowState.COMPLETED, past.since, past.until)
    if window.spec.suspend or status is None:
        return found
    coming = [at for at in status.next if now < at <= now + AHEAD][:AHEAD_SHOWN]
    for at in coming or [at for at in status.next if at > now][:1]:
        add(WindowState.SCHEDULED, at, at + length)
    return found
