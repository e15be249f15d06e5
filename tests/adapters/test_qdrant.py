"""The Qdrant adapter against the double as a process, whose answers are held to those recorded from a real server."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from docuquery_operator.adapters import qdrant_answers
from docuquery_operator.adapters.qdrant import QdrantRest
from docuquery_operator.ports import QdrantCluster, QdrantCollection, QdrantFacts, QdrantTarget
from tests.doubles.qdrant.openapi.check import Document
from tests.stack.services import DOUBLE, QdrantDouble, free_port, http, running

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]
TRACES: list[dict[str, Any]] = json.loads((DOUBLE / "recorded" / "qdrant-1.18.3-traces.json").read_text())
TIMEOUT = 3.0


@pytest.fixture
def double(folder: pathlib.Path) -> Iterator[QdrantDouble]:
    """A double of this test alone, with one collection of 3000 vectors of size 64 that is not indexed."""
    made = QdrantDouble(pathlib.Path(tempfile.mkdtemp(prefix="qdrant-", dir=folder)))
    with running(made):
        body = {"vectors": {"size": 64, "distance": "Cosine"}, "optimizers_config": {"indexing_threshold": 0}}
        assert http("PUT", f"{made.url}/collections/documents", body).status == 200
        points = [{"id": n, "vector": [((n * 31 + i * 7) % 97) / 97 for i in range(64)]} for n in range(3000)]
        assert http("PUT", f"{made.url}/collections/documents/points?wait=true", {"points": points}).status == 200
        yield made
        assert made.process.child
        if made.process.child.poll() is None:
            os.kill(made.process.child.pid, signal.SIGCONT)


def at(double: QdrantDouble) -> QdrantTarget:
    return QdrantTarget("127.0.0.1", double.port)


async def look(double: QdrantDouble, timeout: float = TIMEOUT) -> QdrantFacts:
    return await QdrantRest().look(at(double), timeout)


async def test_a_healthy_server_tells_its_figures(double: QdrantDouble) -> None:
    found = await look(double)
    assert (found.outcome, found.message, found.total) == ("ok", "", 1)
    assert found.version
    assert found.cluster == QdrantCluster(False)
    assert found.snapshots_running == 0
    assert found.memory_bytes is not None
    assert found.memory_bytes > 2**20
    assert found.collections is not None
    (documents,) = found.collections
    assert (documents.name, documents.status, documents.optimizer_error) == ("documents", "green", "")
    assert (documents.points, documents.indexed, documents.size, documents.bytes_per_point) == (3000, 0, 64, 256)
    assert documents.optimizers["indexing_threshold"] == 0
    assert documents.hnsw["m"] == 16
    assert documents.queue == 0


async def test_a_search_takes_its_time_and_writes_nothing(double: QdrantDouble) -> None:
    (documents,) = (await look(double)).collections or ()
    answer = await QdrantRest().search(at(double), documents, TIMEOUT)
    assert (answer.outcome, answer.message) == ("ok", "")
    assert 0 < answer.latency_ms < 3000
    gone = QdrantCollection("gone", "green", size=64)
    assert (await QdrantRest().search(at(double), gone, TIMEOUT)).outcome == "missing"
    wrong = QdrantCollection("documents", "green", size=3)
    assert (await QdrantRest().search(at(double), wrong, TIMEOUT)).outcome == "error"
    assert (await look(double)).collections == (documents,)


async def test_a_setting_is_changed_and_the_index_built(double: QdrantDouble) -> None:
    rest = QdrantRest()
    assert (await rest.reconfigure(at(double), "documents", {"indexing_threshold": 100}, 10.0)).outcome == "ok"
    for _ in range(200):
        found = (await rest.collection(at(double), "documents", TIMEOUT)).collection
        assert found is not None
        if found.indexed and found.status == "green" and found.pending == 0:
            break
        await asyncio.sleep(0.1)
    assert (found.indexed, found.optimizers["indexing_threshold"]) == (3000, 100)
    assert (await rest.reconfigure(at(double), "documents", {}, 10.0)).outcome == "ok"
    assert (await rest.reconfigure(at(double), "documents", {"indexing_threshold": "x"}, 10.0)).outcome == "error"
    assert (await rest.reconfigure(at(double), "gone", {}, 10.0)).outcome == "missing"
    assert (await rest.collection(at(double), "gone", TIMEOUT)).outcome == "missing"


async def test_a_name_is_data(double: QdrantDouble) -> None:
    """It goes nowhere else than into its own part of the path."""
    for name in ("../aliases", "a b?x=1", "documents/exists", "%2e%2e", "\N{SNOWMAN}#"):
        assert (await QdrantRest().collection(at(double), name, TIMEOUT)).outcome in ("missing", "error"), name


async def test_a_stopped_process_is_a_time_out_within_the_time(double: QdrantDouble) -> None:
    assert double.process.child
    os.kill(double.process.child.pid, signal.SIGSTOP)
    began = asyncio.get_running_loop().time()
    found = await look(double, 0.5)
    assert asyncio.get_running_loop().time() - began < 2
    assert (found.outcome, found.collections) == ("timeout", None)
    os.kill(double.process.child.pid, signal.SIGCONT)
    assert (await look(double)).outcome == "ok"


async def test_a_dead_process_refuses(double: QdrantDouble) -> None:
    assert double.process.child
    double.process.child.kill()
    double.process.child.wait()
    found = await look(double)
    assert (found.outcome, found.collections) == ("refused", None)


async def test_nobody_there() -> None:
    assert (await QdrantRest().look(QdrantTarget("127.0.0.1", free_port()), TIMEOUT)).outcome == "refused"
    for host, port in (("a" * 300, 6333), ("", 6333), ("127.0.0.1", 99999), ("not a host", 6333)):
        assert (await QdrantRest().look(QdrantTarget(host, port), TIMEOUT)).outcome in ("error", "refused", "unreachable")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/collections", None),
        ("GET", "/collections/documents", None),
        ("GET", "/collections/documents/optimizations", None),
        ("GET", "/collections/documents/cluster", None),
        ("GET", "/cluster", None),
        ("GET", "/readyz", None),
        ("PATCH", "/collections/documents", {"optimizers_config": {}}),
        ("PATCH", "/collections/documents", {"optimizers_config": {"max_optimization_threads": "auto"}}),
        ("POST", "/collections/documents/points/query", {"query": [1.0], "limit": 1, "with_payload": False, "using": "a"}),
    ],
)
def test_the_real_server_knows_what_is_asked(method: str, path: str, body: Any) -> None:
    """The requests of the adapter, held to the document of the real API."""
    assert Document().request_problems(method, path, body) == []


def recorded(path: str, method: str = "GET") -> list[Any]:
    """Results that the real server has given."""
    found = [t for t in TRACES if t.get("request", {}).get("path") == path and t["request"]["method"] == method]
    return [qdrant_answers.result(json.dumps(t["response"]["body"]).encode()) for t in found]


def test_the_recorded_answers_are_understood() -> None:
    first = qdrant_answers.collection("documents", recorded("/collections/documents")[0])
    assert first is not None
    assert (first.status, first.optimizer_error, first.points, first.indexed) == ("green", "", 4000, 0)
    assert (first.segments, first.shards, first.bytes_per_point, first.size) == (4, 2, 32, 8)
    assert qdrant_answers.pending(recorded("/collections/documents/optimizations")[0]) == 0
    assert qdrant_answers.names(recorded("/collections")[0]) == []
    assert all(qdrant_answers.hits(r) is not None for r in recorded("/collections/documents/points/query", "POST"))
