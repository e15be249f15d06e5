"""How far scaling goes, and through whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docuquery_operator.domain.remedies.scaling import autoscaler_of, keda_name, scaling_finding, wanted


@pytest.mark.parametrize(
    ("current", "baseline", "bound", "to"),
    [(1, 1, 10, 2), (2, 2, 10, 4), (4, 4, 100, 7), (10, 10, 100, 15), (15, 10, 100, 20), (20, 10, 100, 20), (3, 3, 4, 4), (5, 5, 2, 2)],
)  # fmt: skip
def test_half_as_many_more_or_three_and_at_most_twice(current: int, baseline: int, bound: int, to: int) -> None:
    assert wanted(current, baseline, bound) == to


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_no_bound_is_passed(current: int, baseline: int, bound: int) -> None:
    to = wanted(current, baseline, bound)
    assert to <= bound
    assert to <= 2 * baseline
    assert to - current <= max(3, (baseline + 1) // 2)


def workload(**meta: Any) -> dict[str, Any]:
    base = {"name": "worker", "uid": "w", "resourceVersion": "1"}
    return {"kind": "Deployment", "metadata": base | meta, "spec": {"replicas": 3}, "status": {"readyReplicas": 2}}


def hpa(name: str = "worker", **meta: Any) -> dict[str, Any]:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec = {"scaleTargetRef": ref, "minReplicas": 2, "maxReplicas": 5}
    return {"metadata": {"name": "hpa", "uid": "h", "resourceVersion": "1", **meta}, "spec": spec}


def test_the_autoscaler_is_found_by_what_it_scales() -> None:
    assert autoscaler_of([hpa("api"), hpa()], "Deployment", "worker") == hpa()
    assert autoscaler_of([hpa("api")], "Deployment", "worker") is None
    assert autoscaler_of([hpa()], "StatefulSet", "worker") is None


def test_who_keeps_the_number() -> None:
    keda = hpa(ownerReferences=[{"kind": "ScaledObject", "name": "worker-so"}])
    assert (keda_name(keda), keda_name(hpa()), keda_name(None)) == ("worker-so", "", "")
    plain = scaling_finding(workload(), None, None)
    assert (plain["field"], plain["name"], plain["replicas"], plain["baseline"]) == ("replicas", "worker", 3, 3)
    assert "ownMost" not in plain
    by_hpa = scaling_finding(workload(), hpa(), None)
    assert (by_hpa["through"], by_hpa["field"], by_hpa["uid"], by_hpa["ownMost"]) == (
        "HorizontalPodAutoscaler",
        "minReplicas",
        "h",
        5,
    )
    paused = {"autoscaling.keda.sh/paused-replicas": "0"}
    scaled = {"metadata": {"name": "worker-so", "uid": "s", "annotations": paused}, "spec": {"maxReplicaCount": 9}}
    by_keda = scaling_finding(workload(), keda, scaled)
    assert (by_keda["through"], by_keda["field"], by_keda["ownMost"], by_keda["paused"]) == (
        "ScaledObject",
        "minReplicaCount",
        9,
        True,
    )
    assert "replicas" not in scaling_finding(None, None, None)
