"""Errors of logs as they stream by, grouped by fingerprint, with traces folded into the error that they belong to. Pure.

Memory is bounded: by the longest line, by the groups kept and by the pods named in one. What is dropped is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ..maintenance.task_outcome import Series
from ..redaction import MASK
from .fingerprints import SUSPECT, fingerprint, is_error, message_of, raised, sample_of

LONGEST_LINE = 16 * 1024
KEPT, MOST = 500, 1000
PODS = 20
SECRET_LENGTH = 6
BUCKETS = 60
_TRACE = re.compile(
    r"^(?:Traceback \(most recent call last\)|During handling of the above|The above exception was|Caused by:|"
    r"\.{3} \d+ more|goroutine \d+ \[|stack backtrace:|thread '.*' panicked at)"
)
_FRAME = re.compile(r'^\s*File "([^"]{1,200})", line \d+, in (\S{1,100})')


@dataclass
class Group:
    """One error: how often, when, where, and one of its lines as it came."""

    component: str
    fingerprint: str
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    pods: set[str] = field(default_factory=set)
    sample: str = ""
    place: str = ""

    def add(self, at: datetime | None, pod: str) -> None:
        """Once more."""
        self.count += 1
        if len(self.pods) < PODS:
            self.pods.add(pod)
        if at is not None:
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)


class ErrorGroups:
    """The errors of all pods. dropped: errors that are in no group any more; a group that came back counts from then on."""

    def __init__(self, since: datetime, until: datetime, secrets: Sequence[str] = ()) -> None:
        """secrets: words that must not be told, whatever stands around them."""
        self._secrets = [s for s in secrets if len(s) >= SECRET_LENGTH]
        self.since, self.until = since, until
        self._length = max((until - since) / BUCKETS, timedelta(seconds=1))
        self.groups: dict[tuple[str, str], Group] = {}
        self.counts: dict[str, list[int]] = {}
        self.errors: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.dropped = 0

    def looked_at(self, component: str, lines: int) -> None:
        """Its log was read: where no error is, there was none."""
        self.counts.setdefault(component, [0] * BUCKETS)
        self.errors.setdefault(component, 0)
        self.lines[component] = self.lines.get(component, 0) + lines

    def add(self, component: str, pod: str, at: datetime | None, event: Event) -> None:
        """One error."""
        self.looked_at(component, 0)
        self.errors[component] += 1
        if at is not None and self.since <= at <= self.until:
            self.counts[component][min(BUCKETS - 1, int((at - self.since) / self._length))] += 1
        key = (component, fingerprint(self._masked(event.message)))
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(
                component, key[1], sample=sample_of(self._masked(event.sample)), place=event.place
            )
        group.add(at, pod)
        if len(self.groups) > MOST:
            self._prune()

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def _prune(self) -> None:
        kept = self.top(KEPT)
        self.dropped += sum(g.count for g in self.groups.values()) - sum(g.count for g in kept)
        self.groups = {(g.component, g.fingerprint): g for g in kept}

    def top(self, most: int) -> list[Group]:
        """The most frequent first; of equal ones those that came last."""
        early = datetime.min.replace(tzinfo=UTC)
        order = sorted(self.groups.values(), key=lambda g: g.fingerprint)
        order.sort(key=lambda g: (g.count, g.last or early), reverse=True)
        return order[:most]

    def series(self) -> tuple[Series, ...]:
        """Errors over time, one curve a component whose log was read."""
        return tuple(
            Series(
                name=f"errors: {name}",
                unit="errors",
                points=tuple((self.since + self._length * n, float(c)) for n, c in enumerate(counts)),
            )
            for name, counts in sorted(self.counts.items())
        )


@dataclass(frozen=True)
class Event:
    """One error of a log. message: what its group is told by; sample: as it came; place: innermost frame of its trace."""

    message: str
    sample: str
    place: str = ""


@dataclass
class _Open:
    """An error whose trace may still go on. raised: the last exception of the trace."""

    at: datetime | None
    text: str
    in_trace: bool
    exception: str = ""
    place: str = ""

    def event(self) -> Event:
        said = "" if _TRACE.match(self.text) else message_of(self.text)
        if not self.exception:
            return Event(said or self.text, self.text, self.place)
        where = f" at {self.place}" if self.place else ""
        sample = f"{self.text} … {self.exception}" if said else self.exception
        return Event(f"{self.exception}{where}", sample, self.place)


class ErrorReader:
    """Feed it the bytes of one container's log, each line with its time and a space before it, then finish."""

    def __init__(self, groups: ErrorGroups, component: str, pod: str) -> None:
        self._groups, self._component, self._pod = groups, component, pod
        self._rest = b""
        self._skipping = False
        self._open: _Open | None = None
        self.lines = 0
        groups.looked_at(component, 0)

    def feed(self, data: bytes) -> None:
        """Take some bytes; they may end in the middle of a line."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        self._take(lines)
        if len(self._rest) > LONGEST_LINE:
            # Its beginning says what it is; the rest is passed over.
            if not self._skipping:
                self._line(self._rest[:LONGEST_LINE])
            self._rest, self._skipping = b"", True

    def finish(self) -> None:
        """The end of the log."""
        if self._rest and not self._skipping:
            self._line(self._rest)
        self._rest = b""
        self._close()
        self._groups.looked_at(self._component, self.lines)
        self.lines = 0

    def _take(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._line(line)

    def _line(self, line: bytes) -> None:
        self.lines += 1
        if self._open is None and not SUSPECT.search(line):
            return
        stamp, _, raw = line[:LONGEST_LINE].partition(b" ")
        text = raw.decode(errors="replace").rstrip("\r")
        if self._open is not None and self._goes_on(self._open, text):
            return
        self._close()
        trace = bool(_TRACE.match(text))
        if trace or is_error(text):
            self._open = _Open(_time(stamp), text, trace)

    def _goes_on(self, event: _Open, text: str) -> bool:
        """Whether a line is part of the trace of the open error."""
        frame = _FRAME.match(text)
        if frame:
            event.place = f"{frame[1].rpartition('/')[2]} in {frame[2]}"
        if _TRACE.match(text):
            event.in_trace = True
            return True
        if not text.strip() or text[0] in " \t" or text.startswith(("+ ", "| ")):
            return event.in_trace or bool(text.strip())
        if event.in_trace and raised(text):
            event.exception = text.strip()[:2000]
            return True
        return False

    def _close(self) -> None:
        if self._open is not None:
            event, self._open = self._open, None
            if event.at is None or self._groups.since <= event.at <= self._groups.until:
                self._groups.add(self._component, self._pod, event.at, event.event())


def _time(stamp: bytes) -> datetime | None:
    try:
        at = datetime.fromisoformat(stamp[:40].decode("ascii"))
    except ValueError:
        return None
    return at if at.tzinfo else None


def share(groups: Iterable[Group], errors: int) -> float | None:
    """Percent of all errors that are in these groups; None without errors."""
    return round(100 * sum(g.count for g in groups) / errors, 1) if errors else None
