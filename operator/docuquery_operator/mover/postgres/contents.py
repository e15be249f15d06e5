"""The table of contents of a dump, as pg_restore lists it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ...domain.backups.manifest import SequenceFacts
from . import facts
from .process import output
from .tools import Tools

# It comes first in a dump; so much is looked at.
HEAD = 16 << 20
_EXTENSION = re.compile(r"^\d+; \d+ \d+ (?:COMMENT - )?EXTENSION (?:- )?(?P<name>.+?) *$")


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """Descriptor of a file that lies in memory only; a child that inherits it finds it in /proc/self/fd."""
    number = os.memfd_create("head", 0)
    try:
        with os.fdopen(os.dup(number), "wb") as stream:
            stream.write(data)
        yield number
    finally:
        os.close(number)


async def listed(tools: Tools, dump: str, descriptors: tuple[int, ...] = ()) -> list[str]:
    """Its entries, one a line."""
    command = [tools.path("pg_restore"), "--list", dump]
    text = await output(command, "pg_restore --list", {"LC_ALL": "C"}, descriptors=descriptors)
    return [line for line in text.decode(errors="surrogateescape").split("\n") if line and not line.startswith(";")]


def without_extensions(lines: list[str], names: Collection[str]) -> list[str]:
    """The entries but for these extensions and the comments on them."""
    kept = []
    for line in lines:
        match = _EXTENSION.match(line)
        if match is None or match["name"] not in names:
            kept.append(line)
    return kept


def as_list(lines: list[str]) -> bytes:
    """For --use-list."""
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


async def sequences_in(tools: Tools, dump: str, descriptors: tuple[int, ...] = ()) -> list[SequenceFacts]:
    """Sequences with the values that this dump sets, read from its table of contents.

    No snapshot holds sequences, so that asking the server would give other values than those pg_dump has met.
    """
    restore, environment = tools.path("pg_restore"), {"LC_ALL": "C"}
    wanted = as_list([line for line in await listed(tools, dump, descriptors) if " SEQUENCE SET " in line])
    if not wanted:
        return []
    with in_memory(wanted) as number:
        command = [restore, f"--use-list=/proc/self/fd/{number}", "--file=-", dump]
        script = await output(command, "pg_restore of sequences", environment, descriptors=(*descriptors, number))
    return facts.sequences_of(script)
