"""Logs in pieces of any size give the same groups; the same error is one group whatever its numbers; memory stays small."""

from __future__ import annotations

import re
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.upkeep.error_groups import BUCKETS, LONGEST_LINE, MOST, ErrorGroups, ErrorReader
from docuquery_operator.domain.upkeep.fingerprints import fingerprint, is_error, sample_of

SINCE = datetime(2026, 11, 29, 2, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
TRACE = """ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/app/lib/uvicorn/run.py", line 404, in run_asgi
    result = await app(
ValueError: document {n} not found

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/app/db.py", line {n}, in execute
    raise X from y
app.errors.StoreAway: no answer from 10.0.{s}.7:5432"""
ERRORS = (
    '{{"level": "error", "message": "cannot embed {uuid}", "ts": {n}}}',
    '2026-11-29 03:00:{s:02}.123 UTC [{n}] ERROR:  relation "documents" does not exist at character {n}',
    "[2026-11-29 03:00:{s:02},123: ERROR/ForkPoolWorker-{n}] Task app.embed[{uuid}] raised unexpected: Away({n})",
    'time=2026-11-29T03:00:{s:02}Z level=error msg="point 0x{n:08x} of user{n}@example.com"',
    "error: cannot open /data/{uuid}/segment_{n}.bin",
    TRACE,
)
OTHERS = (
    'INFO:     10.0.0.{s}:4242 - "GET /health HTTP/1.1" 200 OK',
    '{{"level": "info", "message": "0 errors", "n": {n}}}',
    'time=x level=warning msg="ERROR budget {n}"',
    "2026-11-29 03:00:{s:02} UTC [{n}] STATEMENT:  select 'ERROR'",
    "2026-11-29 03:00:{s:02} UTC [{n}] LOG:  no error here, checkpoint {n}",
    "all is well, {n} errors",
    "",
)
LINES = st.tuples(
    st.one_of(st.sampled_from(ERRORS), st.sampled_from(OTHERS)), st.integers(0, 10**6), st.integers(0, 59), st.uuids()
)


def log(lines: list[tuple[str, int, int, UUID]]) -> bytes:
    found = []
    for form, n, s, uuid in lines:
        found += [f"2026-11-29T02:{s:02}:00.000000001Z {text}\n" for text in form.format(n=n, s=s, uuid=uuid).split("\n")]
    return "".join(found).encode()


def read(data: bytes, sizes: list[int] = ()) -> ErrorGroups:
    groups = ErrorGroups(SINCE, UNTIL)
    reader = ErrorReader(groups, "api", "api-1")
    for size in sizes:
        reader.feed(data[:size])
        data = data[size:]
    reader.feed(data)
    reader.finish()
    return groups


@settings(max_examples=40)
@given(st.lists(LINES, max_size=15), st.lists(st.integers(0, 400), max_size=30))
def test_each_error_is_counted_once_in_the_group_of_its_form(lines, sizes):
    groups = read(log(lines), sizes)
    wanted = Counter(form for form, *_ in lines if form in ERRORS)
    assert sorted(g.count for g in groups.groups.values()) == sorted(wanted.values())
    assert groups.errors["api"] == wanted.total()
    assert sum(groups.counts["api"]) == wanted.total()
    assert groups.lines["api"] == log(lines).count(b"\n")
    for group in groups.groups.values():
        assert SINCE <= group.first <= group.last <= UNTIL


def test_a_trace_is_one_error_told_by_what_was_raised_last_and_where():
    (group,) = read(log([(TRACE, 7, 3, UUID(int=1)), (OTHERS[0], 1, 3, UUID(int=1)), (TRACE, 8, 5, UUID(int=2))])).top(9)
    assert group.fingerprint == "app.errors.StoreAway: no answer from <address> at db.py in execute"
    assert group.place == "db.py in execute"
    assert group.count == 2
    assert group.sample.startswith("ERROR: Exception in ASGI application … app.errors.StoreAway")
    assert (group.first.minute, group.last.minute) == (3, 5)


@given(st.text(max_size=300))
def test_a_fingerprint_is_stable_short_and_without_digits_that_differ(text):
    once = fingerprint(text)
    assert len(once) <= 200
    assert once
    assert not re.search(r"[0-9]", re.sub(r"\[redacted\]", "", once))


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.uuids(),
    st.uuids(),
    st.datetimes(datetime(2000, 1, 1)),
    st.datetimes(datetime(2000, 1, 1)),
)
def test_numbers_ids_and_times_do_not_part_a_group(a, b, first, second, one, other):
    def line(n, uuid, at):
        return (
            f"{at:%Y-%m-%d %H:%M:%S} ERROR job {n} of {uuid} took {n}.5 s at {at.isoformat()} from 10.1.2.{n % 256} key x{n}"
        )

    assert fingerprint(line(a, first, one)) == fingerprint(line(b, second, other))


