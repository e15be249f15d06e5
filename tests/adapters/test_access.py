"""Ways to the API server: every form of a kubeconfig, the service account, TLS for real, and errors that say what is missing."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.adapters import access
from docuquery_operator.adapters.access import Access, AccessError, find_access, from_kubeconfig, in_cluster
from docuquery_operator.adapters.kubernetes import KubernetesCluster
from docuquery_operator.ports import POD, Unavailable
from tests.adapters import misbehaving as m
from tests.stack.services import need

pytestmark = pytest.mark.timeout(60)
TOKEN = "token-marker-51c0ffee"
SERVER = "https://127.0.0.1:6443"


@dataclass(frozen=True)
class Keys:
    """A certificate authority, and a server's and a client's pair that it signed."""

    folder: Path

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Made by openssl, as a person would."""
    openssl, folder = need("openssl", "openssl"), tmp_path_factory.mktemp("keys")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{authority}.key")
        run("req", "-x509", *key, "-out", f"{authority}.crt", "-days", "2", "-subj", f"/CN={authority}")
    for name, subject in (
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("elsewhere", "subjectAltName=IP:10.0.0.1"),
        ("client", ""),
    ):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
        run("req", *key, "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(subject)
        sign = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        run("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.crt")
    run("ec", "-in", "client.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    return Keys(folder)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(folder: Path, user: Any = None, cluster: Any = None, **changes: Any) -> Path:
    """A kubeconfig with a second context that is not the current one."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "far", "user": "other"}},
            {"name": "here", "context": {"cluster": "near", "user": "me", "namespace": "n"}},
        ],
        "clusters": [
            {"name": "far", "cluster": {"server": "https://far.invalid"}},
            {"name": "near", "cluster": {"server": SERVER} if cluster is None else cluster},
        ],
        "users": [{"name": "other", "user": {"token": "wrong"}}, {"name": "me", "user": user}],
    } | changes
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return path


# Forms that work.


def test_token(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, {"token": TOKEN}))
    assert (found.server, found.headers()) == (SERVER, {"Authorization": f"Bearer {TOKEN}"})
    assert TOKEN not in repr(found)


@pytest.mark.parametrize("absolute", [True, False])
def test_token_file(tmp_path: Path, absolute: bool) -> None:
    """A relative path counts from the kubeconfig, not from where the process happens to run; it is read each time."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    found = from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": str(file) if absolute else "token"}))
    assert found.headers() == {"Authorization": f"Bearer {TOKEN}"}
    file.write_text("renewed")
    assert found.headers() == {"Authorization": "Bearer renewed"}


def test_token_file_goes_before_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file")
    found = from_kubeconfig(kubeconfig(tmp_path, {"token": TOKEN, "tokenFile": "token"}))
    assert found.headers() == {"Authorization": "Bearer from-file"}


@pytest.mark.parametrize("user", [None, {}], ids=repr)
def test_nobody(tmp_path: Path, user: object) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path, user)).headers() == {}


def test_trailing_slash(tmp_path: Path) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path, {}, {"server": SERVER + "/"})).server == SERVER


def test_plain_http_needs_no_tls(tmp_path: Path) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path, {}, {"server": "http://127.0.0.1:1"})).ssl_context() is True


@pytest.mark.parametrize("form", ["data", "folded data", "absolute file", "relative file"])
def test_certificates(tmp_path: Path, keys: Keys, form: str) -> None:
    def given(key: str, name: str) -> dict[str, str]:
        text = keys.text(name)
        if form == "data":
            return {f"{key}-data": encoded(text)}
        if form == "folded data":
            return {f"{key}-data": base64.encodebytes(text.encode()).decode()}
        (tmp_path / name).write_text(text)
        return {key: str(tmp_path / name) if form == "absolute file" else name}

    user = given("client-certificate", "client.crt") | given("client-key", "client.key")
    found = from_kubeconfig(kubeconfig(tmp_path, user, {"server": SERVER} | given("certificate-authority", "ca.crt")))
    assert (found.ca_data, found.client_cert, found.client_key) == tuple(
        keys.text(n) for n in ("ca.crt", "client.crt", "client.key")
    )
    context = found.ssl_context()
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1
    assert "PRIVATE" not in repr(found)


def test_insecure_only_when_asked(tmp_path: Path) -> None:
    asked = from_kubeconfig(kubeconfig(tmp_path, {}, {"server": SERVER, "insecure-skip-tls-verify": True})).ssl_context()
    assert isinstance(asked, ssl.SSLContext)
    assert asked.verify_mode == ssl.CERT_NONE
    usual = from_kubeconfig(kubeconfig(tmp_path, {})).ssl_context()
    assert isinstance(usual, ssl.SSLContext)
    assert usual.verify_mode == ssl.CERT_REQUIRED


