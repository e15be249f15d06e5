"""How far a rate limit is moved, and where it may not be touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.domain.remedies.limits import moved, needed, number, setting

NAME = "RATE_LIMIT_REQUESTS"


def workload(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


@pytest.mark.parametrize(
    ("containers", "source", "container", "value"),
    [
        ([{"name": "api", "env": [{"name": NAME, "value": "100"}]}], "value", "api", 100),
        ([{"name": "side"}, {"name": "api", "env": [{"name": NAME, "value": "7"}]}], "value", "api", 7),
        ([{"name": "api", "env": [{"name": NAME, "valueFrom": {"configMapKeyRef": {}}}]}], "valueFrom", "api", None),
        ([{"name": "api", "envFrom": [{"configMapRef": {"name": "x"}}]}], "envFrom", "api", None),
        ([{"name": "api"}], "absent", "api", None),
        ([{"name": "api", "env": [{"name": NAME, "value": "many"}]}], "value", "api", None),
        ([], "absent", "", None),
    ],
)
def test_where_the_limit_stands(containers: list[dict[str, Any]], source: str, container: str, value: int | None) -> None:
    found = setting(workload(*containers), NAME)
    assert (found.source, found.container, found.value) == (source, container, value)


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.none() | st.floats(0.25, 4), st.integers(1, 10**12))
def test_never_further_than_four_times_of_what_it_was(limit: int, baseline: int, factor: float | None, wanted: int) -> None:
    to = moved(limit, baseline, factor, wanted)
    assert to >= 1
    assert to <= max(4 * baseline, 1)
    assert to >= baseline * 0.25


def test_the_busiest_client_that_minds_the_limit_counts_and_no_abuser() -> None:
    honest = {"requests": 900, "refused": 300}
    abuser = {"requests": 90_000, "refused": 89_000}
    assert needed(100, 60, [honest, abuser], 300) == 270
    assert needed(100, 60, [abuser], 300) == 100
    assert needed(100, 60, [], 0) == 100


@pytest.mark.parametrize("text", ["", "0", "-5", "1e3", None, "10" * 20, "ten"])
def test_odd_limits_are_none(text: Any) -> None:
    assert number(text) is None
