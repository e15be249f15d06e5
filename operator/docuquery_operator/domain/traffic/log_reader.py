"""One pass over access-log lines, as they come: bytes in, figures of the traffic out.

Lines are taken in blocks of whole lines whose borders rest on the bytes alone, so pieces of any size give the same figures.
A block whose lines have one layout is counted column by column in C. Another one is parted by the first byte of its lines,
then halved until the odd lines stand alone, and those are read one by one.
"""

from __future__ import annotations

from collections import _count_elements  # type: ignore[attr-defined]
from collections.abc import Mapping, Sequence
from itertools import compress, repeat

from .access_log import AGENT, CLIENT, PATH, STATUS, TIME, USER, Entry, Layout, learn, parse_line
from .figures import REFUSED, Traffic

BLOCK = 256 * 1024
# Fewer lines are sooner read one by one than halved again.
FEW_LINES = 16
BUFFERED = 8192
_REFUSED = str(REFUSED).encode()
_OF_REFUSED = (CLIENT, PATH, AGENT)


class LogReader:
    """Feed it bytes, then finish."""

    def __init__(self) -> None:
        self._traffic = Traffic()
        self._rest = bytearray()
        self._skipping = False
        self._tally: _Tally | None = None

    def feed(self, data: bytes) -> None:
        """Take some bytes; they may end in the middle of a line."""
        self._rest += data
        while len(self._rest) >= BLOCK:
            end = self._rest.rfind(b"\n", 0, BLOCK)
            taken = bytes(memoryview(self._rest)[: end + 1 if end >= 0 else BLOCK])
            del self._rest[: end + 1 if end >= 0 else BLOCK]
            self._take(taken, whole=end >= 0)

    def _take(self, block: bytes, whole: bool) -> None:
        """A line longer than a block is no request; its parts are passed over up to its end."""
        if self._skipping and whole:
            block = block.partition(b"\n")[2]
        if not whole:
            self._traffic.garbage += not self._skipping
        elif block:
            self._block(block)
        self._skipping = not whole

    def finish(self) -> Traffic:
        """The figures of all that was fed since the last time."""
        rest, self._rest = bytes(self._rest), bytearray()
        if rest:
            self._take(rest if rest.endswith(b"\n") else rest + b"\n", whole=True)
        self._skipping = False
        self._settle()
        traffic, self._traffic = self._traffic, Traffic()
        return traffic

    def _block(self, block: bytes) -> None:
        if self._counted(block):
            return
        groups: dict[bool, list[bytes]] = {}
        for line in block.split(b"\n"):
            if line.strip():
                groups.setdefault(line.startswith(b"{"), []).append(line.rstrip())
        for _, lines in sorted(groups.items()):
            self._lines(lines)

    def _lines(self, lines: Sequence[bytes]) -> None:
        if len(lines) <= FEW_LINES:
            for line in lines:
                self._entry(parse_line(line))
        elif not self._counted(b"\n".join([*lines, b""])):
            middle = len(lines) // 2
            self._lines(lines[:middle])
            self._lines(lines[middle:])

    def _counted(self, block: bytes) -> bool:
        """Whether the block had one layout and was counted."""
        lines = block.count(b"\n")
        if self._tally is not None and self._tally.take(block, lines):
            self._traffic.requests += lines
            if self._tally.full:
                self._tally.settle(self._traffic)
            return True
        layout = learn(block.partition(b"\n")[0])
        if layout is None:
            return False
        tally = _Tally(layout)
        if not tally.take(block, lines):
            return False
        self._settle()
        self._tally = tally
        self._traffic.requests += lines
        return True

    def _settle(self) -> None:
        if self._tally is not None:
            self._tally.settle(self._traffic)
        self._traffic.prune()

    def _entry(self, entry: Entry | None) -> None:
        traffic = self._traffic
        if entry is None:
            traffic.garbage += 1
            return
        traffic.requests += 1
        traffic.statuses[entry.status] = traffic.statuses.get(entry.status, 0) + 1
        names = {CLIENT: entry.client, USER: entry.user, PATH: entry.path, AGENT: entry.agent}
        for column, name in names.items():
            traffic.of(column).add(name, 1)
        if entry.second is not None:
            traffic.seconds.add(entry.second, 1)
        if entry.status == REFUSED:
            for column in _OF_REFUSED:
                traffic.of_refused(column).add(names[column], 1)
            if entry.second is not None:
                traffic.repeats.add((entry.client, entry.path, entry.agent, entry.second), 1)
        traffic.prune()


