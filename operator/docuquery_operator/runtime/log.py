"""Logs: one JSON object a line on standard error, secrets masked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from ..domain.redaction import MASK, SECRET_NAME, redact


class RedactingFormatter(JsonFormatter):
    """Masks everything that looks like a secret, in the message, the fields and the traceback."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Masked before it becomes JSON, so that no mask can break the line."""
        return {name: _masked(name, value) for name, value in log_data.items()}


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _masked(str(k), v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    if SECRET_NAME.search(name):
        return MASK
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", v) for v in value]
    return redact(str(value))


def configure(level: str) -> None:
    """Our loggers at the level; kopf and the clients at WARNING, as their debug lines print whole objects."""
    handler = logging.StreamHandler(sys.stderr)
    fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
    renamed: dict[str, Any] = {"asctime": "time", "levelname": "level", "name": "logger"}
    handler.setFormatter(RedactingFormatter(fields, rename_fields=renamed))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("docuquery_operator").setLevel(level)
    logging.getLogger("kopf").setLevel(logging.WARNING)
