"""What becomes of a window whose tasks are not done at its end: `overrun`. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.common import delta
from ...api.maintenance_window import MaintenanceWindow
from ..incidents.draft import News
from .tasks import running, unfinished

LONGEST = "1h"


def end(window: MaintenanceWindow, until: datetime, now: datetime) -> datetime:
    """The end of the open window: once later by maxExtension, as long as `overrun: Extend` has tasks that are not done."""
    if now < until or window.spec.overrun != "Extend" or unfinished(window.status) is None:
        return until
    return until + delta(window.spec.max_extension or LONGEST)


def extension(window: MaintenanceWindow, until: datetime) -> News | None:
    """Told once, when the open window is given more time than it had."""
    active, task = window.status.active if window.status else None, unfinished(window.status)
    if active is None or task is None or until <= active.until or window.spec.overrun != "Extend":
        return None
    if until <= active.since + delta(window.spec.duration):
        # Its duration was changed; that is no extension.
        return None
    return News("Warning", "WindowExtended", f"{task.type.value} is not done: open until {until:%H:%M:%S} UTC at most")


def stopped(window: MaintenanceWindow) -> bool:
    """Whether a task at work is stopped as the window ends."""
    return running(window.status) is not None and window.spec.overrun == "Abort"


def in_words(window: MaintenanceWindow) -> str:
    """What is said of a task that is at work as the window closes, '' when none is."""
    task = running(window.status)
    if task is None:
        return ""
    name = task.type.value
    return f"{name} is stopped at its next safe point" if stopped(window) else f"{name} is still at work and ends by itself"


def used(window: MaintenanceWindow, until: datetime, now: datetime) -> timedelta:
    """How much longer than its duration it was open."""
    active = window.status.active if window.status else None
    return min(now, active.until) - until if active is not None and active.until > until else timedelta(0)
