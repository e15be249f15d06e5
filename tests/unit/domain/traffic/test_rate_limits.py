"""The limit as pods have it, the client of a key, the counters of refusals, and the usual rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.domain.traffic import refusals
from docuquery_operator.domain.traffic.counters import Grown
from docuquery_operator.domain.traffic.metrics_text import MetricsError
from docuquery_operator.domain.traffic.rate_limits import client_of, config_maps, in_force, internal, value_of

MAPS = {"one": {"data": {"LIMIT": "50", "WORD": "many", "API_LIMIT": "7"}}, "two": {"data": {"LIMIT": " 60 "}}}
CONTAINERS: list[tuple[dict[str, Any], int | None]] = [
    ({"env": [{"name": "LIMIT", "value": "100"}]}, 100),
    ({"env": [{"name": "LIMIT", "value": "100"}, {"name": "LIMIT", "value": "200"}]}, 200),
    ({"env": [{"name": "LIMIT", "value": "100"}], "envFrom": [{"configMapRef": {"name": "one"}}]}, 100),
    ({"envFrom": [{"configMapRef": {"name": "one"}}]}, 50),
    ({"envFrom": [{"configMapRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}]}, 60),
    ({"envFrom": [{"prefix": "LI", "configMapRef": {"name": "one"}}]}, None),
    ({"env": [{"name": "LIMIT", "valueFrom": {"configMapKeyRef": {"name": "two", "key": "LIMIT"}}}]}, 60),
    ({"env": [{"name": "LIMIT", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "LIMIT"}}}]}, None),
    ({"env": [{"name": "LIMIT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "LIMIT"}}}]}, None),
    ({"envFrom": [{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "s"}}]}, None),
    ({"env": [{"name": "LIMIT", "value": "ten"}]}, None),
    ({"env": [{"name": "LIMIT", "value": "-5"}]}, None),
    ({"env": [{"name": "LIMIT"}]}, None),
    ({}, None),
]


@pytest.mark.parametrize(("container", "expected"), CONTAINERS)
def test_the_value_that_a_container_has(container: dict[str, Any], expected: int | None) -> None:
    assert value_of(container, "LIMIT", MAPS) == expected


def test_a_prefix_is_part_of_the_name() -> None:
    container = {"envFrom": [{"prefix": "API_", "configMapRef": {"name": "two"}}]}
    assert value_of(container, "API_LIMIT", MAPS) == 60
    assert value_of(container, "LIMIT", MAPS) is None
    assert config_maps(container) == ["two"]


def test_pods_that_differ_give_no_figure() -> None:
    assert in_force([(100, 60), (100, 60)]) == ({"requests": 100, "window": 60}, False)
    assert in_force([(100, 60), (200, 60)]) == ({"window": 60}, True)
    assert in_force([(None, 60)]) == ({"window": 60}, False)
    assert in_force([]) == ({}, False)


@pytest.mark.parametrize(("key", "client"), [
    ("rate_limit:198.51.100.7:29859700", "198.51.100.7"), ("LIMITER/198.51.100.7/GET", "198.51.100.7"),
    ("rate_limit:2001:db8::1:29859700", "2001:db8::1"), ("rate_limit:2001:db8::1", "2001:db8::1"),
    ("rate_limit:alice:29859700", ""), ("rate_limit:999.1.1.1:5", ""), ("1.2.3.4.5", ""), ("", ""), (":" * 300, ""),
])  # fmt: skip
def test_the_client_of_a_key(key: str, client: str) -> None:
    assert client_of(key) == client


@pytest.mark.parametrize(("client", "expected"), [
    ("10.1.2.3", True), ("192.168.0.1", True), ("127.0.0.1", True), ("fd00::1", True), ("::1", True), ("100.64.9.9", True),
    ("198.51.100.7", False), ("203.0.113.9", False), ("8.8.8.8", False), ("2001:db8::1", False), ("unknown", False), ("", False),
])  # fmt: skip
def test_which_addresses_are_internal(client: str, expected: bool) -> None:
    assert internal(client) is expected


PAGE = """# TYPE http_requests_total counter
http_requests_total{path="/query",status="200"} 70
http_requests_total{path="/query",status="429"} 20
http_requests_total{path="/health",status="200"} 900
http_requests_total{path="/health",status="429"} 3
http_requests_total{path="/own",status="429"} 2
rate_limited_total 25
"""


def test_a_page_of_counters() -> None:
    assert refusals.read(PAGE) == {"requests": 92, "refused": 22, "ownRefused": 3}
    assert refusals.read(PAGE, ["/own"]) == {"requests": 90, "refused": 20, "ownRefused": 5}
    grouped = 'http_requests_total{status="4xx"} 9\nhttp_requests_total{status="2xx"} 91\n'
    assert refusals.read(grouped) == {}
    assert refusals.read(grouped + "rate_limited_total 5\n") == {"requests": 100, "refused": 5, "ownRefused": 0}
    for text in ("", "rate_limited_total 5\n", "http_requests_total 5\n", 'http_requests_total{status="200"} NaN\n'):
        assert refusals.read(text) == {}
    with pytest.raises(MetricsError):
        refusals.read("http_requests_total{ 5\n")


def test_figures_need_some_seconds_and_no_traffic_is_a_figure() -> None:
    by = {"requests": 100.0, "refused": 25.0, "ownRefused": 0.0}
    assert refusals.figures(Grown(by, 9.9)) == {}
    assert refusals.figures(Grown({}, 60.0)) == {}
    seen = refusals.figures(Grown(by, 50.0))
    assert (seen["refusedPercent"], seen["perSecond"]) == (25.0, 2.0)
    quiet = refusals.figures(Grown({"requests": 0.0, "refused": 0.0}, 60.0))
    assert (quiet["refusedPercent"], refusals.suspicious(quiet)) == (0.0, False)
    assert not refusals.suspicious({})
    assert refusals.suspicious({"refusedPercent": 0.0, "healthRefused": 1})


def test_the_usual_rate_is_that_of_quiet_times() -> None:
    usual, now = refusals.Usual(), datetime(2026, 11, 25, tzinfo=UTC)

    def at(seconds: int, rate: float, refused: float = 0.0) -> dict[str, float]:
        found = {"perSecond": rate, "refusedPercent": refused}
        usual.note(now + timedelta(seconds=seconds), found)
        return usual.growth(found)

    assert at(0, 10.0) == {}
    assert at(5, 10.0) == {}
    assert at(20, 12.0) == {}
    assert at(40, 10.0) == {"usualPerSecond": 10.0, "growth": 1.0}
    # A flood is no usual time, however long.
    for n in range(100):
        grown = at(60 + 20 * n, 90.0, refused=40.0)
    assert grown == {"usualPerSecond": 10.0, "growth": 9.0}
    assert at(3000, 0.0)["growth"] == 0.0
    assert usual.growth({}) == {}
