"""What must hold before the node can start; each refusal names its remedy."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from docuquery_local import cgroups, network
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import Settings

NEEDED_DISK = 6 * 2**30


def require_root() -> None:
    """Namespaces, mounts and cgroups need root."""
    if os.geteuid() != 0:
        raise LocalClusterError("the node needs root: run the command with sudo, or install Docker and kind")


def check_machine(settings: Settings) -> None:
    """Checks that need no package."""
    require_root()
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise LocalClusterError(
            f"{platform.system()} on {platform.machine()} is not supported without Docker: install Docker and kind"
        )
    if not cgroups.has_memory():
        raise LocalClusterError(
            "the kernel has no memory cgroup controller, so no limit would hold: boot with cgroup_enable=memory"
        )
    if not Path("/dev/loop-control").exists():
        raise LocalClusterError("the kernel has no loop devices, which hold the volumes: run `modprobe loop`")
    for directory in (settings.state, settings.cache):
        check_disk(directory)


def check_names_free(settings: Settings) -> None:
    """Checks before a first start: nobody else uses the node's names and addresses."""
    if network.exists(settings) or settings.host_link in network.link_names():
        raise LocalClusterError(
            f"the namespace {settings.node} or the link {settings.host_link} exists but is not this cluster's: "
            "run `cluster.py down`, or set DOCUQUERY_NODE and DOCUQUERY_NET"
        )
    network.check_ranges_free(settings)


def check_disk(directory: Path) -> None:
    """Images and volumes need room."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < NEEDED_DISK:
        raise LocalClusterError(
            f"{existing} has {free / 2**30:.1f} GiB free, 6 GiB are needed: free some space, "
            "or point DOCUQUERY_STATE and DOCUQUERY_CACHE to another disk"
        )
