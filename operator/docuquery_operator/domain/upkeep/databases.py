"""What the upkeep of PostgreSQL databases has found and done: figures before and after, in words and tables. Pure.

Ages are in transactions: at 2^31 of them PostgreSQL takes no more writes, and forces a vacuum at
autovacuum_freeze_max_age (postgresql.org, "Preventing Transaction ID Wraparound Failures").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from ..maintenance.task_outcome import Finding, Rank, Table, TaskOutcome

PAGE, PAGE_HEADER, ROW_HEADER, ALIGNED = 8192, 24, 28, 8
WRAPAROUND = 2**31
SHOWN_TABLES, SHOWN_FINDINGS = 200, 30
LARGE_INDEX = 1 << 20
# A snapshot that holds back vacuum for so many transactions is worth a word.
OLD_SNAPSHOT = 10_000
BLOATED_BYTES, BLOATED_SHARE = 100 << 20, 0.5
State = Literal["done", "locked", "not allowed", "not reached", "failed"]


@dataclass(frozen=True)
class TableFacts:
    """One table. width: average bytes of a row's columns, None where its statistics cannot be read or were never made."""

    database: str
    schema: str
    name: str
    heap: int
    indexes: int
    live: int
    dead: int
    age: int
    owner: str = ""
    allowed: bool = True
    width: float | None = None
    fillfactor: int = 100

    @property
    def key(self) -> tuple[str, str, str]:
        """Its identity."""
        return self.database, self.schema, self.name

    @property
    def bloat(self) -> int | None:
        """Bytes of the heap that its live rows would not need, as an estimate; None where it cannot be told."""
        if self.width is None:
            return None
        row = ceil((ROW_HEADER + self.width) / ALIGNED) * ALIGNED
        in_page = max(1, int((PAGE - PAGE_HEADER) * self.fillfactor / 100 // row))
        return max(0, self.heap - ceil(self.live / in_page) * PAGE)


@dataclass(frozen=True)
class IndexFacts:
    """One index that is worth a word. twin: the other one that does the same."""

    database: str
    schema: str
    name: str
    table: str
    bytes: int
    valid: bool = True
    scans: int = 0
    serves_constraint: bool = False
    twin: str = ""


@dataclass(frozen=True)
class HeldBack:
    """What keeps vacuum from removing rows. age: of its snapshot, in transactions."""

    what: str
    age: int


@dataclass(frozen=True)
class Looked:
    """One look at one database. age: of its oldest transaction; limit: where PostgreSQL forces a vacuum."""

    database: str
    tables: Sequence[TableFacts]
    indexes: Sequence[IndexFacts] = ()
    held_back: Sequence[HeldBack] = ()
    age: int = 0
    limit: int = 200_000_000


@dataclass(frozen=True)
class Done:
    """What became of one table or index."""

    state: State
    text: str = ""


@dataclass
class Upkeep:
    """Everything that one task has seen and done, as it goes on. missing: what was asked for and is not there."""

    verb: str
    before: list[Looked] = field(default_factory=list)
    after: list[Looked] = field(default_factory=list)
    tables: dict[tuple[str, str, str], Done] = field(default_factory=dict)
    reindexed: dict[str, Done] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    stopped: str = ""
    grant: str = ""


def outcome_of(done: Upkeep) -> TaskOutcome:
    """In words, figures and tables; what was skipped is a finding, and nothing done at all is a failure."""
    before = {t.key: t for looked in done.before for t in looked.tables}
    after = {t.key: t for looked in done.after for t in looked.tables}
    states = [d.state for d in done.tables.values()]
    finished = states.count("done")
    problems = [*done.problems, *(f"{n}: {d.text or d.state}" for n, d in done.reindexed.items() if d.state != "done")]
    figures: dict[str, str | int | float | bool | None] = {
        "tables": len(states),
        "tables done": finished,
        "tables locked": states.count("locked"),
        "tables not allowed": states.count("not allowed"),
        "tables not reached": states.count("not reached"),
        "indexes rebuilt": sum(d.state == "done" for d in done.reindexed.values()),
    }
    figures |= _sums("before", before.values()) | _sums("after", after.values())
    failed = bool(problems) or (bool(states) and finished == 0)
    return TaskOutcome(
        state="Aborted" if done.stopped else "Failed" if failed else "Succeeded",
        summary=_summary(done, finished, states, problems)[:512],
        evidence=_evidence(before, after, done),
        figures=figures,
        tables=(_tables(before, after, done), *_index_tables(done)),
        findings=_findings(done, before, after),
    )


def _sums(when: str, tables: object) -> dict[str, int]:
    known: list[TableFacts] = list(tables)  # type: ignore[call-overload]
    return {
        f"dead rows {when}": sum(t.dead for t in known),
        f"size {when} (bytes)": sum(t.heap + t.indexes for t in known),
        f"bloat {when} (bytes)": sum(t.bloat or 0 for t in known),
        f"oldest row {when} (transactions)": max((t.age for t in known), default=0),
    }


def _summary(done: Upkeep, finished: int, states: Sequence[str], problems: Sequence[str]) -> str:
    said = f"{done.verb}: {finished} of {len(states)} tables"
    words = {"locked": "locked", "not allowed": "not allowed", "not reached": "not reached in time", "failed": "failed"}
    left = [f"{states.count(s)} {word}" for s, word in words.items() if s in states]
    parts = [said + (f" ({', '.join(left)})" if left else "")]
    rebuilt = sum(d.state == "done" for d in done.reindexed.values())
    if done.reindexed:
        parts.append(f"{rebuilt} of {len(done.reindexed)} indexes rebuilt")
    if done.stopped:
        parts.insert(0, done.stopped)
    return "; ".join([*parts, *problems[:2]])


def _evidence(
    before: Mapping[tuple[str, str, str], TableFacts], after: Mapping[tuple[str, str, str], TableFacts], done: Upkeep
) -> tuple[str, ...]:
    lines = [_compared("all tables", _sums("before", before.values()), _sums("after", after.values()))] if after else []
    worst = sorted((t for t in before.values() if t.dead), key=lambda t: -t.dead)
    for table in worst[:8]:
        now, what = after.get(table.key), done.tables.get(table.key)
        if now is not None and what is not None and what.state == "done":
            lines.append(
                f"{_name(table)}: dead rows {table.dead} → {now.dead}, size {mib(table.heap)} → {mib(now.heap)}, "
                f"oldest row {table.age} → {now.age} transactions"
            )
    lines += [f"{name}: {d.text or d.state}" for name, d in done.reindexed.items()]
    return tuple(line[:512] for line in lines[:12])


def _compared(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> str:
    (dead, size, bloat, age), (dead2, size2, bloat2, age2) = before.values(), after.values()
    return (
        f"{what}: dead rows {dead} → {dead2}, size {mib(size)} → {mib(size2)}, "
        f"estimated bloat {mib(bloat)} → {mib(bloat2)}, oldest row {age} → {age2} transactions"
    )


def _tables(
    before: Mapping[tuple[str, str, str], TableFacts], after: Mapping[tuple[str, str, str], TableFacts], done: Upkeep
) -> Table:
    columns = (
        "database", "table", "result", "dead rows before", "dead rows after", "heap before (bytes)", "heap after (bytes)",
        "indexes before (bytes)", "indexes after (bytes)", "bloat before (bytes)", "bloat after (bytes)",
        "oldest row before (transactions)", "oldest row after (transactions)",
    )  # fmt: skip
    rows = []
    for table in sorted(before.values(), key=lambda t: (-t.dead, t.key))[:SHOWN_TABLES]:
        now, what = after.get(table.key), done.tables.get(table.key, Done("not reached"))
        rows.append(
            (table.database, f"{table.schema}.{table.name}", f"{what.state}: {what.text}" if what.text else what.state,
             table.dead, now.dead if now else None, table.heap, now.heap if now else None,
             table.indexes, now.indexes if now else None, table.bloat, now.bloat if now else None,
             table.age, now.age if now else None)
        )  # fmt: skip
    return Table(title="Tables", columns=columns, rows=tuple(rows))


def _index_tables(done: Upkeep) -> tuple[Table, ...]:
    rows = [
        (i.database, f"{i.schema}.{i.name}", i.table, i.bytes, _word(i), i.twin or None)
        for looked in done.after or done.before
        for i in looked.indexes
    ]
    columns = ("database", "index", "table", "size (bytes)", "what", "twin")
    return (Table(title="Indexes to look at", columns=columns, rows=tuple(rows[:SHOWN_TABLES])),) if rows else ()


def _word(index: IndexFacts) -> str:
    if not index.valid:
        return "invalid"
    return "duplicate" if index.twin else "never read"


def _findings(
    done: Upkeep, before: Mapping[tuple[str, str, str], TableFacts], after: Mapping[tuple[str, str, str], TableFacts]
) -> tuple[Finding, ...]:
    found: list[tuple[Rank, str]] = [("Critical", p) for p in done.problems]
    for looked in done.after or done.before:
        found += _wraparound(looked) + [("Warning", _held(h)) for h in looked.held_back if h.age >= OLD_SNAPSHOT]
        found += [_index(i) for i in looked.indexes]
    for key, what in done.tables.items():
        if what.state != "done":
            words = f"{_name(before[key])}: {what.state}" if key in before else what.state
            found.append(("Warning", f"{words}: {what.text}" if what.text else words))
    denied = sorted({before[k].owner for k, d in done.tables.items() if d.state == "not allowed" and k in before})
    if denied:
        found.append(("Warning", done.grant.format(owners=", ".join(denied))))
    for table in after.values():
        bloat = table.bloat or 0
        if bloat >= BLOATED_BYTES and bloat >= table.heap * BLOATED_SHARE:
            held = f"about {mib(bloat)} of {mib(table.heap)} hold no rows"
            found.append(("Info", f"{_name(table)}: {held}; VACUUM FULL or pg_repack gives them back"))
    order = {"Critical": 0, "Warning": 1, "Info": 2}
    kept = sorted(found, key=lambda f: order[f[0]])[:SHOWN_FINDINGS]
    return tuple(Finding(rank=rank, text=text[:512]) for rank, text in kept)


def _wraparound(looked: Looked) -> list[tuple[Rank, str]]:
    if looked.age < looked.limit:
        return []
    rank: Rank = "Critical" if looked.age > WRAPAROUND / 2 else "Warning"
    left = f"{looked.age} transactions old; writes end at {WRAPAROUND}"
    return [(rank, f"{looked.database}: its oldest row is {left}: let its tables be vacuumed")]


def _held(held: HeldBack) -> str:
    return f"vacuum cannot remove rows that are newer than {held.age} transactions ago: {held.what} holds them back"


def _index(index: IndexFacts) -> tuple[Rank, str]:
    name = f"{index.database}: index {index.schema}.{index.name} on {index.table} ({mib(index.bytes)})"
    if not index.valid:
        return "Warning", f"{name} is invalid: it costs writes and serves no query; rebuild it by `reindex`, or drop it"
    if index.twin:
        return "Info", f"{name} does the same as {index.twin}; one of the two can go"
    return "Info", f"{name} was never read since the statistics began; replicas count their own reads"


def _name(table: TableFacts) -> str:
    return f"{table.database}: {table.schema}.{table.name}"


def mib(size: int) -> str:
    """Bytes for people."""
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 17 else f"{size / 1024:.0f} KiB"
