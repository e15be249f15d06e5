"""The whole page as files in an object store; the one place beside the movers that knows the store's library.

Written in an order in which no file points at one that is not there; the list of what was written comes last, so that an
export that is ended anywhere is simply done again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ..page.site import Document, Site

LIST = ".export.json"
TIMEOUT = timedelta(seconds=30)
RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
CACHE = "public, max-age=60"
FIRST, LAST = ("style.css", "page.js", "icon.svg"), ("history.html", "index.html")
# What the store's library raises, beside its own tree.
PROBLEMS = (BaseError, OSError, ValueError)


class StoreProblem(Exception):
    """The store cannot be used now; the text says what it said, without credentials."""


def opened(url: str, options: Mapping[str, Any]) -> ObjectStore:
    """Not asked yet. StoreProblem where the address or an option is not understood."""
    try:
        if url.startswith("file:"):
            return from_url(url, mkdir=True)
        plain = any("endpoint" in k and str(v).startswith("http://") for k, v in options.items())
        config: Any = {**options} or None
        client: Any = {"timeout": TIMEOUT, "allow_http": plain}
        return from_url(url, config=config, client_options=client, retry_config=RETRY)
    except PROBLEMS as problem:
        raise StoreProblem(f"{url}: {_short(problem)}") from None


class Export:
    """Remembers what it has written; a new one reads that from the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[str, str] | None = None

    async def write(self, site: Site) -> int:
        """How many files were written or removed. StoreProblem; then nothing is lost but the work."""
        try:
            if self._known is None:
                self._known = await self._listed()
            return await self._write(site, self._known)
        except PROBLEMS as problem:
            raise StoreProblem(_short(problem)) from None

    async def _write(self, site: Site, known: Mapping[str, str]) -> int:
        found = {path: document for path in site.paths if (document := site.document(path)) is not None}
        changed = [path for path in found if known.get(path) != found[path].digest]
        gone = sorted(set(known) - set(found))
        for path in sorted(changed, key=_order):
            await self._put(path, found[path])
        for path in gone:
            try:
                await obstore.delete_async(self._store, path)
            except FileNotFoundError:
                continue
        if changed or gone:
            self._known = {path: document.digest for path, document in found.items()}
            listed = json.dumps(self._known, sort_keys=True).encode()
            await obstore.put_async(self._store, LIST, listed)
        return len(changed) + len(gone)

    async def _put(self, path: str, document: Document) -> None:
        attributes: Any = {"Content-Type": document.type, "Cache-Control": CACHE}
        try:
            await obstore.put_async(self._store, path, document.body, attributes=attributes)
        except NotImplementedError:
            # A folder has no place for them; whoever serves it tells types by names.
            await obstore.put_async(self._store, path, document.body)

    async def _listed(self) -> dict[str, str]:
        try:
            answer = await obstore.get_async(self._store, LIST)
            found = json.loads(bytes(await answer.bytes_async()))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _order(path: str) -> tuple[int, str]:
    if path in FIRST:
        return 0, path
    return (2 + LAST.index(path) if path in LAST else 1), path


def _short(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300]
