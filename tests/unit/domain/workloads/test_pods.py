"""Whose a pod is, what a pod that is over still says, and which label selector a workload has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.catalogue.shared import selector_of
from docuquery_operator.domain.workloads.pods import owned, pod_facts, workload_finding

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
STATEFUL_SET = {"kind": "StatefulSet", "metadata": {"name": "db", "uid": "u-db"}, "spec": {"replicas": 1}}
DEPLOYMENT = {"metadata": {"name": "db", "uid": "u-dep"}, "spec": {"replicas": 1}}


def pod(phase: str = "Running", reason: str = "", owner: dict[str, Any] | None = None, **labels: str) -> dict[str, Any]:
    ready = "True" if phase == "Running" else "False"
    return {
        "metadata": {"name": "p", "labels": labels, "ownerReferences": [{"controller": True, **owner}] if owner else []},
        "status": {
            "phase": phase,
            "reason": reason,
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


@pytest.mark.parametrize(
    ("owner", "digest", "mine"),
    [
        ({"kind": "StatefulSet", "name": "db", "uid": "u-db"}, "", True),
        ({"kind": "StatefulSet", "name": "db", "uid": "u-older"}, "", False),
        ({"kind": "StatefulSet", "name": "other", "uid": "u-other"}, "", False),
        ({"kind": "ReplicaSet", "name": "db-5f6", "uid": "u-rs"}, "5f6", True),
        ({"kind": "ReplicaSet", "name": "db-admin-5f6", "uid": "u-rs"}, "5f6", False),
        ({"kind": "ReplicaSet", "name": "db-", "uid": "u-rs"}, "", False),
        (None, "", False),
    ],
)
def test_a_pod_is_a_workloads_by_its_owner(owner: dict[str, Any] | None, digest: str, mine: bool) -> None:
    labels = {"pod-template-hash": digest} if digest else {}
    workload = DEPLOYMENT if owner and owner["kind"] == "ReplicaSet" else STATEFUL_SET
    assert owned(pod(owner=owner, **labels), workload) is mine


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_address_of_a_pod_that_is_over_is_another_pods_by_now(phase: str) -> None:
    assert pod_facts(pod(phase)).ip == ""
    assert pod_facts(pod()).ip == "10.0.0.7"


def test_a_pod_that_was_left_behind_says_nothing_of_its_successor() -> None:
    left, lives = pod_facts(pod("Failed", "NodeShutdown")), pod_facts(pod())
    finding = workload_finding(DEPLOYMENT, [left, lives], NOW)
    assert (finding["nodeLost"], finding["pods"], finding["ready"]) == (False, 1, 1)
    assert workload_finding(DEPLOYMENT, [left], NOW)["nodeLost"] is True


def test_a_selector_is_read_whole() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["b", "a"]},
        {"key": "x", "operator": "NotIn", "values": ["y"]},
        {"key": "p", "operator": "Exists"},
        {"key": "q", "operator": "DoesNotExist"},
    ]
    spec = {"selector": {"matchLabels": {"app": "db"}, "matchExpressions": expressions}}
    assert selector_of({"spec": spec}) == "app=db,tier in (b,a),x notin (y),p,!q"
    assert selector_of({"spec": {"selector": {}}}) == selector_of(None) == ""


def at(seconds_ago: float) -> str:
    return format_time(NOW - timedelta(seconds=seconds_ago))


@pytest.mark.parametrize(
    ("why", "started", "ready", "changed", "starting"),
    [
        ("not ready since it began", 20, False, 25, True),
        ("restarted, not ready since", 20, False, 20, True),
        ("it was ready and froze", 20, False, 5, False),
        ("it is ready", 20, True, 5, False),
        ("it had its time", 121, False, 125, False),
        ("a server that says no times", 20, False, None, False),
    ],
)
def test_a_container_that_starts_is_told_from_one_that_froze(
    why: str, started: float, ready: bool, changed: float | None, starting: bool
) -> None:
    found = pod()
    condition: dict[str, Any] = {"type": "Ready", "status": str(ready)}
    found["status"]["conditions"] = [condition | ({"lastTransitionTime": at(changed)} if changed is not None else {})]
    found["status"]["containerStatuses"] = [{"state": {"running": {"startedAt": at(started)}}}]
    finding = workload_finding(STATEFUL_SET, [pod_facts(found)], NOW)
    assert finding["starting"] is starting, why


@pytest.mark.parametrize(
    ("why", "ready", "changed", "expected"),
    [
        ("its Service may not know it yet", True, 6, True),
        ("its Service had time to take note", True, 16, False),
        ("it is no longer ready", False, 6, False),
        ("a server that says no times", True, None, False),
    ],
)
def test_a_pod_that_became_ready_just_now_is_told(why: str, ready: bool, changed: float | None, expected: bool) -> None:
    found = pod()
    condition: dict[str, Any] = {"type": "Ready", "status": str(ready)}
    found["status"]["conditions"] = [condition | ({"lastTransitionTime": at(changed)} if changed is not None else {})]
    assert workload_finding(STATEFUL_SET, [pod_facts(found)], NOW)["justReady"] is expected, why
