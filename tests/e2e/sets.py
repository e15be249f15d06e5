"""Where sets lie, what is planted in Secrets, and all places where it may not be found."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import zstandard

from tests.harness import release
from tests.harness.cluster import CLUSTER, JSON, host_address, kubectl
from tests.harness.stackns import APP_ROLE, StackNamespace
from tests.stack.services import Process, free_port, http, prepared, wait_up


@dataclass
class Markers:
    """Secret words that may be nowhere but in Secrets, and how they may look."""

    values: dict[str, str] = field(default_factory=dict)

    def new(self, where: str) -> str:
        """One more."""
        self.values[where] = f"MK{len(self.values):02d}{secrets.token_hex(12)}"
        return self.values[where]

    def found_in(self, text: bytes) -> list[str]:
        """Names of those that the text holds, plain or in any base64."""
        return sorted({name for name, value in self.values.items() if any(f in text for f in _forms(value))})


def _forms(value: str) -> list[bytes]:
    plain = value.encode()
    # Wherever it stands in what was encoded, these characters of it are the same.
    # Wherever it stands in what was encoded, these characters are of it alone.
    encoded = [base64.b64encode(b"x" * n + plain)[(0, 2, 3)[n] : -4] for n in range(3)]
    return [plain, *encoded, plain.hex().encode()]


def planted(markers: Markers, objects: list[JSON]) -> list[JSON]:
    """The stack's own Secrets with passwords of this run, but for the application's, which the harness uses."""
    markers.values["postgres/password"] = APP_ROLE[1]
    for each in objects:
        if each["kind"] == "Secret" and each["metadata"]["name"] != "postgres":
            password = markers.new(f"{each['metadata']['name']}/password")
            each["data"]["password"] = base64.b64encode(password.encode()).decode()
    return objects


def secret(name: str, **data: str) -> JSON:
    """A Secret as a person writes it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def app_keys(markers: Markers) -> JSON:
    """Tokens of all shapes in one Secret that is saved and restored."""
    names = [f"token-{n}" for n in range(8)]
    plain = {name: markers.new(f"app-keys/{name}") for name in names}
    return secret(
        "app-keys",
        **plain,
        **{"config.json": json.dumps({"nested": {"key": markers.new("app-keys/config.json")}})},
        url=f"postgresql://app:{markers.new('app-keys/url')}@elsewhere:5432/db?sslmode=require",
        pem=f"-----BEGIN PRIVATE KEY-----\n{markers.new('app-keys/pem')}\n-----END PRIVATE KEY-----\n",
    )


# What is looked through


def told(ns: StackNamespace) -> Iterator[tuple[str, bytes]]:
    """All that people and tools read of the namespace and of the operator, but for Secrets."""
    ours = "stacks,runbooks,incidents,backupjobs,restorejobs"
    kinds = f"{ours},jobs,pods,configmaps,events,leases,deployments,statefulsets,replicasets,controllerrevisions,pvc"
    yield "objects", kubectl("-n", ns.name, "get", kinds, "-o", "json").encode()
    yield "objects of the operator", kubectl("-n", release.NAMESPACE, "get", "pods,events,leases", "-o", "json").encode()
    yield "log of the operator", release.logs().encode()
    for pod in ns.api.list("pods", **{"app.kubernetes.io/name": "docuquery-mover"}):
        name = pod["metadata"]["name"]
        yield f"log of {name}", kubectl("-n", ns.name, "logs", name).encode()
        yield f"words about {name}", kubectl("-n", ns.name, "describe", "pod", name).encode()
    for pod in release.pods():
        yield f"metrics of {pod['metadata']['name']}", http("GET", f"http://{pod['status']['podIP']}:8080/metrics").body


def opened(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Each file of a store, and what is in it where it is only compressed."""
    for name, data in files.items():
        yield name, data
        if data[:4] == b"\x28\xb5\x2f\xfd":
            yield f"{name}, uncompressed", zstandard.ZstdDecompressor().stream_reader(data).read()


@dataclass
class Volume:
    """The claim with the sets, read by a pod that runs nothing of ours."""

    ns: StackNamespace
    claim: str

    READ = (
        "import base64, json, pathlib; root = pathlib.Path('/store');"
        "print(json.dumps({str(f.relative_to(root)): base64.b64encode(f.read_bytes()).decode()"
        " for f in sorted(root.rglob('*')) if f.is_file()}))"
    )

    def objects(self, image: str) -> list[JSON]:
        """The claim, and the pod."""
        claim: JSON = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}
        container: JSON = {
            "name": "reader",
            "image": image,
            "command": ["python", "-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "store", "mountPath": "/store", "readOnly": True}],
        }
        pod: JSON = {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": self.claim}}],
        }  # fmt: skip
        return [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": self.claim}, "spec": claim},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": pod},
        ]

    def files(self) -> dict[str, bytes]:
        """By path."""
        found: dict[str, str] = json.loads(self.ns.api.exec("reader", "python", "-c", self.READ))
        return {path: base64.b64decode(data) for path, data in found.items()}


@dataclass
class Bucket:
    """versitygw on the host's end of the link to the node: pods reach it, and nothing beyond this machine."""

    endpoint: str
    folder: Path
    access: str
    secret: str

    NAME = "sets"

    def files(self) -> dict[str, bytes]:
        """By key."""
        root = self.folder / self.NAME
        return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


@contextlib.contextmanager
def bucket(markers: Markers) -> Iterator[Bucket]:
    """A real S3 server with one bucket."""
    tool = [sys.executable, str(CLUSTER), "tool", "versitygw"]
    binary = subprocess.run(tool, check=True, capture_output=True, text=True).stdout.split()[-1]
    with tempfile.TemporaryDirectory(prefix="docuquery-s3-") as place:
        folder, port, host = Path(place), free_port(), host_address()
        access, key = markers.new("s3/accessKeyId"), markers.new("s3/secretAccessKey")
        command = [binary, "--access", access, "--secret", key, "--port", f"{host}:{port}", "--health", "/health"]
        process = Process([*command, "posix", str(prepared(folder / "data"))], folder / "log", cwd=folder)
        (folder / "data" / Bucket.NAME).mkdir()
        found = Bucket(f"http://{host}:{port}", folder / "data", access, key)
        process.start()
        try:
            wait_up(process, lambda: _answers(found.endpoint))
            yield found
        finally:
            process.stop()


def _answers(endpoint: str) -> bool:
    try:
        return http("GET", f"{endpoint}/health").status == 200
    except OSError:
        return False


def key_pair(markers: Markers) -> tuple[str, str]:
    """Private and public key in the form of age."""
    pair = pyrage.x25519.Identity.generate()
    markers.values["backup-identity/identity"] = str(pair)
    return str(pair), str(pair.to_public())


def manifest(files: dict[str, bytes], job: str) -> JSON:
    """Of the newest set of this BackupJob."""
    entries = [json.loads(data) for name, data in files.items() if "/catalogue/" in f"/{name}"]
    ours = [e for e in entries if e.get("source", {}).get("backupJob") == job]
    newest = max(ours, key=lambda e: e["setId"])["setId"]
    (name,) = [n for n in files if n.endswith(f"sets/{newest}/manifest.json")]
    found: JSON = json.loads(files[name])
    return found
