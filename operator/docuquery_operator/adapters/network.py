"""Plain reachability: names, TCP, HTTP."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import aiohttp

from ..domain.redaction import redact
from ..ports import BODY_LIMIT, HttpAnswer
from .bodies import start_of

RESOLVERS = 16
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class SystemNetwork:
    """ports.Network."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        # Own threads: look-ups that wait for a sick DNS must not look like one to others, nor wait behind other work.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")

    async def __aenter__(self) -> SystemNetwork:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, force_close=True), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def resolve(self, host: str, timeout: float) -> Sequence[str] | None:
        """Through the system's resolver."""
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._resolvers, functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
                )
        except socket.gaierror as problem:
            return [] if problem.errno in NO_SUCH_NAME else None
        except OSError:
            # Also the end of the time.
            return None
        except ValueError:
            # Nothing can have such a name: a part is empty or too long.
            return []
        return sorted({str(entry[4][0]) for entry in found})

    async def connect(self, host: str, port: int, timeout: float) -> str:
        """Opens and closes a TCP connection."""
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return "timeout"
        except ConnectionRefusedError:
            return "refused"
        except OSError as problem:
            return "timeout" if problem.errno == errno.ETIMEDOUT else "unreachable"
        except (ValueError, OverflowError):
            # No such name or port can be.
            return "unreachable"
        writer.close()
        return "ok"

    async def http_get(self, host: str, port: int, path: str, timeout: float, limit: int = BODY_LIMIT) -> HttpAnswer:
        """Follows no redirect: an answer from elsewhere would not be the component's."""
        if self._session is None:
            raise RuntimeError("use the network as a context manager")
        address = f"[{host}]" if ":" in host else host
        began = time.monotonic()
        try:
            async with self._session.get(
                f"http://{address}:{port}/{path.removeprefix('/')}",
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as response:
                body = await start_of(response.content, limit + 1)
                took = (time.monotonic() - began) * 1000
                text = body[:limit].decode(errors="replace")
                return HttpAnswer(response.status, text, latency_ms=took, cut=len(body) > limit)
        except TimeoutError:
            return HttpAnswer(0, problem=f"no answer within {timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError, OverflowError) as problem:
            return HttpAnswer(0, problem=redact(f"{type(problem).__name__}: {problem}")[:200])
