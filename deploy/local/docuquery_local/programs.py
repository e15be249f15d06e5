"""The command line and the configuration of every program on the node."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from docuquery_local import pki
from docuquery_local.settings import CHECKOUT, Settings

ETCD = "https://127.0.0.1:2379"
CNI_BINARIES = "/usr/lib/cni"
PAUSE_IMAGE = "docker.io/docuquery-local/pause:1"


@dataclass(frozen=True)
class Program:
    """One program of the node, and the file or service that must be there before it starts."""

    name: str
    command: tuple[str, ...]
    needs_socket: Path | None = None
    needs_api: bool = False


def programs(settings: Settings) -> list[Program]:
    """All programs, in the order of their start."""
    return [
        Program("containerd", ("containerd", "--config", str(settings.config / "containerd.toml"))),
        Program("etcd", _etcd(settings)),
        Program("kube-apiserver", _apiserver(settings)),
        Program("kubelet", _kubelet(settings), needs_socket=settings.containerd_socket, needs_api=True),
        Program("kube-controller-manager", _controller_manager(settings), needs_api=True),
        Program("kube-scheduler", _scheduler(settings), needs_api=True),
        Program("kube-proxy", _kube(settings, "kube-proxy", config=settings.config / "proxy.json"), needs_api=True),
        Program("provisioner", _helper("_provisioner"), needs_api=True),
        Program("netpol", _helper("_netpol"), needs_api=True),
    ]


def write_configs(settings: Settings) -> None:
    """Render every configuration file."""
    texts = {
        "containerd.toml": _containerd_toml(settings),
        "cni/10-docuquery.conflist": json.dumps(_cni(settings), indent=1),
        f"certs.d/{settings.registry}/hosts.toml": plain_registry(settings.registry),
        "kubelet.json": json.dumps(_kubelet_config(settings), indent=1),
        "proxy.json": json.dumps(_proxy_config(settings), indent=1),
        # Pods with dnsPolicy Default must not inherit name servers that the node cannot reach.
        "resolv.conf": "",
    }
    for name, text in texts.items():
        pki.write_private(settings.config / name, text)


def plain_registry(registry: str) -> str:
    """hosts.toml for a registry that speaks HTTP; one that is only named as `server` is asked by TLS by containerd 1.6."""
    return f'server = "http://{registry}"\n[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n'


def _kube(settings: Settings, program: str, /, **flags: object) -> tuple[str, ...]:
    options = (f"--{key.replace('_', '-')}={value}" for key, value in flags.items())
    return (str(settings.kube_binary), program, *options)


def _helper(command: str) -> tuple[str, ...]:
    return (sys.executable, str(CHECKOUT / "deploy/local/cluster.py"), command)


def _etcd(settings: Settings) -> tuple[str, ...]:
    return _kube(
        settings,
        "etcd",
        name="node",
        data_dir=settings.state / "etcd",
        listen_client_urls=ETCD,
        advertise_client_urls=ETCD,
        listen_peer_urls="http://127.0.0.1:2380",
        initial_advertise_peer_urls="http://127.0.0.1:2380",
        initial_cluster="node=http://127.0.0.1:2380",
        cert_file=settings.pki / "etcd.crt",
        key_file=settings.pki / "etcd.key",
        client_cert_auth="true",
        trusted_ca_file=settings.pki / "etcd-ca.crt",
        # A throwaway cluster need not survive the machine's power loss; this saves a disk flush a write.
        unsafe_no_fsync="true",
        auto_compaction_retention="5m",
        log_level="warn",
    )


def _apiserver(settings: Settings) -> tuple[str, ...]:
    keys = settings.pki
    return _kube(
        settings,
        "kube-apiserver",
        advertise_address=settings.node_ip,
        secure_port=6443,
        etcd_servers=ETCD,
        etcd_cafile=keys / "etcd-ca.crt",
        etcd_certfile=keys / "etcd-client.crt",
        etcd_keyfile=keys / "etcd-client.key",
        client_ca_file=keys / "ca.crt",
        tls_cert_file=keys / "apiserver.crt",
        tls_private_key_file=keys / "apiserver.key",
        kubelet_certificate_authority=keys / "ca.crt",
        kubelet_client_certificate=keys / "kubelet-client.crt",
        kubelet_client_key=keys / "kubelet-client.key",
        # Else logs and exec try to resolve the node's name, which no DNS server knows.
        kubelet_preferred_address_types="InternalIP",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_key_file=keys / "sa.pub",
        service_account_signing_key_file=keys / "sa.key",
        service_cluster_ip_range=settings.services,
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        allow_privileged="true",
        requestheader_client_ca_file=keys / "front-proxy-ca.crt",
        requestheader_allowed_names="front-proxy-client",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        requestheader_group_headers="X-Remote-Group",
        requestheader_username_headers="X-Remote-User",
        proxy_client_cert_file=keys / "front-proxy.crt",
        proxy_client_key_file=keys / "front-proxy.key",
    )


def _controller_manager(settings: Settings) -> tuple[str, ...]:
    keys, kubeconfig = settings.pki, settings.config / "controller-manager.kubeconfig"
    return _kube(
        settings,
        "kube-controller-manager",
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address="127.0.0.1",
        client_ca_file=keys / "ca.crt",
        root_ca_file=keys / "ca.crt",
        cluster_signing_cert_file=keys / "ca.crt",
        cluster_signing_key_file=keys / "ca.key",
        service_account_private_key_file=keys / "sa.key",
        use_service_account_credentials="true",
        leader_elect="false",
    )


def _scheduler(settings: Settings) -> tuple[str, ...]:
    kubeconfig = settings.config / "scheduler.kubeconfig"
    return _kube(
        settings,
        "kube-scheduler",
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address="127.0.0.1",
        leader_elect="false",
    )


def _kubelet(settings: Settings) -> tuple[str, ...]:
    return _kube(
        settings,
        "kubelet",
        config=settings.config / "kubelet.json",
        kubeconfig=settings.config / "kubelet.kubeconfig",
        root_dir=settings.state / "kubelet",
        cert_dir=settings.state / "kubelet/pki",
        hostname_override=settings.node,
        node_ip=settings.node_ip,
    )


def _kubelet_config(settings: Settings) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{settings.containerd_socket}",
        "podLogsDir": str(settings.logs / "pods"),
        "tlsCertFile": str(settings.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(settings.pki / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDomain": "cluster.local",
        "clusterDNS": [settings.dns_ip],
        "resolvConf": str(settings.config / "resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.node}",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Lowering the score below one's own needs CAP_SYS_RESOURCE, which many sandboxes lack.
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Images come from files, not from a registry: one that is collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy_config(settings: Settings) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(settings.config / "proxy.kubeconfig")},
        "hostnameOverride": settings.node,
        "mode": "iptables",
        "clusterCIDR": settings.pods,
        # The connection table's size belongs to the host; from inside a namespace it cannot be set.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def _cni(settings: Settings) -> dict[str, object]:
    # Point-to-point links, not a bridge: pod-to-pod packets are routed, so they pass the policy filter.
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": settings.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(settings.state / "cni"),
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": settings.node, "plugins": plugins}


def _containerd_toml(settings: Settings) -> str:
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{settings.state}/containerd"
state = "{settings.run}/containerd"
[grpc]
  address = "{settings.containerd_socket}"
{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
{cri}.registry]
  config_path = "{settings.config}/certs.d"
{cri}.cni]
  bin_dir = "{CNI_BINARIES}"
  conf_dir = "{settings.config}/cni"
{cri}.containerd]
  default_runtime_name = "runc"
{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