def test_different_errors_are_different_groups():
    told = {
        fingerprint(t)
        for t in ("ERROR: disk full", "ERROR: no memory", 'ERROR: relation "a" missing', 'ERROR: relation "b" missing')
    }
    assert len(told) == 4


@pytest.mark.parametrize(
    "text",
    ["ERROR x", "FATAL:  sorry", "panic: nil", "ValueError: x", '{"severity":"CRITICAL","msg":"x"}', "E: level=fatal"],
)
def test_errors_are_known(text):
    assert is_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "no errors",
        "GET /error 200",
        "error_count=0",
        '{"level":"debug","error":""}',
        "INFO handled ERROR",
        "an Exceptional day",
        "WARNING: ERROR ahead",
    ],
)
def test_what_only_speaks_of_errors_is_none(text):
    assert not is_error(text)


def test_secrets_do_not_come_along():
    for shown in (sample_of, fingerprint):
        assert "hunter2" not in shown("ERROR cannot connect to postgres://u:hunter2@h/d password=hunter2")


def test_memory_stays_bounded_whatever_is_written():
    groups = ErrorGroups(SINCE, UNTIL)
    reader = ErrorReader(groups, "api", "api-1")
    words = [chr(97 + n % 26) * (n % 7 + 1) + chr(97 + n // 26 % 26) + chr(97 + n // 676 % 26) for n in range(2500)]
    tracemalloc.start()
    for word in words:
        reader.feed(f"2026-11-29T02:00:00Z ERROR {word} {'y' * 100}\n".encode())
    reader.feed(b"2026-11-29T02:01:00Z ERROR often\n" * 1000)
    reader.feed(b"2026-11-29T02:01:00Z ERROR " + b"z" * (LONGEST_LINE * 20) + b"\n")
    reader.feed(b"2026-11-29T02:02:00Z ERROR often\n")
    reader.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert len(groups.groups) <= MOST
    assert groups.errors["api"] == 2500 + 1000 + 2
    assert groups.top(1)[0].count == 1001
    assert groups.dropped + sum(g.count for g in groups.groups.values()) == 3_502


def test_where_a_log_was_read_and_no_error_is_there_it_says_zero_and_else_nothing():
    groups = read(log([(OTHERS[0], 1, 3, UUID(int=1))]))
    assert [v for _, v in groups.series()[0].points] == [0.0] * BUCKETS
    assert ErrorGroups(SINCE, UNTIL).series() == ()


def test_a_line_without_end_takes_no_memory():
    groups = ErrorGroups(SINCE, UNTIL)
    reader = ErrorReader(groups, "api", "api-1")
    piece = b"z" * 65536
    tracemalloc.start()
    reader.feed(b"2026-11-29T02:01:00Z ERROR ")
    for _ in range(100):
        reader.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reader.feed(b"ERROR still the same line\n2026-11-29T02:02:00Z ERROR next\n")
    reader.finish()
    assert peak < 2**20
    assert groups.errors["api"] == 2
