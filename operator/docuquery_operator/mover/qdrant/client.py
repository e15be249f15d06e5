"""One Qdrant server by REST, with streams both ways."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from ...domain.backups.request import Server
from ..chunks import CHUNK
from ..contracts import MoverError

KEY_FILE = "api-key"
CA_FILE = "ca.crt"
ANSWER_LIMIT = 256 << 20
# A stream that brings nothing for so long has ended without saying so; the server gives a reader up after the same time.
SILENCE = 300.0
CONNECT = 20.0


class AnswerError(MoverError):
    """The server has answered, and the answer is no. status: of HTTP."""

    def __init__(self, reason: str, message: str, status: int, retry: bool) -> None:
        super().__init__(reason, message, retry)
        self.status = status


class UnclearError(MoverError):
    """No answer: the server may have done the work, or go on doing it."""

    def __init__(self, message: str) -> None:
        super().__init__("QdrantUnreachable", message)


def path(*parts: str | int) -> str:
    """A path of these parts, each quoted whole: the name of a collection may hold anything."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


@asynccontextmanager
async def connected(server: Server, secrets: Path, timeout: float) -> AsyncIterator[Client]:
    """A client; `timeout` in seconds for the longest request. The key is read from `qdrant/api-key` below `secrets`."""
    headers = {"Accept-Encoding": "identity"} | _credentials(secrets)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_trust(server, secrets)),
        headers=headers,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=CHUNK,
    ) as session:
        yield Client(session, server, timeout)


class Client:
    """Requests to one server."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, timeout: float) -> None:
        self._session = session
        self.server = server
        self.timeout = timeout

    @property
    def url(self) -> str:
        """Address, such as http://qdrant:6333."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return f"{'https' if self.server.tls else 'http'}://{host}:{self.server.port}"

    async def get(self, where: str) -> Any:
        """`result` of a GET."""
        return await self.send("GET", where)

    async def post(self, where: str, body: Mapping[str, Any]) -> Any:
        """`result` of a POST of JSON."""
        return await self.send("POST", where, body)

    async def send(
        self, method: str, where: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> Any:
        """`result` of the answer; AnswerError for a bad status, UnclearError when there is none in time."""
        text, _ = await self.plain(method, where, body, timeout)
        try:
            envelope = json.loads(text)
        except ValueError as error:
            raise UnclearError(f"the answer of {self.url} to {method} {where} is not JSON") from error
        if not isinstance(envelope, dict) or "result" not in envelope:
            raise UnclearError(f"the answer of {self.url} to {method} {where} has no result; is this a Qdrant server?")
        return envelope["result"]

    async def plain(
        self, method: str, where: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of a good answer."""
        async with self._answer(method, where, json=body, timeout=self._within(timeout)) as answer:
            return await _whole(answer), answer.headers

    @asynccontextmanager
    async def download(self, where: str) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        """Length in bytes, where the server says one, and the stream."""
        within = aiohttp.ClientTimeout(total=self.timeout, sock_connect=CONNECT, sock_read=SILENCE)
        async with self._answer("GET", where, timeout=within) as answer:
            yield answer.content_length, answer.content.iter_chunked(CHUNK)

    async def upload(self, where: str, stream: AsyncIterator[bytes]) -> Any:
        """Send a stream as the form's field `snapshot`; an error of the stream itself is passed on as it is."""
        failed: list[BaseException] = []
        with aiohttp.MultipartWriter("form-data") as form:
            part = form.append_payload(aiohttp.AsyncIterablePayload(_remembered(stream, failed)))
            part.set_content_disposition("form-data", name="snapshot", filename="snapshot")
            try:
                async with self._answer("POST", where, data=form, timeout=self._within(None)) as answer:
                    envelope = json.loads(await _whole(answer))
            except MoverError:
                if failed:
                    raise failed[0] from None
                raise
        return envelope.get("result")

    def _within(self, timeout: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=timeout or self.timeout, sock_connect=CONNECT)

    @asynccontextmanager
    async def _answer(self, method: str, where: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method, URL(self.url + where, encoded=True), allow_redirects=False, **how
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise _bad(self.url, method, where, answer.status, await _words(answer))
                yield answer
        except TimeoutError as error:
            raise UnclearError(f"{self.url} has not answered {method} {where} in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnclearError(f"{method} {where} at {self.url}: {type(error).__name__}: {str(error)[:200]}") from error


async def _remembered(stream: AsyncIterator[bytes], failed: list[BaseException]) -> AsyncIterator[bytes]:
    """The same stream; what it raises is kept, for the HTTP client would wrap it into words of its own."""
    try:
        async for chunk in stream:
            yield chunk
    except (Exception, asyncio.CancelledError) as error:
        failed.append(error)
        raise


def _credentials(secrets: Path) -> dict[str, str]:
    file = secrets / "qdrant" / KEY_FILE
    key = file.read_text().strip() if file.is_file() else ""
    return {"api-key": key} if key else {}


def _trust(server: Server, secrets: Path) -> ssl.SSLContext | bool:
    if not server.tls:
        return True
    authority = secrets / "qdrant" / CA_FILE
    return ssl.create_default_context(cafile=str(authority) if authority.is_file() else None)


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise UnclearError(f"an answer of more than {ANSWER_LIMIT >> 20} MiB")
    return bytes(body)


async def _words(answer: aiohttp.ClientResponse) -> str:
    body = await answer.content.read(4096)
    try:
        status = json.loads(body)["status"]
        return str(status["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:300]


def _bad(url: str, method: str, where: str, status: int, words: str) -> AnswerError:
    said = f"{url} answers {method} {where} with {status}: {' '.join(words.split())}"
    if status in {401, 403}:
        hint = f"; the Secret of the Stack's Qdrant credentials needs a valid {KEY_FILE} with the right to do this"
        return AnswerError("QdrantUnauthorized", said + hint, status, retry=False)
    if status == 404:
        return AnswerError("QdrantNotFound", said, status, retry=False)
    reason, retry = ("QdrantFailed", True) if status >= 500 or status in {408, 409, 429} else ("QdrantRefused", False)
    return AnswerError(reason, said, status, retry)
