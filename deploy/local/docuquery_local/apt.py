"""Debian packages that the node and the image builds need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import run_long, say

# What must be there, and the package that brings it.
NODE = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
    "openssl": "openssl",
}
IMAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
POLICY = Path("/usr/sbin/policy-rc.d")


def ensure(settings: Settings, wanted: dict[str, str]) -> None:
    """Install the packages of everything that is missing."""
    packages = sorted({package for program, package in wanted.items() if not _present(program)})
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise LocalClusterError(f"missing: {', '.join(packages)}; install them, or install Docker and kind")
    say(f"installing {' '.join(packages)}")
    log = settings.cache / "logs" / "apt.log"
    try:
        with _no_services():
            _apt(["update"], log)
            _apt(["install", "-y", "--no-install-recommends", *packages], log)
    except LocalClusterError as error:
        names = " ".join(packages)
        raise LocalClusterError(f"apt cannot install {names}: check /etc/apt/sources.list; {error}") from None


def _present(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") is not None


def _apt(arguments: list[str], log: Path) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run_long(["apt-get", "-q", *arguments], what=f"apt-get {arguments[0]}", log=log, env=quiet)


@contextmanager
def _no_services() -> Iterator[None]:
    # Debian starts a package's service on installation; the node brings its own containerd and must not start that one.
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
