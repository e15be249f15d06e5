"""One POST: TLS is verified, redirects are refused, and the connection goes to the address that was checked."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ...ports import Receipt
from ..bodies import start_of
from .base import SetupError
from .guard import Guard

BODY_READ = 1024
AGAIN_LATER = (408, 425, 429)
DEFAULT_WAIT = 30.0


class Poster:
    """Sends requests for all channels that speak HTTP."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
        ca: str = "",
        plain_allowed: bool = False,
        now: float = 0.0,
    ) -> Receipt:
        """One try. ca: certificates to trust instead of the system's; now: seconds since 1970, for dates in Retry-After."""
        return (await self.exchange(url, body, headers, timeout, ca, plain_allowed, now))[0]

    async def exchange(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
        ca: str = "",
        plain_allowed: bool = False,
        now: float = 0.0,
        read: int = BODY_READ,
    ) -> tuple[Receipt, bytes]:
        """The same, and the first so many bytes of the answer."""
        host, port, schemes = *_target(url), ("https", "http") if plain_allowed else ("https",)
        if urlsplit(url).scheme not in schemes:
            raise SetupError(f"url must begin with {' or '.join(f'{s}://' for s in schemes)}")
        async with asyncio.timeout(timeout):
            addresses = await self._guard.addresses(host, port)
            connector = aiohttp.TCPConnector(
                resolver=_Checked(addresses), ssl=trusted(ca), force_close=True, use_dns_cache=False
            )
            limit = aiohttp.ClientTimeout(total=timeout)
            try:
                async with (
                    aiohttp.ClientSession(
                        connector=connector, timeout=limit, cookie_jar=aiohttp.DummyCookieJar()
                    ) as session,
                    session.post(url, data=body, headers=headers, allow_redirects=False) as response,
                ):
                    found = await start_of(response.content, read)
                    return _receipt(response.status, response.headers.get("Retry-After", ""), now), found
            # Both are also ValueErrors; so the order matters.
            except aiohttp.ClientConnectorCertificateError:
                return Receipt(False, "the server's certificate is not trusted", hard=True), b""
            except (aiohttp.InvalidURL, ValueError) as problem:
                raise SetupError("url cannot be used") from problem
            except aiohttp.ClientError as problem:
                return Receipt(False, type(problem).__name__), b""


class _Checked(AbstractResolver):
    """Gives the addresses that the guard has let through, whatever the name means a moment later."""

    def __init__(self, addresses: Sequence[tuple[int, str]]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """All of them."""
        return [
            ResolveResult(hostname=host, host=address, port=port, family=of, proto=0, flags=0)
            for of, address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _target(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as problem:
        raise SetupError("url cannot be read") from problem
    if not host:
        raise SetupError("url names no host")
    if parts.username is not None or parts.password is not None:
        raise SetupError("url holds a user; put what the receiver asks for into the keys that docs/notifications.md names")
    return host, port


@functools.lru_cache(maxsize=8)
def trusted(ca: str) -> ssl.SSLContext:
    """Trusts these certificates, or the system's. Reading the system's certificates takes longer than sending."""
    try:
        return ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError as problem:
        raise SetupError("ca.crt holds no certificates in PEM form") from problem


def _receipt(status: int, retry_after: str, now: float) -> Receipt:
    if 200 <= status < 300:
        return Receipt(True)
    if status in AGAIN_LATER or status >= 500:
        wait = _seconds(retry_after, now) if retry_after else (DEFAULT_WAIT if status == 429 else 0.0)
        return Receipt(False, f"HTTP {status}", retry_after=wait)
    note = f"HTTP {status}: redirects are not followed" if 300 <= status < 400 else f"HTTP {status}"
    return Receipt(False, note, hard=True)


def _seconds(text: str, now: float) -> float:
    """Retry-After in seconds or as a date."""
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return DEFAULT_WAIT
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now) if now else DEFAULT_WAIT
