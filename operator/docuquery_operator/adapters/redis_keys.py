"""Counting many keys of a Redis, spoken to in its own protocol (RESP2): answers of thousands of keys are cut in a few calls.

KEYS stops the server for all of them at once. SCAN goes in steps; how long a step takes the server rests on its COUNT, which
is set so that it stays below a millisecond, by what the server says of its time (INFO commandstats), else by our clock.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest

from ..domain.redaction import redact
from ..ports import KeyCount, RedisTarget

STEP_SECONDS = 0.001
# What is aimed at: the time of a step varies.
AIM_SECONDS = 0.0004
FIRST_COUNT, LEAST_COUNT, MOST_COUNT = 100, 10, 4000
# The server is asked for its times after so many steps.
CALIBRATE_EVERY = 16
# Each of the first ones tells something new.
EARLY = 8
MOST_KEYS = 5_000_000
VALUES_AT_ONCE = 200
# Numbers are read of so many keys at most; they tell the busiest clients, not all.
VALUES_READ = 20_000
ANSWER_LIMIT = 64 * 1024 * 1024
PIECE = 256 * 1024
LONGEST_LINE = 64 * 1024
FEW = 4
NIL = b"$-1\r\n"
# The answer to SCAN is an array in an array.
DEEPEST = 2
_SCAN_TIMES = re.compile(rb"cmdstat_scan:calls=(\d+),usec=(\d+)")
_FAILURES = (OSError, EOFError, ValueError, IndexError, OverflowError)


class _Refused(Exception):
    """The server's own words."""


@dataclass
class Pace:
    """How many buckets of the server's table one step looks at."""

    count: int = FIRST_COUNT

    def after(self, seconds: float) -> None:
        """One step took the server so long."""
        factor = AIM_SECONDS / max(seconds, 1e-6)
        # Up in small steps, down at once.
        self.count = int(min(MOST_COUNT, max(LEAST_COUNT, self.count * min(factor, 2.0))))


@dataclass
class _Found:
    """What one sweep has seen."""

    most: int
    keys: int = 0
    calls: int = 0
    read: int = 0
    highest: list[tuple[int, str]] = field(default_factory=list)

    def told(self, at_least: bool) -> KeyCount:
        return KeyCount(self.keys, at_least, tuple((k, n) for n, k in self.highest), calls=self.calls)


class ScannedKeys:
    """ports.RedisKeys."""

    async def count(self, target: RedisTarget, pattern: str, highest: int, timeout: float) -> KeyCount:
        """One connection; what is seen when the time is up is at least there."""
        found = _Found(highest)
        try:
            async with asyncio.timeout(timeout):
                wire = await _Wire.open(target)
                try:
                    whole = await _sweep(wire, pattern.encode(), found)
                finally:
                    wire.close()
        except TimeoutError:
            return found.told(True) if found.calls else KeyCount(problem=f"no answer within {timeout:g} s")
        except (_Refused, *_FAILURES) as problem:
            text = redact(str(problem) or type(problem).__name__, (target.password,))[:200]
            return replace(found.told(True), problem=text)
        return found.told(not whole)

    async def drop(self, target: RedisTarget, pattern: str, most: int, timeout: float) -> KeyCount:
        """The same steps; UNLINK frees the memory beside the server's work, so that nobody waits for it."""
        found = _Found(0)
        try:
            async with asyncio.timeout(timeout):
                wire = await _Wire.open(target)
                try:
                    whole = await _drop(wire, pattern.encode(), most, found)
                finally:
                    wire.close()
        except TimeoutError:
            return found.told(True) if found.calls else KeyCount(problem=f"no answer within {timeout:g} s")
        except (_Refused, *_FAILURES) as problem:
            text = redact(str(problem) or type(problem).__name__, (target.password,))[:200]
            return replace(found.told(True), problem=text)
        return found.told(not whole)


async def _drop(wire: _Wire, pattern: bytes, most: int, found: _Found) -> bool:
    """Whether all that were there at the beginning are gone."""
    pace, clock = Pace(), _ServerClock(wire)
    cursor = b"0"
    while True:
        began = time.monotonic()
        cursor, keys = await wire.scan(cursor, pattern, pace.count)
        told = await clock.step(time.monotonic() - began)
        if told is not None:
            pace.after(told)
        found.calls += 1
        left = most - found.keys
        for start in range(0, min(left, len(keys)), VALUES_AT_ONCE):
            some = keys[start : min(start + VALUES_AT_ONCE, left)]
            gone = await wire.ask(b"UNLINK", *some)
            found.keys += gone if isinstance(gone, int) else 0
        if len(keys) > left:
            return False
        if cursor == b"0":
            return True


async def _sweep(wire: _Wire, pattern: bytes, found: _Found) -> bool:
    """Whether all were seen. A key may come twice while the server's table grows; it is counted twice then, as SCAN says."""
    pace, clock = Pace(), _ServerClock(wire)
    cursor = b"0"
    while True:
        began = time.monotonic()
        cursor, keys = await wire.scan(cursor, pattern, pace.count)
        told = await clock.step(time.monotonic() - began)
        if told is not None:
            pace.after(told)
        found.calls += 1
        found.keys += len(keys)
        if found.most and found.read < VALUES_READ:
            await _read_values(wire, keys, found)
        if cursor == b"0":
            return True
        if found.keys >= MOST_KEYS:
            return False


