"""Certificate authorities, certificates and kubeconfigs, made with openssl; every file is for root only."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from docuquery_local.settings import Settings
from docuquery_local.shell import run

DAYS = "365"
EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """One certificate: its file name, subject, authority, and names when it is a server's."""

    name: str
    subject: str
    authority: str = "ca"
    names: tuple[str, ...] = ()


def certificates(settings: Settings) -> list[Certificate]:
    """Every certificate of the node; each program has its own identity, as kubeadm gives them."""
    api_names = (
        "DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local", "IP:127.0.0.1",
        f"IP:{settings.api_service_ip}", f"IP:{settings.node_ip}",
    )  # fmt: skip
    node_names = (f"DNS:{settings.node}", f"IP:{settings.node_ip}", "IP:127.0.0.1")
    return [
        Certificate("apiserver", "/CN=kube-apiserver", names=api_names),
        Certificate("etcd", "/CN=etcd", "etcd-ca", ("DNS:localhost", "IP:127.0.0.1")),
        Certificate("etcd-client", "/CN=kube-apiserver", "etcd-ca"),
        Certificate("front-proxy", "/CN=front-proxy-client", "front-proxy-ca"),
        Certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        Certificate("kubelet", f"/O=system:nodes/CN=system:node:{settings.node}", names=node_names),
        Certificate("controller-manager", "/CN=system:kube-controller-manager"),
        Certificate("scheduler", "/CN=system:kube-scheduler"),
        Certificate("proxy", "/CN=system:kube-proxy"),
        Certificate("admin", "/O=system:masters/CN=local-admin"),
        Certificate("provisioner", "/CN=docuquery-local:provisioner"),
        Certificate("netpol", "/CN=docuquery-local:netpol"),
    ]


KUBECONFIG_USERS = ("kubelet", "controller-manager", "scheduler", "proxy")


def create(settings: Settings) -> None:
    """Make what is missing; what exists stays, so that a restart keeps every token valid."""
    settings.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    for authority in ("ca", "etcd-ca", "front-proxy-ca"):
        if not (settings.pki / f"{authority}.crt").exists():
            _authority(settings.pki, authority)
    for certificate in certificates(settings):
        if not (settings.pki / f"{certificate.name}.crt").exists():
            _issue(settings.pki, certificate)
    if not (settings.pki / "sa.pub").exists():
        _service_account_key(settings.pki)
    for user in KUBECONFIG_USERS:
        write_private(settings.config / f"{user}.kubeconfig", kubeconfig(settings, user))


def kubeconfig(settings: Settings, user: str) -> str:
    """A kubeconfig with everything inside; JSON, which every YAML reader takes."""
    cluster = {"server": settings.server, "certificate-authority-data": _base64(settings.pki / "ca.crt")}
    credentials = {
        "client-certificate-data": _base64(settings.pki / f"{user}.crt"),
        "client-key-data": _base64(settings.pki / f"{user}.key"),
    }
    name = settings.node
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return json.dumps(document, indent=1) + "\n"


def write_private(path: Path, content: str) -> None:
    """Write a file for its owner only, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    temporary.replace(path)


def _authority(pki: Path, name: str) -> None:
    run(["openssl", "req", "-x509", *EC_KEY, "-days", DAYS, "-subj", f"/CN=docuquery-local-{name}",
         "-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
         "-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt"])  # fmt: skip
    (pki / f"{name}.key").chmod(0o600)


def _issue(pki: Path, certificate: Certificate) -> None:
    key, partial = pki / f"{certificate.name}.key", pki / f"{certificate.name}.partial"
    run(["openssl", "req", "-x509", *EC_KEY, "-days", DAYS, "-subj", certificate.subject,
         "-CA", pki / f"{certificate.authority}.crt", "-CAkey", pki / f"{certificate.authority}.key",
         *_extensions(certificate), "-keyout", key, "-out", partial])  # fmt: skip
    key.chmod(0o600)
    partial.replace(pki / f"{certificate.name}.crt")


def _extensions(certificate: Certificate) -> list[str]:
    usage = "clientAuth,serverAuth" if certificate.names else "clientAuth"
    extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
    extensions.append(f"extendedKeyUsage={usage}")
    if certificate.names:
        extensions.append("subjectAltName=" + ",".join(certificate.names))
    return [part for extension in extensions for part in ("-addext", extension)]


def _service_account_key(pki: Path) -> None:
    run(["openssl", "genrsa", "-out", pki / "sa.key", "2048"])
    (pki / "sa.key").chmod(0o600)
    run(["openssl", "rsa", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub"])


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
