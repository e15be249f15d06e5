"""Where a restore stands, read from the server itself: names and comments of three databases."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from ..contracts import MoverError
from .session import Login, Session, connect, literal, quoted

MAINTENANCE = "postgres"
LOCK_SECONDS = 30.0
LONGEST = 63
State = Literal["restoring", "checked", "live"]
_MARK = re.compile(r"\n?\[docuquery-restore (?P<id>[0-9a-f]{8}) (?P<state>restoring|checked|live) (?P<set>\S+)\]\Z")
_ID = re.compile(r"[0-9a-f]{8}")
LOOK = """
select datname as name, datallowconn as open, coalesce(shobj_description(oid, 'pg_database'), '') as comment
  from pg_database where datname = any($1::text[])
"""


@dataclass(frozen=True)
class Names:
    """The live database, the copy beside it, and what the live one becomes. Only the last two may be dropped."""

    live: str
    copy: str
    previous: str
    restore_id: str


def names(database: str, restore_id: str) -> Names:
    """ValueError when restore_id is not 8 hex digits: it is what tells our databases from other people's."""
    if not _ID.fullmatch(restore_id):
        raise ValueError(f"{restore_id!r} is not 8 hex digits")
    short = database
    if len(database) + len("__r_") + len(restore_id) > LONGEST:
        short = f"{database[:40]}_{hashlib.sha256(database.encode()).hexdigest()[:8]}"
    return Names(database, f"{short}__r_{restore_id}", f"{short}__p_{restore_id}", restore_id)


@dataclass(frozen=True)
class Seen:
    """One database of a restore. state: what our mark in its comment says; '' without one of this restore."""

    exists: bool = False
    open: bool = False
    comment: str = ""
    state: State | Literal[""] = ""
    set_id: str = ""


@dataclass(frozen=True)
class Standing:
    """All three."""

    names: Names
    live: Seen = field(default_factory=Seen)
    copy: Seen = field(default_factory=Seen)
    previous: Seen = field(default_factory=Seen)


async def look(session: Session, of: Names) -> Standing:
    """Ask the server; nothing is remembered from before."""
    rows = await session.rows(LOOK, [[of.live, of.copy, of.previous]])
    found = {row["name"]: _seen(row["open"], row["comment"], of.restore_id) for row in rows}
    return Standing(of, *(found.get(name, Seen()) for name in (of.live, of.copy, of.previous)))


def _seen(is_open: bool, comment: str, restore_id: str) -> Seen:
    match = _MARK.search(comment)
    own = unmarked(comment)
    if match is None or match["id"] != restore_id:
        return Seen(True, is_open, own)
    state: State = match["state"]  # type: ignore[assignment]
    return Seen(True, is_open, own, state, match["set"])


def unmarked(comment: str) -> str:
    """A comment without the mark of any restore."""
    return _MARK.sub("", comment)


def marked(of: Names, name: str, seen_comment: str, state: State, set_id: str) -> str:
    """The statement that writes the mark behind the comment that people have written."""
    mark = f"[docuquery-restore {of.restore_id} {state} {set_id}]"
    text = f"{seen_comment}\n{mark}" if seen_comment else mark
    return f"comment on database {quoted(name)} is {literal(text)}"


@asynccontextmanager
async def exclusive(who: Login, database: str) -> AsyncIterator[Session]:
    """The session of the only restore of this database; its lock ends with the session, also when we are killed."""
    key = int.from_bytes(hashlib.sha256(f"docuquery-restore/{database}".encode()).digest()[:8], "big", signed=True)
    async with connect(who, MAINTENANCE) as session:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not (await session.one("select pg_try_advisory_lock($1::bigint) as got", [key]))["got"]:
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise MoverError(
                "RestoreRunning", f"another restore of database {database} is at work; try again later"
            ) from None
        yield session
