"""Figures of the traffic against an exact count: nothing frequent is missed, errors and memory are bounded, pieces do not matter."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.domain.traffic.access_log import learn, parse_line
from docuquery_operator.domain.traffic.figures import (
    BUCKETS,
    NOBODY,
    REPEATS_KEPT,
    Repeats,
    Timeline,
    Traffic,
    merged,
    report,
)
from docuquery_operator.domain.traffic.frequent import KEPT, MOST, Frequent
from docuquery_operator.domain.traffic.log_reader import LogReader

START = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
ODD = ['a "quoted" agent', "ends with,", "back\\slash", "ключ", "", "-", "{}", "x" * 300, "a,b}{", "tab\there"]
NAMES = st.sampled_from(["Mozilla/5.0 (X11)", "curl/8.5.0", "app/2.1", *ODD])
PATHS = st.sampled_from(["/query", "/documents/17", "/documents/18/parts", "/documents?page=3", "/", "/a b", *ODD[:3]])
CLIENTS = st.sampled_from(["198.51.100.7", "203.0.113.9", "2001:db8::1", "unknown"])
STATUSES = st.sampled_from([200, 404, 429, 429, 500])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """One line of any kind."""
    client, path, agent, status = draw(CLIENTS), draw(PATHS), draw(NAMES), draw(STATUSES)
    at = START + timedelta(milliseconds=draw(st.integers(0, 20_000)))
    kind = draw(st.sampled_from(["json"] * 6 + ["spaced", "combined", "combined", "common", "garbage", "half"]))
    user = draw(st.sampled_from(["alice", "bob", None]))
    fields = {
        "ts": at.isoformat(timespec="milliseconds"), "event": "request", "client": client, "user": user, "method": "GET",
        "path": path, "status": status, "durationMs": 1.5, "userAgent": agent or None,
    }  # fmt: skip
    if kind == "garbage":
        return draw(
            st.sampled_from([b"Traceback (most recent call last):", b"\xff\xfe\x00", b"{}", b"[]", b'{"a": 1}', b"INFO:  x"])
        )
    if kind == "common":
        return f'{client} - {user or "-"} [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET {path} HTTP/1.1" {status} 17'.encode()
    if kind == "combined":
        shown = agent.replace("\\", "\\\\").replace('"', '\\"')
        return f'{client} - {user or "-"} [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET {path} HTTP/1.1" {status} 17 "-" "{shown}"'.encode()
    text = json.dumps(fields, separators=(", ", ": ") if kind == "spaced" else (",", ":")).encode()
    return text[: len(text) // 2] if kind == "half" else text


def read(data: bytes, cuts: list[int] | None = None) -> Traffic:
    """The figures of these bytes, fed in pieces."""
    reader, start = LogReader(), 0
    for end in [*sorted(cuts or []), len(data)]:
        reader.feed(data[start:end])
        start = max(start, end)
    return reader.finish()


def exact(found: list[bytes]) -> Traffic:
    """The same, one line at a time, by the tolerant parser alone."""
    whole = Traffic()
    for line in found:
        reader = LogReader()
        reader.feed(line + b"\n")
        whole.merge(reader.finish())
    return whole


@given(st.lists(lines(), max_size=40), st.integers(1, 40), st.integers(0, 99))
def test_columns_and_single_lines_agree(found: list[bytes], times: int, seed: int) -> None:
    """Many equal lines, so that blocks have a layout, with odd ones between them."""
    many = [line for line in found for _ in range(times)]
    random.Random(seed).shuffle(many)
    once, each = read(b"".join(line + b"\n" for line in many)), exact(found)
    assert once.requests == each.requests * times
    assert once.garbage == each.garbage * times
    for name in ("clients", "users", "paths", "agents", "refused_clients", "refused_paths", "refused_agents"):
        counted = getattr(each, name).without(NOBODY).counts
        assert getattr(once, name).without(NOBODY).counts == {k: n * times for k, n in counted.items()}
    assert once.statuses == {s: n * times for s, n in each.statuses.items()}
    assert once.seconds.counts == {s: n * times for s, n in each.seconds.counts.items()}
    assert once.repeats.places == {p: n * times for p, n in each.repeats.places.items()}


@given(st.lists(lines(), max_size=80), st.lists(st.integers(0, 20_000), max_size=8))
def test_any_split_gives_the_same(found: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in found)
    assert read(data, [min(c, len(data)) for c in cuts]) == read(data)


@given(st.lists(lines(), max_size=80), st.integers(1, 4))
def test_pods_add_up(found: list[bytes], pods: int) -> None:
    data = [b"".join(line + b"\n" for line in found[pod::pods]) for pod in range(pods)]
    together = merged(read(part) for part in data)
    alone = read(b"".join(line + b"\n" for line in found))
    assert report(together) == report(alone)


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=5))
def test_any_bytes_are_read(data: bytes, cuts: list[int]) -> None:
    seen = read(data, [min(c, len(data)) for c in cuts])
    assert seen == read(data)
    assert seen.requests + seen.garbage <= data.count(b"\n") + 1


@given(lines())
def test_a_layout_reads_its_own_line_as_the_parser_does(line: bytes) -> None:
    layout, entry = learn(line), parse_line(line)
    rows = layout.rows(line + b"\n", 1) if layout else None
    if layout is None or rows is None:
        return
    assert entry is not None
    told = {
        "client": entry.client,
        "user": entry.user,
        "path": entry.path,
        "agent": entry.agent,
        "status": str(entry.status),
    }
    for column, piece in zip(layout.columns, rows[0], strict=True):
        if column == "time":
            assert layout.second(piece) == entry.second
        else:
            assert layout.texts(column, [piece]) == [told[column]]


@st.composite
def streams(draw: st.DrawFn) -> list[str]:
    """Far more names than are kept, a few of them frequent, in any order."""
    rare, seed = draw(st.integers(MOST, 3 * MOST)), draw(st.integers(0, 99))
    some = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    stream = [f"rare-{n}" for n in range(rare)] + [f"often-{i}" for i, n in enumerate(some) for _ in range(n)]
    if draw(st.booleans()):
        random.Random(seed).shuffle(stream)
    return stream


@given(streams(), st.integers(1, 3), st.integers(500, 4000))
def test_nothing_frequent_is_missed_and_the_error_is_told(stream: list[str], parts: int, batch: int) -> None:
    true = Counter(stream)
    summaries = []
    for part in range(parts):
        summary = Frequent()
        own = stream[part::parts]
        for start in range(0, len(own), batch):
            for name in own[start : start + batch]:
                summary.add(name, 1)
            summary.prune()
            assert len(summary.counts) <= MOST
        summaries.append(summary)
    whole = Frequent()
    for summary in summaries:
        whole.merge(summary)
    assert whole.total == len(stream)
    assert whole.error <= len(stream) / (KEPT + 1)
    assert len(whole.counts) <= MOST
    for name, times in true.items():
        assert whole.counts.get(name, 0) <= times <= whole.counts.get(name, 0) + whole.error
        assert times <= len(stream) / 1000 or name in whole.counts


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 5)), max_size=300), st.integers(1, 3))
def test_buckets_widen_the_same_in_any_order(found: list[tuple[int, int]], parts: int) -> None:
    spread = [(second * 17, times) for second, times in found] + [(n * 3, 1) for n in range(BUCKETS + 10)]
    whole = Timeline()
    for second, times in spread:
        whole.add(second, times)
    other = Timeline()
    for part in range(parts):
        piece = Timeline()
        for second, times in reversed(spread[part::parts]):
            piece.add(second, times)
        other.merge(piece)
    assert (other.width, other.counts) == (whole.width, whole.counts)
    assert len(whole.counts) <= BUCKETS
    assert sum(whole.counts.values()) == sum(times for _, times in spread)


@given(st.integers(0, 99), st.integers(1, 3))
def test_the_sample_of_repeats_rests_on_the_traffic_alone(seed: int, parts: int) -> None:
    places = [(f"198.51.{n % 97}.{n % 251}", "/query", "app/1", n // 400) for n in range(REPEATS_KEPT + 4000)]
    whole = Repeats()
    for place in places:
        whole.add(place, 1)
    random.Random(seed).shuffle(places)
    other = Repeats()
    for part in range(parts):
        piece = Repeats()
        for place in places[part::parts]:
            piece.add(place, 1)
        other.merge(piece)
    assert (other.level, other.places) == (whole.level, whole.places)
    assert 0 < len(whole.places) <= REPEATS_KEPT
