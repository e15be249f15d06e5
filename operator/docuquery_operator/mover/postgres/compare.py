"""A restored copy against the manifest, exactly. What cannot be asked is said, not passed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ...domain.backups.manifest import Check, DatabaseFacts, PostgresPart, TableFacts
from . import facts
from .process import Kit, beside
from .session import Session
from .tools import Tools, spelt

SHOWN = 5
# True, False or None (could not be asked), and a line for people.
Answer = tuple[bool | None, str]


@dataclass(frozen=True)
class Copy:
    """A restored database, and what it has to be equal to. absent: extensions that this copy was restored without."""

    part: PostgresPart
    expected: DatabaseFacts
    session: Session
    kit: Kit
    tools: Tools
    absent: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """What all its checks begin with."""
        return f"postgres/{self.expected.name}"


async def compare(copy: Copy, then: Callable[[], Awaitable[Check]] | None = None) -> list[Check]:
    """Rows, content, schema, sequences and extensions, and what `then` finds: it begins once the schema is known."""
    (actual, seconds), others = await beside(_timed_tables(copy), _schema_and(copy, then))
    rows, content = _rows(copy.expected.tables, actual), _content(copy.expected.tables, actual)
    return [
        Check(name=f"{copy.step}/rows", ok=rows[0], detail=rows[1]),
        Check(name=f"{copy.step}/content", ok=content[0], detail=content[1], seconds=seconds),
        others[0],
        await timed(f"{copy.step}/sequences", lambda: _sequences(copy)),
        await timed(f"{copy.step}/extensions", lambda: _extensions(copy)),
        *others[1:],
    ]


async def _schema_and(copy: Copy, then: Callable[[], Awaitable[Check]] | None) -> list[Check]:
    # Before anything is created in the copy by the other check.
    schema = await timed(f"{copy.step}/schema", lambda: _schema(copy))
    return [schema, await then()] if then else [schema]


async def _timed_tables(copy: Copy) -> tuple[dict[tuple[str, str], TableFacts], float]:
    began = time.monotonic()
    return await _tables(copy), time.monotonic() - began


async def timed(name: str, ask: Callable[[], Awaitable[Answer]]) -> Check:
    """One question with its seconds."""
    began = time.monotonic()
    ok, detail = await ask()
    return Check(name=name, ok=ok, detail=detail, seconds=time.monotonic() - began)


async def _tables(copy: Copy) -> dict[tuple[str, str], TableFacts]:
    hashed = {(t.schema_name, t.name) for t in copy.expected.tables if t.content}
    known = await facts.tables(copy.session)
    found = await facts.all_table_facts(copy.session, known, [], lambda table: (table.schema, table.name) in hashed)
    return {(t.schema_name, t.name): t for t in found}


def _rows(expected: Iterable[TableFacts], actual: dict[tuple[str, str], TableFacts]) -> Answer:
    wrong, total, names = [], 0, set()
    for table in expected:
        key = (table.schema_name, table.name)
        names.add(key)
        found = actual.get(key)
        if found is None:
            wrong.append(f"{'.'.join(key)} is missing")
        elif table.data and found.rows != table.rows:
            wrong.append(f"{'.'.join(key)} has {found.rows} rows instead of {table.rows}")
        total += table.rows
    wrong += [f"{'.'.join(key)} is not in the manifest" for key in actual if key not in names]
    return (not wrong, _some(wrong) or f"{total} rows in {len(names)} tables")


def _content(expected: Iterable[TableFacts], actual: dict[tuple[str, str], TableFacts]) -> Answer:
    with_data = [table for table in expected if table.data]
    known = [table for table in with_data if table.content.startswith(f"{facts.ALGORITHM}:")]
    wrong = [
        f"{table.schema_name}.{table.name} has other content"
        for table in known
        if (found := actual.get((table.schema_name, table.name))) is None or found.content != table.content
    ]
    if wrong:
        return False, _some(wrong)
    left = len(with_data) - len(known)
    if with_data and not known:
        return None, "the manifest has no hash of any table that is known here"
    return True, f"{len(known)} tables equal{f', {left} counted only' if left else ''}"


async def _schema(copy: Copy) -> Answer:
    if not copy.expected.schema_sha256:
        return None, "the manifest has no hash of the schema"
    actual = await facts.schema_digest(copy.kit, copy.tools, copy.session.database)
    if actual == copy.expected.schema_sha256:
        return True, "equal, owners and rights included"
    made = f"pg_dump {spelt(copy.part.client_version)} of server {spelt(copy.part.server_version)}"
    here = f"pg_dump {spelt(copy.tools.version)} of server {spelt(copy.session.version)}"
    same = (
        copy.tools.version == copy.part.client_version and copy.session.version // 10000 == copy.part.server_version // 10000
    )
    if not same:
        return None, f"the text of the schema may differ by version: {made}, here {here}"
    return False, "tables, functions, owners or rights are not those of the manifest"


async def _sequences(copy: Copy) -> Answer:
    actual = {(s.schema_name, s.name): s for s in await facts.sequences(copy.session)}
    wrong = []
    for sequence in copy.expected.sequences:
        name = f"{sequence.schema_name}.{sequence.name}"
        found = actual.get((sequence.schema_name, sequence.name))
        if found is None:
            wrong.append(f"{name} is missing")
        elif (found.last_value, found.is_called) != (sequence.last_value, sequence.is_called):
            wrong.append(f"{name} stands at {found.last_value} instead of {sequence.last_value}")
    return not wrong, _some(wrong) or f"{len(copy.expected.sequences)} sequences"


async def _extensions(copy: Copy) -> Answer:
    actual = await facts.extensions(copy.session)
    wanted = {name: version for name, version in copy.expected.extensions.items() if name not in copy.absent}
    if missing := sorted(wanted.keys() - actual.keys()):
        return False, f"missing: {', '.join(missing)}"
    notes = [f"{name} {actual[name]} instead of {version}" for name, version in wanted.items() if actual[name] != version]
    if copy.absent:
        notes.append(f"only a superuser may create {', '.join(copy.absent)}: create them by hand")
    return (None, "; ".join(notes)) if notes else (True, f"{len(wanted)} extensions")


def _some(lines: list[str]) -> str:
    more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
