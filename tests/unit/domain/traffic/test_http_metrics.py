"""What a page of metrics says of an api, and what must not be read out of it."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from docuquery_operator.domain.traffic import http_metrics
from docuquery_operator.domain.traffic.counters import Grown, Quantile, Window
from docuquery_operator.domain.traffic.http_metrics import figures, read
from docuquery_operator.domain.traffic.metrics_text import MAX_SAMPLES, MetricsError, samples

NOW = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)


class Api:
    """The metrics of the reference api."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("http_requests", "x", ["method", "path", "status"], registry=r)
        self.seconds = Histogram("http_request_duration_seconds", "x", ["method", "path"], buckets=BUCKETS, registry=r)
        self.busy = Gauge("http_requests_in_progress", "x", registry=r)
        self.queue = Gauge("celery_queue_length", "x", ["queue"], registry=r)

    def asked(self, path: str, status: int, seconds: float, times: int = 1) -> None:
        self.requests.labels("GET", path, str(status)).inc(times)
        for _ in range(times):
            self.seconds.labels("GET", path).observe(seconds)

    def text(self) -> str:
        return generate_latest(self.registry).decode()


def seen(*pages: str, every: float = 15.0) -> http_metrics.Figures | None:
    """What these pages, one after the other, say."""
    window: Window[http_metrics.Key] = Window(timedelta(minutes=5))
    for number, page in enumerate(pages):
        window.add(NOW + timedelta(seconds=number * every), {"pod": read(page).scrape()})
    return figures(window.over(NOW + timedelta(seconds=(len(pages) - 1) * every)))


def test_users_requests_by_status_time_and_path() -> None:
    api = Api()
    api.asked("/old", 500, 9.0, 50)
    first = api.text()
    api.asked("/query", 200, 0.3, 80)
    api.asked("/documents", 503, 3.0, 10)
    api.asked("/documents", 429, 0.01, 10)
    api.asked("/health", 503, 30.0, 500)
    api.asked("/metrics", 200, 0.01, 500)
    api.busy.set(3)
    api.queue.labels("celery").set(7)
    found = seen(first, api.text())
    assert found is not None
    assert (found.requests, found.failed, found.limited, found.error_rate) == (100, 10, 10, 0.1)
    assert found.per_second == pytest.approx(100 / 15)
    assert found.p50 == Quantile(pytest.approx(0.1 + 0.4 * 40 / 80))  # type: ignore[arg-type]
    assert found.p95 == Quantile(pytest.approx(2 + 3 * 5 / 10))  # type: ignore[arg-type]
    assert [(p.path, p.requests, p.failed) for p in found.paths] == [("/query", 80, 0), ("/documents", 20, 10)]
    page = read(api.text())
    assert (page.in_progress, page.queues) == (3, {"celery": 7})


def test_the_first_failure_counts_though_its_series_is_new() -> None:
    api = Api()
    api.asked("/query", 200, 0.1, 20)
    first = api.text()
    api.asked("/query", 500, 0.1)
    found = seen(first, api.text())
    assert found is not None
    assert (found.requests, found.failed) == (1, 1)


def test_one_page_is_no_data() -> None:
    api = Api()
    api.asked("/query", 500, 9.0, 100)
    assert seen(api.text()) is None
    assert figures(Grown({})) is None


def test_nobody_asked_is_data_but_no_rate() -> None:
    api = Api()
    api.asked("/query", 200, 0.1)
    found = seen(api.text(), api.text())
    assert found is not None
    assert (found.requests, found.error_rate, found.p95) == (0, None, None)


INSTRUMENTATOR = """
http_requests_total{handler="/query",method="POST",status="2xx"} %d
http_requests_total{handler="/query",method="POST",status="5xx"} %d
http_request_duration_highr_seconds_bucket{le="0.5"} %d
http_request_duration_highr_seconds_bucket{le="7.5"} %d
http_request_duration_highr_seconds_bucket{le="+Inf"} %d
http_request_duration_seconds_bucket{handler="/query",le="0.1",method="POST"} 0
http_request_duration_seconds_bucket{handler="/query",le="1.0",method="POST"} 0
http_request_duration_seconds_bucket{handler="/query",le="+Inf",method="POST"} %d
"""


