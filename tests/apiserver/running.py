"""The operator as a process on a bare API server, watched by what it writes, logs and counts."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.apiserver.conftest import PLURALS
from tests.harness import operator as process
from tests.harness.apiserver import ApiServer
from tests.harness.sick import API

Object = dict[str, Any]
HOME = "docuquery-system"
PATHS = {kind: f"{API}/{{}}/{plural}" for kind, plural in PLURALS.items()} | {
    "Secret": "/api/v1/namespaces/{}/secrets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
}
SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


@dataclass
class Running:
    """One operator that runs, and the API server that it works on."""

    server: ApiServer
    host: process.HostOperator
    log: Path

    def namespace(self, name: str) -> str:
        """Make a namespace."""
        code, answer = self.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert code in (201, 409), answer
        return name

    def create(self, namespace: str, body: Object) -> Object:
        """Create an object of a kind in PATHS."""
        code, answer = self.server.request("POST", PATHS[body["kind"]].format(namespace), body)
        assert code == 201, answer
        return dict(answer)

    def patch(self, namespace: str, kind: str, name: str, body: Object) -> None:
        """Merge a change into an object."""
        path = f"{PATHS[kind].format(namespace)}/{name}"
        code, answer = self.server.request("PATCH", path, body, "application/merge-patch+json")
        assert code == 200, answer

    def delete(self, namespace: str, kind: str, name: str) -> None:
        """Delete an object."""
        code, answer = self.server.request("DELETE", f"{PATHS[kind].format(namespace)}/{name}")
        assert code == 200, answer

    def get(self, namespace: str, kind: str, name: str) -> Object:
        """The object as it is stored, {} when there is none."""
        code, found = self.server.request("GET", f"{PATHS[kind].format(namespace)}/{name}")
        assert code in (200, 404), found
        return dict(found) if code == 200 else {}

    def until(self, done: Callable[[], Any], seconds: float, what: str | Callable[[], Any] = "it") -> Any:
        """Wait for something; the operator must live meanwhile. What came of it."""
        deadline = time.monotonic() + seconds
        while not (found := done()):
            text = what if isinstance(what, str) else yaml.safe_dump(_shown(what()))
            assert self.host.alive(), f"the operator ended: {self.host.tail()}"
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {text}\n{self.host.tail(5)}"
            time.sleep(0.1)
        return found

    def samples(self, name: str) -> dict[str, float]:
        """Figures of one series of /metrics by its labels."""
        found = re.findall(r'"message": "serving health".*"port": (\d+)', self.log.read_text(encoding="utf-8"))
        with urllib.request.urlopen(f"http://127.0.0.1:{found[-1]}/metrics", timeout=10) as answer:
            lines = [SAMPLE.match(line) for line in answer.read().decode().splitlines()]
        return {m["labels"] or "": float(m["value"]) for m in lines if m and m["name"] == name}

    def is_well(self) -> None:
        """It lives, was never started again, no pass has crashed or was refused, and nothing in the log is an error."""
        assert self.host.alive(), self.host.tail()
        assert self.host.starts == 1
        passes = self.samples("docuquery_operator_reconcile_total")
        assert not {k: v for k, v in passes.items() if 'result="error"' in k or 'result="refused"' in k}, self.host.tail()
        lines = self.log.read_text(encoding="utf-8").splitlines()
        assert not [
            line for line in lines if "Traceback" in line or "reconcile failed" in line or '"level": "ERROR"' in line
        ]


@contextmanager
def running_operator(server: ApiServer, folder: Path, watched: str = "") -> Iterator[Running]:
    """The operator with its defaults; it serves all namespaces, or those that are named."""
    log = folder / "operator.log"
    code, answer = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": HOME}})
    assert code in (201, 409), answer
    environ = process.settings(server.kubeconfig, HOME, "the-one") | {
        "DOCUQUERY_WATCH_NAMESPACES": watched,
        # The DNS of this machine knows none of the names; how long it takes to say so is not what is tested.
        "RES_OPTIONS": "timeout:1 attempts:1",
    }
    host = process.HostOperator(environ, log)
    host.start()
    running = Running(server, host, log)
    try:
        running.until(lambda: running.samples("docuquery_operator_leader").get("") if _serves(log) else 0, 30, "leading")
        yield running
        assert host.stop() == 0
    finally:
        if host.alive():
            host.kill()


def _shown(value: Any) -> Any:
    """Without what only the API server wants to know."""
    if isinstance(value, dict) and "metadata" in value:
        return {k: v for k, v in value.items() if k in ("kind", "spec", "status")}
    return value


def _serves(log: Path) -> bool:
    return "serving health" in log.read_text(encoding="utf-8")
