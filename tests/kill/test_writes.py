"""What counts as told, and when a process is ended at it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.kill.writes import Targets, facts

OURS = "/apis/ops.docuquery.ai/v1alpha1/namespaces/a"
CORE = "/api/v1/namespaces/a"
JOB = {"metadata": {"name": "night-t-20261129t030000z-0a1b2c3d", "labels": {"ops.docuquery.ai/work": "RotateLogs"}}}
NIGHT = "PATCH maintenancewindows/night"


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("GET", f"{OURS}/incidents", None, set()),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", {}, set()),
        ("PATCH", f"{OURS}/maintenancewindows/night", {"metadata": {"finalizers": ["x"]}}, {f"{NIGHT}: finalizers 1"}),
        ("PATCH", f"{OURS}/maintenancewindows/night", {"metadata": {"finalizers": []}}, {f"{NIGHT}: finalizers 0"}),
        (
            "PATCH",
            f"{OURS}/maintenancewindows/night/status",
            {"status": {"phase": "Active", "next": [], "tasks": [{"type": "HealthCheck", "state": "Pending"}]}},
            {f"{NIGHT}/status: phase Active", f"{NIGHT}/status: tasks HealthCheck Pending"},
        ),
        (
            "PATCH",
            f"{OURS}/maintenancewindows/night/status",
            {"status": {"silence": None, "active": None}},
            {f"{NIGHT}/status: silence none", f"{NIGHT}/status: active gone"},
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/api",
            {"metadata": {"annotations": {"a/update": '{"state": "Undoing"}', "a/attempts": "[]"}}, "spec": {"template": {}}},
            {f"PATCH deployments/api: {fact}" for fact in ("annotation a/update Undoing", "annotation a/attempts", "spec template")},
        ),
        ("POST", "/apis/batch/v1/namespaces/a/jobs", JOB, {"POST jobs: for RotateLogs"}),
        ("PATCH", f"{CORE}/configmaps/night-20261129t030000z-report", {"data": {"x": "1"}}, {"PATCH configmaps/night-report: data x"}),
        ("POST", f"{CORE}/pods/postgres-0/eviction", {"metadata": {"name": "x"}}, {"POST pods/postgres-0/eviction"}),
        ("POST", "/api/v2/silences", {"comment": "x"}, {"POST api/v2/silences"}),
        ("DELETE", "/api/v2/silence/0f0e0d0c-1234-4321-8888-0123456789ab", None, {"DELETE api/v2/silence/"}),
    ],
    ids=map(str, range(12)),
)  # fmt: skip
def test_what_is_told(method: str, path: str, body: Any, told: set[str]) -> None:
    assert facts(method, path, b"" if body is None else json.dumps(body).encode()) == told


def test_each_point_once() -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        targets = Targets(lambda: victim.pid)
        targets.aim({("b", "before"), ("b", "after")})
        assert not targets.meets(frozenset({"a"}), "before")
        assert targets.meets(frozenset({"a", "b"}), "before")
        assert victim.wait(5) == -9
        assert not targets.meets(frozenset({"b"}), "before")
        assert (targets.todo, targets.met, targets.kills) == ({("b", "after")}, {("b", "before")}, 1)


def test_a_second_write_on_its_way_is_no_second_kill() -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        targets = Targets(lambda: victim.pid)
        targets.aim({("a", "after"), ("b", "before")})
        assert targets.meets(frozenset({"a"}), "after")
        assert targets.meets(frozenset({"b"}), "before")
        assert (targets.todo, targets.kills) == (set(), 1)
