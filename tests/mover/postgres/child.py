"""A restore in a process of its own, killed before or after one of its statements.

Arguments: port, folder of secrets, folder with manifest.json and objects, phases by commas, number of the statement (0: none),
`before` or `after`; or 0 and `reading`, which kills it while pg_restore is at work. Prints `done` and the number of statements when it comes to its end.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from docuquery_operator.domain.backups.manifest import Manifest, ObjectEntry
from docuquery_operator.domain.backups.request import PostgresRequest, Server
from docuquery_operator.mover.postgres import restore
from docuquery_operator.mover.postgres.session import Session

ID = "0badcafe"


class Folder:
    """contracts.ObjectReader."""

    def __init__(self, folder: pathlib.Path, dies: bool) -> None:
        self.folder, self.dies = folder, dies
        self.reads = 0

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        data = (self.folder / entry.name.replace("/", "_")).read_bytes()
        self.reads += 1
        yield data[: len(data) // 2]
        # The first time only its contents are looked at.
        if self.dies and self.reads == 2:
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        yield data[len(data) // 2 :]


def armed(number: int, when: str) -> list[str]:
    """Kill this process at that statement; the list grows by each."""
    said: list[str] = []
    real = Session.execute

    async def execute(self: Session, statement: str, values: Any = ()) -> int:
        if statement.startswith("select pg_terminate"):
            return await real(self, statement, values)
        said.append(statement)
        if len(said) == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = await real(self, statement, values)
        if len(said) == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Session.execute = execute  # type: ignore[method-assign]
    return said


async def main() -> None:
    port, secrets, folder, phases, number, when = sys.argv[1:]
    place = pathlib.Path(folder)
    manifest = Manifest.model_validate_json((place / "manifest.json").read_bytes())
    part = manifest.postgres
    assert part is not None
    database = part.databases[0]
    request = PostgresRequest(server=Server(host="127.0.0.1", port=int(port)), databases=[database.name])
    said = armed(int(number), when)
    for phase in phases.split(","):
        if phase == "beside":
            await restore.restore_beside(
                part,
                database,
                manifest,
                Folder(place, when == "reading"),
                request,
                pathlib.Path(secrets),
                ID,
                place,
                lambda *_: None,
            )
        else:
            await getattr(restore, phase)(request, pathlib.Path(secrets), database.name, ID)
    print("done", len(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
