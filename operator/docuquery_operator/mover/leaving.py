"""The end of a mover's process."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

# What Python itself exits with when its output cannot be written.
UNWRITTEN = 120


def leave(code: int) -> NoReturn:
    """End with this code at once, once all output is written.

    The interpreter is not taken apart: a thread of the store's library that still drops an object then aborts the process
    (one upload in ten), and a Job whose work is done would count as failed.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or UNWRITTEN
    os._exit(code)
