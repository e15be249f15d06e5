"""Where the API server is and who we are: a service account in a pod, a kubeconfig elsewhere."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """No usable way to the API server; the text says what is missing."""


@dataclass(frozen=True)
class Access:
    """Server address and credentials. The token is read anew for each use, as the kubelet renews the file."""

    server: str
    ca_data: str | None = None
    insecure: bool = False
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    client_cert: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Authorization, where a token is used."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def ssl_context(self) -> ssl.SSLContext | bool:
        """TLS settings; True where the server speaks plain HTTP."""
        if not self.server.startswith("https"):
            return True
        context = ssl.create_default_context(cadata=self.ca_data)
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.client_cert and self.client_key:
            _load_pair(context, self.client_cert, self.client_key)
        return context


def find_access(kubeconfig: str | None) -> Access:
    """The given kubeconfig, else the pod's service account, else KUBECONFIG; AccessError when none is there."""
    if kubeconfig is None and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster()
    path = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not Path(path).exists():
        raise AccessError(f"no service account and no kubeconfig at {path}; set KUBECONFIG to one")
    return from_kubeconfig(Path(path))


def in_cluster() -> Access:
    """The service account of the pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise AccessError("KUBERNETES_SERVICE_HOST is not set, though a service account is mounted")
    address = f"[{host}]" if ":" in host else host
    ca = (SERVICE_ACCOUNT / "ca.crt").read_text()
    return Access(f"https://{address}:{port}", ca_data=ca, token_file=SERVICE_ACCOUNT / "token")


def from_kubeconfig(path: Path) -> Access:
    """Current context of a kubeconfig: tokens and client certificates; AccessError for what is not supported."""
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
    except (KeyError, TypeError, StopIteration, yaml.YAMLError) as problem:
        raise AccessError(f"{path} is not a complete kubeconfig: {problem}") from problem
    if "exec" in user or "auth-provider" in user:
        raise AccessError(f"{path}: exec and auth-provider logins are not supported; use a token or a client certificate")
    return Access(
        server=cluster["server"].rstrip("/"),
        ca_data=_data(cluster, "certificate-authority", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        token=user.get("token"),
        token_file=Path(user["tokenFile"]) if "tokenFile" in user else None,
        client_cert=_data(user, "client-certificate", path),
        client_key=_data(user, "client-key", path),
    )


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(i for i in items if i["name"] == name)


def _data(section: dict[str, Any], key: str, path: Path) -> str | None:
    if f"{key}-data" in section:
        return base64.b64decode(str(section[f"{key}-data"])).decode()
    if key in section:
        return (path.parent / str(section[key])).read_text()
    return None


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    # ssl loads key pairs from files only.
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_text(f"{cert}\n{key}\n")
        context.load_cert_chain(pair)
