"""A small client of the Kubernetes API for the node's helper programs: client certificate, JSON, no dependencies."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from docuquery_local.errors import LocalClusterError

Object = dict[str, Any]


class ApiError(LocalClusterError):
    """The API server refused, or did not answer (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Talks to one API server with one client certificate."""

    def __init__(self, server: str, pki: Path, user: str) -> None:
        self._server = server
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")
        # No proxy: the node's addresses exist on this machine only.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def request(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """Send one request and return the answer's object."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data=data, method=method, headers={"Content-Type": kind})
        try:
            with self._opener.open(request, timeout=10) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:300]
            raise ApiError(error.code, f"{method} {path}: {error.code} {detail}") from None
        except OSError as error:
            raise ApiError(0, f"{method} {path}: {error}") from None
        return _parse(content)

    def items(self, path: str) -> list[Object]:
        """All objects of a collection."""
        found: list[Object] = self.request("GET", path).get("items", [])
        return found

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            self.request("GET", "/readyz")
        except ApiError:
            return False
        return True


def _parse(content: bytes) -> Object:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
