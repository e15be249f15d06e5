"""The images that the node itself needs, and loading images into it."""

from __future__ import annotations

from pathlib import Path

from docuquery_local import archive, gobuild
from docuquery_local.programs import PAUSE_IMAGE
from docuquery_local.settings import COREDNS, Settings
from docuquery_local.shell import run

COREDNS_IMAGE = f"docker.io/docuquery-local/coredns:{COREDNS}"


def prepare(settings: Settings) -> list[Path]:
    """Build the node's programs and the archives of its own images, from the cache where possible."""
    gobuild.tool(settings, "kubectl")
    return [_archive(settings, "pause", PAUSE_IMAGE), _archive(settings, "coredns", COREDNS_IMAGE)]


def load(settings: Settings, path: Path) -> None:
    """Load an image archive into the node's containerd."""
    run(["ctr", "--address", settings.containerd_socket, "--namespace", "k8s.io", "images", "import", path])


def _archive(settings: Settings, name: str, reference: str) -> Path:
    binary = gobuild.tool(settings, name)
    target = settings.cache / "images" / f"node-{binary.name}.tar"
    if not target.exists() or target.stat().st_mtime < binary.stat().st_mtime:
        archive.write(archive.BinaryImage(reference, binary), target)
    return target