# Errors: each says what is missing and where, and shows no secret.

CONFIGS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda f: f / "none", "No such file"),
    "a folder": (lambda f: f, "Is a directory"),
    "no current-context": (lambda f: kubeconfig(f, {}, **{"current-context": ""}), "current-context"),
    "unknown context": (lambda f: kubeconfig(f, {}, **{"current-context": "gone"}), "no context named 'gone'"),
    "unknown cluster": (lambda f: kubeconfig(f, {}, clusters=[]), "no cluster named 'near'"),
    "unknown user": (lambda f: kubeconfig(f, {}, users=[{"name": "x", "user": {"token": TOKEN}}]), "no user named 'me'"),
    "clusters are no list": (lambda f: kubeconfig(f, {}, clusters="near"), "no cluster named 'near'"),
    "users missing": (lambda f: kubeconfig(f, {}, users=None), "no user named 'me'"),
    "user is a text": (lambda f: kubeconfig(f, TOKEN), "no user named 'me'"),
    "entries without names": (lambda f: kubeconfig(f, {}, contexts=[1, None, {"context": {}}]), "no context named 'here'"),
    "no server": (lambda f: kubeconfig(f, {}, {}), "the cluster 'near' has no server"),
    "server is a number": (lambda f: kubeconfig(f, {}, {"server": 6443}), "the cluster 'near' has no server"),
    "exec": (lambda f: kubeconfig(f, {"exec": {"command": "aws", "env": [TOKEN]}}), "exec logins are not supported"),
    "auth-provider": (lambda f: kubeconfig(f, {"auth-provider": {"name": "gcp"}}), "auth-provider logins are not supported"),
    "password": (lambda f: kubeconfig(f, {"username": "a", "password": TOKEN}), "username logins are not supported"),
    "not base64": (lambda f: kubeconfig(f, {"client-key-data": f"{TOKEN}!"}), "client-key-data is not a text in base64"),
    "base64 of bytes": (
        lambda f: kubeconfig(f, {}, {"server": SERVER, "certificate-authority-data": "//79"}),
        "certificate-authority-data is not a text in base64",
    ),
    "key without certificate": (lambda f: kubeconfig(f, {"client-key-data": encoded("k")}), "belong together"),
    "certificate without key": (lambda f: kubeconfig(f, {"client-certificate-data": encoded("c")}), "belong together"),
    "missing file": (lambda f: kubeconfig(f, {}, {"server": SERVER, "certificate-authority": "ca.pem"}), "No such file"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_kubeconfigs_that_do_not_work(tmp_path: Path, name: str) -> None:
    make, expected = CONFIGS[name]
    with pytest.raises(AccessError, match=expected) as raised:
        from_kubeconfig(make(tmp_path))
    assert str(tmp_path) in str(raised.value), "it says which file"
    assert TOKEN not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"just text",
        b"token: [" + TOKEN.encode(),
        b"a: b: " + TOKEN.encode(),
        b"\xff\xfe\x00",
        b"!!python/object:os.system {}",
        b"\x00",
    ],
    ids=repr,
)
def test_files_that_are_no_kubeconfigs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(AccessError) as raised:
        from_kubeconfig(path)
    assert str(path) in str(raised.value)
    assert TOKEN not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ca_data": "not PEM"}, "certificate authority"),
        ({"ca_data": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "certificate authority"),
        ({"ca_data": "ünïcode"}, "certificate authority"),
        ({"client_cert": "no", "client_key": "no"}, "no pair"),
        ({"client_cert": "client.crt", "client_key": "server.key"}, "no pair"),
        ({"client_cert": "client.crt", "client_key": "locked.key"}, "no pair"),
    ],
)
async def test_keys_that_do_not_work(keys: Keys, changes: dict[str, str], expected: str) -> None:
    """Also where the operator meets them: when the client is opened. An encrypted key asks nobody for its password."""
    values: dict[str, Any] = {k: keys.text(v) if v.endswith((".crt", ".key")) else v for k, v in changes.items()}
    given = Access(SERVER, **values)
    with pytest.raises(AccessError, match=expected) as raised:
        given.ssl_context()
    assert "PRIVATE" not in str(raised.value)
    with pytest.raises(AccessError):
        async with KubernetesCluster(given, "me"):
            pass


