"""What a database holds: exact rows and content of each table, schema, sequences, extensions, settings and rights.

Content is hashed without an order: each row as text, in columns by name, gives 64 bits of MD5; their sum and their XOR make
the table's hash. The sum is there because equal rows cancel out in XOR.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...domain.backups.manifest import DatabaseSetting, SequenceFacts, TableFacts
from ..contracts import MoverError
from .process import Kit
from .session import Session, quoted
from .tools import Tools

SCHEMA_LIMIT = 128 << 20
LOCKED_AT_ONCE = 200
ALGORITHM = "rows-md5-64"
LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")

# Tables whose rows pg_dump takes: not of extensions, which bring their own, nor of other sessions.
TABLES = """
select n.nspname as schema, c.relname as name, c.oid::bigint as oid, c.relkind = 'p' as parent,
       coalesce(pg_table_size(c.oid), 0) as bytes,
       array(select quote_ident(a.attname) from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attname collate "C") as columns
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and c.relpersistence <> 't'
   and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname collate "C", c.relname collate "C"
"""
LEAVES = """
select n.nspname as schema, c.relname as name from pg_partition_tree($1::oid) t
  join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace where t.isleaf
"""
LARGE = """
select (select count(*) from pg_largeobject_metadata) as rows,
       has_table_privilege('pg_catalog.pg_largeobject', 'select') as readable
"""
FOREIGN = """
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'f' order by 1, 2
"""
SEQUENCES = """
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'S' and c.relpersistence <> 't'
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname collate "C", c.relname collate "C"
"""
SERVER = """
select current_setting('server_version_num')::int as version,
       (select system_identifier::text from pg_control_system()) as identifier
"""
DATABASE = """
select pg_get_userbyid(datdba) as owner, pg_encoding_to_char(encoding) as encoding, datcollate as collate, datctype as ctype,
       pg_database_size(oid) as bytes, coalesce(shobj_description(oid, 'pg_database'), '') as comment,
       to_jsonb(d) as form, d.datacl is not null as granted
  from pg_database d where datname = current_database()
"""
RIGHTS = """
select a.privilege_type as privilege, a.is_grantable as grantable,
       case when a.grantee = 0 then 'public' else pg_get_userbyid(a.grantee) end as grantee
  from pg_database d, aclexplode(d.datacl) a where d.datname = current_database() order by 3, 1
"""
SETTINGS = """
select coalesce(r.rolname, '') as role, unnest(s.setconfig) as setting
  from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole
 where d.datname = current_database() order by 1, 2
"""
EXTENSIONS = "select extname as name, extversion as version from pg_extension where extname <> 'plpgsql' order by 1"
# Who owns something or is named in rights; the bootstrap superuser is in no dependency.
ROLES = """
select rolname as name from pg_roles where oid in (
  select refobjid from pg_shdepend where refclassid = 'pg_authid'::regclass
     and dbid in (0, (select oid from pg_database where datname = current_database()))
     and (dbid <> 0 or (classid = 'pg_database'::regclass
          and objid = (select oid from pg_database where datname = current_database()))))
 order by 1
"""


@dataclass(frozen=True)
class Table:
    """A table as the catalogue tells it; parent: partitioned, its rows are those of its partitions."""

    schema: str
    name: str
    oid: int
    parent: bool
    bytes: int
    columns: tuple[str, ...]

    @property
    def sql(self) -> str:
        """As SQL writes it, with its schema."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.schema}.{self.name}"


async def tables(session: Session) -> list[Table]:
    """All tables that a dump holds, in order of their names."""
    found = []
    for row in await session.rows(TABLES):
        columns = tuple(row.pop("columns"))
        found.append(Table(columns=columns, **row))
    return found


async def held_tables(session: Session, seconds: float) -> list[Table]:
    """The same, locked against DDL and TRUNCATE until the transaction ends; LockTimeout instead of a queue behind others."""
    # Already the size of a table needs a lock on it.
    await session.execute(f"set local lock_timeout = {max(1, int(seconds * 1000))}")
    held = await tables(session)
    for start in range(0, len(held), LOCKED_AT_ONCE):
        names = ", ".join(f"only {table.sql}" for table in held[start : start + LOCKED_AT_ONCE])
        await session.execute(f"lock table {names} in access share mode")
    await session.execute("set local lock_timeout = 0")
    return held


async def excluded(session: Session, known: Sequence[Table], names: Iterable[str]) -> tuple[list[Table], list[str]]:
    """Tables by `schema.name`, a partitioned one by its partitions; and those names that are no table."""
    by_name = {table.shown: table for table in known}
    found: dict[str, Table] = {}
    unknown = []
    for name in names:
        table = by_name.get(name) or by_name.get(f"public.{name}")
        if table is None:
            unknown.append(name)
            continue
        found[table.shown] = table
        if table.parent:
            for row in await session.rows(LEAVES, [table.oid]):
                leaf = by_name[f"{row['schema']}.{row['name']}"]
                found[leaf.shown] = leaf
    return list(found.values()), unknown


async def table_facts(session: Session, table: Table, hashed: bool) -> TableFacts:
    """Exact rows and, when asked for, content."""
    row = f"row({', '.join(table.columns)})::text"
    if not hashed:
        counted = await session.one(f"select count(*) as rows from only {table.sql}")
        content = ""
    else:
        bits = f"('x' || left(md5({row}), 16))::bit(64)::bigint"
        source = f"(select {bits} as h from only {table.sql}) t"
        query = f"select count(*) as rows, sum(h)::text as total, bit_xor(h) as mixed from {source}"
        counted = await session.one(query)
        content = digest(counted["total"], counted["mixed"])
    return TableFacts(schema=table.schema, name=table.name, rows=counted["rows"], content=content, bytes=table.bytes)


