"""Where a restore can be killed: each change of PostgreSQL, Qdrant and the store, each tool at work, each step that it tells."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from docuquery_operator.domain.backups.report import RestoreStepReport
from docuquery_operator.mover.postgres import process
from docuquery_operator.mover.postgres.session import Session
from docuquery_operator.mover.qdrant.client import Client
from docuquery_operator.mover.report_out import Reporter

# These change nothing, though they are POSTs.
READS = re.compile(r"/points(/(count|query|scroll))?$")


class Calls(Protocol):
    """zygote.Calls."""

    def here(self, what: str) -> None: ...


def arm(calls: Calls, reads: bool) -> None:
    """Every such place calls `here` from now on; with `reads` also those that only ask."""
    _postgres(calls, reads)
    _qdrant(calls, reads)
    _tools(calls)
    say = Reporter.say

    def told(self: Reporter, line: Any) -> None:
        if isinstance(line, RestoreStepReport):
            calls.here(f"before step {line.name} {line.state}")
        say(self, line)

    Reporter.say = told  # type: ignore[method-assign]


def _postgres(calls: Calls, reads: bool) -> None:
    for name in ("execute", "single", *(["rows"] if reads else [])):
        real = getattr(Session, name)

        async def counted(self: Session, statement: str, values: Any = (), real: Any = real) -> Any:
            # Sessions are ended again and again until RENAME holds its lock: as often as it takes.
            if statement.startswith(("select pg_terminate", "select pid from")):
                return await real(self, statement, values)
            words = " ".join(statement.split())[:70]
            calls.here(f"before sql {words}")
            found = await real(self, statement, values)
            calls.here(f"after sql {words}")
            return found

        setattr(Session, name, counted)


def _qdrant(calls: Calls, reads: bool) -> None:
    send, upload = Client.send, Client.upload

    async def sent(self: Client, method: str, where: str, *rest: Any, **more: Any) -> Any:
        changes = method != "GET" and not (method == "POST" and READS.search(where))
        if not (changes or reads):
            return await send(self, method, where, *rest, **more)
        calls.here(f"before {method} {where}")
        found = await send(self, method, where, *rest, **more)
        calls.here(f"after {method} {where}")
        return found

    async def uploaded(self: Client, where: str, stream: AsyncIterator[bytes]) -> Any:
        async def watched() -> AsyncIterator[bytes]:
            first = True
            async for chunk in stream:
                yield chunk
                if first:
                    calls.here(f"during upload {where}")
                first = False

        calls.here(f"before upload {where}")
        found = await upload(self, where, watched())
        calls.here(f"after upload {where}")
        return found

    Client.send = sent  # type: ignore[method-assign]
    Client.upload = uploaded  # type: ignore[method-assign]


def _tools(calls: Calls) -> None:
    real = process.started

    @asynccontextmanager
    async def started(command: Any, name: str, *rest: Any, **more: Any) -> AsyncIterator[Any]:
        async with real(command, name, *rest, **more) as made:
            calls.here(f"while {name} is at work")
            yield made

    process.started = started  # type: ignore[assignment]
