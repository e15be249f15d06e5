"""Whatever the figures are: a plot is well-formed, stays within its frame, shows each value where it belongs and nothing for no data."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.maintenance.task_outcome import Series
from docuquery_operator.domain.reports.plots import Event, Limit, bar_plot, line_plot, twin
from docuquery_operator.domain.reports.scales import figure, nice_step, time_axis, value_axis

ANY_FLOAT = st.one_of(
    st.none(), st.floats(), st.floats(-5, 5), st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324])
)
ANY_TIME = st.one_of(
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.datetimes(datetime(2026, 11, 1), datetime(2026, 11, 30), timezones=st.timezones()),
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),
)
ANY_TEXT = st.text(max_size=60)
SERIES = st.builds(
    Series,
    name=ANY_TEXT,
    unit=st.sampled_from(["", "s", "%", "bytes", "requests/s"]),
    points=st.lists(st.tuples(ANY_TIME, ANY_FLOAT), max_size=40).map(tuple),
)
EVENTS = st.lists(st.builds(Event, at=ANY_TIME, label=ANY_TEXT, until=st.none() | ANY_TIME), max_size=20)
LIMITS = st.lists(st.builds(Limit, value=st.floats(), label=ANY_TEXT), max_size=3)
START = re.compile(r"M(\S+?) ([\d.-]+?)m")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def checked(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    assert not re.search(
        r"\b(nan|inf|None)\b",
        re.sub(r'fill="none"|(?:id|aria-labelledby)="[^"]*"|<(title|desc|text)\b.*?</\1>', "", svg),
        re.IGNORECASE,
    )
    assert len(svg) < 60_000
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter():
        tag, at = element.tag.rpartition("}")[2], element.attrib
        if tag == "line":
            places = [(at["x1"], at["y1"]), (at["x2"], at["y2"])]
        elif tag == "circle":
            places = [(at["cx"], at["cy"])]
        elif tag == "text":
            places = [(at["x"], at["y"])]
        elif tag == "rect" and "x" in at:
            x, y, w, h = (float(at[k]) for k in ("x", "y", "width", "height"))
            assert w >= 0
            assert h >= 0
            places = [(x, y), (x + w, y + h)]
        elif tag == "path":
            curve = at["class"].startswith("s") and "L" in at["d"]
            numbers = NUMBER.findall(at["d"]) if curve else [n for m in START.findall(at["d"]) for n in m]
            assert len(numbers) % 2 == 0
            places = list(zip(numbers[::2], numbers[1::2], strict=True))
        else:
            places = []
        for x, y in places:
            assert -0.1 <= float(x) <= width + 0.1
            assert -0.1 <= float(y) <= height + 0.1
    return root


@settings(max_examples=60)
@given(st.lists(SERIES, max_size=9), EVENTS, LIMITS, ANY_TEXT, ANY_TEXT, st.booleans())
def test_any_series_gives_a_plot_within_its_frame(series, events, limits, title, key, standalone):
    checked(line_plot(key, title, series, events, limits, standalone))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(ANY_TEXT, ANY_FLOAT), max_size=40), st.none() | st.builds(Limit, value=st.floats(), label=ANY_TEXT)
)
def test_any_bars_give_a_plot_within_its_frame(bars, limit):
    root = checked(bar_plot("bars", "bars", "bytes", bars, limit))
    drawn = [e for e in root.iter("rect") if e.get("class") == "m0"]
    assert len(drawn) == sum(1 for _, v in bars[:24] if v is not None and math.isfinite(v))


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.just(math.nan), st.floats(0, 1000)), min_size=1, max_size=120))
def test_a_line_is_drawn_through_known_values_and_never_over_a_gap(values):
    start = datetime(2026, 11, 29, tzinfo=UTC)
    points = tuple((start + timedelta(minutes=n), v) for n, v in enumerate(values))
    svg = line_plot("k", "t", [Series(name="s", unit="s", points=points)])
    root = ET.fromstring(svg)
    known = [v is not None and math.isfinite(v) for v in values]
    runs, length = [], 0
    for good in [*known, False]:
        if good:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    paths = [e.get("d") for e in root.iter("path") if e.get("class") == "s0"]
    drawn = [piece.count("L") + 1 for path in paths for piece in path.split("M") if piece]
    assert drawn == [r for r in runs if r > 1]
    assert ("no data" in svg) == (not any(known))


@settings(max_examples=100)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_heights_are_in_proportion_to_the_values(values):
    start = datetime(2026, 11, 29, tzinfo=UTC)
    series = Series(name="s", unit="", points=tuple((start + timedelta(minutes=n), v) for n, v in enumerate(values)))
    root = ET.fromstring(line_plot("k", "t", [series]))
    path = next(e.get("d") for e in root.iter("path") if e.get("class") == "s0")
    ys = [float(y) for y in NUMBER.findall(path)[1::2]]
    axis = value_axis(values, "")
    for value, y in zip(values, ys, strict=True):
        assert abs(y - (46 + 190 * (1 - (value - axis.low) / (axis.high - axis.low)))) < 0.11


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=10), st.sampled_from(["", "bytes", "%"]))
def test_an_axis_of_numbers_holds_all_values_zero_and_few_round_ticks(values, unit):
    axis = value_axis(values, unit)
    assert axis.low <= 0 <= axis.high
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert all(0 <= axis.share(v) <= 1 for v in values)
    slack = (axis.high - axis.low) * 1e-8
    assert all(axis.low - slack <= v <= axis.high + slack for v in values if abs(v) < 1e99)


@given(st.lists(st.floats(-62135596800.0, 253402300799.0), min_size=1, max_size=10))
def test_an_axis_of_times_has_few_ticks_in_order(times):
    axis = time_axis(times)
    places = [t for t, _ in axis.ticks]
    assert places == sorted(set(places))
    assert len(places) <= 8
    assert all(axis.low <= t <= axis.high for t in places)


@given(st.floats(1e-12, 1e100), st.integers(2, 10))
def test_steps_are_one_two_or_five_times_a_power_of_ten(span, about):
    step = nice_step(span, about)
    assert span / step <= about * (1 + 1e-6)
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in {1, 2, 5}


@settings(max_examples=100)
@given(st.lists(SERIES, max_size=4))
def test_the_twin_tells_every_finite_value(series):
    table = twin("t", series)
    told = [cell for row in table.rows for cell in row[1:] if cell is not None]
    assert all(math.isfinite(v) for v in told)
    last = {(n, at if at.tzinfo else at.replace(tzinfo=UTC)): v for n, s in enumerate(series) for at, v in s.points}
    assert sorted(told) == sorted(v for v in last.values() if v is not None and math.isfinite(v))


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "s", "%", "bytes", "keys"]))
def test_a_figure_is_short_and_never_has_the_other_sign(value, unit):
    told = figure(value, unit)
    assert len(told) < 26
    assert told.startswith("-") == (value < 0 or str(value).startswith("-"))


def test_ten_thousand_points_stay_small_and_keep_the_spike():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    points = [(start + timedelta(minutes=n), 1.0 + n % 7 * 0.01) for n in range(10_000)]
    points[5_000] = (points[5_000][0], 40.0)
    points[7_000:7_400] = [(at, None) for at, _ in points[7_000:7_400]]
    svg = line_plot("k", "t", [Series(name="latency", unit="s", points=tuple(points))])
    root = checked(svg)
    assert len(svg) < 9_000
    path = next(e.get("d") for e in root.iter("path") if e.get("class") == "s0")
    assert min(float(y) for y in NUMBER.findall(path)[1::2]) == 46.0
    assert path.count("M") == 2


def test_curves_differ_without_colour_and_carry_their_names():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    series = [
        Series(name=f"curve {n}", unit="s", points=tuple((start + timedelta(hours=h), n + h / 10) for h in range(5)))
        for n in range(7)
    ]
    root = checked(line_plot("k", "t", series))
    lines = [e for e in root.iter("path") if e.get("class", "").startswith("s") and "L" in e.get("d")]
    assert len({e.get("stroke-dasharray") for e in lines}) == 6
    texts = [e.text for e in root.iter("text")]
    assert all(any(t.startswith(f"curve {n}: ") for t in texts) for n in range(6))
    assert any("1 more curves in the table" in t for t in texts)
    assert "curve 6: 5 points" in root.find("desc").text


def test_events_and_limits_are_told_with_their_times():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    series = Series(name="errors", unit="%", points=tuple((start + timedelta(minutes=h), h) for h in range(60)))
    events = [
        Event(start + timedelta(minutes=20), "incident <db-down>", start + timedelta(minutes=30)),
        Event(start, "rollout"),
    ]
    root = checked(line_plot("k", "t & u", [series], events, [Limit(10, "critical")]))
    texts = [e.text for e in root.iter("text")]
    assert "1: 2026-11-01 00:00 rollout" in texts
    assert "2: 2026-11-01 00:20 to 2026-11-01 00:30 incident <db-down>" in texts
    assert "critical: 10%" in texts
    assert len([e for e in root.iter("rect") if e.get("class") == "band"]) == 1
    assert "Limit critical: 10%." in root.find("desc").text


def test_a_curve_of_another_unit_is_not_drawn_on_the_axis_of_the_first():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    mixed = [Series(name="a", unit="s", points=((start, 1.0),)), Series(name="b", unit="bytes", points=((start, 1e9),))]
    svg = line_plot("k", "t", mixed)
    assert "GiB" not in re.sub(r"<desc.*?</desc>", "", svg)
    assert "1 more curves in the table" in svg


def test_names_of_curves_that_end_at_one_place_do_not_cover_each_other():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for level in (0.0, 5.0, 10.0):
        series = [
            Series(name=f"curve {n}", unit="s", points=((start, 10.0), (start + timedelta(hours=1), level)))
            for n in range(6)
        ]
        root = checked(line_plot("k", "t", series, limits=[Limit(level, "limit")]))
        heights = sorted(float(e.get("y")) for e in root.iter("text") if (e.text or "").startswith(("curve", "limit")))
        assert len(heights) == 7
        assert all(b - a >= 13 for a, b in pairwise(heights))