def digest(total: str | None, mixed: int | None) -> str:
    """The form of a table's hash in a manifest."""
    return f"{ALGORITHM}:{total or 0}:{(mixed or 0) & (2**64 - 1):016x}"


async def all_table_facts(
    session: Session, known: Sequence[Table], left_out: Iterable[Table], hashed: Callable[[Table], bool]
) -> list[TableFacts]:
    """Facts of all tables with rows of their own; those left out are named without."""
    without = {table.oid for table in left_out}
    found = []
    for table in known:
        if table.oid in without:
            if not table.parent:
                found.append(TableFacts(schema=table.schema, name=table.name, rows=0, bytes=table.bytes, data=False))
        elif not table.parent:
            found.append(await table_facts(session, table, hashed(table)))
    large = await large_objects(session)
    return [*found, large] if large else found


async def large_objects(session: Session) -> TableFacts | None:
    """Large objects as one more table; not hashed where the role may not read them all. None: there are none."""
    row = await session.one(LARGE)
    if not row["rows"]:
        return None
    content, size = "", 0
    if row["readable"]:
        bits = "('x' || left(md5(row(loid, pageno, data)::text), 16))::bit(64)::bigint"
        hashed = await session.one(
            f"select sum(h)::text as total, bit_xor(h) as mixed, coalesce(sum(n), 0)::bigint as bytes"
            f" from (select {bits} as h, length(data) as n from pg_largeobject) t"
        )
        content, size = digest(hashed["total"], hashed["mixed"]), hashed["bytes"]
    return TableFacts(schema=LARGE_OBJECTS[0], name=LARGE_OBJECTS[1], rows=row["rows"], content=content, bytes=size)


async def sequences(session: Session) -> list[SequenceFacts]:
    """Values right now: sequences belong to no snapshot."""
    found = []
    for row in await session.rows(SEQUENCES):
        name = f"{quoted(row['schema'])}.{quoted(row['name'])}"
        value = await session.one(f"select last_value, is_called from {name}")
        found.append(SequenceFacts(**row, **value))
    return found


async def settings(session: Session) -> list[DatabaseSetting]:
    """ALTER DATABASE … SET, and ALTER ROLE … IN DATABASE … SET."""
    return [DatabaseSetting(**row) for row in await session.rows(SETTINGS)]


async def rights(session: Session) -> list[str]:
    """Rights on the database as `CONNECT role` or, with the right to pass it on, `CONNECT* role`; []: the usual ones."""
    return [f"{r['privilege']}{'*' if r['grantable'] else ''} {r['grantee']}" for r in await session.rows(RIGHTS)]


async def extensions(session: Session) -> dict[str, str]:
    """Versions by name, without plpgsql."""
    return {row["name"]: row["version"] for row in await session.rows(EXTENSIONS)}


async def schema_digest(kit: Kit, tools: Tools, database: str, snapshot: str = "") -> str:
    """SHA-256 over the schema, owners and rights included, extensions not."""
    # Subscriptions would begin to pull data into a copy; rows are hashed elsewhere.
    command = [tools.path("pg_dump"), "--schema-only", "--no-subscriptions", "--no-password", f"--dbname={database}"]
    if snapshot:
        command.append(f"--snapshot={snapshot}")
    try:
        text = await kit.output(command, "pg_dump of the schema", SCHEMA_LIMIT)
    except MoverError as problem:
        if problem.reason == "TooLarge":
            return ""
        raise
    return normalised(text.decode(errors="replace"))


_BLOCK = re.compile(r"^--\n-- (?=(?:Data for )?Name: )", re.MULTILINE)
_OF_EXTENSION = re.compile(r"Name: (?:EXTENSION [^\n]*?; Type: COMMENT|[^\n]*?; Type: EXTENSION); ")


def normalised(text: str) -> str:
    """Hash of a dump of the schema that two equal databases share.

    Left out: the head, which tells versions and settings; the random keys of `\\restrict`; extensions, which are compared
    by version. Objects are sorted, as their order may follow internal numbers.
    """
    blocks = []
    for block in _BLOCK.split(text)[1:]:
        if _OF_EXTENSION.match(block):
            continue
        body = block.partition("\n\\unrestrict ")[0]
        body = body.partition("\n--\n-- PostgreSQL database dump complete")[0]
        blocks.append(body.strip())
    return hashlib.sha256("\n\n".join(sorted(blocks)).encode()).hexdigest()


_SETVAL = re.compile(rb"^SELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);$", re.MULTILINE)


def sequences_of(script: bytes) -> list[SequenceFacts]:
    """Sequences and the values that a dump sets them to, from its statements."""
    found = []
    for name, value, called in _SETVAL.findall(script):
        schema, own = _split(name.decode(errors="replace").replace("''", "'"))
        found.append(SequenceFacts(schema=schema, name=own, last_value=int(value), is_called=called == b"true"))
    return found


_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def _split(name: str) -> tuple[str, str]:
    parts = [(q.replace('""', '"') if q or not bare else bare) for q, bare in _PART.findall(name)]
    return (parts[0], parts[1]) if len(parts) == 2 else ("", name)
