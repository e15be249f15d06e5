"""The objects that make a node a cluster: DNS, the storage class and the rights of the node's helpers."""

from __future__ import annotations

import string
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


def dns_ready(api: Api) -> bool:
    """Whether CoreDNS serves, and pods can be made in the default namespace."""
    deployment = _get(api, "/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    account = _get(api, "/api/v1/namespaces/default/serviceaccounts/default")
    return bool(account) and deployment.get("status", {}).get("readyReplicas", 0) > 0


def _get(api: Api, path: str) -> Object:
    try:
        return api.request("GET", path)
    except ApiError:
        return {}
