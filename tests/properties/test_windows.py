"""Counters over a window against a model that knows each single request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.traffic.counters import Scrape, Window, increase, quantile

START = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
EVERY = timedelta(seconds=15)
KEYS = ("200", "500", "429")
LIMITS = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@dataclass
class Pod:
    """One pod: each request with its time, process by process."""

    began: datetime
    process: int = 0
    requests: list[tuple[datetime, int, str]] = field(default_factory=list)

    def totals(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for _, process, key in self.requests:
            if process == self.process:
                found[key] = found.get(key, 0) + 1
        return found


# For each round and pod: what comes (requests), and what happens to it.
rounds = st.lists(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(KEYS), max_size=6),
            st.sampled_from(["well"] * 6 + ["lost", "restart", "gone"]),
        ),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=30,
)


def lived(
    story: list[list[tuple[list[str], str]]], length: timedelta
) -> tuple[Window[str], list[tuple[datetime, str]], datetime]:
    """The window after the story, each request that a scrape has shown after another (or since its process began), and now."""
    window: Window[str] = Window(length)
    pods: dict[int, Pod] = {}
    counted: list[tuple[datetime, str]] = []
    shown: dict[int, tuple[int, int]] = {}
    now = START
    for events in story:
        before, now = now, now + EVERY
        scrapes = {}
        for number, (keys, fate) in enumerate(events):
            if fate == "gone":
                pods.pop(number, None)
                shown.pop(number, None)
                continue
            fresh = number not in pods
            pod = pods.setdefault(number, Pod(before + timedelta(seconds=1)))
            if fate == "restart" and not fresh:
                pod.process += 1
                pod.began = before + timedelta(seconds=1)
            pod.requests += [(before + timedelta(seconds=2 + n), pod.process, key) for n, key in enumerate(keys)]
            if fate == "lost":
                continue
            known = shown.get(number)
            own = [r for r in pod.requests if r[1] == pod.process]
            if known is None and not (window._round is not None and window._round < pod.began):
                news = []
            elif known is None or known[0] != pod.process:
                news = own
            else:
                news = own[known[1] :]
            counted += [(at, key) for at, _, key in news]
            shown[number] = (pod.process, len(own))
            scrapes[f"{number}/{id(pod)}"] = Scrape(pod.totals(), str(pod.process), "x", pod.began)
        window.add(now, scrapes)
    return window, counted, now


@given(rounds)
@LIMITS
def test_over_all_time_it_is_exactly_what_was_shown(story: list[list[tuple[list[str], str]]]) -> None:
    window, counted, now = lived(story, timedelta(days=1))
    found = window.over(now).by
    for key in KEYS:
        assert found.get(key, 0) == sum(k == key for _, k in counted)


@given(rounds, st.sampled_from([60, 90, 300]))
@LIMITS
def test_in_a_window_it_is_right_but_for_its_edge(story: list[list[tuple[list[str], str]]], seconds: int) -> None:
    if any(fate == "lost" for events in story for _, fate in events):
        story = [[(keys, "well" if fate == "lost" else fate) for keys, fate in events] for events in story]
    window, counted, now = lived(story, timedelta(seconds=seconds))
    start = now - timedelta(seconds=seconds)
    grown = window.over(now)
    surely = sum(at > start + EVERY for at, _ in counted)
    perhaps = sum(at > start - EVERY for at, _ in counted)
    assert surely <= sum(grown.by.values()) <= perhaps
    assert 0 <= grown.covered <= seconds


@given(rounds, st.sampled_from([30, 60, 300]))
@LIMITS
def test_never_negative_never_nan_and_no_more_covered_than_there_is(
    story: list[list[tuple[list[str], str]]], seconds: int
) -> None:
    window, _, now = lived(story, timedelta(seconds=seconds))
    for later in (0, 10, 1000):
        grown = window.over(now + timedelta(seconds=later))
        assert all(math.isfinite(v) and v >= 0 for v in grown.by.values())
        assert 0 <= grown.covered <= seconds
        assert (grown.covered > 0) == (grown.newest is not None)
        if later == 1000:
            assert (grown.by, grown.covered) == ({}, 0), "what is long past is no data"


def test_a_clock_that_is_set_back_begins_anew() -> None:
    window: Window[str] = Window(timedelta(minutes=5))
    for seconds, total in ((0, 5.0), (15, 6.0), (-600, 7.0), (-585, 9.0)):
        window.add(START + timedelta(seconds=seconds), {"a": Scrape({"200": total})})
    assert window.over(START - timedelta(seconds=585)).by == {"200": 2.0}


@given(st.one_of(st.none(), st.floats()), st.floats())
@LIMITS
def test_a_counter_never_shrinks(before: float | None, after: float) -> None:
    grown = increase(before, after)
    assert math.isfinite(grown)
    assert grown >= 0


BOUNDS = (0.005, 0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


@given(st.lists(st.floats(0.0001, 30), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
@LIMITS
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    buckets = {b: float(sum(v <= b for v in values)) for b in (*BOUNDS, math.inf)}
    found = quantile(q, buckets)
    assert found is not None
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    upper = next((b for b in BOUNDS if exact <= b), math.inf)
    lower = max((b for b in BOUNDS if b < exact), default=0.0)
    if upper == math.inf:
        assert (found.value, found.at_least) == (BOUNDS[-1], True)
    else:
        assert lower <= found.value <= upper + 1e-9
        assert not found.at_least


@given(
    st.dictionaries(st.one_of(st.floats(allow_nan=False), st.just(math.inf)), st.floats(0, 1e9), max_size=8),
    st.floats(0.01, 0.99),
)
@LIMITS
def test_nonsense_in_a_histogram_gives_a_number_or_nothing(buckets: dict[float, float], q: float) -> None:
    found = quantile(q, buckets)
    assert found is None or not math.isnan(found.value)
