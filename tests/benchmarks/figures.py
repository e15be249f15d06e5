"""What /proc says of a process: memory and processor time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Footprint:
    """Memory in MiB, processor time in seconds."""

    rss: float
    pss: float
    peak: float
    cpu: float


def footprint(pid: int) -> Footprint:
    """Read now. PSS shares pages with other processes of the same interpreter, RSS does not."""
    status = _fields(Path(f"/proc/{pid}/status").read_text())
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return Footprint(status["VmRSS"], rollup["Pss"], status["VmHWM"], cpu_seconds(pid))


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads."""
    # The name of the process, in brackets, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _fields(text: str) -> dict[str, float]:
    pairs = (line.split() for line in text.splitlines())
    return {p[0].rstrip(":"): int(p[1]) / 1024 for p in pairs if len(p) == 3 and p[2] == "kB"}
