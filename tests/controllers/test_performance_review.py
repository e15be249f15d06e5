"""PerformanceReview in the simulated world: what the api's metrics, its log, the database and Redis say, ranked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from docuquery_operator.catalogue.tasks import performance_review
from docuquery_operator.ports import (
    POD,
    DatabaseReview,
    DatabaseTarget,
    HttpAnswer,
    RedisFacts,
    Statement,
    TableSize,
)
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
FAST = Statement("select * from documents where id = $1", 9000, 45.0, 0.005, 0.3, 9000, 99_000, 100)
SLOW = Statement("select count(*)\n  from documents where body like $1", 40, 60.0, 1.5, 4.0, 40, 5_000, 80_000)
FINE = DatabaseReview(
    "ok", role="docuquery_operator", since=SINCE, hit=990_000, read=10_000, commits=50_000, rollbacks=500, deadlocks=0,
    temporary_bytes=0, tables=(TableSize("public.documents", 10**8, 500_000, 1_000, 5, 90_000),), statements=(FAST,),
    statements_since=SINCE, seconds=200.0,
)  # fmt: skip


class Reviewer:
    """ports.DatabaseReviewer."""

    def __init__(self, answer: DatabaseReview = FINE) -> None:
        self.answer, self.asked = answer, []

    async def review(self, target: DatabaseTarget, statements: int, timeout: float) -> DatabaseReview:
        self.asked.append((target, statements))
        return self.answer


async def looked(rig: Rig, answer: DatabaseReview = FINE, **task: Any) -> Any:
    return await performance_review.run(context(rig, {"type": "PerformanceReview", **task}, reviewer=Reviewer(answer)))


def metrics(rig: Rig, paths: Iterable[tuple[str, int, int, float]]) -> None:
    """The page of the api's pods: path, status, requests, mean seconds."""
    lines, buckets = [], {0.1: 0, 0.5: 0, 1.0: 0, 5.0: 0, float("inf"): 0}
    for path, status, count, mean in paths:
        lines.append(f'http_requests_total{{method="GET",path="{path}",status="{status}"}} {count}')
        lines.append(f'http_request_duration_seconds_sum{{path="{path}"}} {count * mean}')
        lines.append(f'http_request_duration_seconds_count{{path="{path}"}} {count}')
        for bound in buckets:
            buckets[bound] += count if mean <= bound else 0
    for bound, count in buckets.items():
        le = "+Inf" if bound == float("inf") else bound
        lines.append(f'http_request_duration_seconds_bucket{{le="{le}"}} {count}')
    rig.network.http = lambda _host, path: HttpAnswer(200, "\n".join(lines) + "\n" if path == "/metrics" else "{}")


def requests(rig: Rig, *clients: tuple[str, int, int]) -> None:
    """Lines of the access log: client, status, how many in the last 20 minutes."""
    name = rig.simulator.pods("api")[0]["metadata"]["name"]
    now, found = rig.clock.now(), []
    for client, status, times in clients:
        for n in range(times):
            at = now - timedelta(seconds=1200 * (n + 1) / times)
            line = {"ts": at.isoformat(), "client": client, "path": "/query", "status": status, "userAgent": "a"}
            found.append((at, json.dumps(line)))
    rig.server.streams[name] = sorted(found)


def limited(rig: Rig, number: int, window: int = 60) -> None:
    env = [{"name": "RATE_LIMIT_REQUESTS", "value": str(number)}, {"name": "RATE_LIMIT_WINDOW", "value": str(window)}]
    for pod in rig.simulator.pods("api"):
        rig.server.edit(POD, NAMESPACE, pod["metadata"]["name"], lambda p: p["spec"]["containers"][0].update(env=env))


def texts(found: Any, rank: str) -> list[str]:
    return [f.text for f in found.findings if f.rank == rank]


async def test_figures_and_paths_of_the_api_are_its_own_metrics():
    rig = Rig()
    metrics(
        rig, [("/query", 200, 900, 0.3), ("/upload", 200, 80, 3.0), ("/upload", 500, 20, 3.0), ("/health", 200, 999, 0.01)]
    )
    requests(rig, ("203.0.113.9", 200, 120))
    limited(rig, 100)
    found = await looked(rig)
    assert found.figures["api: requests"] == 1000
    assert found.figures["api: error rate (%)"] == 2.0
    assert found.figures["api: limit"] == "100 in 60 s"
    paths = {row[0]: row[1:] for row in found.tables[0].rows}
    assert paths["/query"] == (900, 0.0, 0, 0.3)
    assert paths["/upload"] == (100, 20.0, 0, 3.0)
    assert "/health" not in paths
    warnings = texts(found, "Warning")
    assert "api: /upload takes 3 s on the average of 100 requests" in warnings
    assert "api: /upload fails for 20% of 100 requests" in warnings
    # One each ten seconds; minutes that the log holds only in part are left out.
    assert [round(v * 60) for _, v in found.series[0].points] == [6] * len(found.series[0].points)
    assert len(found.series[0].points) in (18, 19)


async def test_requests_a_second_need_to_know_since_when():
    rig = Rig()
    metrics(rig, [("/query", 200, 900, 0.3)])
    name = rig.simulator.pods("api")[0]["metadata"]["name"]
    began = rig.clock.now() - timedelta(seconds=300)
    state = {"running": {"startedAt": began.isoformat()}}
    rig.server.edit(POD, NAMESPACE, name, lambda p: p["status"]["containerStatuses"][0].update(state=state))
    assert (await looked(rig)).figures["api: requests a second"] == 3.0
    rig.server.edit(POD, NAMESPACE, name, lambda p: p["status"]["containerStatuses"][0].update(state={"running": {}}))
    found = await looked(rig)
    assert found.figures["api: requests"] == 900
    assert found.figures["api: requests a second"] is None


