"""Which process is which: a pid counts only together with its start time, so that a recycled pid is never killed."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """A process for good: no other one ever has the same pid and start time in one boot."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int, proc: Path = PROC) -> Identity | None:
        """The identity of a living process, or None."""
        try:
            stat = (proc / str(pid) / "stat").read_text()
            boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, start = parse_stat(stat)
        return None if state in "ZX" else cls(pid, start, boot)

    def alive(self, proc: Path = PROC) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid, proc) == self


def parse_stat(stat: str) -> tuple[str, int]:
    """State letter and start time from /proc/PID/stat; the command name in it may hold spaces and brackets."""
    fields = stat[stat.rindex(")") + 1 :].split()
    return fields[0], int(fields[19])


def save(path: Path, identity: Identity) -> None:
    """Write an identity down so that a half-written file is never read."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(identity)))
    temporary.replace(path)


def load(path: Path) -> Identity | None:
    """Read an identity, or None where there is none that can be read."""
    try:
        return Identity(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def stop(identity: Identity, patience: float) -> None:
    """Ask a process to end, and kill it when it has not after `patience` seconds."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        if not identity.alive():
            return
        try:
            os.kill(identity.pid, number)
        except ProcessLookupError:
            return
        wait_until_gone(identity, seconds)


def wait_until_gone(identity: Identity, seconds: float) -> bool:
    """Wait for a process to end."""
    deadline = time.monotonic() + seconds
    while identity.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def first_child(pid: int) -> int | None:
    """The first child of a process, as `unshare --fork` has exactly one."""
    try:
        children = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None
