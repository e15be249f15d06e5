"""A port in front of another that cuts all its connections at once, again and again."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PIECE = 1 << 16
# Close with a reset.
RESET = struct.pack("ii", 1, 0)


class Cut:
    """cuts: how often it has cut so far."""

    def __init__(self, behind: int, every: int, times: int) -> None:
        self._behind, self._every, self._times = behind, every, times
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._up = 0
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._behind))
                with self._lock:
                    self._open |= {client, server}
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                target.sendall(data)
                if up:
                    self._count(len(data))
        self._end({source, target})

    def _count(self, size: int) -> None:
        with self._lock:
            self._up += size
            due = self.cuts < self._times and self._up >= self._every * (self.cuts + 1)
            self.cuts += due
            doomed = set(self._open) if due else set()
        self._end(doomed)

    def _end(self, doomed: set[socket.socket]) -> None:
        with self._lock:
            self._open -= doomed
        for each in doomed:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """No more."""
        self._listener.close()
        self._end(set(self._open))


@contextmanager
def cutting(behind: int, every: int, times: int) -> Iterator[Cut]:
    """In front of that port of this machine: each time that so many bytes have gone there, so many times at most."""
    made = Cut(behind, every, times)
    try:
        yield made
    finally:
        made.close()
