"""ResourceUsage in the simulated world: what is known, what is not, and one sample a day."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from docuquery_operator.catalogue.tasks import resource_usage
from docuquery_operator.ports import CLAIM, CONFIG_MAP, POD, DatabaseFacts
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context

GI, MI = 2**30, 2**20


async def looked(rig: Rig) -> Any:
    return await resource_usage.run(context(rig, {"type": "ResourceUsage"}))


def pod_of(rig: Rig, component: str) -> str:
    return rig.simulator.pods(component)[0]["metadata"]["name"]


def uses(rig: Rig, component: str, cpu: str, memory: str) -> None:
    """What metrics.k8s.io says of its pod."""
    name = pod_of(rig, component)
    container = rig.server.find(POD, NAMESPACE, name)["spec"]["containers"][0]["name"]
    usage = [
        {"name": "sidecar", "usage": {"cpu": "9", "memory": "9Gi"}},
        {"name": container, "usage": {"cpu": cpu, "memory": memory}},
    ]
    rig.server.pod_usage.append({"metadata": {"name": name, "namespace": NAMESPACE}, "containers": usage})


def limited(rig: Rig, component: str, **limits: str) -> None:
    resources = {"limits": limits, "requests": {"cpu": "100m", "memory": "128Mi"}}
    rig.server.edit(POD, NAMESPACE, pod_of(rig, component), lambda p: p["spec"]["containers"][0].update(resources=resources))


def samples(rig: Rig) -> Any:
    found = rig.server.find(CONFIG_MAP, NAMESPACE, "docuquery-daily-samples")
    return json.loads(found["data"]["samples.json"]) if found else None


def rows(found: Any, table: int) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row for row in found.tables[table].rows}


async def test_pods_are_held_against_requests_and_limits():
    rig = Rig()
    limited(rig, "api", cpu="500m", memory="256Mi")
    uses(rig, "api", "250m", "244Mi")
    found = await looked(rig)
    row = rows(found, 1)[pod_of(rig, "api")]
    assert row[1:8] == ("api", 0.25, 250.0, 50.0, 244.0 * MI, 190.6, 95.3)
    other = rows(found, 1)["postgres-0"]
    assert other[2:8] == (None,) * 6
    assert [f.text for f in found.findings if f.rank == "Critical"] == [
        "api: memory of its fullest pod is at 95.3% of 256 MiB; raise the memory limit of api"
    ]


async def test_without_metrics_nothing_is_zero():
    rig = Rig()
    found = await looked(rig)
    assert all(row[2] is None and row[5] is None for row in found.tables[1].rows)
    assert any("metrics.k8s.io" in f.text and f.rank == "Info" for f in found.findings)
    assert not any(key.startswith("api/") for key in samples(rig)["values"])


async def test_stores_are_held_against_their_bounds():
    rig = Rig()
    rig.with_redis()
    rig.with_qdrant()
    rig.overlay = lambda facts: DatabaseFacts(
        **{**facts.__dict__, "used": 31, "database_bytes": 9 * GI, "wal_bytes": GI // 2}
    )
    rig.server.put(
        CLAIM, {"metadata": {"name": "data-postgres-0", "namespace": NAMESPACE}, "status": {"capacity": {"storage": "10Gi"}}}
    )
    volume = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-postgres-0"}}]
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda p: p["spec"].update(volumes=volume))
    found = await looked(rig)
    full = rows(found, 0)
    assert full["postgres: database and WAL"] == (
        "postgres: database and WAL",
        95.0,
        "at least 9.5 GiB",
        "10 GiB",
        "the claim of postgres",
    )
    assert full["postgres: connections"][1:4] == (93.9, "31 connections", "33 connections")
    assert full["redis: data in memory"][1] == 2.0
    assert full["redis: data in memory"][4] == "maxmemory"
    assert "qdrant: points" in full
    assert [f.rank for f in found.findings[:2]] == ["Critical", "Warning"]
    assert found.figures["postgres: connections (connections)"] == 31.0


async def test_a_claim_that_does_not_bound_the_volume_is_no_limit():
    rig = Rig()
    rig.server.put(CLAIM, {"metadata": {"name": "c", "namespace": NAMESPACE}, "status": {"capacity": {"storage": "1Mi"}}})
    volume = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    rig.server.edit(POD, NAMESPACE, "postgres-0", lambda p: p["spec"].update(volumes=volume))
    assert rows(await looked(rig), 0)["postgres: database and WAL"][1:4] == (None, "at least 22.89 MiB", None)


async def test_a_store_that_does_not_answer_is_told_and_is_not_zero():
    rig = Rig()
    rig.overlay = lambda _facts: DatabaseFacts("refused", "Connection refused")
    found = await looked(rig)
    assert rows(found, 0)["postgres: connections"][1:4] == (None, None, None)
    assert found.figures["postgres: connections (connections)"] is None
    assert "not known: postgres: connections: refused: Connection refused" in [f.text for f in found.findings]
    assert "postgres/connections" not in (samples(rig) or {"values": {}})["values"]


async def test_a_pod_that_began_anew_lately_is_a_finding():
    rig = Rig()

    def killed(pod: Any, hours: float = 2) -> None:
        ended = {
            "finishedAt": (rig.clock.now() - timedelta(hours=hours)).isoformat(),
            "reason": "OOMKilled",
            "exitCode": 137,
        }
        pod["status"]["containerStatuses"][0] |= {"restartCount": 3, "lastState": {"terminated": ended}}

    rig.server.edit(POD, NAMESPACE, pod_of(rig, "api"), killed)
    found = await looked(rig)
    assert found.findings[0].rank == "Critical"
    assert f"{pod_of(rig, 'api')} began anew (OOMKilled), 3 restarts in all" in found.findings[0].text
    rig.server.edit(POD, NAMESPACE, pod_of(rig, "api"), lambda p: killed(p, 30))
    assert not [f for f in (await looked(rig)).findings if "began anew" in f.text]


async def test_one_sample_a_day_is_kept_with_the_stack_and_the_first_of_a_day_counts():
    rig = Rig()
    await looked(rig)
    written = len(rig.server.writes)
    first = samples(rig)
    rig.overlay = lambda facts: DatabaseFacts(**{**facts.__dict__, "used": 20})
    found = await looked(rig)
    assert samples(rig) == first
    assert len(rig.server.writes) == written
    assert found.figures["days of samples"] == 1
    rig.clock.jump(86400)
    await looked(rig)
    assert samples(rig)["values"]["postgres/connections"] == [5, 20]
    owner = rig.server.find(CONFIG_MAP, NAMESPACE, "docuquery-daily-samples")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("Stack", "docuquery")
