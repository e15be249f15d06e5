"""Three reports as the shipped windows' tasks make them: the tasks themselves, in a simulated world that has lived for 60 days."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from docuquery_operator.api.maintenance_window import TaskType
from docuquery_operator.catalogue.tasks import TASKS, resource_usage
from docuquery_operator.catalogue.tasks.base import Light
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.domain.reports import maintenance as reports
from docuquery_operator.domain.reports.maintenance_parts import Report
from docuquery_operator.ports import (
    CLAIM,
    POD,
    DatabaseFacts,
    DatabaseReview,
    DatabaseTarget,
    HttpAnswer,
    Statement,
    TableSize,
)
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context

DAILY = ("HealthCheck", "ResourceUsage", "ErrorRate")
MONTHLY = ("PerformanceReview", "CapacityPlan")
MI, GI, DAYS = 2**20, 2**30, 60
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Reviewer:
    """ports.DatabaseReviewer."""

    async def review(self, target: DatabaseTarget, statements: int, timeout: float) -> DatabaseReview:
        told = (
            Statement("select count(*) from chunks where body like $1", 4_000, 5_200.0, 1.3, 6.1, 4_000, 90_000, 800_000),
            Statement(
                "select id, title from documents where owner = $1", 90_000, 810.0, 0.009, 0.4, 900_000, 9_000_000, 900
            ),
            Statement("update jobs set state = $1 where id = $2", 60_000, 300.0, 0.005, 0.2, 60_000, 900_000, 90),
        )
        tables = (
            TableSize("public.chunks", 3 * GI, 2_400_000, 90_000, 4_100, 300),
            TableSize("public.documents", GI // 2, 90_000, 100, 40, 900_000),
        )
        return DatabaseReview(
            "ok", "", "docuquery_operator", SINCE, 9_000_000, 900_000, 500_000, 800, 2, 40 * MI, tables, told, SINCE, 6_900.0
        )


async def world() -> Rig:
    """A Stack that grows, fails now and then, and is asked a lot."""
    rig = Rig()
    rig.with_worker()
    rig.with_qdrant()
    start = rig.clock.now()

    def grown(facts: DatabaseFacts) -> DatabaseFacts:
        days = (rig.clock.now() - start).days
        size = (2_000 + 85 * days + days * 37 % 90) * MI
        return DatabaseFacts(**{**facts.__dict__, "database_bytes": size, "wal_bytes": 300 * MI, "used": 12 + days % 9})

    rig.overlay = grown
    rig.server.put(CLAIM, {"metadata": {"name": "c", "namespace": NAMESPACE}, "status": {"capacity": {"storage": "10Gi"}}})
    volume = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda p: p["spec"].update(volumes=volume))
    _pods(rig)
    for day in range(DAYS):
        if day not in (20, 21, 22):
            await resource_usage.run(context(rig, {"type": "ResourceUsage"}))
        rig.clock.jump(86400)
    _logs(rig)
    _metrics(rig)
    return rig


def _pods(rig: Rig) -> None:
    limits = {"cpu": "500m", "memory": "256Mi"}
    for n, component in enumerate(("api", "worker", "postgres", "redis", "qdrant")):
        for pod in rig.simulator.pods(component):
            name = pod["metadata"]["name"]
            resources = {"limits": limits, "requests": {"cpu": "100m", "memory": "128Mi"}}
            rig.server.edit(POD, NAMESPACE, name, lambda p, r=resources: p["spec"]["containers"][0].update(resources=r))
            if component != "redis":
                usage = {"cpu": f"{60 + 90 * n}m", "memory": f"{90 + 38 * n}Mi"}
                main = pod["spec"]["containers"][0]["name"]
                rig.server.pod_usage.append({"metadata": {"name": name}, "containers": [{"name": main, "usage": usage}]})


def _logs(rig: Rig) -> None:
    now = rig.clock.now()
    api, worker = (rig.simulator.pods(c)[0]["metadata"]["name"] for c in ("api", "worker"))
    lines: list[tuple[datetime, str]] = []
    for n in range(3000):
        at = now - timedelta(seconds=3590 * (1 - n / 3000))
        request = {
            "ts": at.isoformat(),
            "client": f"203.0.113.{n % 7}",
            "path": "/query",
            "status": 429 if n % 11 == 0 else 200,
        }
        lines.append((at, json.dumps({**request, "userAgent": "a"})))
        if n % 40 == 0 or 1500 < n < 1600:
            lines.append((at, f"ERROR: cannot reach qdrant at 10.0.3.{n % 250}:6333 <timeout> after {n} ms"))
    rig.server.streams[api] = lines
    rig.server.streams[worker] = [
        (
            now - timedelta(minutes=n),
            f"[x: ERROR/ForkPoolWorker-{n}] Task app.embed[{n:08x}-1111-2222-3333-444455556666] failed",
        )
        for n in range(50, 0, -3)
    ]
    rig.server.streams["postgres-0"] = [(now - timedelta(minutes=12), "ERROR:  canceling statement due to lock timeout")]


def _metrics(rig: Rig) -> None:
    lines = []
    paths = (
        ("/query", 200, 41_000, 0.31),
        ("/query", 429, 4_100, 0.002),
        ("/upload", 200, 900, 2.9),
        ("/upload", 500, 90, 3.1),
    )
    bounds = {0.05: 0, 0.5: 0, 1.0: 0, 5.0: 0, float("inf"): 0}
    for path, status, count, mean in paths:
        lines.append(f'http_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append(f'http_request_duration_seconds_sum{{path="{path}"}} {count * mean}')
        lines.append(f'http_request_duration_seconds_count{{path="{path}"}} {count}')
        bounds = {b: n + (count if mean <= b else 0) for b, n in bounds.items()}
    lines += [f'http_request_duration_seconds_bucket{{le="{"+Inf" if b > 9 else b}"}} {n}' for b, n in bounds.items()]
    known = rig.network.http
    rig.network.http = lambda host, path: (
        HttpAnswer(200, "\n".join(lines) + "\n") if path == "/metrics" else known(host, path)
    )


async def found(rig: Rig, *types: str) -> dict[str, TaskOutcome]:
    """What these tasks find there now."""
    told = {}
    for name in types:
        kind: Any = TASKS[TaskType(name)]
        assert isinstance(kind, Light)
        told[name] = await kind.run(
            replace(context(rig, {"type": name}), ports=replace(rig.life.ports, reviewer=Reviewer()))
        )
    return told


async def three() -> Mapping[str, Report]:
    """The daily, the weekly and the monthly report."""
    rig = await world()
    now = rig.clock.now()
    daily, monthly = await found(rig, *DAILY), await found(rig, *MONTHLY)
    failed = TaskOutcome(state="Failed", summary="set 20260329T020000Z: 1 of 312 chunks differs from its checksum")
    weekly = {
        **daily,
        "VerifyBackups": failed,
        "RotateLogs": TaskOutcome(state="Skipped", summary="the window closed before its turn"),
    }
    about = {"window": "nightly", "namespace": NAMESPACE, "stack": "docuquery"}
    return {
        name: reports.report_of({**about, "title": f"{name.title()} maintenance"}, now, now + timedelta(hours=1), told)
        for name, told in (("daily", daily), ("weekly", weekly), ("monthly", monthly))
    }
