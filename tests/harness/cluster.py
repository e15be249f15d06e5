"""The local cluster as tests use it: a JSON client that shares no code with the operator's, kubectl, helm, and waiting."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = CHECKOUT / "deploy" / "local" / "cluster.py"
KUBECONFIG = CHECKOUT / "build" / "kubeconfig"
# As deploy/local has it.
REGISTRY_PORT = 5050
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
OURS = "/apis/ops.docuquery.ai/v1alpha1"
PREFIXES = {
    "incidents": OURS,
    "stacks": OURS,
    "runbooks": OURS,
    "maintenancewindows": OURS,
    "backupjobs": OURS,
    "restorejobs": OURS,
    "jobs": "/apis/batch/v1",
    "statefulsets": "/apis/apps/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
    "events": "/apis/events.k8s.io/v1",
}

JSON = dict[str, Any]
Value = TypeVar("Value")


class ApiFailure(RuntimeError):
    """The API server refused a request of the test itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def wait_for(what: str, ask: Callable[[], Value | None], seconds: float, every: float = 0.2) -> Value:
    """Ask until the answer is true; the failure says what never came and what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}; last seen: {answer!r}"
        time.sleep(every)


@cache
def tool(name: str) -> str:
    """Path of kubectl or helm; built on first use."""
    done = subprocess.run(
        [sys.executable, str(CLUSTER), "tool", name], stdout=subprocess.PIPE, text=True, check=True, timeout=1800
    )
    return done.stdout.strip().splitlines()[-1]


def ensure_up(images: tuple[str, ...] = ()) -> None:
    """Start the cluster where it does not run, and load the images; both do nothing when nothing is to do."""
    for arguments in (["up"], ["images", *images]):
        done = subprocess.run(
            [sys.executable, str(CLUSTER), *arguments], capture_output=True, text=True, check=False, timeout=3600
        )
        assert done.returncode == 0, f"cluster.py {' '.join(arguments)}: {done.stdout}{done.stderr}"


def kubectl(*arguments: str, text: str | None = None, check: bool = True, timeout: float = 180) -> str:
    """kubectl as the administrator."""
    command = [tool("kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments]
    done = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def helm(*arguments: str, timeout: float = 300) -> str:
    """helm as the administrator."""
    command = [tool("helm"), f"--kubeconfig={KUBECONFIG}", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def host_address() -> str:
    """Where the node finds this machine."""
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect((node, 1))
        found: str = link.getsockname()[0]
    return found


def registry_address() -> str:
    """host:port of the one registry that the node may ask without TLS, as images name it; nobody has to be there."""
    return f"{host_address()}:{REGISTRY_PORT}"


def install_crds() -> None:
    """The CRDs as they are in the checkout."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHECKOUT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CHECKOUT / "crds"))


@dataclass(frozen=True)
class Access:
    """Server address and the administrator's TLS identity, read from the kubeconfig."""

    server: str
    tls: ssl.SSLContext = field(repr=False)


@cache
def access() -> Access:
    """From build/kubeconfig."""
    config = yaml.safe_load(KUBECONFIG.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=_data(cluster["certificate-authority-data"]))
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(_data(user["client-certificate-data"]) + "\n" + _data(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return Access(cluster["server"], context)


def _data(text: str) -> str:
    return base64.b64decode(text).decode()


def request(method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
    """One request; None for 404, ApiFailure for any other refusal."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": content, "Accept": "application/json"}
    call = urllib.request.Request(access().server + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(call, context=access().tls, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            if refusal.code == 404:
                return None
            raise ApiFailure(refusal.code, refusal.read().decode(errors="replace")[:1000]) from None


@dataclass(frozen=True)
class Namespace:
    """Objects of one namespace, as plain JSON."""

    name: str

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        """Where an object lives."""
        parts = [f"{PREFIXES.get(plural, '/api/v1')}/namespaces/{self.name}/{plural}", name, subresource]
        return "/".join(p for p in parts if p)

    def get(self, plural: str, name: str) -> JSON | None:
        """The object, or None."""
        found: JSON | None = request("GET", self.path(plural, name))
        return found

    def read(self, plural: str, name: str) -> JSON:
        """The object, which must be there."""
        found = self.get(plural, name)
        assert found is not None, f"{plural}/{name} is not in {self.name}"
        return found

    def list(self, plural: str, **labels: str) -> list[JSON]:
        """Objects by label."""
        selector = urllib.parse.quote(",".join(f"{k}={v}" for k, v in labels.items()))
        found = request("GET", self.path(plural) + (f"?labelSelector={selector}" if selector else ""))
        items: list[JSON] = found["items"]
        return items

    def create(self, plural: str, body: Mapping[str, Any]) -> JSON:
        """POST."""
        made: JSON | None = request("POST", self.path(plural), dict(body))
        assert made is not None, f"nothing serves {self.path(plural)}"
        return made

    def patch(self, plural: str, name: str, body: Any, subresource: str = "", content: str = MERGE) -> JSON:
        """PATCH; the object must be there."""
        done: JSON | None = request("PATCH", self.path(plural, name, subresource), body, content)
        assert done is not None, f"{plural}/{name} is not in {self.name}"
        return done

    def delete(self, plural: str, name: str) -> None:
        """DELETE; gone already is fine."""
        request("DELETE", self.path(plural, name))

    def apply(self, *objects: JSON, user: str = "") -> None:
        """kubectl apply, by another user with all rights where one is named."""
        who = [f"--as={user}", "--as-group=system:masters"] if user else []
        kubectl("apply", "-n", self.name, *who, "-f", "-", text=yaml.safe_dump_all(objects))

    def exec(self, pod: str, *command: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command in the pod's first container: an argument list, never a shell of ours."""
        return kubectl("-n", self.name, "exec", pod, "--", *command, check=check, timeout=timeout)

    def events(self, name: str) -> list[str]:
        """Reasons of the Events about one object, oldest first."""
        found = [e for e in self.list("events") if (e.get("regarding") or {}).get("name") == name]
        return [e["reason"] for e in sorted(found, key=lambda e: e["metadata"]["creationTimestamp"])]


def ensure_namespace(name: str, labels: Mapping[str, str]) -> None:
    """Make the namespace; one that is still going away is waited for."""

    def made() -> bool:
        found = request("GET", f"/api/v1/namespaces/{name}")
        if found is not None:
            return found["status"]["phase"] == "Active"
        request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": dict(labels)}})
        return True

    wait_for(f"namespace {name}", made, 120)


def delete_namespace(name: str, wait: bool = False) -> None:
    """Delete the namespace with all that is in it."""
    request("DELETE", f"/api/v1/namespaces/{name}")
    if wait:
        wait_for(f"the end of namespace {name}", lambda: request("GET", f"/api/v1/namespaces/{name}") is None, 180, 0.5)
