"""The bench's own client: it counts what it writes itself, and reads what the API server has counted of everybody."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

import aiohttp

from tests.harness.apiserver import ApiServer

JSON = dict[str, Any]
GROUP = "/apis/ops.docuquery.ai/v1alpha1"
MERGE_PATCH = "application/merge-patch+json"
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION")
REQUESTS = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
OPEN_WATCHES = re.compile(r"^apiserver_longrunning_requests\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
# What the API server writes to itself: its own identity, its flow control, its own CRD and APIService states.
OWN_GROUPS = ("flowcontrol.apiserver.k8s.io", "apiregistration.k8s.io", "apiextensions.k8s.io", "rbac.authorization.k8s.io")
PARALLEL = 8

Request = tuple[str, str]


class Client:
    """The administrator, over one session."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None
        self.own: Counter[Request] = Counter()

    async def __aenter__(self) -> Client:
        tls = ssl.create_default_context(cafile=str(self._server.ca))
        self._session = aiohttp.ClientSession(
            base_url=self._server.url,
            connector=aiohttp.TCPConnector(ssl=tls, limit=64),
            headers={"Authorization": f"Bearer {self._server.token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, while the context is open."""
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        return self._session

    async def write(self, method: str, path: str, resource: str, body: JSON | None = None) -> None:
        """One write of the bench, which is taken off the API server's count."""
        content = MERGE_PATCH if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, path, data=data, headers={"Content-Type": content}) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]}")
        self.own[("DELETECOLLECTION" if path.endswith("/incidents") and method == "DELETE" else method), resource] += 1

    async def requests(self) -> Counter[Request]:
        """Requests of everybody but the bench and the API server itself: (verb, resource/subresource) → number."""
        found: Counter[Request] = Counter()
        for labels, value in await self._metric(REQUESTS):
            if labels["group"] in OWN_GROUPS or _identity_lease(labels):
                continue
            resource = "/".join(p for p in (labels["resource"], labels["subresource"]) if p)
            found[labels["verb"], resource] += int(value)
        found.subtract(self.own)
        return found

    async def open_watches(self, resource: str) -> int:
        """Watches that are open now on a resource of ours."""
        rows = await self._metric(OPEN_WATCHES)
        return sum(int(v) for labels, v in rows if labels["resource"] == resource and labels["verb"] == "WATCH")

    async def lines(self, path: str) -> AsyncIterator[JSON]:
        """Events of a watch."""
        async with self.session.get(path) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield json.loads(line)

    async def _metric(self, pattern: re.Pattern[str]) -> list[tuple[dict[str, str], float]]:
        async with self.session.get("/metrics") as answer:
            text = await answer.text()
        return [(dict(LABEL.findall(m["labels"])), float(m["value"])) for m in pattern.finditer(text)]


def _identity_lease(labels: dict[str, str]) -> bool:
    # Our operator writes its Lease by POST and PATCH, the API server its own by PUT.
    return labels["resource"] == "leases" and labels["verb"] == "PUT"


def writes(before: Counter[Request], after: Counter[Request]) -> Counter[Request]:
    """Writes between two readings, without the leader Lease."""
    return Counter({k: after[k] - before[k] for k in after if k[0] in WRITES and k[1] != "leases" and after[k] != before[k]})


def lease_writes(before: Counter[Request], after: Counter[Request]) -> int:
    """Writes of the leader Lease between two readings."""
    return sum(after[k] - before[k] for k in after if k[0] in WRITES and k[1] == "leases")


def reads(before: Counter[Request], after: Counter[Request]) -> int:
    """GET and LIST between two readings; the bench's own readings of /metrics have no resource."""
    return sum(after[k] - before[k] for k in after if k[0] in ("GET", "LIST") and k[1])


async def parallel(jobs: Iterable[Callable[[], Awaitable[None]]], width: int = PARALLEL) -> None:
    """Run all jobs, `width` side by side."""
    waiting = iter(jobs)

    async def worker() -> None:
        for job in waiting:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
