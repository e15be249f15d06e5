"""A real etcd and kube-apiserver on loopback, with throwaway certificates; gone when the context ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.dynamic import DynamicClient

CHECKOUT = Path(__file__).resolve().parents[2]
CRDS = CHECKOUT / "crds"
START_SECONDS = 60.0
ADMIN = "admin"
# The server's own port must differ from etcd's two, so all are reserved at once.
PORTS = 3


class StartError(RuntimeError):
    """A process did not start; the message ends with its last lines."""


@dataclass(frozen=True)
class ApiServer:
    """Where it listens and how to be its administrator."""

    url: str
    ca: Path
    token: str
    kubeconfig: Path
    folder: Path
    binary: Path
    etcd_pid: int
    pid: int

    def client(self, token: str | None = None) -> ApiClient:
        """An API client; another token makes it another user."""
        settings = Configuration(host=self.url)
        settings.ssl_ca_cert = str(self.ca)
        settings.api_key = {"authorization": f"Bearer {token or self.token}"}
        return ApiClient(settings)

    def dynamic(self, token: str | None = None) -> DynamicClient:
        """A client for every kind."""
        return DynamicClient(self.client(token))

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", user: str = ""
    ) -> tuple[int, Any]:
        """One request as the administrator, or as another user: status code and answer, also of a refusal."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"}
        if user:
            headers["Impersonate-User"] = user
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.tls(), timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def ready(self) -> bool:
        """Whether it serves, its default roles included."""
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, context=self.tls(), timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kubectl(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        command = [str(self.binary), "kubectl", f"--kubeconfig={self.kubeconfig}", *args]
        env = os.environ | {"HOME": str(self.folder), "KUBECACHEDIR": str(self.folder / "cache")}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False, env=env)

    def tls(self) -> ssl.SSLContext:
        """Trusts this server."""
        return ssl.create_default_context(cafile=str(self.ca))


@contextmanager
def start_apiserver(folder: Path | None = None) -> Iterator[ApiServer]:
    """Start etcd and kube-apiserver; both are stopped by their process ids, and the folder is removed."""
    home = Path(tempfile.mkdtemp(prefix="docuquery-api-", dir=folder))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(home, kube_binary(), processes)
    finally:
        for process in reversed(processes):
            _stop(process)
        shutil.rmtree(home, ignore_errors=True)


def kube_binary() -> Path:
    """The multiplexed binary; built on first use, which takes minutes."""
    command = [sys.executable, str(CHECKOUT / "deploy/local/cluster.py"), "tool", "node"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=1800, check=True)
    return Path(answer.stdout.strip().splitlines()[-1])


def install_crds(server: ApiServer, folder: Path = CRDS, within: float = 30.0) -> list[str]:
    """Install the CRDs and wait until each is served; the names of the CRDs."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = []
    for file in sorted(folder.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text(encoding="utf-8"))
        code, answer = server.request("POST", f"{path}?fieldValidation=Strict", crd)
        if code not in (201, 409):
            raise StartError(f"{file.name} was refused: {answer.get('message')}")
        names.append(crd["metadata"]["name"])
    _wait(lambda: all(_served(server, path, name) for name in names), within, "the CRDs are not served")
    return names


def _served(server: ApiServer, path: str, name: str) -> bool:
    """Established is said some time before the path answers, so both are asked."""
    _, crd = server.request("GET", f"{path}/{name}")
    conditions = {c["type"]: c["status"] for c in crd.get("status", {}).get("conditions", [])}
    spec = crd["spec"]
    code, _ = server.request("GET", f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}")
    return conditions.get("Established") == "True" and code == 200


def _start(home: Path, binary: Path, processes: list[subprocess.Popen[bytes]]) -> ApiServer:
    client_port, peer_port, port = _free_ports(PORTS)
    _keys(home)
    token = secrets.token_hex(16)
    (home / "tokens.csv").write_text(f'{token},{ADMIN},1,"system:masters"\n', encoding="utf-8")
    etcd = _spawn(home, "etcd", [str(binary), "etcd", *_etcd_flags(home, client_port, peer_port)])
    processes.append(etcd)
    api = _spawn(home, "kube-apiserver", [str(binary), "kube-apiserver", *_api_flags(home, client_port, port)])
    processes.append(api)
    url = f"https://127.0.0.1:{port}"
    server = ApiServer(url, home / "ca.crt", token, home / "kubeconfig", home, binary, etcd.pid, api.pid)
    _write_kubeconfig(server)
    _wait(lambda: _alive(processes, home) and server.ready(), START_SECONDS, "kube-apiserver is not ready", home)
    return server


def _etcd_flags(home: Path, client_port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=error",
    ]


def _api_flags(home: Path, etcd_port: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # The advertised address may not be loopback while the endpoints of the service `kubernetes` are kept.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--tls-cert-file={home / 'server.crt'}",
        f"--tls-private-key-file={home / 'server.key'}",
        f"--service-account-key-file={home / 'server.crt'}",
        f"--service-account-signing-key-file={home / 'server.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--token-auth-file={home / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        # No controller makes the default ServiceAccount here.
        "--disable-admission-plugins=ServiceAccount",
        "--profiling=false",
        f"--cert-dir={home / 'certificates'}",
    ]


def _keys(home: Path) -> None:
    """A CA and a server certificate, elliptic curve: an RSA key alone would take a second."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _openssl(home, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=throwaway-ca",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    _openssl(home, "req", "-x509", *curve, "-keyout", "server.key", "-out", "server.crt", "-CA", "ca.crt",
             "-CAkey", "ca.key", "-subj", "/CN=kube-apiserver", "-addext", "basicConstraints=critical,CA:FALSE",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-addext", "extendedKeyUsage=serverAuth")  # fmt: skip


def _openssl(home: Path, *args: str) -> None:
    answer = subprocess.run(["openssl", *args], cwd=home, capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode:
        raise StartError(f"openssl {args[0]} failed: {answer.stderr.strip()}")


def _write_kubeconfig(server: ApiServer) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server.url, "certificate-authority": str(server.ca)}}],
        "users": [{"name": ADMIN, "user": {"token": server.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ADMIN, "namespace": "default"}}],
    }
    server.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    server.kubeconfig.chmod(0o600)


def _spawn(home: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (home / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Nothing is kept, so nothing is lost by not waiting for open requests to end.
    process.kill()
    process.wait(timeout=10)


def _alive(processes: list[subprocess.Popen[bytes]], home: Path) -> bool:
    for process in processes:
        if process.poll() is not None:
            raise StartError(f"a process of the API server ended at once:\n{_last_lines(home)}")
    return True


def _last_lines(home: Path) -> str:
    logs = sorted(home.glob("*.log"))
    return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()[-8:])


def _wait(done: Any, within: float, otherwise: str, home: Path | None = None) -> None:
    deadline = time.monotonic() + within
    while not done():
        if time.monotonic() > deadline:
            raise StartError(f"{otherwise} after {within:.0f} s\n{_last_lines(home) if home else ''}")
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
