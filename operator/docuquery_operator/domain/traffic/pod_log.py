"""What is kept of one pod's log: minutes of figures, and how far it was read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .figures import Traffic, merged
from .log_reader import LogReader

WINDOW = timedelta(minutes=5)
BUCKET_SECONDS = 60
# A pod that writes more than can be read is looked at over less time, down to this.
SHORTEST = timedelta(seconds=10)
STAMP = 40


class Stamped:
    """Takes the times off the lines, leaves out lines that were had before, and keeps a line that is not whole yet."""

    def __init__(self, had: bytes = b"") -> None:
        self.last = had
        self._had = had
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """The new whole lines in what has come so far, without their times."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        pairs = [line.partition(b" ") for line in lines]
        if not pairs:
            return b""
        self.last = max(self.last, pairs[-1][0][:STAMP])
        new = [text for time, _, text in pairs if time[:STAMP] > self._had]
        return b"\n".join([*new, b""]) if new else b""


@dataclass
class PodLog:
    """Figures of the last minutes. A pod that was never read is read from the beginning of the window."""

    since: datetime | None = None
    had: bytes = b""
    look_back: timedelta = WINDOW
    complete: bool = True
    buckets: dict[int, Traffic] = field(default_factory=dict)

    def start(self, now: datetime) -> datetime:
        """From which time on to read; the server takes whole seconds, so the last one comes again."""
        if self.since is None or not self.look_back >= now - self.since >= timedelta(0):
            self.had, self.buckets = b"", {}
            return now - self.look_back
        return self.since

    def add(self, now: datetime, began: datetime, stamped: Stamped, reader: LogReader, cut: bool) -> None:
        """Take in one reading. began: when it was begun; cut: more was there than could be read."""
        traffic = reader.finish()
        self.complete = not cut
        if cut and self.look_back > SHORTEST:
            # Its oldest part alone would be judged for the present: look at less time, anew.
            self.look_back = max(SHORTEST, self.look_back / 2)
            self.since, self.had, self.buckets = None, b"", {}
            return
        bucket = int(now.timestamp()) // BUCKET_SECONDS
        self.buckets.setdefault(bucket, Traffic()).merge(traffic)
        oldest = int((now - self.look_back).timestamp()) // BUCKET_SECONDS
        self.buckets = {minute: t for minute, t in self.buckets.items() if oldest <= minute <= bucket}
        # What cannot be caught up is left out; what comes next is read from now on.
        self.had = stamped.last if not cut else b""
        self.since = (_time(self.had) or began) if not cut else None


def _time(stamp: bytes) -> datetime | None:
    try:
        at = datetime.fromisoformat(stamp[:STAMP].decode("ascii"))
    except ValueError:
        return None
    return at if at.tzinfo else None


def window(logs: Iterable[PodLog]) -> Traffic:
    """The figures of all pods."""
    return merged(traffic for log in logs for traffic in log.buckets.values())
