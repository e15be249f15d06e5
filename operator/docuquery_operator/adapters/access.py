"""Where the API server is and who we are: a service account in a pod, a kubeconfig elsewhere."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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

    def addresses(self) -> tuple[str, ...]:
        """The API server's address, where it is not a name."""
        host = urlsplit(self.server).hostname or ""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            return ()

    def ssl_context(self) -> ssl.SSLContext | bool:
        """TLS settings; True where the server speaks plain HTTP."""
        if not self.server.startswith("https"):
            return True
        try:
            context = ssl.create_default_context(cadata=self.ca_data)
        except (ssl.SSLError, ValueError, TypeError):
            raise AccessError(f"the certificate authority of {self.server} is not a PEM certificate") from None
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
    ca = _read(SERVICE_ACCOUNT / "ca.crt", "the service account's ca.crt")
    return Access(f"https://{address}:{port}", ca_data=ca, token_file=SERVICE_ACCOUNT / "token")


def from_kubeconfig(path: Path) -> Access:
    """Current context of a kubeconfig: tokens and client certificates; AccessError for what is not supported."""
    try:
        config = yaml.safe_load(_read(path, "the kubeconfig"))
    except yaml.YAMLError as problem:
        # The error itself shows a piece of the file, which holds secrets.
        line = getattr(getattr(problem, "problem_mark", None), "line", None)
        raise AccessError(f"{path} is not YAML" + ("" if line is None else f", see line {line + 1}")) from None
    if not isinstance(config, dict) or not config.get("current-context"):
        raise AccessError(f"{path} is not a kubeconfig with a current-context")
    context = _named(config, "context", config["current-context"], path)
    cluster = _named(config, "cluster", context.get("cluster"), path)
    user = _named(config, "user", context.get("user"), path)
    other = [key for key in ("exec", "auth-provider", "username") if key in user]
    if other:
        raise AccessError(f"{path}: {other[0]} logins are not supported; use a token or a client certificate")
    if not isinstance(cluster.get("server"), str):
        raise AccessError(f"{path}: the cluster {context['cluster']!r} has no server")
    certificate, key = _data(user, "client-certificate", path), _data(user, "client-key", path)
    if bool(certificate) != bool(key):
        raise AccessError(f"{path}: client-certificate and client-key belong together, and one is missing")
    return Access(
        server=cluster["server"].rstrip("/"),
        ca_data=_data(cluster, "certificate-authority", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        token=user.get("token"),
        token_file=path.parent / str(user["tokenFile"]) if "tokenFile" in user else None,
        client_cert=certificate,
        client_key=key,
    )


def _named(config: dict[str, Any], kind: str, name: object, path: Path) -> dict[str, Any]:
    """The context, cluster or user of this name; a user may be empty."""
    entries = config.get(f"{kind}s")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            section = entry.get(kind)
            if section is None and kind == "user":
                return {}
            if isinstance(section, dict):
                return section
    raise AccessError(f"{path} has no {kind} named {name!r}")


def _data(section: dict[str, Any], key: str, path: Path) -> str | None:
    if f"{key}-data" in section:
        try:
            # It may be folded into lines.
            return base64.b64decode("".join(str(section[f"{key}-data"]).split()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise AccessError(f"{path}: {key}-data is not a text in base64") from None
    if key in section:
        return _read(path.parent / str(section[key]), f"{key} of {path}")
    return None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as problem:
        raise AccessError(f"{what} cannot be read: {path}: {problem.strerror}") from None
    except ValueError:
        raise AccessError(f"{what} is not a text: {path}") from None


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    # ssl loads key pairs from files only.
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_text(f"{cert}\n{key}\n")
        try:
            # With a password given, an encrypted key is an error and not a question on the terminal.
            context.load_cert_chain(pair, password="")
        except (ssl.SSLError, ValueError):
            raise AccessError("the client certificate and its key are no pair in PEM") from None
