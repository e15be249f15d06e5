"""Servers that misbehave where Qdrant is looked for: each look ends in time, is never 'ok', and gives no half-read figure."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from docuquery_operator.adapters.qdrant import BODY_LIMIT, QdrantRest
from docuquery_operator.ports import QdrantAnswer, QdrantCollection, QdrantFacts, QdrantTarget
from tests.adapters import misbehaving as m
from tests.adapters.test_misbehaviours import ERROR, PASSWORD, TIMED_OUT, TIMEOUT, in_time

pytestmark = pytest.mark.timeout(60)

LOST = frozenset({"refused", "error"})
STALLED = frozenset({"stalled"})
OK = b"200 OK"
LIST = {"collections": [{"name": "documents"}]}
INFO = {"status": "green", "optimizer_status": "ok", "segments_count": 2, "points_count": 10, "indexed_vectors_count": 10,
        "config": {"params": {"vectors": {"size": 4, "distance": "Cosine"}}}}  # fmt: skip


def enveloped(result: Any) -> bytes:
    """As the server answers."""
    return m.http_answer(OK, json.dumps({"result": result, "status": "ok", "time": 0.1}).encode())


def server(pages: Mapping[str, bytes | m.Behaviour | None]) -> m.Behaviour:
    """Answers by path, as a healthy Qdrant but for these; None: never."""
    healthy: dict[str, bytes | m.Behaviour | None] = {
        "/readyz": m.http_answer(OK, b"all shards are ready"),
        "/": m.http_answer(OK, b'{"title": "qdrant", "version": "1.18.3"}'),
        "/metrics": m.http_answer(OK, b"snapshot_creation_running 0\nmemory_resident_bytes 1000\n"),
        "/cluster": enveloped({"status": "disabled"}),
        "/collections": enveloped(LIST),
        "/collections/documents": enveloped(INFO),
        **pages,
    }

    async def behaviour(reader: m.Reader, writer: m.Writer) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ")[1].decode()
            answer = healthy.get(path, m.http_answer(b"404 Not Found"))
            if not isinstance(answer, bytes):
                await (answer or m.silent)(reader, writer)
                return
            writer.write(answer)
            await writer.drain()

    return behaviour


def listed(body: bytes) -> m.Behaviour:
    return server({"/collections": m.http_answer(OK, body)})


def about(body: bytes) -> m.Behaviour:
    return server({"/collections/documents": m.http_answer(OK, body)})


def status(code: bytes, body: bytes = b"") -> m.Behaviour:
    return server({"/collections": m.http_answer(code, body)})


SICK: dict[str, tuple[m.Behaviour, frozenset[str]]] = {
    # Anything but Qdrant.
    "says nothing": (m.silent, TIMED_OUT),
    "closes at once": (m.closes, LOST),
    "RST": (m.resets, LOST),
    "closes on the request": (m.answers(b""), LOST),
    "garbage": (m.says(bytes(range(128, 256)) * 8), LOST),
    "NUL bytes": (m.says(b"\0" * 64 + b"\r\n", m.silent), LOST),
    "Redis": (m.answers(b"-ERR unknown command\r\n"), LOST),
    "TLS alert": (m.answers(m.TLS_ALERT), LOST),
    "half a head, then silence": (m.answers(b"HTTP/1.1 200 OK\r\nContent-", m.silent), TIMED_OUT),
    "a byte at a time": (m.drips(b"HTTP/1.1 200 OK\r\n" * 20), TIMED_OUT),
    "endless head": (m.says(b"HTTP/1.1 200 OK\r\n", m.endless(b"A: b\r\n" * 1000)), LOST | TIMED_OUT),
    "a web page for everything": (m.answers(m.http_answer(OK, b"<html>hello</html>")), LOST),
    "200 without a body for everything": (m.answers(m.http_answer(OK)), LOST),
    "redirect for everything": (m.answers(m.http_answer(b"302 Found", b"", b"Location: http://127.0.0.1/")), LOST),
    # A server that is not well.
    "not ready": (server({"/readyz": m.http_answer(b"503 Service Unavailable", b"some shards are not ready")}), frozenset({"not_ready"})),
    "401": (status(b"401 Unauthorized", b"Must provide an API key"), frozenset({"auth"})),
    "403": (status(b"403 Forbidden", b'{"status": {"error": "no access"}}'), frozenset({"auth"})),
    "500": (status(b"500 Internal Server Error", b'{"status": {"error": "Service internal error: panic"}}'), ERROR),
    "500 that repeats the key": (status(b"500 Oops", b'{"status": {"error": "' + PASSWORD.encode() + b'"}}'), ERROR),
    "404": (status(b"404 Not Found"), ERROR),
    "only the health path answers": (server({"/collections": None}), STALLED),
    "one collection answers not": (server({"/collections/documents": None}), STALLED),
    "one collection drips": (server({"/collections/documents": m.drips(enveloped(INFO))}), STALLED),
    "one collection is sick": (server({"/collections/documents": m.http_answer(b"500 Oops", b"panic")}), ERROR),
    # Answers that are no use.
    "list: not JSON": (listed(b"hello"), ERROR),
    "list: half JSON": (listed(b'{"result": {"collections": ['), ERROR),
    "list: not UTF-8": (listed(b'{"result": "\xff\xfe"}'), ERROR),
    "list: array": (listed(b"[]"), ERROR),
    "list: null": (listed(b"null"), ERROR),
    "list: no collections": (listed(b'{"result": {}}'), ERROR),
    "list: names that are none": (listed(b'{"result": {"collections": [{"name": 7}]}}'), ERROR),
    "list: empty name": (listed(b'{"result": {"collections": [{"name": ""}]}}'), ERROR),
    "list: long name": (listed(b'{"result": {"collections": [{"name": "' + b"a" * 300 + b'"}]}}'), ERROR),
    "list: array in array": (listed(b"[" * 100_000), ERROR),
    "list: absurd number": (listed(b'{"result": ' + b"9" * 5000 + b"}"), ERROR),
    "list: too long": (listed(b'{"result": {"collections": [' + b" " * BODY_LIMIT + b"]}}"), ERROR),
    "list: without an end": (server({"/collections": m.says(b"HTTP/1.1 200 OK\r\n\r\n", m.endless(m.CHUNK))}), ERROR | STALLED),
    "list: cut": (server({"/collections": m.says(enveloped(LIST)[:-9])}), LOST),
    "list: gzip bomb": (
        server({"/collections": m.http_answer(OK, gzip.compress(b"b" * 64 * 2**20), b"Content-Encoding: gzip")}),
        ERROR,
    ),
    "info: null": (about(b'{"result": null}'), ERROR),
    "info: no status": (about(b'{"result": {"points_count": 4}}'), ERROR),
    "info: status is a number": (about(b'{"result": {"status": 7}}'), ERROR),
    "info: not JSON": (about(b"\xff" * 64), ERROR),
}  # fmt: skip


def test_the_table_is_long_enough() -> None:
    assert len(SICK) >= 40


@pytest.mark.parametrize("name", SICK)
async def test_qdrant(name: str, caplog: pytest.LogCaptureFixture) -> None:
    behaviour, expected = SICK[name]
    caplog.set_level(logging.DEBUG)

    async def look(port: int) -> QdrantFacts:
        return await QdrantRest().look(QdrantTarget("127.0.0.1", port, PASSWORD), TIMEOUT)

    found = await in_time(behaviour, look)
    assert found.outcome in expected, found
    assert found.collections is None
    assert len(found.message) <= 300
    assert PASSWORD not in repr(found) + caplog.text


# The others are well where these requests go, and do not know the path.
EVERYWHERE = [*SICK][: [*SICK].index("not ready")]


@pytest.mark.parametrize("name", EVERYWHERE)
async def test_requests_to_a_sick_server(name: str) -> None:
    """What changes or searches something ends in time and never says ok."""
    behaviour, _ = SICK[name]

    async def ask(port: int) -> list[QdrantAnswer]:
        rest, where = QdrantRest(), QdrantTarget("127.0.0.1", port)
        asked = (
            rest.search(where, QdrantCollection("documents", "green", size=4), TIMEOUT),
            rest.reconfigure(where, "documents", {}, TIMEOUT),
            rest.collection(where, "documents", TIMEOUT),
        )
        return await asyncio.gather(*asked)

    search, changed, read = await in_time(behaviour, ask)
    assert search.outcome != "ok"
    assert read.outcome != "ok"
    # A proxy that answers 200 to everything cannot be told from a server that has taken the change; reading it back can.
    assert changed.outcome != "ok" or name.endswith("for everything")


ODD: dict[str, Any] = {
    "figures that are none": {"points_count": "many", "segments_count": -1, "indexed_vectors_count": True},
    "figures that are too large": {"points_count": 2**70, "segments_count": 1.5},
    "settings that are none": {"config": {"params": [], "optimizer_config": [1], "hnsw_config": "x"}},
    "settings that are nested": {"config": {"optimizer_config": {"a": {"b": 1}, "c": [1], "deleted_threshold": 0.2}}},
    "an unknown optimizer status": {"optimizer_status": ["?"]},
    "a long optimizer error": {"optimizer_status": {"error": "x" * 5000}},
    "named vectors": {"config": {"params": {"vectors": {"b": {"size": 8}, "a": {"size": 4, "datatype": "float16"}}}}},
    "sparse vectors alone": {"config": {"params": {"vectors": {}}}},
    "several vectors a point": {
        "config": {"params": {"vectors": {"size": 8, "multivector_config": {"comparator": "max_sim"}}}}
    },
    "a vector of absurd size": {"config": {"params": {"vectors": {"size": 2**40}}}},
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_but_readable(name: str) -> None:
    """A figure that makes no sense is left out; the rest counts."""

    async def look(port: int) -> QdrantFacts:
        return await QdrantRest().look(QdrantTarget("127.0.0.1", port), TIMEOUT)

    found = await in_time(server({"/collections/documents": enveloped({**INFO, **ODD[name]})}), look)
    assert found.outcome == "ok", found
    (one,) = found.collections or ()
    assert one.status == "green"
    json.dumps([dict(one.optimizers), dict(one.hnsw)], allow_nan=False)
    expected: dict[str, dict[str, Any]] = {
        "figures that are none": {"points": None, "segments": None, "indexed": None},
        "figures that are too large": {"points": None, "segments": None},
        "settings that are none": {"size": 0, "optimizers": {}, "hnsw": {}},
        "settings that are nested": {"optimizers": {"deleted_threshold": 0.2}},
        "named vectors": {"vector": "a", "size": 4, "bytes_per_point": 40},
        "sparse vectors alone": {"size": 0, "bytes_per_point": 0},
        "several vectors a point": {"size": 0},
        "a vector of absurd size": {"size": 0},
    }
    for key, value in expected.get(name, {}).items():
        assert getattr(one, key) == value, key
    if "optimizer" in name:
        assert one.optimizer_error
        assert len(one.optimizer_error) <= 200


async def test_what_may_not_be_read_is_left_out() -> None:
    """A key for one collection: no metrics, no cluster, other collections refused."""
    refused = m.http_answer(b"403 Forbidden")
    two = {"collections": [{"name": "documents"}, {"name": "secret"}]}
    pages = {"/metrics": refused, "/cluster": refused, "/collections": enveloped(two), "/collections/secret": refused}

    async def look(port: int) -> QdrantFacts:
        return await QdrantRest().look(QdrantTarget("127.0.0.1", port), TIMEOUT)

    found = await in_time(server(pages), look)
    assert (found.outcome, found.total, found.snapshots_running, found.memory_bytes, found.cluster) == (
        "ok",
        2,
        None,
        None,
        None,
    )
    assert [c.name for c in found.collections or ()] == ["documents"]


async def test_a_cluster_tells_its_peers_and_shards() -> None:
    shards = {"local_shards": [{"state": "Active"}], "remote_shards": [{"state": "Dead"}, {"state": "Active"}]}
    peers = {"status": "enabled", "peers": {"1": {}, "2": {}}, "message_send_failures": {"http://two": {}}}
    pages = {"/cluster": enveloped(peers), "/collections/documents/cluster": enveloped(shards)}

    async def look(port: int) -> QdrantFacts:
        return await QdrantRest().look(QdrantTarget("127.0.0.1", port), TIMEOUT)

    cluster = (await in_time(server(pages), look)).cluster
    assert cluster is not None
    assert (cluster.enabled, cluster.peers, cluster.failing) == (True, 2, 1)
    assert (cluster.local_shards, cluster.remote_shards, cluster.inactive_shards) == (1, 2, 1)


async def test_the_key_goes_to_the_server_alone() -> None:
    """As its own header; a redirect carries it nowhere."""
    heads: list[bytes] = []

    async def remember(reader: m.Reader, writer: m.Writer) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(m.http_answer(b"307 Temporary Redirect", b"", f"Location: http://127.0.0.1:{other}/".encode()))
        await writer.drain()

    async with m.serving(m.answers(enveloped(LIST))) as elsewhere:
        other = elsewhere.port

        async def look(port: int) -> QdrantFacts:
            return await QdrantRest().look(QdrantTarget("127.0.0.1", port, PASSWORD), TIMEOUT)

        assert (await in_time(remember, look)).outcome == "error"
        assert elsewhere.connections == 0
    assert heads
    assert all(f"api-key: {PASSWORD}".encode() in head and b"Accept-Encoding: identity" in head for head in heads)
