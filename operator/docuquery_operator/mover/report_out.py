"""What a mover says: one JSON object a line on standard output, little of it, and one result at the end whatever happens."""

from __future__ import annotations

import os
import threading
import time

from ..domain.backups.manifest import Document
from ..domain.backups.report import Progress, Result

# Between two lines of one step, and between two lines at all.
SAME_STEP, ANY_STEP = 10.0, 1.0
MESSAGE = 1000


class Reporter:
    """Lines of one mover. It is itself a contracts.Report; calls may come from any thread."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._ended = False
        self._step = ""
        self._at = float("-inf")

    def __call__(self, step: str, done: int, total: int) -> None:
        """Progress; cheap when it is not due."""
        waited = time.monotonic() - self._at
        if waited < (SAME_STEP if step == self._step else ANY_STEP):
            return
        self._step, self._at = step, time.monotonic()
        self.say(Progress(step=step[:128], bytes=done, total=total))

    def say(self, line: Document) -> None:
        """One line, unless the result is out."""
        with self._lock:
            if not self._ended:
                self._write(line)

    def end(self, result: Result) -> None:
        """The result; only the first counts."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._write(result.model_copy(update={"message": result.message[:MESSAGE]}))

    def _write(self, line: Document) -> None:
        rest = memoryview(line.to_json() + b"\n")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
