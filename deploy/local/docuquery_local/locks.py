"""One command at a time for one cluster, and one build at a time for one cache."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docuquery_local.shell import say

RUN = Path("/run/lock")


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock, and say so when another command has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is busy with {what}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
