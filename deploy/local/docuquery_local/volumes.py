"""Volumes of a fixed size: an ext4 file system in a sparse file, mounted through a loop device."""

from __future__ import annotations

import os
import re
from pathlib import Path

from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings
from docuquery_local.shell import run

NAME = re.compile(r"pvc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
SMALLEST = 8 * 2**20
LARGEST = 2**40


def parse_size(text: str) -> int:
    """Bytes in a Kubernetes quantity of storage."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]i?|Ki)?", text)
    if match is None or (match[2] or "") not in UNITS:
        raise LocalClusterError(f"{text!r} is no size: write it as 64Mi or 1Gi")
    return int(float(match[1]) * UNITS[match[2] or ""])


def check_size(text: str) -> int:
    """Bytes of a request that ext4 and this machine can serve."""
    size = parse_size(text)
    if not SMALLEST <= size <= LARGEST:
        raise LocalClusterError(f"a volume of {text} is not possible here: ask for 8Mi to 1Ti")
    return size


def image_path(settings: Settings, name: str) -> Path:
    """The file behind a volume."""
    return _under(settings.state / "volumes", name, ".img")


def mount_path(settings: Settings, name: str) -> Path:
    """Where a volume is mounted in the node's mount namespace."""
    return _under(settings.state / "mounts", name, "")


def create(settings: Settings, name: str, size: int) -> Path:
    """Make and mount a volume; done again, it changes nothing."""
    image = image_path(settings, name)
    if not image.exists():
        _format(image, size)
    mount(settings, name)
    return mount_path(settings, name)


def mount(settings: Settings, name: str) -> None:
    """Mount a volume that exists."""
    target = mount_path(settings, name)
    target.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(target):
        return
    run(["mount", "-o", "loop,nosuid,nodev", image_path(settings, name), target])
    # e2fsck makes it again when needed; databases refuse a data directory that is not empty.
    lost = target / "lost+found"
    if lost.is_dir():
        lost.rmdir()
        target.chmod(0o777)


def mount_all(settings: Settings) -> None:
    """Mount every volume again, after a restart of the node."""
    for name in names(settings):
        mount(settings, name)


def names(settings: Settings) -> list[str]:
    """All volumes that exist on disk."""
    return sorted(path.stem for path in (settings.state / "volumes").glob("*.img") if NAME.fullmatch(path.stem))


def delete(settings: Settings, name: str) -> None:
    """Unmount a volume and delete its file."""
    target = mount_path(settings, name)
    if os.path.ismount(target):
        run(["umount", target])
    if target.exists():
        target.rmdir()
    image_path(settings, name).unlink(missing_ok=True)


def _under(directory: Path, name: str, suffix: str) -> Path:
    # The name comes from the API: only the form that this program gives may become a path.
    if NAME.fullmatch(name) is None:
        raise LocalClusterError(f"{name!r} is no volume of this cluster")
    return directory / f"{name}{suffix}"


def _format(image: Path, size: int) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    partial = image.with_suffix(".partial")
    with partial.open("wb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", partial])
    partial.replace(image)
