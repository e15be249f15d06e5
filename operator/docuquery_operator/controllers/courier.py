"""Sends what is due in outboxes, beside the passes: a slow channel holds up neither healing nor other channels.

Nothing that matters lives here: what was not sent, or whose fate is not recorded, is still due in an Incident's status and
is offered again by its next pass. What became of a try is a fact of the next pass, which is asked for at once.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ..domain.paging.messages import together
from ..domain.paging.outbox import TRIES
from ..domain.paging.sending import LIMITS, SHARED, Pace
from ..domain.world import Delivery
from ..ports import SECRET, ApiError, Key, Ports, Receipt
from .lane import Lane, Letter, Parcel

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10.0
LONGEST_RETRY = 900.0
SECRET_FOR = timedelta(seconds=1)
# A channel that is busy for longer is written down at once.
PATIENCE = 30.0
Later = Callable[[float, Callable[[], None]], None]


class Courier:
    """One a process. nudge: a message was taken, and its receipt is to be written at once; failed: it was not.

    joined: a message for several incidents was taken. A kill doubles that one, however many of its receipts are not written,
    so that they need not go ahead of pages that nobody has got yet.
    """

    def __init__(
        self,
        ports: Ports,
        nudge: Callable[[Key], None],
        later: Later | None = None,
        failed: Callable[[Key], None] | None = None,
        joined: Callable[[Key], None] | None = None,
    ) -> None:
        self._ports = ports
        self._nudge = nudge
        self._joined = joined or nudge
        self._failed = failed or nudge
        self._later = later or _call_later
        self._lanes: dict[tuple[str, ...], Lane] = {}
        self._going: set[tuple[str, str]] = set()
        self._waiting: dict[str, set[tuple[str, ...]]] = {}
        self._results: dict[Key, dict[tuple[str, str], Delivery]] = {}
        self._works: dict[tuple[str, str, str], datetime] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._wanted: dict[str, frozenset[tuple[str, str]]] = {}
        self._parcels: dict[tuple[str, str], Parcel] = {}
        self._freed: set[tuple[str, ...]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._secrets: dict[tuple[str, str], tuple[datetime, dict[str, str]]] = {}

    def deliveries(self, owner: Key, uid: str) -> Mapping[str, Delivery]:
        """Tries of this incident that have ended and are not recorded yet, by the key of the outbox."""
        return {key: seen for (of, key), seen in self._results.get(owner, {}).items() if of == uid}

    def recorded(self, owner: Key, uid: str, keys: Sequence[str]) -> None:
        """They stand in the status now; what follows them goes out with the next offer."""
        known = self._results.get(owner, {})
        for key in keys:
            known.pop((uid, key), None)
        if not known:
            self._results.pop(owner, None)
        self._written((uid, key) for key in keys)

    def forget(self, owner: Key) -> None:
        """The incident was deleted."""
        self._written(self._results.pop(owner, {}))
        self._pump_freed()

    def _written(self, ids: Iterable[tuple[str, str]]) -> None:
        """What would not come again after a kill makes room for the next."""
        for id_ in ids:
            parcel = self._parcels.pop(id_, None)
            if parcel is not None:
                parcel.left.discard(id_)
                if not parcel.left:
                    self._lanes[parcel.lane].unwritten.discard(parcel)
                    self._freed.add(parcel.lane)

    def _pump_freed(self) -> None:
        while self._freed:
            self._pump(self._freed.pop())

    def works_since(self, namespace: str, stack: str, channel: str) -> datetime | None:
        """When the channel last took a message."""
        return self._works.get((namespace, stack, channel))

    def broken(self, namespace: str, stack: str, channel: str) -> bool:
        """Whether its last tries, as far as this process knows, were all in vain."""
        return self._failures.get((namespace, stack, channel), 0) >= TRIES

    def offer(self, uid: str, letters: Sequence[Letter]) -> None:
        """All that is due of an incident now; what waits here and is not among it any more is not sent."""
        wanted = frozenset(letter.id for letter in letters)
        self._wanted.pop(uid, None)
        if wanted:
            self._wanted[uid] = wanted
        for name in self._waiting.pop(uid, set()):
            lane = self._lanes[name]
            for known in [i for i in lane.queue if i[0] == uid and i not in wanted]:
                lane.drop(known)
        for letter in letters:
            if letter.id in self._going or letter.id in self._results.get(letter.owner, {}):
                continue
            name = _lane_of(letter)
            lane = self._lanes.setdefault(name, Lane(Pace(LIMITS[letter.channel])))
            lane.put(letter)
            self._waiting.setdefault(uid, set()).add(name)
            self._pump(name)
        self._pump_freed()

    async def ended(self) -> None:
        """Wait for the tries that run."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _pump(self, name: tuple[str, ...]) -> None:
        """Send what may go out now, and come back when the next may."""
        lane = self._lanes[name]
        while lane.queue:
            now = self._ports.clock.now()
            held, free_at = lane.held_until(now), lane.free_at(now)
            batch = lane.next(now)
            if not batch:
                until = free_at if free_at > now else held
                if until is not None:
                    self._wake(name, lane, (until - now).total_seconds())
                return
            quiet = batch[0].quiet
            if not quiet:
                lane.pace.went(now)
            for letter in batch:
                lane.drop(letter.id)
                self._going.add(letter.id)
                lane.busy.add(letter.uid)
            lane.quiet, lane.paging = lane.quiet + quiet, lane.paging + (not quiet)
            task = asyncio.ensure_future(self._deliver(name, lane, batch, quiet))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            log.error("a message could not be handled", exc_info=problem)

    def _wake(self, name: tuple[str, ...], lane: Lane, wait: float) -> None:
        if lane.waking:
            return

        def again() -> None:
            lane.waking = False
            self._pump(name)

        lane.waking = True
        self._later(wait, again)

    async def _deliver(self, name: tuple[str, ...], lane: Lane, batch: Sequence[Letter], quiet: bool) -> None:
        receipt: Receipt | None = None
        try:
            if self._ports.leader.leading():
                receipt = await self._send(batch)
        finally:
            lane.quiet, lane.paging = lane.quiet - quiet, lane.paging - (not quiet)
            lane.busy.difference_update(letter.uid for letter in batch)
            self._going.difference_update(letter.id for letter in batch)
        if receipt is not None and not self._put_back(name, lane, batch, receipt):
            self._record(batch, receipt)
            if receipt.accepted:
                parcel = Parcel(name, quiet, self._ports.clock.now(), {letter.id for letter in batch})
                lane.unwritten.add(parcel)
                self._parcels |= dict.fromkeys(parcel.left, parcel)
        self._pump(name)

    async def _send(self, batch: Sequence[Letter]) -> Receipt:
        """One try."""
        first = batch[0]
        try:
            data = await self._secret(first.owner.namespace, first.secret)
            if data is None:
                return Receipt(False, f"Secret '{first.secret}' does not exist; create it", hard=True)
        except (ApiError, ValueError) as problem:
            return Receipt(False, f"Secret '{first.secret}' could not be read: {type(problem).__name__}")
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS + 1.0):
                message = together([letter.message for letter in batch])
                return await self._ports.channels.send(first.channel, data, message, TIMEOUT_SECONDS)
        except TimeoutError:
            return Receipt(False, f"no answer within {TIMEOUT_SECONDS:g} s")

    async def _secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read only when something is sent, and anew after a second: in a storm each message would ask for it."""
        now = self._ports.clock.now()
        self._secrets = {k: v for k, v in self._secrets.items() if timedelta(0) <= now - v[0] < SECRET_FOR}
        known = self._secrets.get((namespace, name))
        if known is not None:
            return known[1]
        secret = await self._ports.cluster.get(SECRET, namespace, name)
        if secret is None:
            return None
        data = {k: base64.b64decode(v).decode(errors="replace") for k, v in (secret.get("data") or {}).items()}
        self._secrets[namespace, name] = now, data
        return data

    def _put_back(self, name: tuple[str, ...], lane: Lane, batch: Sequence[Letter], receipt: Receipt) -> bool:
        """A busy channel says when to come back: that is waited for here, and written only when it goes on and on.

        One message may tell of hundreds of incidents, and each of them would write down that it was not taken.
        """
        busy = not receipt.accepted and not receipt.hard and 0 < receipt.retry_after <= PATIENCE
        lane.refusals = lane.refusals + 1 if busy else 0
        if not busy or lane.refusals >= TRIES:
            return False
        self._count(batch, receipt)
        lane.closed_until = self._ports.clock.now() + timedelta(seconds=receipt.retry_after)
        # Meanwhile it may have become needless: an alert must not come after its end.
        wanted = [letter for letter in batch if letter.id in self._wanted.get(letter.uid, ())]
        lane.put_back(wanted)
        for letter in wanted:
            self._waiting.setdefault(letter.uid, set()).add(name)
        return True

    def _record(self, batch: Sequence[Letter], receipt: Receipt) -> None:
        now = self._ports.clock.now()
        note = receipt.note + (f" (one message for {len(batch)} incidents)" if len(batch) > 1 else "")
        wait = timedelta(seconds=min(LONGEST_RETRY, max(0.0, receipt.retry_after)))
        seen = Delivery(receipt.accepted, now, note.strip(), receipt.hard, wait)
        self._count(batch, receipt)
        taken = self._joined if len(batch) > 1 else self._nudge
        for letter in batch:
            self._results.setdefault(letter.owner, {})[letter.id] = seen
            (taken if receipt.accepted else self._failed)(letter.owner)

    def _count(self, batch: Sequence[Letter], receipt: Receipt) -> None:
        """For the question whether the channel works, and for the metrics."""
        now, first = self._ports.clock.now(), batch[0]
        place = first.owner.namespace, first.stack, first.channel
        if receipt.accepted:
            self._works[place] = now
            self._failures.pop(place, None)
        else:
            self._failures[place] = self._failures.get(place, 0) + (TRIES if receipt.hard else 1)
            log.warning("not sent", extra={"channel": first.channel, "stack": first.stack, "problem": receipt.note})
        outcome = "sent" if receipt.accepted else "refused" if receipt.hard else "failed"
        took = max(0.0, (now - min(letter.message.at for letter in batch)).total_seconds())
        self._ports.metrics.notified(first.channel, outcome, took if receipt.accepted else None)


def _lane_of(letter: Letter) -> tuple[str, ...]:
    """Who is reached: everybody at once by a shared channel, else one group."""
    to = "" if letter.channel in SHARED else letter.message.to
    return letter.owner.namespace, letter.stack, letter.channel, letter.secret, to


def _call_later(wait: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(wait, call)
