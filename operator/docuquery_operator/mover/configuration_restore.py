"""Saved configuration brought back: what would change, and by the pod's own ServiceAccount what is changed."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ..domain.backups.manifest import Manifest, ObjectKind
from .chunks import whole
from .configuration import NAMES, cleaned, name_of
from .contracts import MoverError, ObjectReader

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MANAGER = "docuquery-restore"
LIMIT = 64 << 20
TIMEOUT = 30.0
ANSWER_LIMIT = 8 << 20

Identity = tuple[str, str]


async def load(manifest: Manifest, reader: ObjectReader, kinds: Collection[ObjectKind]) -> list[dict[str, Any]]:
    """Saved objects of these kinds, as far as the set has them."""
    found: list[dict[str, Any]] = []
    for kind in kinds:
        for entry in manifest.objects:
            if entry.name == NAMES.get(kind):
                found += _items(await whole(reader.read(entry), LIMIT), entry.name)
    return found


def _items(data: bytes, name: str) -> list[dict[str, Any]]:
    try:
        items = json.loads(data)["items"]
    except (ValueError, KeyError, TypeError) as error:
        raise MoverError("Damaged", f"{name} holds no List of objects", retry=False) from error
    return [each for each in items if isinstance(each, dict) and name_of(each)]


def chosen(objects: Iterable[dict[str, Any]], kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Those of a kind with these names; MoverError with what the set has."""
    there = {name_of(each): each for each in objects if each.get("kind") == kind}
    missing = sorted(set(names) - there.keys())
    if missing:
        message = f"the set has no {kind} {', '.join(missing)}; it has: {', '.join(sorted(there)) or 'none'}"
        raise MoverError("ObjectMissing", message, retry=False)
    return [there[name] for name in names]


def identity(each: Mapping[str, Any]) -> Identity:
    """Kind and name."""
    return str(each.get("kind")), name_of(dict(each))


def differences(saved: Sequence[dict[str, Any]], live: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each object that would be made or changed: fields and keys, never values."""
    now = {identity(each): cleaned(each) for each in live}
    lines: list[str] = []
    for each in saved:
        kind, name = identity(each)
        other = now.get((kind, name))
        if other is None:
            lines.append(f"{kind} {name} would be made")
            continue
        changed = sorted(_changed(each, other, ""))
        if changed:
            more = f" and {len(changed) - 8} more" if len(changed) > 8 else ""
            lines.append(f"{kind} {name} would change: {', '.join(changed[:8])}{more}"[:512])
    return lines


def _changed(saved: Any, live: Any, where: str) -> Iterable[str]:
    """Paths that apply would set; what only the live object has stays."""
    if isinstance(saved, dict) and isinstance(live, dict):
        for name, each in saved.items():
            yield from _changed(each, live.get(name), f"{where}.{name}" if where else str(name))
    elif saved != live:
        yield where[:120]


@asynccontextmanager
async def cluster(api_url: str, namespace: str, account: Path = ACCOUNT) -> AsyncIterator[Api]:
    """The API server with the pod's token. MoverError when no ServiceAccount was given to the Job."""
    token = account / "token"
    if not token.is_file():
        message = (
            "the Job has no ServiceAccount to restore configuration with; name one that may patch these objects, "
            "or apply the files of the set by hand: docuquery-restore writes them for kubectl"
        )
        raise MoverError("NoServiceAccount", message, retry=False)
    headers = {"Authorization": f"Bearer {token.read_text().strip()}", "Accept": "application/json"}
    authority = account / "ca.crt"
    trust: ssl.SSLContext | bool = True
    if api_url.startswith("https://"):
        trust = ssl.create_default_context(cafile=str(authority) if authority.is_file() else None)
    async with aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(ssl=trust), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
    ) as session:
        yield Api(session, api_url.rstrip("/"), namespace)


class Api:
    """The few requests that a restore needs."""

    def __init__(self, session: aiohttp.ClientSession, url: str, namespace: str) -> None:
        self._session = session
        self._url = url
        self._namespace = namespace
        self._plurals: dict[str, dict[str, str]] = {}

    async def live(self, objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of them that are there, as they are."""
        found = []
        for each in objects:
            status, body = await self._send("GET", await self._path(each))
            if status == 200:
                found.append(body)
            elif status != 404:
                raise _refused("read", each, status, body)
        return found

    async def apply(self, objects: Sequence[dict[str, Any]]) -> list[str]:
        """Server-side apply, one after the other; again is the same. Lines on what was done."""
        lines = []
        for each in objects:
            where = f"{await self._path(each)}?fieldManager={MANAGER}&force=true"
            status, body = await self._send("PATCH", where, cleaned(each))
            if status not in {200, 201}:
                raise _refused("apply", each, status, body)
            kind, name = identity(each)
            lines.append(f"{kind} {name} {'made' if status == 201 else 'applied'}")
        return lines

    async def _path(self, each: dict[str, Any]) -> str:
        version, kind = str(each.get("apiVersion", "")), str(each.get("kind", ""))
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._plurals:
            status, body = await self._send("GET", base)
            if status != 200:
                raise _refused("look up", each, status, body)
            named = [r for r in body.get("resources", []) if r.get("namespaced") and "/" not in r.get("name", "/")]
            self._plurals[version] = {str(r["kind"]): str(r["name"]) for r in named}
        plural = self._plurals[version].get(kind)
        if plural is None:
            message = f"the cluster knows no {kind} of {version} in a namespace; install what defines it and try again"
            raise MoverError("KindUnknown", message)
        return f"{base}/namespaces/{quote(self._namespace, safe='')}/{plural}/{quote(name_of(each), safe='')}"

    async def _send(self, method: str, where: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": "application/apply-patch+yaml"} if body is not None else {}
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, URL(self._url + where, encoded=True), data=data, headers=headers, allow_redirects=False
            ) as answer:
                told = json.loads(await whole(answer.content.iter_any(), ANSWER_LIMIT))
                return answer.status, told if isinstance(told, dict) else {}
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise MoverError("ApiUnreachable", f"the API server does not answer: {type(error).__name__}") from error


def _refused(verb: str, each: dict[str, Any], status: int, body: dict[str, Any]) -> MoverError:
    """The server's words may quote what was sent: of a Secret only its reason is passed on."""
    kind, name = identity(each)
    words = body.get("reason", "") if kind == "Secret" else body.get("message", "")
    message = f"the API server does not let the restore {verb} {kind} {name}: {status} {str(words)[:300]}"
    return MoverError("ApiRefused", message, retry=status >= 500 or status == 429)
