"""Names, places and address ranges, all taken from the environment once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docuquery_local.errors import LocalClusterError

KUBERNETES = "1.34.4"
COREDNS = "1.12.4"
HELM = "3.22.0"
VERSITYGW = "1.8.0"
CRANE = "0.22.1"
# Where a registry without TLS may stand on the host: the node pulls from there by HTTP, and from nowhere else.
REGISTRY_PORT = 5050
DEFAULT_NODE = "docuquery-node"
CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Settings:
    """Everything that tells one local cluster from another on the same machine."""

    node: str
    state: Path
    cache: Path
    kubeconfig: Path
    net: int

    @property
    def pods(self) -> str:
        """The range that pods get their addresses from."""
        return f"10.{self.net}.0.0/16"

    @property
    def services(self) -> str:
        """The range of ClusterIPs."""
        return f"10.{self.net + 1}.0.0/16"

    @property
    def link(self) -> str:
        """The four addresses of the veth pair between host and node."""
        return f"10.{self.net + 2}.0.0/30"

    @property
    def host_ip(self) -> str:
        """The host's end of the veth pair."""
        return f"10.{self.net + 2}.0.1"

    @property
    def registry(self) -> str:
        """The one registry that the node asks without TLS; tests start it."""
        return f"{self.host_ip}:{REGISTRY_PORT}"

    @property
    def node_ip(self) -> str:
        """The node's end of the veth pair; the API server listens here."""
        return f"10.{self.net + 2}.0.2"

    @property
    def api_service_ip(self) -> str:
        """The ClusterIP of `kubernetes.default`."""
        return f"10.{self.net + 1}.0.1"

    @property
    def dns_ip(self) -> str:
        """The ClusterIP of CoreDNS."""
        return f"10.{self.net + 1}.0.10"

    @property
    def server(self) -> str:
        """The address of the API server, the same for host, node and kubeconfig."""
        return f"https://{self.node_ip}:6443"

    @property
    def host_link(self) -> str:
        """The name of the veth on the host."""
        return f"dq{self.net}-host"

    @property
    def node_link(self) -> str:
        """The name of the veth in the node's namespace."""
        return f"dq{self.net}-node"

    @property
    def pki(self) -> Path:
        """Keys and certificates of this cluster."""
        return self.state / "pki"

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.state / "config"

    @property
    def logs(self) -> Path:
        """One log file for each program of the node."""
        return self.state / "logs"

    @property
    def run(self) -> Path:
        """What does not outlive the node's processes: sockets, pids, container bundles."""
        return self.state / "run"

    @property
    def containerd_socket(self) -> Path:
        """The node's own containerd, never the system's."""
        return self.run / "containerd.sock"

    @property
    def kube_binary(self) -> Path:
        """The one binary that holds every Kubernetes program, kubectl and etcd."""
        return self.cache / "bin" / f"kube-{KUBERNETES}"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; a bad value is refused with its remedy."""
    node = environ.get("DOCUQUERY_NODE", DEFAULT_NODE)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?", node):
        raise LocalClusterError(f"DOCUQUERY_NODE={node!r} is no node name: use lower-case letters, digits and '-'")
    home_cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    default_kubeconfig = "kubeconfig" if node == DEFAULT_NODE else f"kubeconfig-{node}"
    default_state = "docuquery-local" if node == DEFAULT_NODE else f"docuquery-local-{node}"
    settings = Settings(
        node=node,
        state=Path(environ.get("DOCUQUERY_STATE") or Path("/var/lib") / default_state).resolve(),
        cache=Path(environ.get("DOCUQUERY_CACHE") or home_cache / "docuquery-operator").absolute(),
        kubeconfig=Path(environ.get("DOCUQUERY_KUBECONFIG") or CHECKOUT / "build" / default_kubeconfig).absolute(),
        net=_second_octet(environ.get("DOCUQUERY_NET", "61")),
    )
    _check_socket_length(settings)
    return settings


def _second_octet(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 250:
        raise LocalClusterError(f"DOCUQUERY_NET={text!r}: use a number from 1 to 250; the cluster takes 10.N to 10.N+2")
    return int(text)


def _check_socket_length(settings: Settings) -> None:
    # A Unix socket path is cut at 108 bytes; containerd adds ".ttrpc" to it.
    if len(str(settings.containerd_socket)) > 100:
        raise LocalClusterError(f"the state directory {settings.state} is too long a path: set DOCUQUERY_STATE")
