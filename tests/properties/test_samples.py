"""Daily samples: what is kept is read back, stays small for ever, and nothing that a person writes there breaks it."""

from __future__ import annotations

import json
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.upkeep import samples
from docuquery_operator.domain.upkeep.samples import DAYS, KEYS, Samples

KEY = st.sampled_from([f"{c}/{w}" for c in ("api", "postgres", "redis") for w in ("bytes", "cpu", "clients")])
VALUES = st.dictionaries(KEY, st.floats(allow_nan=True, allow_infinity=True), max_size=6)
DAY = st.dates(date(2020, 1, 1), date(2030, 1, 1))


@settings(max_examples=80)
@given(st.lists(st.tuples(DAY, VALUES), max_size=20))
def test_what_is_kept_is_read_back(days):
    kept = Samples()
    for day, values in days:
        kept = kept.with_day(day, values)
    text = samples.text_of(kept)
    again = samples.read(text)
    assert {d: v for d, v in again.days.items() if v} == {d: v for d, v in kept.days.items() if v}
    assert samples.text_of(again) == text
    json.loads(text, parse_constant=no_json)


def no_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@given(st.text(max_size=60) | st.none())
def test_what_a_person_broke_is_no_samples(text):
    assert isinstance(samples.read(text), Samples)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["days", "values", "x"]), inner, max_size=3)
        ),
    )
)
def test_json_of_any_shape_breaks_nothing(shape):
    samples.text_of(samples.read(json.dumps(shape)).with_day(date(2026, 11, 29), {"a": 1.0}))


def test_years_of_many_keys_stay_small_and_the_oldest_go():
    kept = Samples()
    start = date(2024, 1, 1)
    for n in range(0, 1000, 5):
        kept = kept.with_day(
            start + timedelta(days=n), {f"component-{k}/bytes": 123456789.123 * (k + 1) + n for k in range(60)}
        )
    assert len({k for v in kept.days.values() for k in v}) == KEYS
    assert min(kept.days) > start + timedelta(days=995 - DAYS)
    for n in range(400):
        kept = Samples(
            {**kept.days, start + timedelta(days=1000 + n): {f"c-{k}/bytes": 1.23456e13 + n for k in range(KEYS)}}
        )
    kept = kept.with_day(start + timedelta(days=1400), {f"c-{k}/bytes": 1.0 for k in range(KEYS)})
    assert len(kept.days) == DAYS
    assert len(samples.text_of(kept)) < 400_000


def test_the_first_value_of_a_day_counts_and_a_missing_one_is_added():
    day = date(2026, 11, 29)
    kept = Samples().with_day(day, {"a": 1.0}).with_day(day, {"a": 9.0, "b": 2.0})
    assert kept.days == {day: {"a": 1.0, "b": 2.0}}
    assert kept.of("a") == [(day, 1.0)]
    assert kept.of("c") == []
