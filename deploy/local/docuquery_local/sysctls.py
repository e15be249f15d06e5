"""Kernel settings of the whole machine that the kubelet changes: put back when the node goes."""

from __future__ import annotations

import json
from pathlib import Path

from docuquery_local.settings import Settings

ROOT = Path("/proc/sys")
NAMES = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def record(settings: Settings) -> None:
    """Write the values down, once, before the first start."""
    path = _file(settings)
    if not path.exists():
        path.write_text(json.dumps({name: (ROOT / name).read_text() for name in NAMES if (ROOT / name).exists()}))


def restore(settings: Settings) -> None:
    """Put back what differs."""
    if not _file(settings).exists():
        return
    for name, value in json.loads(_file(settings).read_text()).items():
        if name in NAMES and (ROOT / name).read_text() != value:
            (ROOT / name).write_text(value)


def _file(settings: Settings) -> Path:
    return settings.state / "sysctls.json"
