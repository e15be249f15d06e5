"""Receivers on the host's end of the link to the node: a webhook that keeps what it is sent, and Debian's Alertmanager."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.harness.cluster import JSON, host_address
from tests.stack.services import Process, free_port, need, wait_up

KEY = "0123456789abcdef-e2e"


@dataclass
class Hook:
    """What has come, and when."""

    url: str = ""
    taken: list[tuple[datetime, JSON]] = field(default_factory=list)

    def of(self, incident: str) -> list[tuple[datetime, str]]:
        """When what was told of an incident."""
        return [(at, str(m["what"])) for at, m in self.taken if m["incident"] == incident]

    def secret(self, name: str) -> JSON:
        """The Secret of a channel `webhook` that ends here."""
        data = {"url": self.url, "key": KEY, "allowHttp": "true"}
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


@contextlib.contextmanager
def hook() -> Iterator[Hook]:
    """One server for the time of a test."""
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.taken.append((datetime.now(UTC), json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What comes is kept; a line for each would only be noise."""

    host = host_address()
    server = ThreadingHTTPServer((host, 0), Handler)
    found.url = f"http://{host}:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(frozen=True)
class RealAlertmanager:
    """Where it listens."""

    host: str
    port: int

    def ask(self, path: str, body: Any = None) -> Any:
        """JSON of its API; None without an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.host}:{self.port}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return None
        return json.loads(text) if text.startswith(("[", "{")) else text

    def living(self) -> list[JSON]:
        """Silences that are not over."""
        return [s for s in self.ask("/api/v2/silences") or [] if s["status"]["state"] != "expired"]

    def silenced(self, labels: dict[str, str]) -> list[str]:
        """Ids of what silences an alert now, by Alertmanager's own word."""
        self.ask("/api/v2/alerts", [{"labels": labels}])
        found = [a["status"]["silencedBy"] for a in self.ask("/api/v2/alerts") or [] if a["labels"] == labels]
        return [str(i) for i in found[0]] if found else []

    def service(self, name: str) -> list[JSON]:
        """A headless Service of the namespace that leads here."""
        meta = {"name": name, "labels": {"kubernetes.io/service-name": name}}
        port = {"name": "http", "port": self.port, "protocol": "TCP"}
        return [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [port]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
             "ports": [port], "endpoints": [{"addresses": [self.host], "conditions": {"ready": True}}]},
        ]  # fmt: skip


@contextlib.contextmanager
def alertmanager() -> Iterator[RealAlertmanager]:
    """A real one that tells nobody."""
    place = Path(tempfile.mkdtemp(prefix="docuquery-alertmanager-"))
    host, port = host_address(), free_port()
    (place / "alertmanager.yml").write_text(
        '{"route": {"receiver": "none", "group_wait": "0s"}, "receivers": [{"name": "none"}]}'
    )
    command = [
        *(need("prometheus-alertmanager", "prometheus-alertmanager"), f"--config.file={place}/alertmanager.yml"),
        *(f"--storage.path={place}/data", f"--web.listen-address={host}:{port}", "--cluster.listen-address="),
    ]
    process, found = Process(command, place / "log", cwd=place), RealAlertmanager(host, port)
    process.start()
    try:
        wait_up(process, lambda: found.ask("/-/ready") is not None, 30)
        yield found
    finally:
        process.stop()
        shutil.rmtree(place, ignore_errors=True)
