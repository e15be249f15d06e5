"""The line of one contact: what waits to be told, in which order, and how much may be on its way at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..domain.paging.messages import Message
from ..domain.paging.sending import LARGEST, Pace, may_join, silent
from ..ports import Key

# What wakes nobody need not wait for the answer to the one before.
QUIET_AT_ONCE, QUIET_UNWRITTEN = 8, 64
# A receipt that cannot be written must not silence a contact for ever.
HELD_FOR = timedelta(seconds=3)


@dataclass(frozen=True)
class Letter:
    """One entry of an outbox, ready to be sent."""

    owner: Key
    uid: str
    key: str
    channel: str
    secret: str
    stack: str
    message: Message

    @property
    def id(self) -> tuple[str, str]:
        """Identity in this process."""
        return self.uid, self.key

    @property
    def quiet(self) -> bool:
        """It wakes nobody."""
        return silent(self.channel, self.message)


@dataclass(eq=False)
class Parcel:
    """What went out as one message and was taken; left: entries whose receipts are not written yet."""

    lane: tuple[str, ...]
    quiet: bool
    at: datetime
    left: set[tuple[str, str]]


@dataclass
class Lane:
    """One contact of one channel: what is told of one incident goes out in order, one after the other.

    busy: incidents that something is on its way of. paging, quiet: tries that run, of messages and of what wakes nobody.
    unwritten: what was taken and would come once more if the process died now; it counts as running, so that a kill
    doubles no more than may be on its way at once. refusals: how often in a row the channel was busy; closed_until: when it
    wants to be asked again.
    """

    pace: Pace
    queue: dict[tuple[str, str], Letter] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    unwritten: set[Parcel] = field(default_factory=set)
    paging: int = 0
    quiet: int = 0
    waking: bool = False
    quiet_waiting: int = 0
    refusals: int = 0
    closed_until: datetime | None = None

    def put(self, letter: Letter) -> None:
        """Wait for its turn; one that waits already is replaced, as the incident may have changed."""
        self.drop(letter.id, keep_place=True)
        self.queue[letter.id] = letter
        self.quiet_waiting += letter.quiet

    def drop(self, id_: tuple[str, str], keep_place: bool = False) -> None:
        """It waits no more."""
        known = self.queue.get(id_)
        if known is not None:
            self.quiet_waiting -= known.quiet
            if not keep_place:
                del self.queue[id_]

    def put_back(self, letters: Sequence[Letter]) -> None:
        """They wait before all others, as they did."""
        self.queue = {letter.id: letter for letter in letters} | self.queue
        self.quiet_waiting = sum(letter.quiet for letter in self.queue.values())

    def free_at(self, now: datetime) -> datetime:
        """When the contact may be told something, not earlier than now."""
        at = self.pace.free_at(now)
        return at if self.closed_until is None else max(at, self.closed_until)

    def held_until(self, now: datetime) -> datetime | None:
        """When what is not written counts no more; None when nothing does."""
        self.unwritten = {p for p in self.unwritten if timedelta(0) <= now - p.at < HELD_FOR}
        return min((p.at + HELD_FOR for p in self.unwritten), default=None)

    def next(self, now: datetime) -> list[Letter]:
        """What may go out now, together."""
        if self.closed_until is not None and self.closed_until > now:
            return []
        free = self.pace.free_at(now) <= now
        held = sum(p.quiet for p in self.unwritten)
        if self.quiet_waiting and self.quiet < QUIET_AT_ONCE and self.quiet + held < QUIET_UNWRITTEN:
            quiet = next((i for i in self._ready() if i.quiet), None)
            if quiet is not None:
                return [quiet]
        limit, loud = self.pace.limit, len(self.unwritten) - held
        if not free or self.paging >= limit.parallel or self.paging + loud >= limit.unwritten:
            return []
        return self._loud()

    def _loud(self) -> list[Letter]:
        loud = (i for i in self._ready() if not i.quiet)
        first = next(loud, None)
        if first is None or not self.pace.limit.together:
            return [first] if first is not None else []
        return [first, *(i for i in loud if may_join(first.channel, first.message, i.message))][:LARGEST]

    def _ready(self) -> Iterator[Letter]:
        """The first of each incident that nothing is on its way of: an end must not overtake its beginning."""
        seen = set(self.busy)
        for letter in self.queue.values():
            if letter.uid not in seen:
                seen.add(letter.uid)
                yield letter
