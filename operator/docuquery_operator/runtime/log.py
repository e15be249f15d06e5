"""Logs: one JSON object a line on standard error, secrets masked."""

from __future__ import annotations

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from ..domain.redaction import redact


class RedactingFormatter(JsonFormatter):
    """Masks everything that looks like a secret, in the message, the fields and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        return redact(super().format(record))


def configure(level: str) -> None:
    """Our loggers at the level; kopf and the clients at WARNING, as their debug lines print whole objects."""
    handler = logging.StreamHandler(sys.stderr)
    fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
    renamed: dict[str, Any] = {"asctime": "time", "levelname": "level", "name": "logger"}
    handler.setFormatter(RedactingFormatter(fields, rename_fields=renamed))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("docuquery_operator").setLevel(level)
    logging.getLogger("kopf").setLevel(logging.WARNING)
