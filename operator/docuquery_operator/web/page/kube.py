"""Lists and watches of one namespace, each object reduced at once to what may be shown; nothing is ever written."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import aiohttp

from ...ports import Kind

log = logging.getLogger(__name__)
T = TypeVar("T")
JSON = dict[str, Any]
PAGE = 100
# Of one line of a watch: no object of Kubernetes is larger than etcd takes.
LONGEST_LINE = 4 * 1024 * 1024
WATCH_SECONDS = 240
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


class Login(Protocol):
    """Where the API server is, and who we are."""

    @property
    def server(self) -> str:
        """Its address, without a slash at its end."""

    def headers(self) -> dict[str, str]:
        """Authorization."""

    def ssl_context(self) -> ssl.SSLContext | bool:
        """TLS settings."""


class ApiProblem(Exception):
    """The API server is away, refuses, or cannot go on from where we were."""


class Reader:
    """GET requests on the API server."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Reader:
        connector = aiohttp.TCPConnector(ssl=self._login.ssl_context(), limit=8)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> JSON | None:
        """One JSON object; None when there is none. ApiProblem."""
        try:
            async with self._ask(path, query or {}, aiohttp.ClientTimeout(total=15)) as answer:
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    raise ApiProblem(f"{answer.status} from {path}")
                found = await answer.json()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise ApiProblem(f"{path}: {type(problem).__name__}") from None
        if not isinstance(found, dict):
            raise ApiProblem(f"{path}: no JSON object")
        return found

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[JSON]:
        """Events of a watch, until the server ends it. ApiProblem."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 30)
        try:
            async with self._ask(path, query, timeout) as answer:
                if answer.status != 200:
                    raise ApiProblem(f"{answer.status} from the watch of {path}")
                rest = b""
                async for piece in answer.content.iter_any():
                    *whole, rest = (rest + piece).split(b"\n")
                    for line in whole:
                        yield json.loads(line)
                    if len(rest) > LONGEST_LINE:
                        raise ApiProblem(f"the watch of {path} sends a line without end")
                if rest.strip():
                    raise ApiProblem(f"the watch of {path} was cut in a line")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as problem:
            raise ApiProblem(f"the watch of {path}: {type(problem).__name__}") from None

    def _ask(
        self, path: str, query: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            raise RuntimeError("use the reader as a context manager")
        return self._session.get(
            self._login.server + path, params=query, headers=self._login.headers(), timeout=timeout, allow_redirects=False
        )


class Watched(Generic[T]):
    """All objects of a kind in a namespace, as `read` keeps them. changed: is told of each change."""

    def __init__(
        self, reader: Reader, kind: Kind, namespace: str, read: Callable[[JSON], T | None], changed: Callable[[], None]
    ) -> None:
        self._reader, self._read, self._changed = reader, read, changed
        self._path = f"{kind.prefix}/namespaces/{namespace}/{kind.plural}"
        self._items: dict[str, T] = {}
        self.synced = False

    @property
    def items(self) -> list[T]:
        """What is known now."""
        return list(self._items.values())

    async def run(self) -> None:
        """List, watch, and again, for ever."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                version = await self._list()
                pause = SHORTEST_PAUSE
                while True:
                    version = await self._watch(version)
                    # A server that ends each watch at once is not to be asked without end.
                    await asyncio.sleep(SHORTEST_PAUSE)
            except ApiProblem as problem:
                log.warning("not read", extra={"problem": str(problem)})
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _list(self) -> str:
        found: dict[str, T] = {}
        query = {"limit": str(PAGE)}
        while True:
            page = await self._reader.get(self._path, query)
            if page is None:
                raise ApiProblem(f"{self._path} is not served: the CRDs are missing")
            for obj in page.get("items") or []:
                self._keep(found, obj)
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        self._items, self.synced = found, True
        self._changed()
        return str(meta.get("resourceVersion", ""))

    async def _watch(self, version: str) -> str:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        async for event in self._reader.lines(self._path, {**query, "resourceVersion": version}):
            obj = event.get("object") or {}
            if event.get("type") == "ERROR":
                raise ApiProblem(f"the watch of {self._path} is too old: {obj.get('code')}")
            version = str((obj.get("metadata") or {}).get("resourceVersion", version))
            if event.get("type") == "DELETED":
                self._items.pop(_name(obj), None)
            elif event.get("type") in ("ADDED", "MODIFIED"):
                self._keep(self._items, obj)
            else:
                continue
            self._changed()
        return version

    def _keep(self, items: dict[str, T], obj: JSON) -> None:
        try:
            kept = self._read(obj)
        except (ValueError, TypeError, AttributeError, KeyError) as problem:
            # What is not understood is not shown. Its text may hold anything: only the kind of the problem is told.
            log.warning("an object cannot be read", extra={"object": _name(obj), "problem": type(problem).__name__})
            kept = None
        if kept is None:
            items.pop(_name(obj), None)
        else:
            items[_name(obj)] = kept


def _name(obj: JSON) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))
