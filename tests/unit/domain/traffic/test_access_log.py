"""Access logs of all sorts, line by line, and what the window of a pod's log keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from docuquery_operator.domain.traffic.access_log import Entry, fold, learn, parse_line, second_of
from docuquery_operator.domain.traffic.figures import report
from docuquery_operator.domain.traffic.log_reader import BLOCK, LogReader
from docuquery_operator.domain.traffic.pod_log import SHORTEST, WINDOW, PodLog, Stamped, window

AT = datetime(2026, 11, 25, 4, 47, 7, tzinfo=UTC)
SECOND = int(AT.timestamp())
LINES: list[tuple[str, Entry | None]] = [
    # The reference api.
    (
        '{"ts":"2026-11-25T04:47:07.123+00:00","event":"rate_limit","client":"198.51.100.7","user":null,"method":"GET",'
        '"path":"/documents/17","status":429,"durationMs":0.4,"userAgent":"curl/8.5.0"}',
        Entry("198.51.100.7", "", "/documents/{id}", 429, "curl/8.5.0", SECOND),
    ),
    # nginx, log_format in JSON.
    (
        '{"time_iso8601":"2026-11-25T05:47:07+01:00","remote_addr":"2001:db8::1","remote_user":"eve","request":"POST '
        '/query?q=1 HTTP/2.0","status":"502","http_user_agent":"app/1"}',
        Entry("2001:db8::1", "eve", "/query", 502, "app/1", SECOND),
    ),
    ('{"time": 1795582027.9, "ip": "198.51.100.7", "url": "https://x.example/a/b?c#d", "code": 200}',
     Entry("198.51.100.7", "", "/a/b", 200, "", SECOND)),
    ('{"timestamp": 1795582027123, "client_ip": "198.51.100.7", "uri": "/x", "status_code": 404}',
     Entry("198.51.100.7", "", "/x", 404, "", SECOND)),
    # A container's name before it, as docker-compose prints it.
    ('api-1  | {"ts":"2026-11-25T04:47:07Z","client":"198.51.100.7","path":"/","status":200}',
     Entry("198.51.100.7", "", "/", 200, "", SECOND)),
    ('198.51.100.7 - - [25/Nov/2026:04:47:07 +0000] "GET / HTTP/1.1" 200 612', Entry("198.51.100.7", "-", "/", 200, "", SECOND)),
    ('198.51.100.7 - bob [24/Nov/2026:20:47:07 -0800] "GET /a%20b?x HTTP/1.1" 304 - "-" "Mozilla/5.0 \\"x\\""',
     Entry("198.51.100.7", "bob", "/a%20b", 304, 'Mozilla/5.0 \\"x\\"', SECOND)),
    # More at the end of the line, as with the real address or the times of an upstream.
    ('198.51.100.7 - bob [25/Nov/2026:04:47:07 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8" "203.0.113.9" 0.012',
     Entry("198.51.100.7", "bob", "/", 200, "curl/8", SECOND)),
    ('198.51.100.7 - - [25/Nov/2026:04:47:07 +0000] "\\x16\\x03\\x01" 400 150 "-" "-"',
     Entry("198.51.100.7", "-", "\\x16\\x03\\x01", 400, "-", SECOND)),
    ('198.51.100.7 - - [99/Nov/2026:04:47:07 +0000] "GET / HTTP/1.1" 200 612', Entry("198.51.100.7", "-", "/", 200, "", None)),
    ('{"ts":"soon","client":"198.51.100.7","path":"/","status":200}', Entry("198.51.100.7", "", "/", 200, "", None)),
    ("INFO:     127.0.0.1:5000 - \"GET / HTTP/1.1\" 200 OK", None),
    ('{"event":"started"}', None),
    ('{"status":"healthy","path":"/"}', None),
    ('{"status":99,"path":"/"}', None),
    ('{"status":true,"path":"/"}', None),
    ("", None),
    ("[" * 100_000, None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line[:30] for line, _ in LINES])
def test_lines(line: str, expected: Entry | None) -> None:
    assert parse_line(line.encode()) == expected


@pytest.mark.parametrize(
    ("line", "expected"), [case for case in LINES if case[1]], ids=[line[:30] for line, e in LINES if e]
)
def test_many_of_a_kind_are_counted_as_one_is(line: str, expected: Entry) -> None:
    reader = LogReader()
    for _ in range(40):
        reader.feed(line.encode() + b"\n")
    seen = reader.finish()
    assert (seen.requests, seen.garbage, seen.statuses) == (40, 0, {expected.status: 40})
    assert seen.clients.counts == {expected.client: 40}
    assert seen.paths.counts == {expected.path: 40}
    assert seen.seconds.counts == ({} if expected.second is None else {expected.second: 40})


def test_which_lines_have_a_layout() -> None:
    """Those that come in masses must be quick to read."""
    quick = [line for line, expected in LINES if expected and learn(line.encode()) is not None]
    assert [line for line, _ in (LINES[0], LINES[1], LINES[5])] == [
        line for line in quick if line in {LINES[0][0], LINES[1][0], LINES[5][0]}
    ]
    assert learn(b'{"ts":"2026-11-25T04:47:07Z","status":200,"headers":{"a":1}}') is None


@pytest.mark.parametrize(("path", "expected"), [
    ("/documents/17/parts/9", "/documents/{id}/parts/{id}"),
    ("/d/123e4567-e89b-12d3-a456-426614174000", "/d/{id}"),
    ("/d/0123456789abcdef0123456789abcdef?x=1", "/d/{id}"),
    ("/v2/documents", "/v2/documents"), ("/a1b2", "/a1b2"), ("/17a", "/17a"), ("", ""), ("*", "*"),
    ("GET /x/5 HTTP/1.1", "/x/{id}"), ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"), ("http://h/p/1?q", "/p/{id}"),
])  # fmt: skip
def test_paths_are_folded(path: str, expected: str) -> None:
    assert fold(path) == expected


@pytest.mark.parametrize("value", ["x" * 50, None, True, -1, 1e300, float("nan"), "0001-01-01T00:00:00", [], "9999-99-99"])
def test_times_that_are_none(value: object) -> None:
    assert second_of(value) is None


def test_a_line_without_an_end_costs_no_memory_and_hides_nothing() -> None:
    reader = LogReader()
    for _ in range(20):
        reader.feed(b"x" * (BLOCK // 2))
    reader.feed(b"tail\n" + LINES[0][0].encode() + b"\n")
    seen = reader.finish()
    assert (seen.requests, seen.garbage) == (1, 1)
    assert len(reader._rest) == 0


def test_hostile_names_do_not_move_the_columns() -> None:
    """A client that ends its agent like a field, or holds whole lines in it, is counted as what it is."""
    odd = ["x,", '{"client":"203.0.113.1"}', '","client":"203.0.113.1","x":"', "a\nb", "\\", '"', "}\n{"]
    reader, lines = LogReader(), 0
    for n in range(300):
        fields = {"ts": AT.isoformat(), "client": "198.51.100.7", "path": "/", "status": 429 if n % 2 else 200,
                  "userAgent": odd[n % len(odd)] if n % 3 == 0 else "curl"}  # fmt: skip
        reader.feed(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
        lines += 1
    seen = reader.finish()
    assert (seen.requests, seen.garbage) == (lines, 0)
    assert seen.clients.counts == {"198.51.100.7": lines}
    assert set(seen.agents.counts) == {"curl", *odd}
    assert seen.refused == lines // 2


def line(second: float, client: str = "198.51.100.7", status: int = 200, pod: str = "") -> bytes:
    """As the kubelet gives it."""
    at = AT + timedelta(seconds=second)
    text = json.dumps({"ts": at.isoformat(), "client": client, "path": "/", "status": status, "userAgent": pod})
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond * 1000:09d}Z {text}\n".encode()


def carry(log: PodLog, now: float, lines: list[bytes], cut: bool = False) -> None:
    """One round."""
    at = AT + timedelta(seconds=now)
    start = log.start(at)
    stamped, reader = Stamped(log.had), LogReader()
    data = b"".join(t for t in lines if t[:19] >= f"{start:%Y-%m-%dT%H:%M:%S}".encode())
    for begin in range(0, len(data), 37):
        reader.feed(stamped.take(data[begin : begin + 37]))
    log.add(at, start, stamped, reader, cut)


def test_each_line_is_counted_once_however_often_its_second_is_read() -> None:
    log, lines = PodLog(), []
    for n in range(200):
        lines.append(line(n * 0.3))
        if n % 7 == 0:
            carry(log, n * 0.3 + 0.01, lines)
    carry(log, 61, lines)
    carry(log, 61.5, lines)
    assert window([log]).requests == 200


def test_old_minutes_are_forgotten_and_a_clock_that_is_set_back_does_no_harm() -> None:
    log, lines = PodLog(), [line(n) for n in range(1200)]
    for now in range(0, 1200, 5):
        carry(log, now, lines[: now + 1])
    seen = window([log]).requests
    assert WINDOW.total_seconds() <= seen <= WINDOW.total_seconds() + 65
    carry(log, 600, lines[:600])
    assert WINDOW.total_seconds() - 5 <= window([log]).requests <= WINDOW.total_seconds() + 65


def test_what_cannot_be_caught_up_is_looked_at_over_less_time() -> None:
    log, lines = PodLog(), [line(n / 10) for n in range(6000)]
    carry(log, 600, lines, cut=True)
    assert (window([log]).requests, log.since) == (0, None)
    spans = []
    for now in range(605, 640, 5):
        spans.append(log.look_back)
        carry(log, now, lines, cut=log.look_back > SHORTEST)
    assert spans[-1] == SHORTEST
    assert window([log]).requests <= 600
    # Even then the newest it could read is told, and that it is not all.
    carry(log, 640, [line(635 + n / 10) for n in range(40)], cut=True)
    assert window([log]).requests >= 40
    assert not log.complete


def test_a_report_without_requests_is_short() -> None:
    reader = LogReader()
    reader.feed(b"nothing\n")
    assert report(reader.finish()) == {"requests": 0, "garbage": 1}
