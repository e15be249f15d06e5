"""The status of an incident while one pass works on it: bounded appends, and news that go out after the write."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ...api.incident import (
    DECISIONS_KEPT,
    TIMELINE_KEPT,
    Decision,
    Incident,
    IncidentStatus,
    Notification,
    Phase,
    Step,
    TimelineEntry,
)
from ..conditions import set_condition
from ..world import Refusal

LINE = 512


@dataclass(frozen=True)
class News:
    """One Kubernetes Event."""

    type: str
    reason: str
    message: str


@dataclass
class Draft:
    """Mutable only within one decision."""

    incident: Incident
    now: datetime
    status: IncidentStatus
    news: list[News] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    outgoing: list[Notification] = field(default_factory=list)
    reminders: list[str] = field(default_factory=list)

    def update(self, **changes: Any) -> None:
        """Replace fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def times(self, **changes: datetime | None) -> None:
        """Replace fields of status.times."""
        self.update(times=self.status.times.model_copy(update=changes))

    def condition(self, type_: str, holds: bool | None, reason: str, message: str) -> None:
        """Set a condition; a False one that was never there is left out."""
        if holds is False and self.status.condition(type_) is None and type_ not in ("Resolved", "Reviewed"):
            return
        self.update(
            conditions=set_condition(
                self.status.conditions, type_, holds, reason, message, self.now, self.incident.metadata.generation
            )
        )

    def tell(self, event: str, message: str, warning: bool = False, announce: bool = True) -> None:
        """One line of the timeline, and an Event unless it is not worth one."""
        entry = TimelineEntry(at=self.now, event=event, message=message[:LINE])
        self.update(timeline=[*self.status.timeline, entry][-TIMELINE_KEPT:])
        if announce:
            self.news.append(News("Warning" if warning else "Normal", event, message))

    def phase(self, phase: Phase, summary: str) -> None:
        """Set phase and the one-line summary."""
        self.update(phase=phase, summary=summary[:LINE])

    def summary(self, text: str) -> None:
        """Set the one-line summary."""
        self.update(summary=text[:LINE])

    def put_step(self, step: Step) -> None:
        """Replace the last step of this name in the round, or append it."""
        steps = list(self.status.steps)
        for i in reversed(range(len(steps))):
            if (steps[i].name, steps[i].round, steps[i].cause) == (step.name, step.round, step.cause):
                steps[i] = step
                break
        else:
            steps.append(step)
        self.update(steps=steps[-24:])

    def refuse(self, refusal: Refusal, step: str | None, announce: bool = True) -> None:
        """Record why something is not done, once: the same refusal again changes nothing."""
        last = next((d for d in reversed(self.status.decisions) if d.rule == refusal.rule and d.step == step), None)
        if (
            last is not None
            and last.reason == refusal.reason
            and last.next_allowed_at == as_written(refusal.next_allowed_at)
        ):
            return
        decision = Decision(
            at=self.now,
            reason=refusal.reason,
            rule=refusal.rule,
            step=step,
            message=refusal.message[:LINE],
            next_allowed_at=as_written(refusal.next_allowed_at),
        )
        self.update(decisions=[*self.status.decisions, decision][-DECISIONS_KEPT:])
        self.refused.append(refusal.reason)
        if announce:
            self.news.append(News("Warning", refusal.reason, f"not done ({refusal.rule}): {refusal.message}"))

    def look(self, at: datetime | timedelta | float) -> None:
        """Ask for another pass at a time, or after a while."""
        if isinstance(at, float | int):
            at = timedelta(seconds=at)
        self.looks.append(self.now + at if isinstance(at, timedelta) else at)


def as_written(value: datetime | None) -> datetime | None:
    """As it will be read back: timestamps are written with milliseconds."""
    return None if value is None else value.replace(microsecond=value.microsecond // 1000 * 1000)
