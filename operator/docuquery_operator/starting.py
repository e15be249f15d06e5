"""How each process begins: its settings or what is wrong with them, its log, its run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from .adapters.access import AccessError
from .runtime import log


class _Logged(Protocol):
    """Settings that say how much is logged."""

    @property
    def log_level(self) -> str: ...


S = TypeVar("S", bound=_Logged)


def start(read: Callable[[], S], run: Callable[[S], Coroutine[Any, Any, int]], prefix: str = "DOCUQUERY_") -> int:
    """Exit code of the process; 2 where a person must mend something first.

    read: raises pydantic's ValidationError. prefix: of the variables that it reads.
    """
    try:
        settings = read()
    except ValidationError as error:
        for item in error.errors():
            print(f"{prefix}{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}", file=sys.stderr)
        return 2
    log.configure(settings.log_level)
    try:
        return asyncio.run(run(settings))
    except AccessError as problem:
        print(problem, file=sys.stderr)
        return 2
