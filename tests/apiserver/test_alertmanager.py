"""Debian's Prometheus and two of its Alertmanagers, which do not know of one another, against the receiver and the operator.

Alerts begin, are sent again, end one by one, and change while the receiver is away: one Incident, and nothing is lost.
The shipped configuration is used, with shorter times.
"""

from __future__ import annotations

import http.server
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apiserver.cel_cases import REDIS
from tests.apiserver.conftest import Place
from tests.harness.apiserver import CHECKOUT
from tests.harness.operator import COMMAND, HostOperator, settings
from tests.stack.services import free_port

pytestmark = pytest.mark.timeout(300)
SAMPLES = CHECKOUT / "docs" / "examples" / "alerting"
TOKEN = "a-token-of-some-length"
AWAY_SECONDS = 22.0
TYPE = "CertificateExpires"
FAULTS = ("a", "b", "c")


class Faults:
    """What Prometheus scrapes: which of the faults are there now."""

    def __init__(self) -> None:
        self.now: set[str] = set()
        faults = self

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = "".join(f'fault{{n="{n}"}} {int(n in faults.now)}\n' for n in FAULTS).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class World:
    """All processes."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder, self.faults = place, folder, Faults()
        self.receiver_port, self.health_port, self.prometheus_port = free_port(), free_port(), free_port()
        self.alertmanagers = [free_port(), free_port()]
        (folder / "secrets").mkdir()
        (folder / "secrets" / "tokens").write_text(f"{TOKEN}\n")
        (folder / "token").write_text(TOKEN)
        self.processes: list[subprocess.Popen[bytes]] = []
        environment = {
            "DOCUQUERY_KUBECONFIG": str(place.server.kubeconfig),
            "DOCUQUERY_WATCH_NAMESPACES": place.namespace,
            "DOCUQUERY_RECEIVER_SECRETS": str(folder / "secrets"),
            "DOCUQUERY_RECEIVER_PORT": str(self.receiver_port),
            "DOCUQUERY_RECEIVER_HOST": "127.0.0.1",
            "DOCUQUERY_HTTP_PORT": str(self.health_port),
            "DOCUQUERY_HTTP_HOST": "127.0.0.1",
        }
        self.receiver = HostOperator(environment, folder / "receiver.log", (*COMMAND, "receiver"))
        given = settings(place.server.kubeconfig, place.namespace, "operator")
        self.operator = HostOperator(given, folder / "operator.log")

    def start(self) -> None:
        self.operator.start()
        self.receiver.start()
        for number, port in enumerate(self.alertmanagers):
            home = self.folder / f"alertmanager-{number}"
            home.mkdir()
            (home / "config.yml").write_text(yaml.safe_dump(self._alertmanager()))
            self._spawn(
                "prometheus-alertmanager", f"--config.file={home}/config.yml", f"--storage.path={home}",
                f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
            )  # fmt: skip
        home = self.folder / "prometheus"
        home.mkdir()
        (home / "rules.yml").write_text(yaml.safe_dump(self._rules()))
        (home / "prometheus.yml").write_text(yaml.safe_dump(self._prometheus()))
        self._spawn(
            "prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}", "--rules.alert.resend-delay=2s",
        )  # fmt: skip

    def _spawn(self, program: str, *flags: str) -> None:
        with (self.folder / f"{program}-{len(self.processes)}.log").open("wb") as log:
            self.processes.append(subprocess.Popen([program, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=10)
        for ours in (self.receiver, self.operator):
            ours.kill()
        self.faults.server.shutdown()
        self.faults.server.server_close()

    def _alertmanager(self) -> Any:
        """The sample, quicker."""
        found = yaml.safe_load((SAMPLES / "alertmanager.yml").read_text())
        for route in found["route"]["routes"]:
            route.update(group_wait="1s", group_interval="5s", repeat_interval="6s")
        hook = found["receivers"][0]["webhook_configs"][0]
        hook["url"] = f"http://127.0.0.1:{self.receiver_port}/alertmanager"
        hook["http_config"]["authorization"]["credentials_file"] = str(self.folder / "token")
        return found

    def _rules(self) -> Any:
        """The sample's alerts that need no exporter."""
        found = yaml.safe_load((SAMPLES / "rules.yml").read_text())
        group = found["groups"][0]
        kept = [r for r in group["rules"] if r["alert"] in ("Watchdog", TYPE)]
        for rule in kept:
            rule["labels"]["docuquery_namespace"] = self.place.namespace
        kept[1] |= {"expr": "fault == 1", "for": "0s", "annotations": {"summary": "fault {{ $labels.n }}"}}
        group["rules"] = kept
        return found

    def _prometheus(self) -> Any:
        page = f"127.0.0.1:{self.faults.server.server_address[1]}"
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "faults", "static_configs": [{"targets": [page]}]}],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{p}" for p in self.alertmanagers]}]}]
            },
        }

    def incidents(self) -> list[Any]:
        code, body = self.place.server.request("GET", self.place.path("Incident"))
        assert code == 200, body
        return list(body["items"])

    def alerts(self) -> dict[str, bool]:
        """Number of the fault → whether its alert fires, as the one Incident holds it."""
        found = self.incidents()
        assert len(found) <= 1, [i["metadata"]["name"] for i in found]
        held = found[0]["spec"]["alerts"] if found else []
        return {a["summary"].removeprefix("fault "): "endsAt" not in a for a in held}

    def until(self, holds: Callable[[], Any], seconds: float = 40.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, f"{self.incidents()}\n{self.receiver.tail(30)}\n{self.operator.tail(5)}"
            time.sleep(0.25)
        return found

    def counted(self, outcome: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        wanted = f'docuquery_receiver_alerts_total{{outcome="{outcome}"}} '
        return float(next((line.split(" ")[-1] for line in text.splitlines() if line.startswith(wanted)), 0))


@pytest.fixture
def world(place: Place, tmp_path: Path) -> Iterator[World]:
    alerts = {"types": [TYPE], "watchdog": {"after": "1m"}}
    # There is no Redis here; the operator must not tell that beside.
    quiet = {"healing": {"mode": "Observe"}, "detection": {"openIncidents": False}}
    spec = {"components": {"redis": REDIS}, "alerts": alerts, **quiet}
    body = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "Stack", "metadata": {"name": "docuquery"}, "spec": spec}
    code, answer = place.create(body)
    assert code == 201, answer
    made = World(place, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_one_incident_and_nothing_lost(world: World) -> None:
    world.faults.now = {"a", "b"}
    world.until(lambda: world.alerts() == {"a": True, "b": True}, 60)
    (first,) = world.incidents()
    # Sent again every few seconds, by each of the two.
    world.until(lambda: world.counted("known") >= 8)
    assert world.incidents()[0]["metadata"]["generation"] == first["metadata"]["generation"]
    # One ends: the group goes on, and so does the Incident.
    world.faults.now = {"a"}
    world.until(lambda: world.alerts() == {"a": True, "b": False})
    # While the receiver is away one alert ends and another begins.
    world.receiver.kill()
    began = time.monotonic()
    world.faults.now = {"c"}
    time.sleep(AWAY_SECONDS)
    assert world.alerts() == {"a": True, "b": False}
    world.receiver.start()
    world.until(lambda: world.alerts() == {"a": False, "b": False, "c": True}, 30)
    print(f"away for {AWAY_SECONDS:.0f} s, all known {time.monotonic() - began - AWAY_SECONDS:.1f} s after the start")
    assert world.incidents()[0]["status"]["phase"] != "Resolved"
    # The last one ends, and with it the Incident, as no runbook serves its type.
    world.faults.now = set()
    world.until(lambda: world.incidents()[0]["status"]["phase"] == "Resolved")
    (last,) = world.incidents()
    assert last["metadata"]["uid"] == first["metadata"]["uid"]
    reasons = {c["type"]: c["reason"] for c in last["status"]["conditions"]}
    assert reasons["Resolved"] == "AlertsEnded"
    assert last["status"].get("round", 1) == 1
    # The alert that always fires was heard all the while.
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.place.namespace}/leases/docuquery-watchdog"
    heard = world.place.server.request("GET", path)[1]["metadata"]["annotations"]
    assert list(heard) == ["watchdog.ops.docuquery.ai/docuquery"]
    assert world.receiver.stop() == 0


def test_the_samples_are_what_the_tools_take() -> None:
    for command in (["amtool", "check-config", "alertmanager.yml"], ["promtool", "check", "rules", "rules.yml"]):
        done = subprocess.run(command, cwd=SAMPLES, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
