"""What images need on a bare API server: real controllers of Deployments, a registry's answers, and a kubelet that runs nothing.

The kubelet knows of each pod only the digest that it was told to run, and which digests never get ready.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.apiserver import ApiServer

JSON = dict[str, Any]
MERGE = "application/merge-patch+json"


def digest(letter: str) -> str:
    """A digest of this letter alone."""
    return f"sha256:{letter * 64}"


OLD, SOUND, BROKEN = digest("a"), digest("b"), digest("c")


@contextlib.contextmanager
def controllers(server: ApiServer) -> Iterator[None]:
    """Those of Deployments and ReplicaSets, for all namespaces, until the end of the block."""
    command = [str(server.binary), "kube-controller-manager", f"--kubeconfig={server.kubeconfig}"]
    command += ["--controllers=deployment-controller,replicaset-controller", "--leader-elect=false", "--secure-port=0"]
    with (server.folder / "controllers.log").open("wb") as log:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        running.kill()
        running.wait(10)


@dataclass
class ImageWorld:
    """One namespace. tags: digest by repository; each repository has the tag stable alone."""

    server: ApiServer
    namespace: str
    tags: dict[str, str] = field(default_factory=dict)
    host: str = ""
    port: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[ImageWorld]:
        """Registry and kubelet, until the end of the block."""
        # An EndpointSlice takes no loopback address; nothing is sent to this one.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            self.host = probe.getsockname()[0]
        web = ThreadingHTTPServer((self.host, 0), _handler(self))
        self.port = web.server_address[1]
        threads = [threading.Thread(target=web.serve_forever), threading.Thread(target=self._kubelet)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            web.shutdown()
            for thread in threads:
                thread.join()
            web.server_close()

    @property
    def registry(self) -> str:
        """host:port, as images name it."""
        return f"{self.host}:{self.port}"

    def image(self, name: str) -> str:
        """Of this workload."""
        return f"{self.registry}/{name}:stable"

    def deploy(self, name: str) -> None:
        """A Deployment of one pod, its Service, and a Stack of it alone under the same name."""
        self.tags[name] = OLD
        labels = {"app": name}
        pod = {"containers": [{"name": "main", "image": self.image(name)}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        rolling = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        spec: JSON = {"selector": {"matchLabels": labels}, "template": template, "strategy": rolling}
        self.post("apps/v1", "deployments", {"metadata": {"name": name}, "spec": spec})
        ports = [{"port": self.port}]
        self.post("v1", "services", {"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": ports}})
        meta = {"name": name, "labels": {"kubernetes.io/service-name": name}}
        slice_ = {"addressType": "IPv4", "endpoints": [{"addresses": [self.host], "conditions": {"ready": True}}]}
        self.post("discovery.k8s.io/v1", "endpointslices", {"metadata": meta, "ports": ports, **slice_})
        component = {
            "type": "Api",
            "workload": {"kind": "Deployment", "name": name},
            "endpoint": {"service": name, "port": self.port},
        }
        detection = {"interval": "2s", "timeout": "1s", "openIncidents": False}
        stack = {"components": {"app": component}, "detection": detection, "healing": {"mode": "Auto"}}
        self.ours("Stack", "stacks", name, stack)

    # Requests of the test's own

    def ours(self, kind: str, plural: str, name: str, spec: JSON) -> None:
        """One of our kinds."""
        api = "ops.docuquery.ai/v1alpha1"
        self.post(api, plural, {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec})

    def post(self, api: str, plural: str, body: JSON) -> None:
        """Create; a refusal ends the test."""
        code, answer = self.server.request("POST", self.path(api, plural), body)
        assert code == 201, answer

    def get(self, api: str, plural: str, name: str = "") -> JSON:
        """One object, or the list."""
        code, found = self.server.request("GET", self.path(api, plural, name))
        assert code == 200, found
        return dict(found)

    def path(self, api: str, plural: str, name: str = "") -> str:
        """Where it is."""
        root = "/api" if api == "v1" else "/apis"
        return f"{root}/{api}/namespaces/{self.namespace}/{plural}{'/' if name else ''}{name}"

    # The kubelet

    def _kubelet(self) -> None:
        while not self._end.wait(0.3):
            for pod in self.get("v1", "pods")["items"]:
                if "phase" not in pod["status"] or pod["status"]["phase"] == "Pending":
                    self._run(pod)

    def _run(self, pod: JSON) -> None:
        container = pod["spec"]["containers"][0]
        name, _, told = container["image"].partition("@")
        repository = name.partition("/")[2].partition(":")[0]
        runs = told or self.tags[repository]
        ready = "False" if runs == BROKEN else "True"
        conditions = [{"type": t, "status": ready} for t in ("Ready", "ContainersReady")]
        state = {
            "name": container["name"], "image": name, "imageID": f"{self.registry}/{repository}@{runs}", "restartCount": 0,
            "ready": ready == "True", "started": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }  # fmt: skip
        status = {"phase": "Running", "podIP": self.host, "conditions": conditions, "containerStatuses": [state]}
        path = f"{self.path('v1', 'pods', pod['metadata']['name'])}/status"
        code, answer = self.server.request("PATCH", path, {"status": status}, MERGE)
        assert code in (200, 404), answer


def _handler(world: ImageWorld) -> type[BaseHTTPRequestHandler]:
    """The registry's answers about tags, and the workloads' own health."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            words = self.path.split("/")
            known = world.tags.get(words[2], "") if self.path.startswith("/v2/") else digest("0")
            self.send_response(200 if known else 404)
            self.send_header("Docker-Content-Digest", known)
            body = json.dumps({"status": "healthy"}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Silent."""

    return Handler
