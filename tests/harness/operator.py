"""The operator as a process of this machine: started, killed and started again by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness.bytecode import KEPT

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "docuquery_operator")
# Threads share arenas of memory, as in the image.
AS_IMAGE = {"MALLOC_ARENA_MAX": "2"}


def settings(kubeconfig: Path, namespace: str, instance: str) -> dict[str, str]:
    """Settings of an operator for one namespace, with its own Lease in it."""
    return {
        "DOCUQUERY_KUBECONFIG": str(kubeconfig),
        "DOCUQUERY_WATCH_NAMESPACES": namespace,
        "DOCUQUERY_NAMESPACE": namespace,
        "DOCUQUERY_INSTANCE": instance,
        "DOCUQUERY_IMAGE": "docuquery-operator:dev",
        "DOCUQUERY_HTTP_PORT": "0",
        "DOCUQUERY_HTTP_HOST": "127.0.0.1",
    }


class HostOperator:
    """One operator process; a killed one is started again with the same settings, so it retakes its Lease at once."""

    def __init__(self, environ: Mapping[str, str], log: Path, command: Sequence[str] = COMMAND) -> None:
        self._environ = os.environ | KEPT | AS_IMAGE | {"PYTHONPATH": str(CHECKOUT / "operator")} | environ
        self._command = list(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.starts = 0

    @property
    def pid(self) -> int:
        """Id of the running process."""
        assert self._process is not None, "the operator was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it; the log goes on in the same file."""
        with self._lock, self._log.open("ab") as log:
            log.write(f"--- start {self.starts + 1}\n".encode())
            self._process = subprocess.Popen(
                self._command, env=self._environ, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            self.starts += 1

    def kill(self) -> None:
        """SIGKILL, as a node that loses power would; returns when the process is gone."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        with self._lock:
            assert self._process is not None, "the operator was not started"
            self._process.send_signal(signal.SIGTERM)
            return self._process.wait(timeout=45)

    def alive(self) -> bool:
        """Whether it still runs by itself."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """Last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def wait_for_line(self, text: str, seconds: float = 20.0) -> None:
        """Until the present process has logged this."""
        deadline = time.monotonic() + seconds
        while text not in self._log.read_text(errors="replace").rpartition("--- start ")[2]:
            assert self.alive(), f"the operator ended: {self.tail()}"
            assert time.monotonic() < deadline, f"the operator never logged {text!r}: {self.tail()}"
            time.sleep(0.1)


@contextmanager
def revived(operator: HostOperator) -> Iterator[None]:
    """Whenever it has ended it is started again, as the kubelet does; at the end of the block it leads."""
    over = threading.Event()

    def revive() -> None:
        while not over.wait(0.05):
            if not operator.alive():
                operator.start()

    thread = threading.Thread(target=revive)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if not operator.alive():
        operator.start()
    operator.wait_for_line('"leading"')
