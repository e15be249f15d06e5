"""Names the kind of a failure of Qdrant, which speaks HTTP."""

import socket
from collections.abc import Iterator

import httpx

from app.failures import Failure


def qdrant_failure(error: BaseException) -> Failure:
    """Classify what httpx, Qdrant's status code or a time-out raised."""
    if isinstance(error, httpx.HTTPStatusError):
        return Failure(_HTTP.get(error.response.status_code, "other"))
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return Failure("timeout")
    chain = list(_chain(error))
    text = " ".join(str(link) for link in chain)
    unresolved = any(isinstance(link, socket.gaierror) for link in chain)
    if unresolved or "Name or service" in text or "name resolution" in text:
        return Failure("dns")
    if "SSL" in text or "certificate" in text:
        return Failure("tls")
    if isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError)):
        return Failure("refused")
    return Failure("other")


_HTTP = {
    401: "auth",
    403: "auth",
    404: "missing_database",
    429: "too_many_connections",
    503: "starting",
    507: "disk_full",
}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
