"""The page of a maintenance report tells the figures of its JSON, all of them, and nothing that a browser could run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.maintenance.task_outcome import Finding, Series, Table, TaskOutcome
from docuquery_operator.domain.reports import maintenance as reports

AT = datetime(2026, 11, 29, 3, tzinfo=UTC)
ABOUT = {"title": "Weekly", "window": "weekly", "namespace": "docuquery", "stack": "docuquery"}
VOID = {"meta", "link", "br", "img", "input", "hr"}
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "ms": 1e-3}


class Page(HTMLParser):
    """What the page tells: of each task its figures, tables and points; written anew, not the way it was made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.tasks: dict[str, dict[str, list]] = {}
        self.task: dict[str, list] = {"figures": [], "tables": [], "points": []}
        self.data: str | None = None
        self.text = ""
        self.row: list | None = None
        self.shown: list[tuple[str, str]] = []
        self.findings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        at = dict(attrs)
        self.tags.append((tag, at))
        if "id" in at:
            self.ids.append(at["id"])
        if tag == "section" and at.get("class") == "task":
            self.task = self.tasks[at["id"].removeprefix("task-")] = {"figures": [], "tables": [], "points": []}
        if tag == "table":
            self.kind = "points" if at.get("class") == "points" else "tables"
            self.task[self.kind].append([])
        if tag == "tr":
            self.row = []
        if tag in ("td", "th", "dt", "dd", "li"):
            self.text, self.data = "", None
        if tag == "data":
            self.data = at["value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        value = self.text.strip() if self.data is None else self.data
        if self.data is not None and tag in ("td", "th", "dd"):
            self.shown.append((self.data, self.text.strip()))
        if tag in ("td", "th") and self.row is not None:
            self.row.append(value)
        if tag == "tr" and self.row is not None:
            self.task[self.kind][-1].append(self.row)
            self.row = None
        if tag in ("dt", "dd"):
            self.task["figures"].append(value)
        if tag == "li" and self.open[-1] == "ol":
            self.findings.append(self.text)

    def handle_data(self, data):
        self.text += data


def told(value) -> str:
    """As the page must have it for machines."""
    if value is None:
        return "no data"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


def same(page: str, value) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return type(value)(page) == value
    return page == told(value)


def compared(report) -> Page:
    """Every figure of the JSON is on the page, in its place, and no other."""
    page, machine = Page(reports.html_of(report)), json.loads(reports.json_of(report))
    assert list(page.tasks) == [t["type"] for t in machine["tasks"]]
    for part in machine["tasks"]:
        outcome, shown = part["outcome"], page.tasks[part["type"]]
        flat = [x for pair in outcome["figures"].items() for x in pair]
        assert len(flat) == len(shown["figures"])
        assert all(same(a, b) for a, b in zip(shown["figures"], flat, strict=True))
        assert len(shown["tables"]) == len(outcome["tables"])
        for seen, table in zip(shown["tables"], outcome["tables"], strict=True):
            assert seen[0] == table["columns"]
            rows = table["rows"] or [[None]]
            assert len(seen) - 1 == len(rows)
            assert all(same(a, b) for got, row in zip(seen[1:], rows, strict=True) for a, b in zip(got, row, strict=True))
        seen_points = sorted(float(x) for table in shown["points"] for row in table[1:] for x in row[1:] if x)
        assert seen_points == sorted(v for s in outcome["series"] for _, v in s["points"] if v is not None)
    assert len(page.findings) == len(machine["findings"])
    for text, finding in zip(page.findings, machine["findings"], strict=True):
        assert finding["rank"] in text
        assert finding["task"] in text
    return page


def outcome(summary="done", **changes) -> TaskOutcome:
    return TaskOutcome(state="Succeeded", summary=summary, **changes)


def weekly() -> dict[str, TaskOutcome]:
    return {
        "ResourceUsage": outcome(
            figures={"pods": 4, "memory used (bytes)": 5_368_709_120, "Redis memory (bytes)": None, "all known": False},
            tables=(
                Table(title="Pods", columns=("pod", "memory (bytes)", "memory of limit (%)", "restarts"),
                      rows=(("api-1", 123_456_789, 46.2, 0), ("api-2", None, None, 3))),
            ),
            series=(
                Series(name="latency: p95", unit="s", points=((AT, 0.25), (AT + timedelta(minutes=1), None), (AT + timedelta(minutes=2), 1.5))),
                Series(name="latency: p50", unit="s", points=((AT, 0.125),)),
            ),
            findings=(Finding(rank="Info", text="i"), Finding(rank="Critical", text="pod <api-2> was restarted 3 times")),
        ),
        "ErrorRate": TaskOutcome(state="Failed", summary="the log could not be read"),
        "VerifyBackups": outcome(findings=(Finding(rank="Warning", text="no drill for 9 days"),)),
    }  # fmt: skip


def test_every_number_of_the_json_stands_on_the_page():
    report = reports.report_of(ABOUT, AT, AT + timedelta(hours=1), weekly())
    page = compared(report)
    assert ("123456789", "117.7 MiB") in page.shown
    assert ("46.2", "46.2%") in page.shown


def test_findings_come_worst_first_and_a_failed_task_is_one():
    report = reports.report_of(ABOUT, AT, None, weekly())
    assert [(f.rank, f.task) for f in report.findings] == [
        ("Critical", "ResourceUsage"),
        ("Critical", "ErrorRate"),
        ("Warning", "VerifyBackups"),
        ("Info", "ResourceUsage"),
    ]
    assert "the log could not be read" in report.findings[1].text


def test_the_page_may_load_and_run_nothing():
    text = reports.html_of(reports.report_of(ABOUT, AT, None, weekly()))
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image"}
    assert not [name for _, at in page.tags for name in at if name.startswith("on") or name in ("style", "src", "srcset")]
    assert all(at["href"].startswith("#") for _, at in page.tags if "href" in at)
    assert "url(" not in text
    assert "@import" not in text
    policy = next(at["content"] for tag, at in page.tags if tag == "meta" and at.get("http-equiv"))
    styles = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_links_lead_somewhere_and_ids_are_unique():
    page = Page(reports.html_of(reports.report_of(ABOUT, AT, None, weekly())))
    assert len(page.ids) == len(set(page.ids))
    named = [i for _, at in page.tags for i in (at.get("aria-labelledby") or "").split()]
    assert {*named, *(at["href"][1:] for _, at in page.tags if "href" in at)} <= set(page.ids)
    assert all(at.get("scope") in ("col", "row") for tag, at in page.tags if tag == "th")


def test_shown_text_is_the_number_but_for_rounding():
    report = reports.report_of(ABOUT, AT, None, {"R": outcome(figures={f"{n} ({u})": v for u in ("bytes", "s", "%", "rows") for n, v in enumerate((0, 1, 999, 1023, 1024, 123456789, 0.0004, 12.3456, -7, 2**41, 0.5))})})  # fmt: skip
    for exact, shown in compared(report).shown:
        number, _, unit = shown.replace(",", "").partition(" ")
        value = float(number.removesuffix("%")) * UNITS.get(unit, 1)
        assert math.isclose(value, float(exact), rel_tol=2e-3, abs_tol=1e-9), (exact, shown)


def test_text_from_outside_stays_text_and_secrets_do_not_come_along():
    found = outcome(
        summary="<script>alert(1)</script> password=hunter2",
        evidence=("token: hunter2 <b>",),
        figures={"<i>": "postgres://u:hunter2@h/d"},
        tables=(Table(title="<b>", columns=("<u>", "n"), rows=(("api_key=hunter2", 1),)),),
        series=(Series(name="password=hunter2 <x>", unit="<s>", points=((AT, 1.0),)),),
        findings=(Finding(rank="Info", text="Authorization: Bearer hunter2hunter2 <script>"),),
    )  # fmt: skip
    report = reports.report_of({**ABOUT, "title": "<h1>&\"'"}, AT, None, {"ErrorRate": found})
    files = reports.files_of(report)
    assert "hunter2" not in files["report.html"] + files["report.json"]
    assert {tag for tag, _ in Page(files["report.html"]).tags}.isdisjoint({"script", "b", "u", "i", "x"})


@pytest.mark.parametrize("size", [1, 40, 1500])
def test_a_page_stays_small_and_says_what_it_left_out(size):
    points = tuple((AT + timedelta(minutes=n), math.sin(n) * 1e9 / 3) for n in range(size))
    rows = tuple((f"table_{n}", n * 12345, "x" * 200) for n in range(size))
    many = {
        f"Task{n}": outcome(
            series=tuple(Series(name=f"g{k}: c", unit="bytes", points=points) for k in range(3)),
            tables=(Table(title="t", columns=("a", "b (bytes)", "c"), rows=rows),),
            findings=tuple(Finding(rank="Info", text=f"{k:02}" * 250) for k in range(size % 100)),
        )
        for n in range(11)
    }
    report = reports.report_of(ABOUT, AT, None, many)
    files = reports.files_of(report)
    assert len(files["report.html"].encode()) < 200_000
    assert len(files["report.json"].encode()) < 400_000
    assert bool(report.cut) == (size > 1)
    compared(report)


def test_a_thinned_curve_keeps_its_highest_and_lowest_point():
    values = [float(n % 10) for n in range(1000)]
    values[333], values[777] = 99.0, -99.0
    whole = Series(name="s", unit="s", points=tuple((AT + timedelta(seconds=n), v) for n, v in enumerate(values)))
    small = reports.thinned(whole, 50)
    assert len(small.points) <= 50
    assert set(small.points) <= set(whole.points)
    assert {99.0, -99.0} <= {v for _, v in small.points}


TEXTS = st.text("abcXYZ019 <>&\"'`*_é→", max_size=20)
CELLS = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), TEXTS)


@settings(max_examples=60)
@given(
    st.dictionaries(TEXTS.map(str.strip).filter(bool), CELLS, max_size=5),
    st.lists(st.lists(CELLS, min_size=3, max_size=3).map(tuple), max_size=4),
    st.lists(st.tuples(st.integers(0, 10**6), st.none() | st.floats()), max_size=12),
)
def test_whatever_is_found_page_and_json_agree(figures, rows, points):
    series = Series(name="c", unit="s", points=tuple((AT + timedelta(seconds=s), v) for s, v in points))
    found = outcome(figures=figures, tables=(Table(title="t", columns=("a", "b", "c"), rows=tuple(rows)),), series=(series,))
    report = reports.report_of(ABOUT, AT, None, {"PerformanceReview": found})
    page = compared(report)
    assert not any(math.isnan(float(exact)) for exact, _ in page.shown if exact not in ("true", "false"))
