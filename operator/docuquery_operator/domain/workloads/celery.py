"""What rounds of looks at Celery's workers and queues mean together: progress, growth, silence, tasks that kill."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

# While one of these works on a task, it answers nobody: its silence says nothing.
SERIAL_POOLS = ("solo", "gevent", "eventlet")
GROWTH_SECONDS = 30.0
SAMPLES = 120
KILLERS_KEPT = 32


@dataclass(frozen=True)
class Seen:
    """One look. at: seconds on any clock that only goes on. pools: pool by name of the workers that answered.

    waiting, head, held_ids: as in the look; None or empty where it could not tell. restarts: of all pods together.
    """

    at: float
    waiting: int | None
    head: str
    held_ids: tuple[str, ...]
    held: int
    begun: int
    active: frozenset[str]
    pools: Mapping[str, str]
    restarts: int


@dataclass(frozen=True)
class Past:
    """What is kept between rounds. moved: when work was last seen to go on. lengths: (time, messages that wait)."""

    last: Seen | None = None
    moved: float = 0.0
    lengths: tuple[tuple[float, int], ...] = ()
    pools: Mapping[str, str] = field(default_factory=dict)
    deaths: Mapping[str, int] = field(default_factory=dict)

    @property
    def stalled(self) -> float:
        """Seconds in which messages waited and none was begun, finished or taken."""
        return self.last.at - self.moved if self.last else 0.0

    @property
    def growing(self) -> bool:
        """More wait than half a minute ago."""
        if not self.lengths:
            return False
        now, length = self.lengths[-1]
        before = [n for at, n in self.lengths if now - at >= GROWTH_SECONDS]
        return bool(before) and length > before[-1]

    @property
    def silence_tells(self) -> bool:
        """Whether a worker that says nothing must be stuck: all that ever answered can answer while they work."""
        return bool(self.pools) and not any(p in SERIAL_POOLS or not p for p in self.pools.values())

    def killer(self, at_least: int) -> str:
        """Id of the task that was being worked on each time when a worker died, '' without one."""
        worst = max(sorted(self.deaths), key=lambda i: self.deaths[i], default="")
        return worst if worst and self.deaths[worst] >= at_least else ""


def after(past: Past, seen: Seen) -> Past:
    """The past, one look later. Looks may come from several askers, and at any distance in time."""
    last = past.last
    if last is not None and seen.at < last.at:
        # The clock was set back: nothing is known of how long anything took.
        last, past = None, Past(pools=past.pools, deaths=past.deaths)
    moved = seen.at if last is None or _moved(last, seen) else past.moved
    lengths = past.lengths if seen.waiting is None else (*past.lengths, (seen.at, seen.waiting))[-SAMPLES:]
    deaths = _deaths(past.deaths, last, seen)
    return replace(past, last=seen, moved=moved, lengths=lengths, pools=_known(past.pools, seen.pools), deaths=deaths)


def _moved(last: Seen, seen: Seen) -> bool:
    """Whether work went on, or there is none to do. What cannot be seen is no reason to say that it stands still."""
    if not seen.waiting or last.waiting is None or seen.waiting < last.waiting or seen.head != last.head:
        return True
    return seen.begun != last.begun or seen.active != last.active or seen.held_ids != last.held_ids or seen.held != last.held


def _known(before: Mapping[str, str], now: Mapping[str, str]) -> Mapping[str, str]:
    """Pools of the newest workers; names of pods that are gone stay only until others have answered."""
    return now or before


def _deaths(before: Mapping[str, int], last: Seen | None, seen: Seen) -> Mapping[str, int]:
    if last is None or seen.restarts <= last.restarts or not last.active:
        return before
    counted = {**before, **{i: before.get(i, 0) + 1 for i in last.active}}
    return dict(sorted(counted.items(), key=lambda kv: -kv[1])[:KILLERS_KEPT])


def state_of(outcome: str, answered: int, frozen: bool, dead: bool, active: int, silent: int) -> str:
    """One word: brokerDown, dead, frozen, silent, idle or busy."""
    if outcome != "ok":
        return "brokerDown"
    if dead:
        return "dead"
    if frozen:
        return "frozen"
    if not answered:
        return "silent" if silent else "unknown"
    return "busy" if active else "idle"


def unconsumed(wanted: Collection[str], waiting: Mapping[str, int], consumed: Collection[str]) -> list[str]:
    """Queues of the Stack in which messages wait and that no worker takes from."""
    return sorted(q for q in wanted if waiting.get(q, 0) and q not in consumed)
