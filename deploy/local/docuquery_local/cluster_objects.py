"""The objects that make a node a cluster: DNS, the storage class and the rights of the node's helpers."""

from __future__ import annotations

import socket
import string
import struct
from pathlib import Path

from docuquery_local import gobuild
from docuquery_local.api import Api, ApiError, Object
from docuquery_local.node_images import COREDNS_IMAGE
from docuquery_local.settings import Settings
from docuquery_local.shell import run

MANIFESTS = Path(__file__).resolve().parent.parent / "manifests"


def apply(settings: Settings) -> None:
    """Apply the manifests; the same again changes nothing."""
    values = {"dns_ip": settings.dns_ip, "coredns_image": COREDNS_IMAGE}
    documents = [string.Template(path.read_text()).substitute(values) for path in sorted(MANIFESTS.glob("*.yaml"))]
    kubectl = gobuild.tool(settings, "kubectl")
    run(
        [kubectl, "--kubeconfig", settings.kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-"],
        stdin="\n---\n".join(documents),
    )


def node_ready(api: Api, node: str) -> bool:
    """Whether the node reports Ready."""
    found = _get(api, f"/api/v1/nodes/{node}")
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def dns_ready(api: Api, settings: Settings) -> bool:
    """Whether a name resolves through the service address, and pods can be made in the default namespace."""
    account = _get(api, "/api/v1/namespaces/default/serviceaccounts/default")
    return bool(account) and resolves(settings.dns_ip, "kubernetes.default.svc.cluster.local")


def resolves(server: str, name: str) -> bool:
    """Ask a DNS server for an address: a status in the API may be older than a restart, an answer is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(_question(name), (server, 53))
            answer = client.recv(512)
        except OSError:
            return False
    code, answers = answer[3] & 0x0F, int.from_bytes(answer[6:8], "big")
    return code == 0 and answers > 0


def _question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0)  # one recursive question
    return header + labels + struct.pack(">BHH", 0, 1, 1)  # type A, class IN


def _get(api: Api, path: str) -> Object:
    try:
        return api.request("GET", path)
    except ApiError:
        return {}
