"""The node's own branch of the cgroup tree, on cgroup v1 and v2, so that clean-up is exact."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from docuquery_local.errors import LocalClusterError

ROOT = Path("/sys/fs/cgroup")
SYSTEM = "system"


def is_v2() -> bool:
    """Whether the machine has the unified hierarchy only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The mount points of the controller hierarchies; one on cgroup v2."""
    if is_v2():
        return [ROOT]
    found: dict[Path, None] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):  # on a mixed machine runc uses both
            found[Path(mount).resolve()] = None
    return list(found)


def has_memory() -> bool:
    """Whether memory limits can be enforced."""
    if is_v2():
        return "memory" in (ROOT / "cgroup.controllers").read_text().split()
    return any(path.name == "memory" or (path / "memory.limit_in_bytes").exists() for path in hierarchies())


def create(name: str) -> None:
    """Make the node's branch with a child for the node's own programs."""
    for root in hierarchies():
        for path in (root / name, root / name / SYSTEM):
            path.mkdir(exist_ok=True)
            _inherit_cpuset(path)
    if is_v2():
        for path in (ROOT, ROOT / name):
            _enable_controllers(path)


def join(name: str) -> None:
    """Move the calling process into the branch of the node's own programs."""
    for root in hierarchies():
        (root / name / SYSTEM / "cgroup.procs").write_text("0")


def kill_all(name: str) -> None:
    """Kill what is left in the branch: only processes that the node itself put there."""
    deadline = time.monotonic() + 10
    while pids := _members(name):
        for pid in pids:
            _kill(pid)
        if time.monotonic() > deadline:
            raise LocalClusterError(f"processes {sorted(pids)} of the node do not end: look for a hung mount with `ps`")
        time.sleep(0.1)


def remove(name: str) -> None:
    """Remove the branch, deepest directory first."""
    for root in hierarchies():
        for path in _deepest_first(root / name):
            _rmdir(path)


def has_pods(name: str) -> bool:
    """Whether a container of any pod still runs."""
    return bool(_members(f"{name}/kubepods"))


def exists(name: str) -> bool:
    """Whether any hierarchy still has the branch."""
    return any((root / name).exists() for root in hierarchies())


def _inherit_cpuset(path: Path) -> None:
    # On cgroup v1 a new cpuset is empty, and no process may enter an empty one.
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, parent = path / name, path.parent / name
        if not is_v2() and own.exists() and not own.read_text().strip():
            own.write_text(parent.read_text())


def _enable_controllers(path: Path) -> None:
    for controller in (path / "cgroup.controllers").read_text().split():
        try:
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            continue  # some controllers cannot be delegated on some hosts; the kubelet names those it misses


def _members(name: str) -> set[int]:
    found: set[int] = set()
    for root in hierarchies():
        for path in _deepest_first(root / name):
            found.update(_procs(path))
    found.discard(0)
    found.discard(os.getpid())
    return found


def _procs(path: Path) -> list[int]:
    try:
        return [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # a directory that went away, or a threaded one of cgroup v2


def _deepest_first(top: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(top, topdown=False):
        yield Path(directory)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _rmdir(path: Path) -> None:
    for _ in range(40):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)  # the kernel takes a moment to see the last process go
        else:
            return
    raise LocalClusterError(f"cannot remove the cgroup {path}: a process is still in it (see its cgroup.procs)")