async def test_no_metrics_are_no_figures():
    rig = Rig()
    rig.network.http = lambda _host, _path: HttpAnswer(404, "")
    found = await looked(rig)
    assert found.figures["api: requests"] is None
    assert found.figures["api: p95 (s)"] is None
    assert any(t.startswith("api: latency and errors are not known: ") for t in texts(found, "Info"))


async def test_a_limit_that_refuses_much_and_one_that_stops_nobody():
    rig = Rig()
    metrics(rig, [("/query", 200, 900, 0.3), ("/query", 429, 100, 0.01)])
    requests(rig, ("203.0.113.9", 200, 100), ("198.51.100.1", 429, 30))
    limited(rig, 100)
    assert texts(await looked(rig), "Warning") == [
        "api: the limit refuses 10% of all requests; 100% of that to 198.51.100.1"
    ]
    metrics(rig, [("/query", 200, 900, 0.3)])
    requests(rig, ("203.0.113.9", 200, 120), ("198.51.100.1", 200, 20))
    limited(rig, 600)
    # 120 requests in 20 minutes are 6 in each window of a minute.
    (told,) = [t for t in texts(await looked(rig), "Info") if "busiest client" in t]
    assert re.match(r"api: the limit is 99\.\d times what the busiest client asks \(6\.0\d in 60 s\)", told)


async def test_slow_statements_come_first_and_say_what_they_are():
    found = await looked(Rig(), replace(FINE, statements=(SLOW, FAST), seconds=120.0))
    assert texts(found, "Warning") == [
        "postgres: 40 calls take 1.5 s on the average: select count(*) from documents where body like $1"
    ]
    row = next(t for t in found.tables if "statements" in t.title).rows[0]
    assert row[:4] == ("select count(*) from documents where body like $1", 50.0, 40, 1.5)
    assert row[7] == 5.88
    assert found.figures["postgres: blocks found in memory (%)"] == 99.0
    assert found.evidence[0].startswith("postgres: 40 calls")


async def test_what_to_grant_is_said_where_statements_cannot_be_read():
    why = 'statements of other roles are hidden: GRANT pg_read_all_stats TO "docuquery_operator"'
    found = await looked(Rig(), replace(FINE, statements=None, seconds=None, problem=why))
    assert f"postgres: slow statements are not known: {why}" in texts(found, "Info")
    assert found.figures["postgres: time in statements (s)"] is None


async def test_counters_of_the_database_are_findings():
    scanned = TableSize("public.chunks", 10**9, 2_000_000, 0, 5_000, 10)
    answer = replace(FINE, hit=60_000, read=40_000, deadlocks=3, rollbacks=20_000, tables=(scanned,))
    found = await looked(Rig(), answer)
    warnings = texts(found, "Warning")
    assert any("only 60% of blocks were found in memory since 2026-11-01" in t for t in warnings)
    assert "postgres: 3 deadlocks since 2026-11-01" in warnings
    assert any("public.chunks (2000000 rows) was read as a whole 5000 times" in t for t in warnings)
    assert any("28.57% of transactions were rolled back" in t for t in texts(found, "Info"))


async def test_a_database_that_does_not_answer_is_told_and_is_not_zero():
    found = await looked(Rig(), DatabaseReview("refused", "Connection refused"))
    assert "postgres: not known: refused: Connection refused" in texts(found, "Warning")
    assert found.figures["postgres: deadlocks"] is None


async def test_redis_tells_hits_and_evictions():
    rig = Rig()
    rig.with_redis()
    info = "# Stats\r\nkeyspace_hits:4000\r\nkeyspace_misses:16000\r\nevicted_keys:12\r\nexpired_keys:0\r\n"
    rig.redis_overlay = lambda facts: replace(facts, info=info)
    found = await looked(rig)
    assert found.figures["redis: look-ups that hit (%)"] == 20.0
    assert found.figures["redis: expired keys"] == 0
    assert found.figures["redis: commands"] is None
    assert any("only 20% of 20000 look-ups hit" in t for t in texts(found, "Info"))
    assert any("12 keys were evicted" in t for t in texts(found, "Warning"))
    rig.redis_overlay = lambda _facts: RedisFacts("refused", "no")
    assert "redis: not known: refused: no" in texts(await looked(rig), "Warning")


async def test_findings_are_ranked_over_all_components():
    rig = Rig()
    metrics(rig, [("/query", 200, 500, 9.0), ("/query", 500, 500, 9.0)])
    found = await looked(rig, replace(FINE, deadlocks=1, problem="x", statements=None))
    ranks = [f.rank for f in found.findings]
    assert ranks == sorted(ranks, key=["Critical", "Warning", "Info"].index)
    assert ranks[0] == "Critical"
    assert found.summary.startswith(f"{len(ranks)} findings (1 critical, ")


async def test_a_log_that_cannot_be_read_hides_the_clients_and_is_told():
    rig = Rig()

    class NoLogs(Faults):
        async def around(self, call: str, effect: Any) -> Any:
            if call.startswith("log stream"):
                raise TimeoutError("slow")
            return await super().around(call, effect)

    rig.start(NoLogs())
    found = await looked(rig)
    assert any("clients are not known" in t for t in texts(found, "Info"))
    assert found.series == ()


async def test_as_many_statements_as_asked_for_with_the_secrets_role():
    rig, reviewer = Rig(), Reviewer()
    task = {"type": "PerformanceReview", "performanceReview": {"slowQueries": 3}}
    await performance_review.run(context(rig, task, reviewer=reviewer))
    ((target, statements),) = reviewer.asked
    assert (target.user, target.database, statements) == ("op", "docuquery_ai", 3)
