"""Qdrant by REST. qdrant-client would load grpcio and numpy into the resident process, for a handful of GETs."""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ..domain.redaction import redact
from ..ports import QdrantAnswer, QdrantCluster, QdrantCollection, QdrantFacts, QdrantTarget
from . import qdrant_answers as answers
from .bodies import whole

BODY_LIMIT = 1024 * 1024
COLLECTIONS = 64
AT_ONCE = 8
CLUSTERED = 16
LONGEST_MESSAGE = 300
STATUSES = {401: "auth", 403: "auth", 404: "missing", 503: "not_ready"}
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
# Nobody is behind the port, or who was there has hung up.
LOST = ("refused", "timeout", "unreachable")


@dataclass(frozen=True)
class _Answer:
    """outcome ok with its body, or why there is none."""

    outcome: str
    body: bytes = b""
    message: str = ""

    @property
    def result(self) -> Any:
        """`result` of the JSON envelope; None where there is none."""
        return answers.result(self.body) if self.outcome == "ok" else None


class QdrantRest:
    """ports.Qdrant."""

    async def look(self, target: QdrantTarget, timeout: float) -> QdrantFacts:
        """Five requests side by side, then one for each collection; the last of them ends within the time."""
        began = time.monotonic()
        async with _asking(target, timeout) as ask:
            paths = ("/readyz", "/collections", "/", "/metrics", "/cluster")
            ready, listed, root, metrics, cluster = await asyncio.gather(*(ask.get(p) for p in paths))
            facts = await _collections(ask, ready, listed)
            if facts.outcome == "timeout" and any(a.outcome not in LOST for a in (ready, listed, root)):
                facts = replace(facts, outcome="stalled")
            running, memory = answers.figures(metrics.body if metrics.outcome == "ok" else b"")
            facts = replace(
                facts,
                version=answers.version(root.body) if root.outcome == "ok" else "",
                snapshots_running=running,
                memory_bytes=memory,
            )
            found = answers.cluster(cluster.result)
            if found is not None and found.enabled:
                found = await _with_shards(ask, found, facts.collections or ())
            return replace(facts, cluster=found, latency_ms=(time.monotonic() - began) * 1000)

    async def search(self, target: QdrantTarget, collection: QdrantCollection, timeout: float) -> QdrantAnswer:
        """A constant vector: what it finds does not matter, only how long it takes."""
        body: dict[str, Any] = {"query": [1.0] * collection.size, "limit": 1, "with_payload": False}
        if collection.vector:
            body["using"] = collection.vector
        began = time.monotonic()
        async with _asking(target, timeout) as ask:
            # The server gives up as well, so that looking at a slow one does not pile up work in it.
            path = f"{_path(collection.name)}/points/query?timeout={max(1, math.ceil(timeout))}"
            found = await ask.send("POST", path, body)
            took = (time.monotonic() - began) * 1000
            if found.outcome == "ok" and answers.hits(found.result) is None:
                return QdrantAnswer("error", "the answer to a search makes no sense", took)
            return QdrantAnswer(found.outcome, found.message, took)

    async def collection(self, target: QdrantTarget, name: str, timeout: float) -> QdrantAnswer:
        """Its state, and from 1.17 on how many optimisations are queued or running."""
        async with _asking(target, timeout) as ask:
            info, work = await asyncio.gather(ask.get(_path(name)), ask.get(f"{_path(name)}/optimizations"))
            if info.outcome != "ok":
                return QdrantAnswer(info.outcome, info.message)
            found = answers.collection(name, info.result)
            if found is None:
                return QdrantAnswer("error", "the answer about the collection makes no sense")
            return QdrantAnswer("ok", collection=replace(found, pending=answers.pending(work.result)))

    async def reconfigure(
        self, target: QdrantTarget, name: str, optimizers: Mapping[str, Any], timeout: float
    ) -> QdrantAnswer:
        """Servers before 1.19 answer only when the running optimisations have ended: a time-out is no refusal."""
        async with _asking(target, timeout) as ask:
            found = await ask.send("PATCH", _path(name), {"optimizers_config": dict(optimizers)})
            return QdrantAnswer(found.outcome, found.message)


