"""A component is taken before a task acts on it: nobody else does meanwhile, and what healing may do counts it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.common import format_time
from ...domain.world import Refusal
from ...ports import ApiError, Transient
from .base import TaskContext

PAUSE_SECONDS = 5.0


async def taken(context: TaskContext, component: str, action: str, cooldown: timedelta, reserve: float) -> str:
    """'' once it is held, else why not. It waits, as long as the window is open and reserve seconds of its time are left."""
    until = _until(context, reserve)
    while True:
        refusal = await context.targets.take(component, action, cooldown)
        if refusal is None:
            return ""
        allowed = refusal.next_allowed_at or context.ports.clock.now()
        next_look = max(allowed, context.ports.clock.now() + timedelta(seconds=PAUSE_SECONDS))
        # A budget of nothing never comes free.
        never = refusal.reason == "BudgetUsedUp" and refusal.next_allowed_at is None
        if never or context.stopping() or next_look > until:
            context.ports.metrics.refused(refusal.reason)
            return _words(refusal)
        context.say(f"{component}: it waits: {refusal.message}"[:512])
        await context.pause(PAUSE_SECONDS)


async def lost(context: TaskContext, component: str) -> str:
    """Why it must not be touched just now, '' while it is still held."""
    try:
        await context.targets.keep(component)
    except (ApiError, Transient) as problem:
        return str(problem)[:200]
    return ""


async def given_back(context: TaskContext, component: str, outcome: str) -> None:
    """With its verdict, as a step of a runbook has one."""
    while True:
        try:
            await context.targets.finish(component, outcome)
            return
        except (ApiError, Transient) as problem:
            context.say(f"{component}: its verdict cannot be entered: {problem}"[:512])
            await context.pause(PAUSE_SECONDS)


def _until(context: TaskContext, reserve: float) -> datetime:
    end = context.since + timedelta(seconds=context.timeout - reserve)
    active = context.window.status.active if context.window.status else None
    return min(end, active.until) if active is not None else end


def _words(refusal: Refusal) -> str:
    later = f", not before {format_time(refusal.next_allowed_at)}" if refusal.next_allowed_at else ""
    return f"{refusal.rule}/{refusal.reason}: {refusal.message}{later}"
