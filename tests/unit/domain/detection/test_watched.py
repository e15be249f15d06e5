"""Samples are bounded, keep the worst, and show a gap where nobody looked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from docuquery_operator.domain.detection import watched
from docuquery_operator.domain.detection.watched import Ring

START = datetime(2026, 11, 26, 14, 0, tzinfo=UTC)


def ring(*spans: tuple[float, float], every: float = 5.0) -> Ring:
    """Well in every second of these spans since the start."""
    made = Ring()
    for since, until in spans:
        at = since
        while at < until:
            made.add(START + timedelta(seconds=at), True, 0.01)
            at += every
    return made


def test_it_stays_small() -> None:
    made = ring((0, 100_000))
    assert (len(made.fine.at), len(made.coarse.at)) == (360, 480)
    width, found = made.between(START + timedelta(seconds=99_000), START + timedelta(seconds=100_000))
    assert (width, len(found)) == (5.0, 201)
    assert made.between(START, START + timedelta(seconds=100_000))[0] == 60.0


def test_the_worst_of_a_span_counts() -> None:
    made = Ring()
    for n, (ok, took) in enumerate([(True, 0.1), (False, 3.0), (None, 0.2), (True, 0.1)]):
        made.add(START + timedelta(seconds=n), ok, took)
    (found,) = made.between(START, START + timedelta(seconds=10))[1]
    assert (round(found.ok or 0, 2), found.seconds) == (0.67, 3.0)


def test_who_could_not_be_asked_is_neither_well_nor_sick() -> None:
    made = Ring()
    made.add(START, None, 0.1)
    assert [s.ok for s in made.between(START, START)[1]] == [None]


def test_a_restart_is_a_gap_and_nothing_is_invented() -> None:
    since, until = START - timedelta(seconds=600), START + timedelta(seconds=400)
    width, found = ring((0, 100), (300, 350)).between(since, until)
    well, took = watched.series(watched.as_json("db", width, found), since, until)
    for line in (well, took):
        gaps = [n for n, (_, value) in enumerate(line.points) if value is None]
        assert gaps == [0, 21, 32]
        assert [line.points[n][0] for n in (0, 32)] == [since, until]
    assert len(found) == 30


def test_a_clock_that_was_set_back_leaves_no_samples_of_the_future() -> None:
    made = ring((0, 100))
    made.add(START + timedelta(seconds=50), False, 1.0)
    found = made.between(START, START + timedelta(seconds=200))[1]
    assert [s.at for s in found] == sorted({s.at for s in found})
    assert found[-1].at == START + timedelta(seconds=50)


def test_nothing_seen_is_nothing_shown() -> None:
    well, _ = watched.series(watched.as_json("db", 5.0, []), START, START + timedelta(seconds=60))
    assert [value for _, value in well.points] == [None, None]
