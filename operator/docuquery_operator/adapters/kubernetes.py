"""The Kubernetes API as JSON over one aiohttp session: small, quick, and without the models of the big client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from ..domain.redaction import redact
from ..ports import JSON, LOG_BYTES, POD, Conflict, Kind, Refused, Unavailable
from .access import Access

TIMEOUT_SECONDS = 10.0
LOG_PIECE = 64 * 1024
PAGE, PICKED = 500, 100
MERGE_PATCH = "application/merge-patch+json"
BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_MANY = 400, 404, 409, 429
# A slow request, and a page of a list that has grown too old: the same question later may be answered.
LATER = (408, 410, TOO_MANY)
LONGEST_WAIT = 30.0


class KubernetesCluster:
    """ports.Cluster over HTTP. Errors are mapped here and nowhere else."""

    def __init__(self, access: Access, field_manager: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._access = access
        self._manager = field_manager
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> KubernetesCluster:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context(), limit=32)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> JSON | None:
        """GET one object."""
        status, body = await self._call("GET", _path(kind, namespace, name))
        return None if status == NOT_FOUND else body

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", pick: Callable[[JSON], JSON] | None = None
    ) -> Sequence[JSON]:
        """GET all pages of a collection. With pick no more than a small page is in memory at once."""
        items: list[JSON] = []
        query = {"limit": str(PICKED if pick else PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            status, body = await self._call("GET", _path(kind, namespace), query=query)
            if status == NOT_FOUND:
                return items
            found = body.get("items") or []
            items += [pick(item) for item in found] if pick else found
            token = (body.get("metadata") or {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    async def served(self, kind: Kind, namespace: str) -> bool:
        """One item of the collection, or 404."""
        status, _ = await self._call("GET", _path(kind, namespace), query={"limit": "1"})
        return status != NOT_FOUND

    async def create(self, kind: Kind, namespace: str, body: JSON) -> JSON:
        """POST one object."""
        full = {"apiVersion": f"{kind.group}/{kind.version}" if kind.group else kind.version, "kind": kind.kind, **body}
        _, answer = await self._call("POST", _path(kind, namespace), full, query={"fieldManager": self._manager})
        return answer

    async def patch(self, kind: Kind, namespace: str, name: str, body: JSON, subresource: str = "") -> JSON | None:
        """PATCH by JSON merge patch."""
        path = _path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        status, answer = await self._call("PATCH", path, body, query={"fieldManager": self._manager}, content=MERGE_PATCH)
        return None if status == NOT_FOUND else answer

    async def evict(self, namespace: str, pod: str, uid: str, dry_run: bool = False) -> str:
        """POST an Eviction with the pod's uid as precondition; 429 is a disruption budget that says no."""
        options: JSON = {"preconditions": {"uid": uid}}
        if dry_run:
            options["dryRun"] = ["All"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": options,
        }
        try:
            await self._call("POST", _path(POD, namespace, pod) + "/eviction", body)
        except Unavailable as busy:
            # A 429 without a budget is the API server's own throttling.
            if busy.args[0].startswith("429") and "disruption budget" in busy.args[0].lower():
                return str(busy)
            raise
        except Conflict:
            return ""
        return ""

    async def logs(
        self, namespace: str, pod: str, container: str, previous: bool, lines: int, limit: int = LOG_BYTES
    ) -> str:
        """GET the tail of a log; a container that never ran has none."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(limit), "timestamps": "true"}
        if previous:
            query["previous"] = "true"
        try:
            status, text = await self._raw("GET", _path(POD, namespace, pod) + "/log", None, query, None)
        except Refused as no:
            if no.status == BAD_REQUEST:
                return ""
            raise
        return "" if status == NOT_FOUND else text

    async def log_stream(
        self, namespace: str, pod: str, container: str, since: datetime, limit: int
    ) -> AsyncGenerator[bytes, None]:
        """GET the log from a time on, passed on as it comes. The server begins at the oldest line and ends at the limit."""
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        start = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"container": container, "sinceTime": start, "limitBytes": str(limit), "timestamps": "true"}
        path = _path(POD, namespace, pod) + "/log"
        try:
            login = self._access.headers()
            async with self._session.get(
                self._access.server + path, params=query, headers=login, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    text = (await response.content.read(LOG_BYTES)).decode(errors="replace")
                    if response.status != BAD_REQUEST:
                        _checked(response, text, "GET", tuple(v.split()[-1] for v in login.values()))
                    return
                taken = 0
                async for piece in response.content.iter_chunked(LOG_PIECE):
                    yield piece[: limit - taken]
                    taken += len(piece)
                    if taken >= limit:
                        return
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise Unavailable(f"GET {path}: {type(problem).__name__} {redact(str(problem))}"[:1024]) from None

    async def _call(
        self,
        method: str,
        path: str,
        body: JSON | None = None,
        query: Mapping[str, str] | None = None,
        content: str | None = None,
    ) -> tuple[int, JSON]:
        status, text = await self._raw(method, path, body, query, content)
        if status == NOT_FOUND:
            return status, {}
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{method} {path}: the answer ({len(text)} characters) is not a JSON object")
        return status, answer

    async def _raw(
        self, method: str, path: str, body: JSON | None, query: Mapping[str, str] | None, content: str | None
    ) -> tuple[int, str]:
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        data = None if body is None else json.dumps(body)
        try:
            login = self._access.headers()
            headers = login | {"Content-Type": content or "application/json", "Accept": "application/json"}
            async with self._session.request(
                method, self._access.server + path, data=data, params=query, headers=headers, allow_redirects=False
            ) as response:
                text = (await response.read()).decode(errors="replace")
                return response.status, _checked(response, text, method, tuple(v.split()[-1] for v in login.values()))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise Unavailable(f"{method} {path}: {type(problem).__name__} {redact(str(problem))}"[:1024]) from None


def _checked(response: aiohttp.ClientResponse, text: str, method: str, secrets: tuple[str, ...]) -> str:
    """The body of a good answer; 404 on reading and patching is an answer too."""
    status = response.status
    if status < 300 or (status == NOT_FOUND and (method != "POST" or response.url.path.endswith("/eviction"))):
        return text
    message = redact(_message(text), secrets)
    if status == CONFLICT:
        raise Conflict(message)
    # A redirect comes from something in between, never from the API server itself.
    if status in LATER or status >= 500 or status < 400:
        raise Unavailable(f"{status}: {message}", after=_retry_after(response))
    raise Refused(status, message)


def _message(text: str) -> str:
    try:
        parsed: Any = json.loads(text)
        return str(parsed.get("message", text))[:1024]
    except (ValueError, AttributeError):
        return text[:1024]


def _retry_after(response: aiohttp.ClientResponse) -> float:
    try:
        return min(LONGEST_WAIT, max(1.0, float(int(response.headers.get("Retry-After", "2")))))
    except ValueError:
        return 2.0


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    scope = f"/namespaces/{_segment(namespace)}" if namespace else ""
    base = f"{kind.prefix}{scope}/{kind.plural}"
    return f"{base}/{_segment(name)}" if name else base


def _segment(name: str) -> str:
    """A name as one part of a path, whatever it holds."""
    if name in (".", ".."):
        raise Refused(400, f"no object can be named {name!r}")
    return quote(name, safe="")
