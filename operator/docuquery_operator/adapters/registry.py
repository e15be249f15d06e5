"""The OCI distribution API (github.com/opencontainers/distribution-spec), read without credentials.

A registry that asks for a token gets an anonymous one from the place that it names, as its own clients do
(distribution.github.io, "Token Authentication Specification"); what that is not enough for is told as such.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ..domain.workloads.images import DIGEST, DOCKER_HUB, DOCKER_REGISTRY, Image
from ..ports import TagAnswer
from .bodies import start_of

ACCEPT = ", ".join(
    f"application/vnd.{kind}"
    for kind in (
        "oci.image.index.v1+json",
        "docker.distribution.manifest.list.v2+json",
        "oci.image.manifest.v1+json",
        "docker.distribution.manifest.v2+json",
    )
)
BODY_LIMIT = 4 << 20
PLATFORMS = 64
DENIED = (401, 403)


class OciRegistry:
    """ports.Registry. plain: registries (host, or host:port) that speak HTTP without TLS."""

    def __init__(self, plain: Collection[str] = ()) -> None:
        self._plain = frozenset(plain)

    async def tag(self, image: Image, timeout: float) -> TagAnswer:
        """One look; a session of its own, as it happens once a month."""
        try:
            async with (
                asyncio.timeout(timeout),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            ):
                return await self._asked(session, image)
        except TimeoutError:
            return TagAnswer(problem=f"{image.registry} gave no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return TagAnswer(problem=f"{image.registry} cannot be asked: {type(problem).__name__}: {problem}"[:300])

    async def _asked(self, session: aiohttp.ClientSession, image: Image) -> TagAnswer:
        host = DOCKER_REGISTRY if image.registry == DOCKER_HUB else image.registry
        scheme = "http" if image.registry in self._plain else "https"
        url = f"{scheme}://{host}/v2/{image.repository}/manifests/{image.tag}"
        answer = await _get(session, url, {"Accept": ACCEPT})
        if answer[0] in DENIED:
            token = await _token(session, answer[1].get("WWW-Authenticate", ""), scheme, host)
            if token:
                answer = await _get(session, url, {"Accept": ACCEPT, "Authorization": f"Bearer {token}"})
        status, headers, body = answer
        if status in DENIED:
            return TagAnswer(problem=f"{image.registry} tells {image.repository} only to those who log in", credentials=True)
        if status != 200:
            return TagAnswer(problem=f"{image.registry} answers {status} for {image.repository}:{image.tag}")
        digest = headers.get("Docker-Content-Digest") or f"sha256:{hashlib.sha256(body).hexdigest()}"
        if not DIGEST.fullmatch(digest):
            return TagAnswer(problem=f"{image.registry} gives a digest of another kind: {digest[:100]}")
        return TagAnswer(digest, _platforms(body))


async def _get(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, Any, bytes]:
    async with session.get(url, headers=headers, max_redirects=3) as answer:
        return answer.status, answer.headers, await start_of(answer.content, BODY_LIMIT)


async def _token(session: aiohttp.ClientSession, challenge: str, scheme: str, host: str) -> str:
    """An anonymous token; '' where none is given. Asked for by TLS, or of the registry itself."""
    if not challenge.lower().startswith("bearer "):
        return ""
    given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = urlsplit(given.get("realm", ""))
    if realm.scheme != "https" and (realm.scheme, realm.netloc) != (scheme, host):
        return ""
    asked = {k: given[k] for k in ("service", "scope") if k in given}
    async with session.get(realm.geturl(), params=asked) as answer:
        if answer.status != 200:
            return ""
        found = json.loads(await start_of(answer.content, BODY_LIMIT))
    return str(found.get("token") or found.get("access_token") or "") if isinstance(found, dict) else ""


def _platforms(body: bytes) -> tuple[str, ...]:
    try:
        found = json.loads(body)
        manifests = found.get("manifests") if isinstance(found, dict) else None
        digests = [str(m.get("digest", "")) for m in manifests or [] if isinstance(m, dict)]
    except ValueError:
        return ()
    return tuple(d for d in digests[:PLATFORMS] if DIGEST.fullmatch(d))