async def _read_values(wire: _Wire, keys: Sequence[bytes], found: _Found) -> None:
    for start in range(0, len(keys), VALUES_AT_ONCE):
        some = keys[start : start + VALUES_AT_ONCE]
        values = await wire.ask(b"MGET", *some)
        found.read += len(some)
        pairs = [
            (n, k.decode(errors="replace")[:200]) for k, v in zip(some, _list(values), strict=True) if (n := _number(v))
        ]
        found.highest = nlargest(found.most, [*found.highest, *pairs])


def _number(value: object) -> int:
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 19 else 0


class _ServerClock:
    """How long a step takes the server: what it says itself where it may be asked, else our own time less that of a PING."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._steps = 0
        self._before: tuple[int, int] | None = None
        self._silent = False
        self._trip = 0.0

    async def step(self, ours: float) -> float | None:
        """Seconds of a step, the last of which took `ours` from here, way and all; None where there is no new figure."""
        self._steps += 1
        if self._silent:
            return max(0.0, ours - self._trip)
        if self._steps > EARLY and self._steps % CALIBRATE_EVERY:
            return None
        return await self._told()

    async def _told(self) -> float | None:
        began = time.monotonic()
        try:
            info = await self._wire.ask(b"INFO", b"commandstats")
        except _Refused:
            await self._wire.ask(b"PING")
            self._trip, self._silent = (time.monotonic() - began) / 2, True
            return None
        found = _SCAN_TIMES.search(info) if isinstance(info, bytes) else None
        now = (int(found[1]), int(found[2])) if found else None
        before, self._before = self._before, now
        if now is None or before is None or now[0] <= before[0]:
            return None
        return (now[1] - before[1]) / (now[0] - before[0]) / 1e6


class _Wire:
    """One connection in RESP2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()

    @classmethod
    async def open(cls, target: RedisTarget) -> _Wire:
        """Connect and log in."""
        reader, writer = await asyncio.open_connection(target.host, target.port, limit=PIECE)
        wire = cls(reader, writer)
        try:
            if target.password:
                user = [target.user.encode()] if target.user else []
                await wire.ask(b"AUTH", *user, target.password.encode())
        except BaseException:
            wire.close()
            raise
        return wire

    def close(self) -> None:
        """At once: nothing is on its way that anybody waits for."""
        self._writer.transport.abort()

    async def scan(self, cursor: bytes, pattern: bytes, count: int) -> tuple[bytes, list[bytes]]:
        """One step."""
        answer = _list(await self.ask(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % count))
        if len(answer) != 2 or not isinstance(answer[0], bytes):
            raise ValueError("the answer to SCAN makes no sense")
        return answer[0], [key for key in _list(answer[1]) if isinstance(key, bytes)]

    async def ask(self, *words: bytes) -> object:
        """The answer to one command; _Refused with the server's words where it refuses."""
        parts = [b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)]
        self._writer.write(b"".join(parts))
        await self._writer.drain()
        return await self._answer()

    async def _answer(self, depth: int = 0) -> object:
        line = await self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise _Refused(rest.decode(errors="replace")[:200])
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return await self._string(int(rest))
        if kind == b"*":
            return await self._many(int(rest), depth + 1)
        raise ValueError("not the protocol of Redis")

    async def _many(self, size: int, depth: int) -> list[object]:
        """An array: all strings at once where that is what it holds, else one by one."""
        if size > ANSWER_LIMIT // 8 or depth > DEEPEST:
            raise ValueError("an answer without bound")
        while size > FEW and self._buffer[:1] == b"$":
            pieces = bytes(self._buffer).split(b"\r\n", 2 * size)
            if len(pieces) <= 2 * size:
                if NIL in self._buffer:
                    break
                await self._more()
                continue
            strings = pieces[1:-1:2]
            if pieces[:-1:2] != [b"$%d" % n for n in map(len, strings)]:
                # One of them is no string, or holds a line break.
                break
            self._buffer = bytearray(pieces[-1])
            return list(strings)
        return [await self._answer(depth) for _ in range(size)]

    async def _string(self, size: int) -> bytes | None:
        if size < 0:
            return None
        if size > ANSWER_LIMIT:
            raise ValueError("an answer without bound")
        while len(self._buffer) < size + 2:
            await self._more()
        found = bytes(self._buffer[:size])
        del self._buffer[: size + 2]
        return found

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > LONGEST_LINE:
                raise ValueError("not the protocol of Redis")
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _more(self) -> None:
        piece = await self._reader.read(PIECE)
        if not piece:
            raise EOFError("the server hung up")
        self._buffer += piece
        if len(self._buffer) > ANSWER_LIMIT:
            raise ValueError("an answer without bound")


def _list(answer: object) -> list[object]:
    if not isinstance(answer, list):
        raise ValueError("the answer makes no sense")
    return answer