class _Tally:
    """Counts of the raw pieces of one layout; they get their names when they are settled, after most have come again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._counts: dict[str, dict[bytes, int]] = {column: {} for column in layout.columns}
        self._refused: dict[str, dict[bytes, int]] = {column: {} for column in layout.columns if column in _OF_REFUSED}
        self._places: dict[tuple[bytes, ...], int] = {}

    @property
    def full(self) -> bool:
        """Whether it is time to settle."""
        return max(len(self._places), *map(len, self._counts.values())) > BUFFERED

    def take(self, block: bytes, lines: int) -> bool:
        """Count a block; False, and nothing is counted, when it has another layout."""
        rows = self._layout.rows(block, lines)
        if rows is None:
            return False
        columns = dict(zip(self._layout.columns, zip(*rows, strict=True), strict=True))
        for column, pieces in columns.items():
            _count_elements(self._counts[column], pieces)
        if _REFUSED in columns[STATUS]:
            self._take_refused(columns)
        return True

    def _take_refused(self, columns: Mapping[str, Sequence[bytes]]) -> None:
        chosen = list(map(_REFUSED.__eq__, columns[STATUS]))
        parts = {column: list(compress(columns[column], chosen)) for column in (*_OF_REFUSED, TIME) if column in columns}
        for column, counts in self._refused.items():
            _count_elements(counts, parts[column])
        if CLIENT in parts and TIME in parts:
            places = zip(*(parts.get(c, repeat(b"")) for c in (*_OF_REFUSED, TIME)), strict=False)
            _count_elements(self._places, places)

    def settle(self, traffic: Traffic) -> None:
        """Hand all counts over under their names."""
        names: dict[str, dict[bytes, str]] = {}
        for column, counts in self._counts.items():
            if column == TIME:
                continue
            texts = self._layout.texts(column, counts)
            names[column] = dict(zip(counts, texts, strict=True)) if column in _OF_REFUSED else {}
            if column == STATUS:
                for status, n in zip(texts, counts.values(), strict=True):
                    traffic.statuses[int(status)] = traffic.statuses.get(int(status), 0) + n
            else:
                traffic.of(column).add_all(texts, counts.values())
        for column, counts in self._refused.items():
            traffic.of_refused(column).add_all([names[column][piece] for piece in counts], counts.values())
        self._settle_times(traffic, names)
        for known in (*self._counts.values(), *self._refused.values()):
            known.clear()
        self._places.clear()
        traffic.prune()

    def _settle_times(self, traffic: Traffic, names: Mapping[str, Mapping[bytes, str]]) -> None:
        times = self._counts.get(TIME, {})
        seconds = {piece: self._layout.second(piece) for piece in times}
        for piece, n in times.items():
            if (second := seconds[piece]) is not None:
                traffic.seconds.add(second, n)
        draws = traffic.repeats.draws
        drawn = {piece for piece in self._refused.get(CLIENT, ()) if draws(names[CLIENT][piece])}
        for (client, path, agent, time), n in self._places.items():
            if client in drawn and (second := seconds[time]) is not None:
                told = (names[CLIENT][client], names.get(PATH, {}).get(path, ""), names.get(AGENT, {}).get(agent, ""))
                traffic.repeats.add((*told, second), n)
