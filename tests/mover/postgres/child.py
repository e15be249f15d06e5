"""Restores in processes of their own, each killed before or after one of its statements; one process has all modules and forks them.

A line in: a list of port, folder of secrets, folder with manifest.json and objects, phases by commas, number of the statement (0: none),
`before` or `after`; or 0 and `reading`, which kills it while pg_restore is at work. A line out: the exit code or minus the signal, and
the number of statements of one that came to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from typing import Any

from docuquery_operator.domain.backups.manifest import Manifest, ObjectEntry
from docuquery_operator.domain.backups.request import PostgresRequest, Server
from docuquery_operator.mover.postgres import restore
from docuquery_operator.mover.postgres.session import Session

ID = "0badcafe"
LONGEST = 120


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


async def story(port: int, secrets: str, folder: str, phases: str, number: int, when: str) -> int:
    """The phases one after another; how many statements they took."""
    place = pathlib.Path(folder)
    manifest = Manifest.model_validate_json((place / "manifest.json").read_bytes())
    part = manifest.postgres
    assert part is not None
    database = part.databases[0]
    request = PostgresRequest(server=Server(host="127.0.0.1", port=port), databases=[database.name])
    said = armed(number, when)
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
    return len(said)


def forked(order: list[Any]) -> tuple[int, int]:
    """In a child; what it says comes through a pipe, as a killed one says nothing."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            # The orders are not for a tool that it starts; and one that hangs ends by a signal, which is a failure.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            signal.alarm(LONGEST)
            os.write(write, str(asyncio.run(story(*order))).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), int(said or 0)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)
