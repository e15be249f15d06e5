"""Enforces NetworkPolicies on the local node. For tests only: kind and real clusters bring an agent of their own.

Covered: ingress and egress, podSelector, namespaceSelector, ipBlock with except, port numbers, port ranges and, for
ingress, port names; TCP, UDP and SCTP over IPv4. As with real agents, a connection that was allowed when it began goes
on, the node itself reaches its pods (probes), and pods of the host network are not filtered.
Not covered: port names in egress rules, IPv6, AdminNetworkPolicy, and the first second of a new pod or policy, because
the cluster is read once a second.
"""

from __future__ import annotations

import time

from docuquery_local.api import Api, ApiError, Object
from docuquery_local.errors import LocalClusterError
from docuquery_local.netpol_rules import Cluster, Pod, render
from docuquery_local.settings import Settings
from docuquery_local.shell import run, say

PERIOD = 1.0


def main(settings: Settings) -> int:
    """Keep the rules up to date for ever; the last good rules stay while the API server is away."""
    api = Api(settings.server, settings.pki, "netpol")
    applied = ""
    while True:
        try:
            wanted = render(read(api), [settings.node_ip])
            if wanted != applied:
                run(["nft", "-f", "-"], stdin=wanted)
                applied = wanted
        except ApiError as error:
            say(f"the API server did not answer: {error}")
        except LocalClusterError as error:
            say(f"nftables refused the rules: {error}")
        time.sleep(PERIOD)


def read(api: Api) -> Cluster:
    """The cluster as it is now."""
    policies = api.items("/apis/networking.k8s.io/v1/networkpolicies")
    pods = [pod for pod in map(_pod, api.items("/api/v1/pods")) if pod is not None] if policies else []
    namespaces = api.items("/api/v1/namespaces") if policies else []
    labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in namespaces}
    return Cluster(tuple(pods), labels, tuple(policies))


def _pod(item: Object) -> Pod | None:
    status, spec, meta = item["status"], item["spec"], item["metadata"]
    ended = status.get("phase") in ("Succeeded", "Failed")
    if ended or spec.get("hostNetwork") or not status.get("podIP"):
        return None
    labels = tuple(sorted((meta.get("labels") or {}).items()))
    return Pod(meta["namespace"], meta["name"], status["podIP"], labels, tuple(_named_ports(spec)))


def _named_ports(spec: Object) -> list[tuple[str, str, int]]:
    return [
        (port["name"], port.get("protocol", "TCP").lower(), port["containerPort"])
        for container in spec["containers"]
        for port in container.get("ports") or []
        if "name" in port
    ]