# Where it looks.


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account as the kubelet mounts it."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("of-the-pod")
    (folder / "ca.crt").write_text("ca")
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither a pod nor a kubeconfig; the home of nobody."""
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", tmp_path / "no-account")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_in_a_pod(account: Path) -> None:
    found = find_access(None)
    assert (found.server, found.ca_data) == ("https://10.96.0.1:443", "ca")
    assert found.headers() == {"Authorization": "Bearer of-the-pod"}
    (account / "token").write_text("renewed")
    assert found.headers() == {"Authorization": "Bearer renewed"}


@pytest.mark.parametrize(
    ("host", "port", "server"), [("fd00::1", "6443", "https://[fd00::1]:6443"), ("k", None, "https://k:443")]
)
def test_addresses_of_the_server(
    account: Path, monkeypatch: pytest.MonkeyPatch, host: str, port: str | None, server: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    if port is None:
        monkeypatch.delenv("KUBERNETES_SERVICE_PORT")
    else:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    assert in_cluster().server == server


def test_a_pod_without_the_address(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(AccessError, match="KUBERNETES_SERVICE_HOST"):
        find_access(None)


def test_a_pod_without_the_authority(account: Path) -> None:
    (account / "ca.crt").unlink()
    with pytest.raises(AccessError, match=r"ca\.crt"):
        find_access(None)


def test_a_given_kubeconfig_goes_before_the_service_account(account: Path, tmp_path: Path) -> None:
    assert find_access(str(kubeconfig(tmp_path, {"token": TOKEN}))).token == TOKEN


def test_the_service_account_goes_before_the_environment(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, {"token": TOKEN})))
    assert find_access(None).token is None


def test_environment(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(nowhere, {"token": TOKEN})))
    assert find_access(None).token == TOKEN


def test_home(nowhere: Path) -> None:
    (nowhere / "home" / ".kube").mkdir(parents=True)
    kubeconfig(nowhere / "home" / ".kube", {"token": TOKEN})
    assert find_access(None).token == TOKEN


@pytest.mark.parametrize("given", [None, "/no/such/kubeconfig"])
def test_nothing_at_all(nowhere: Path, given: str | None) -> None:
    with pytest.raises(AccessError, match=r"no service account and no kubeconfig at .*; set KUBECONFIG to one"):
        find_access(given)


# TLS for real.


async def ask(
    keys: Keys, given: Callable[[str], Access], pair: str = "server", client: bool = False
) -> tuple[object, list[bytes]]:
    """What a TLS server answered, and what it heard."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys.folder / f"{pair}.crt", keys.folder / f"{pair}.key")
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(keys.folder / "ca.crt")
    heard: list[bytes] = []

    async def api(reader: m.Reader, writer: m.Writer) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(m.http_answer(b"200 OK", b'{"metadata": {}}'))
        await writer.drain()
        await reader.read()

    async with (
        m.serving(api, context) as peer,
        KubernetesCluster(given(f"https://127.0.0.1:{peer.port}"), "me", 3.0) as cluster,
    ):
        try:
            return await cluster.get(POD, "n", "p"), heard
        except Unavailable as problem:
            return problem, heard


async def test_tls(keys: Keys) -> None:
    answer, heard = await ask(keys, lambda server: Access(server, ca_data=keys.text("ca.crt"), token=TOKEN))
    assert answer == {"metadata": {}}
    assert f"Bearer {TOKEN}".encode() in heard[0]


@pytest.mark.parametrize(("authority", "pair"), [("other-ca.crt", "server"), ("ca.crt", "elsewhere"), (None, "server")])
async def test_the_token_goes_to_no_stranger(keys: Keys, authority: str | None, pair: str) -> None:
    """Another authority, another name, and the system's authorities."""
    ca = keys.text(authority) if authority else None
    answer, heard = await ask(keys, lambda server: Access(server, ca_data=ca, token=TOKEN), pair)
    assert isinstance(answer, Unavailable)
    assert "certificate" in str(answer).lower()
    assert TOKEN not in str(answer)
    assert heard == []


async def test_client_certificate(keys: Keys) -> None:
    cert, key, ca = (keys.text(n) for n in ("client.crt", "client.key", "ca.crt"))
    answer, _ = await ask(keys, lambda s: Access(s, ca_data=ca, client_cert=cert, client_key=key), client=True)
    assert answer == {"metadata": {}}
    answer, heard = await ask(keys, lambda s: Access(s, ca_data=ca), client=True)
    assert isinstance(answer, Unavailable)
    assert heard == []


async def test_plain_answer_to_tls(keys: Keys) -> None:
    async with (
        m.serving(m.answers(m.http_answer(b"400 Bad Request"))) as peer,
        KubernetesCluster(Access(f"https://127.0.0.1:{peer.port}", token=TOKEN), "me", 3.0) as cluster,
    ):
        with pytest.raises(Unavailable):
            await cluster.get(POD, "n", "p")
