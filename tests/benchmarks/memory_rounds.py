"""The memory of a mover's pod while a database of 2 GB streams through it, under the limit that a pod has, and its local disk."""

from __future__ import annotations

import json
import time

from tests.mover.large import LIMIT, MIB, back_up, fill
from tests.stack.services import Postgres, open_folder, prepared, running

from .log_rounds import row
from .report import Row


def measure(mebibytes: int) -> list[Row]:
    """One backup, for it is the memory that counts. Without a limit of the kernel only the figure decides."""
    with open_folder("memory") as folder:
        postgres = Postgres(prepared(folder / "postgres"))
        with running(postgres):
            size = fill(postgres, "large", mebibytes)
            began = time.monotonic()
            found = back_up(postgres, "large", prepared(folder / "pod"))
            took = time.monotonic() - began
    told = json.loads(found.output.splitlines()[-1])
    assert told["ok"], told
    under = "under a limit of 256 MiB" if found.limited else "without a limit, which this machine does not allow"
    what = f"pod memory while {size / MIB:.0f} MiB stream in {took:.0f} s, mover and pg_dump, {under}"
    print(f"memory: {what}: {found.peak / MIB:.0f} MiB, {found.spool} bytes of local disk", flush=True)
    return [
        row("pod-memory", what, [found.peak / MIB], [0.0], None, f"<= {LIMIT / MIB:.0f} MiB", found.peak <= LIMIT, "MiB"),
        row("pod-spool", "bytes on the pod's own disk meanwhile", [float(found.spool)], [0.0], 0.0, "== 0", found.spool == 0,
            "bytes"),
    ]  # fmt: skip