class _Asking:
    """Requests that share one session and one deadline."""

    def __init__(self, session: aiohttp.ClientSession, target: QdrantTarget, timeout: float) -> None:
        self._session = session
        self._target = target
        self._timeout = timeout
        self._until = time.monotonic() + timeout

    async def get(self, path: str) -> _Answer:
        return await self.send("GET", path)

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> _Answer:
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        left = max(0.001, self._until - time.monotonic())
        try:
            async with self._session.request(
                method,
                URL(f"http://{host}:{self._target.port}{path}", encoded=True),
                json=body,
                timeout=aiohttp.ClientTimeout(total=left),
                allow_redirects=False,
            ) as response:
                return self._read(response.status, await whole(response.content, BODY_LIMIT))
        except TimeoutError:
            return _Answer("timeout", message=f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError, OverflowError) as problem:
            return _Answer(_failure(problem), message=self._said(f"{type(problem).__name__}: {problem}"))

    def _read(self, status: int, body: bytes | None) -> _Answer:
        if body is None:
            return _Answer("error", message=f"HTTP {status} with an answer of more than {BODY_LIMIT // 1024} KiB")
        if 200 <= status < 300:
            return _Answer("ok", body)
        text = answers.error(body)
        return _Answer(STATUSES.get(status, "error"), message=self._said(f"HTTP {status}: {text}"))

    def _said(self, text: str) -> str:
        return " ".join(redact(text, (self._target.api_key,)).split())[:LONGEST_MESSAGE]


@asynccontextmanager
async def _asking(target: QdrantTarget, timeout: float) -> AsyncIterator[_Asking]:
    # What is not compressed cannot unfold without a bound.
    headers = {"Accept-Encoding": "identity"} | ({"api-key": target.api_key} if target.api_key else {})
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield _Asking(session, target, timeout)


async def _collections(ask: _Asking, ready: _Answer, listed: _Answer) -> QdrantFacts:
    """/readyz is only half of it: once true it stays true, so what counts is that the storage answers."""
    if ready.outcome == "not_ready":
        return QdrantFacts("not_ready", ready.message)
    if listed.outcome != "ok":
        worst = ready if ready.outcome in LOST else listed
        return QdrantFacts("error" if worst.outcome == "missing" else worst.outcome, worst.message)
    names = answers.names(listed.result)
    if names is None:
        return QdrantFacts("error", "the list of collections makes no sense")
    told = await asyncio.gather(*(ask.get(_path(name)) for name in names[:COLLECTIONS]))
    found = []
    for name, answer in zip(names, told, strict=False):
        if answer.outcome in ("missing", "auth"):
            # Dropped meanwhile, or not this key's to see.
            continue
        one = answers.collection(name, answer.result)
        if one is None:
            text = answer.message or "the answer makes no sense"
            outcome = "error" if answer.outcome == "ok" else answer.outcome
            return QdrantFacts(outcome, f"collection {name[:64]}: {text}"[:LONGEST_MESSAGE], total=len(names))
        found.append(one)
    return QdrantFacts("ok", total=len(names), collections=tuple(found))


async def _with_shards(ask: _Asking, known: QdrantCluster, of: Sequence[QdrantCollection]) -> QdrantCluster:
    told = await asyncio.gather(*(ask.get(f"{_path(c.name)}/cluster") for c in of[:CLUSTERED]))
    return answers.with_shards(known, [a.result for a in told])


def _path(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"


def _failure(problem: BaseException) -> str:
    number = problem.errno if isinstance(problem, OSError) else None
    if number in UNREACHABLE:
        return "unreachable"
    if number == errno.ETIMEDOUT:
        return "timeout"
    hung_up = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError, aiohttp.ClientPayloadError)
    return "refused" if isinstance(problem, hung_up) else "error"
