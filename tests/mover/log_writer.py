"""Writes numbered lines to an open log, by O_APPEND, at a pace, until it is told to end; prints how many. Arguments: file, rate."""

from __future__ import annotations

import os
import signal
import sys
import time

PIECE = 50


def main() -> None:
    path, rate = sys.argv[1], float(sys.argv[2])
    going = True

    def end(*_: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, end)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    began, number = time.monotonic(), 0
    while going:
        for _ in range(PIECE):
            # Each line is a write of its own, and lines differ in length, so that cuts fall anywhere.
            os.write(descriptor, f"{number:09d} {'x' * (number % 173)}\n".encode())
            number += 1
        ahead = number / rate - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
    print(number, flush=True)


main()
