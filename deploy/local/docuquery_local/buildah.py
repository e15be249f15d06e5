"""Building images without a Docker daemon and without a registry: buildah on a debootstrap of Debian."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import run, run_long, say

# Committed under the very name that the Dockerfiles say in FROM, so that they build unchanged everywhere.
BASE = "docker.io/library/debian:trixie-slim"
SUITE = "trixie"
CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
CA_INSIDE = "/run/docuquery-build/ca.crt"
# Left out as in Debian's own slim images, now and by every later installation.
SLIM = """path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
"""


class Buildah:
    """One buildah storage in the cache."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.cache / "buildah"
        self._home.mkdir(parents=True, exist_ok=True)

    def ensure_base(self) -> str:
        """The id of the base image, made when it is missing."""
        found = self.image_id(BASE)
        if found:
            return found
        say(f"making the base image {BASE} (about a minute, once)")
        with tempfile.TemporaryDirectory(dir=self._home, prefix="base-") as directory:
            tree = Path(directory) / "tree"
            self._bootstrap(tree)
            container = run([*self._buildah(), "from", "scratch"]).strip()
            try:
                run([*self._buildah(), "add", container, tree, "/"], timeout=600)
                run([*self._buildah(), "config", "--cmd", "bash", "--env", f"PATH={_PATH}", container])
                run([*self._buildah(), "commit", container, BASE], timeout=600)
            finally:
                run([*self._buildah(), "rm", container], check=False)
        return self.image_id(BASE)

    def image_id(self, reference: str) -> str:
        """The id of an image in the storage, empty when there is none."""
        return run([*self._buildah(), "images", "--quiet", "--no-trunc", reference], check=False).strip()

    def build(self, reference: str, dockerfile: Path, context: Path) -> None:
        """Build one image; unchanged steps come from the layer cache."""
        log = self._settings.cache / "logs" / f"image-{reference.replace('/', '-').replace(':', '-')}.log"
        log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=self._home, prefix="mounts-") as directory:
            command = [
                *self._buildah(), "bud", "--isolation", "chroot", "--pull-never", "--net", "host", "--layers",
                "--format", "docker", *_mounts(Path(directory)), *_proxy_arguments(),
                "--tag", reference, "--file", dockerfile, context,
            ]  # fmt: skip
            run_long(command, what=reference, log=log)

    def export(self, reference: str, target: Path) -> None:
        """Write an image as an archive, complete or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        run([*self._buildah(), "push", "--quiet", reference, f"docker-archive:{partial}:{reference}"], timeout=600)
        partial.replace(target)

    def clear_remains(self) -> None:
        """Remove what a build left behind that was killed; the caller holds the lock on the images."""
        for directory in (*self._home.glob("base-*"), *self._home.glob("mounts-*")):
            shutil.rmtree(directory)
        run([*self._buildah(), "rm", "--all"], check=False)

    def _bootstrap(self, tree: Path) -> None:
        log = self._settings.cache / "logs" / "debootstrap.log"
        log.unlink(missing_ok=True)
        mirror, security = mirrors()
        run_long(["debootstrap", "--variant=minbase", SUITE, tree, mirror], what="debootstrap", log=log)
        _slim_down(tree)
        (tree / "etc/dpkg/dpkg.cfg.d/slim").write_text(SLIM)
        (tree / "etc/apt/sources.list").write_text(_sources(mirror, security))
        (tree / "etc/apt/apt.conf.d/slim").write_text('Acquire::Languages "none";\nAPT::Sandbox::User "root";\n')

    def _buildah(self) -> list[str | Path]:
        storage, run_root = self._home / "storage", self._home / "run"
        return ["buildah", "--root", storage, "--runroot", run_root, "--storage-driver", "overlay"]


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mirrors() -> tuple[str, str]:
    """Where this machine's own apt takes Debian and its security updates from; settings come first."""
    listed = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"], check=False).splitlines()
    known = dict(line.split(maxsplit=1) for line in listed if " " in line)
    suite = next((s for s in (platform.freedesktop_os_release().get("VERSION_CODENAME", ""), "stable") if s in known), "")
    mirror = os.environ.get("DOCUQUERY_DEBIAN_MIRROR") or known.get(suite, "")
    security = os.environ.get("DOCUQUERY_DEBIAN_SECURITY_MIRROR") or known.get(f"{suite}-security", "")
    if not mirror:
        raise LocalClusterError(
            "apt knows no Debian mirror on this machine: set DOCUQUERY_DEBIAN_MIRROR to the address of one"
        )
    return mirror, security


def _sources(mirror: str, security: str) -> str:
    suites = [(mirror, SUITE), (mirror, f"{SUITE}-updates"), (security, f"{SUITE}-security")]
    return "".join(f"deb {where} {suite} main\n" for where, suite in suites if where)


def _slim_down(tree: Path) -> None:
    documents = ("usr/share/man", "usr/share/info", "usr/share/locale")
    for directory in (*documents, "var/lib/apt/lists", "var/cache/apt/archives"):
        shutil.rmtree(tree / directory, ignore_errors=True)
    for directory in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (tree / directory).mkdir(parents=True)
    for path in (tree / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()


def _mounts(directory: Path) -> list[str]:
    """The host's certificate authorities, pip and apt settings, for the time of the build only."""
    mounts: list[tuple[str, str]] = []
    authority = next((path for path in CA_FILES if Path(path).exists()), None)
    if authority:
        mounts.append((authority, CA_INSIDE))
    files = {
        "pip.conf": (_pip_settings(authority is not None), "/etc/pip.conf"),
        "apt.conf": (_apt_settings(authority is not None), "/etc/apt/apt.conf.d/99host"),
    }
    for name, (text, inside) in files.items():
        (directory / name).write_text(text)
        mounts.append((str(directory / name), inside))
    return [part for outside, inside in mounts for part in ("--volume", f"{outside}:{inside}:ro")]


def _pip_settings(with_authority: bool) -> str:
    """Index and timeouts of the host's pip; its certificate bundle is at another place inside."""
    kept = {"index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "retries"}
    values: dict[str, str] = {}
    for line in run(["python3", "-m", "pip", "config", "list"], check=False).splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in kept:
            values[option] = value.strip("'\"")
    if with_authority:
        values["cert"] = CA_INSIDE
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


def _apt_settings(with_authority: bool) -> str:
    dumped = run(["apt-config", "dump"], check=False).splitlines()
    kept = [line for line in dumped if line.startswith(("Acquire::http::Proxy", "Acquire::https::Proxy"))]
    if with_authority:
        kept.append(f'Acquire::https::CaInfo "{CA_INSIDE}";')
    return "\n".join(kept) + "\n"


def _proxy_arguments() -> list[str]:
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    return [part for name in names if name in os.environ for part in ("--build-arg", f"{name}={os.environ[name]}")]