def test_grouped_statuses_and_the_histogram_that_reaches_farther() -> None:
    found = seen(INSTRUMENTATOR % (9, 1, 5, 10, 10, 10), INSTRUMENTATOR % (99, 11, 5, 105, 110, 110))
    assert found is not None
    assert (found.requests, found.failed, found.limited) == (100, 10, None)
    assert found.p50 == Quantile(pytest.approx(0.5 + 7 * 50 / 95))  # type: ignore[arg-type]
    assert found.p99 == Quantile(7.5, at_least=True)


def test_statuses_in_the_histogram_alone() -> None:
    page = """
starlette_request_duration_seconds_bucket{path="/a",status_code="500",le="1.0"} %d
starlette_request_duration_seconds_bucket{path="/a",status_code="500",le="+Inf"} %d
starlette_request_duration_seconds_count{path="/a",status_code="500"} %d
"""
    found = seen(page % (1, 1, 1), page % (5, 5, 5))
    assert found is not None
    assert (found.requests, found.failed) == (4, 4)


def test_without_a_status_the_error_rate_is_not_known() -> None:
    found = seen("http_requests_total 1\n", "http_requests_total 101\n")
    assert found is not None
    assert (found.requests, found.failed, found.error_rate) == (100, None, None)


def test_what_is_no_number_of_requests_is_left_out() -> None:
    page = read(
        'http_requests_total{status="200"} NaN\nhttp_requests_total{status="500"} -3\ncelery_queue_length{queue="q"} NaN\n'
        'http_requests_total{status="404"} +Inf\nhttp_requests_in_progress -1\n'
    )
    assert (page.totals, page.queues, page.in_progress) == ({}, {}, None)


@pytest.mark.parametrize(
    "text",
    [
        'http_requests_total{status="200" 5',
        "http_requests_total five",
        'http_requests_total{status="2',
        "http_requests_total",
    ],
)
def test_a_broken_page_is_an_error_and_not_half_the_truth(text: str) -> None:
    with pytest.raises(MetricsError):
        read("http_requests_total 5\n" + text + "\n")


def test_other_families_may_be_broken() -> None:
    assert read("other{ ####\n# HELP x\n<html>\n\nhttp_requests_total 5\r\n").totals[("status", "")] == 5
    assert read("<html><body>no metrics</body></html>").layout == ""
    assert read("").totals == {}


def test_paths_without_bound_lose_their_detail_and_nothing_else() -> None:
    lines = [f'http_requests_total{{path="/d/{n}",status="200"}} 1' for n in range(500)]
    few, many = read("\n".join(lines[:100])), read("\n".join(lines))
    assert (few.totals[("status", "200")], many.totals[("status", "200")]) == (100, 500)
    assert ("path", "/d/1", "requests") in few.totals
    assert not any(k[0] == "path" for k in many.totals)
    # The change from one to the other is no burst of requests.
    assert seen("\n".join(lines[:100]), "\n".join(lines)) is None


def test_too_many_series_are_refused_before_they_are_parsed() -> None:
    text = "\n".join(f'http_requests_total{{path="/d/{n}",status="200"}} 1' for n in range(MAX_SAMPLES + 1))
    began = time.process_time()
    with pytest.raises(MetricsError, match="more than 20000"):
        read(text)
    assert time.process_time() - began < 0.5


def test_megabytes_of_others_cost_little() -> None:
    text = (
        "\n".join(f'other_total{{a="{n}",b="some longer text here"}} 1' for n in range(60_000)) + "\nhttp_requests_total 1\n"
    )
    assert len(text) > 2_000_000
    began = time.process_time()
    assert [s.value for s in samples(text, {"http_requests_total"})] == [1.0]
    assert time.process_time() - began < 0.5


def test_odd_bounds_are_the_last_bucket() -> None:
    page = read('http_request_duration_seconds_bucket{le="x"} 1\nhttp_request_duration_seconds_bucket{le="NaN"} 1\n')
    assert page.totals == {("le", math.inf): 2}
