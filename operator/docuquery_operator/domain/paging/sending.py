"""Limits of what one contact is sent (rail 33), and how messages are put together instead of flooding. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .messages import Message


@dataclass(frozen=True)
class Limit:
    """At most `count` messages in any `per`, and `spacing` between two of them.

    together: what waits meanwhile is one message. parallel: sends at the same time. unwritten: messages that may be on their
    way or taken without their receipts being written yet, so that a kill doubles no more.
    """

    count: int
    per: timedelta
    spacing: timedelta
    together: bool = True
    parallel: int = 1
    unwritten: int = 1


LIMITS = {
    "phone": Limit(3, timedelta(minutes=15), timedelta(seconds=30)),
    "pagerduty": Limit(20, timedelta(minutes=15), timedelta(seconds=5)),
    "slack": Limit(60, timedelta(minutes=1), timedelta(seconds=1)),
    "email": Limit(20, timedelta(minutes=15), timedelta(seconds=10)),
    # A program reads it: it wants each incident by itself.
    "webhook": Limit(6000, timedelta(minutes=1), timedelta(0), together=False, parallel=8, unwritten=256),
    # A process each.
    "apprise": Limit(20, timedelta(minutes=1), timedelta(seconds=1)),
}
LARGEST = 200
# These keep an alert that can be taken and ended.
ALERTING = ("pagerduty", "phone")
# These have one address for everybody.
SHARED = ("slack", "webhook", "apprise")


@dataclass
class Pace:
    """When the last messages went out to one contact."""

    limit: Limit
    sent: deque[datetime] = field(default_factory=deque)

    def free_at(self, now: datetime) -> datetime:
        """When the next message may go out; not later than now when it may go at once."""
        while self.sent and now - self.sent[0] >= self.limit.per:
            self.sent.popleft()
        # A clock that was set back must not silence anybody.
        recent = [t for t in self.sent if t <= now]
        if not recent:
            return now
        spaced = recent[-1] + self.limit.spacing
        full = recent[-self.limit.count] + self.limit.per if len(recent) >= self.limit.count else now
        return max(now, spaced, full)

    def went(self, now: datetime) -> None:
        """A message goes out."""
        self.sent.append(now)


def silent(channel: str, message: Message) -> bool:
    """It pages nobody: it only keeps an alert up to date."""
    return channel in ALERTING and message.kind in ("acknowledge", "resolve", "change")


def may_join(channel: str, first: Message, other: Message) -> bool:
    """Whether both can be told by one message."""
    return not silent(channel, first) and first.kind == other.kind and first.incident != other.incident
