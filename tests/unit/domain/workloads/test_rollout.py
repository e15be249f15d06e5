"""Whether a restart leaves a moment in which nobody serves, and whether a workload is the operator's own."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.workloads.rollout import gap, share
from docuquery_operator.ports import Self


def deployment(replicas: int | None = None, **strategy: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"strategy": strategy} if strategy else {}
    return {"spec": spec | ({} if replicas is None else {"replicas": replicas})}


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (deployment(), ""),
        (deployment(1, type="RollingUpdate"), ""),
        (deployment(3, type="Recreate"), "its strategy is Recreate"),
        (deployment(1, type="RollingUpdate", rollingUpdate={"maxUnavailable": 0}), ""),
        (deployment(1, type="RollingUpdate", rollingUpdate={"maxUnavailable": 1}), "maxUnavailable 1"),
        (deployment(2, type="RollingUpdate", rollingUpdate={"maxUnavailable": 1}), ""),
        (deployment(2, type="RollingUpdate", rollingUpdate={"maxUnavailable": "50%"}), ""),
        (deployment(2, type="RollingUpdate", rollingUpdate={"maxUnavailable": "100%"}), "maxUnavailable 100%"),
        ({"spec": {"serviceName": "postgres"}}, "StatefulSet with one pod"),
        ({"spec": {"serviceName": "postgres", "replicas": 1}}, "StatefulSet with one pod"),
        ({"spec": {"serviceName": "postgres", "replicas": 2}}, ""),
        ({"kind": "StatefulSet", "spec": {"replicas": 1}}, "StatefulSet with one pod"),
    ],
)
def test_a_gap_in_serving_is_seen_beforehand(workload: dict[str, Any], said: str) -> None:
    assert said in gap(workload)
    assert bool(said) == bool(gap(workload))


def test_the_operator_knows_its_own_workload() -> None:
    me = Self("ops", "docuquery-operator-577dbf6545-9wwlf")
    assert me.is_of("ops", "docuquery-operator")
    assert not me.is_of("docuquery", "docuquery-operator")
    assert not me.is_of("ops", "docuquery-operato")
    assert not me.is_of("ops", "docuquery"), "the pods of another workload whose name begins alike"
    assert Self("ops", "operator-0").is_of("ops", "operator")
    assert not me.is_of("ops", "api")
    assert not Self().is_of("", "")


@pytest.mark.parametrize(
    ("workload", "ready", "at_once"),
    [
        (deployment(4), 4, False),
        (deployment(4, type="RollingUpdate", rollingUpdate={"maxUnavailable": "50%"}), 4, True),
        (deployment(4, type="RollingUpdate", rollingUpdate={"maxUnavailable": "50%"}), 0, False),
        (deployment(2, type="Recreate"), 1, True),
        (deployment(1, type="Recreate"), 1, False),
        (deployment(10, type="RollingUpdate", rollingUpdate={"maxUnavailable": 2}), 10, False),
        ({"spec": {"serviceName": "s", "replicas": 8, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 3}}}}, 8, True),
        ({"spec": {"serviceName": "s", "replicas": 3}}, 3, False),
    ],
)
def test_what_a_restart_takes_at_once(workload: dict[str, Any], ready: int, at_once: bool) -> None:
    assert bool(share(workload | {"status": {"readyReplicas": ready}})) is at_once
