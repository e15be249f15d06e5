"""A command and its children on the scales: the memory of all together, under a limit of the kernel where one can be set."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOTS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
PAUSE = 0.05


@dataclass(frozen=True)
class Weight:
    """code: exit code. peak: most bytes of memory of all processes at one time (PSS). spool: most bytes in the folder.

    limited: whether the kernel would have killed it above the limit.
    """

    code: int
    output: str
    peak: int
    spool: int
    limited: bool


def weigh(command: Sequence[str], env: Mapping[str, str], limit: int, spool: Path) -> Weight:
    """Run it to its end; `spool` is looked at all the while, and is the only folder for temporary files that it knows."""
    with _group(limit) as group, tempfile.TemporaryFile("w+") as out:
        entering = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")] if group else []
        process = subprocess.Popen([*entering, *command], env={**env, "TMPDIR": str(spool)}, stdout=out)
        peak = most = 0
        while process.poll() is None:
            peak, most = max(peak, sum(map(_memory, _family(process.pid)))), max(most, _bytes(spool))
            time.sleep(PAUSE)
        out.seek(0)
        return Weight(process.returncode, out.read(), peak, max(most, _bytes(spool)), group is not None)


@contextlib.contextmanager
def _group(limit: int) -> Iterator[Path | None]:
    """A group of processes with this limit in bytes; None where this machine allows none."""
    for root, name in ROOTS:
        group = root / f"docuquery-weighed-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit))
            yield group
            return
        except OSError:
            continue
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
    yield None


def _family(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    return found


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
