"""What is read of a database for its upkeep: tables, indexes, and what holds vacuum back."""

from __future__ import annotations

from ...domain.upkeep.databases import HeldBack, IndexFacts, Looked, TableFacts
from .session import Row, Session

OF_USERS = "n.nspname <> 'information_schema' and n.nspname !~ '^pg_'"
# MAINTAIN came with version 17; before it a table is vacuumed by its owner, the database's owner or a superuser.
ALLOWED = """(pg_has_role(c.relowner, 'usage') or (select rolsuper from pg_roles where rolname = current_user)
  or pg_has_role((select datdba from pg_database where datname = current_database()), 'usage'))"""
ALLOWED_17 = f"(has_table_privilege(c.oid, 'maintain') or {ALLOWED})"
TABLES = """
select n.nspname as schema, c.relname as name, pg_relation_size(c.oid) as heap, pg_indexes_size(c.oid) as indexes,
       coalesce(s.n_live_tup, greatest(c.reltuples, 0))::bigint as live, coalesce(s.n_dead_tup, 0) as dead,
       age(c.relfrozenxid) as age, pg_get_userbyid(c.relowner) as owner, {allowed} as allowed,
       coalesce((select option_value::int from pg_options_to_table(c.reloptions) where option_name = 'fillfactor'), 100)
         as fillfactor,
       (select sum((1 - null_frac) * avg_width)::float8 from pg_stats w
         where w.schemaname = n.nspname and w.tablename = c.relname and not w.inherited) as width
  from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_stat_all_tables s on s.relid = c.oid
 where c.relkind in ('r', 'm') and c.relpersistence <> 't' and {of_users}
 order by age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::int desc, s.n_dead_tup desc nulls last,
          n.nspname, c.relname
"""
INDEXES = """
with known as (
  select i.indexrelid, i.indrelid, n.nspname as schema, c.relname as name, i.indrelid::regclass::text as table_name,
         pg_relation_size(i.indexrelid) as bytes, i.indisvalid as valid, coalesce(s.idx_scan, 0) as scans,
         (i.indisunique or exists (select from pg_constraint k where k.conindid = i.indexrelid)) as serves_constraint,
         (i.indrelid, c.relam, i.indkey::text, i.indclass::text, i.indcollation::text, i.indoption::text,
          coalesce(pg_get_expr(i.indexprs, i.indrelid), ''), coalesce(pg_get_expr(i.indpred, i.indrelid), ''))::text as form
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
    left join pg_stat_all_indexes s on s.indexrelid = i.indexrelid
   where c.relkind = 'i' and c.relpersistence <> 't' and {of_users}
)
select schema, name, table_name, bytes, valid, scans, serves_constraint,
       coalesce((select min(o.schema || '.' || o.name) from known o
                  where o.form = k.form and o.indexrelid <> k.indexrelid and o.valid and k.valid
                    and (o.serves_constraint, k.indexrelid) > (k.serves_constraint, o.indexrelid)), '') as twin
  from known k order by schema, name
"""
SERVER = """
select age(datfrozenxid) as age, current_setting('autovacuum_freeze_max_age')::int as freeze
  from pg_database where datname = current_database()
"""
# The oldest snapshots: of sessions, of slots, of transactions that were prepared and never ended, and of standbys.
HELD = """
select * from (
  select format('session %s of %s (%s), in its transaction since %s', pid, coalesce(usename, '?'),
                coalesce(nullif(application_name, ''), 'no name'),
                to_char(xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
           as what, greatest(age(backend_xmin), age(backend_xid)) as age
    from pg_stat_activity where pid <> pg_backend_pid() and (backend_xmin is not null or backend_xid is not null)
  union all
  select format('replication slot %s%s', slot_name, case when active then '' else ', which nobody reads' end),
         greatest(age(xmin), age(catalog_xmin)) from pg_replication_slots
  union all
  select format('prepared transaction %s of %s in %s', left(gid, 60), owner, database), age(transaction)
    from pg_prepared_xacts
  union all
  select format('standby %s by its feedback', coalesce(nullif(application_name, ''), client_addr::text)),
         age(backend_xmin)
    from pg_stat_replication
) held where age is not null order by age desc limit 5
"""
LEAST_BYTES = 1 << 20


async def look(session: Session) -> Looked:
    """All of one database. Statistics of a session's own transaction would stand still; here each query is one."""
    allowed = ALLOWED_17 if session.version >= 170000 else ALLOWED
    tables = await session.rows(TABLES.format(allowed=allowed, of_users=OF_USERS))
    indexes = await session.rows(INDEXES.format(of_users=OF_USERS))
    server = await session.one(SERVER)
    held = await session.rows(HELD)
    return Looked(
        session.database,
        [_table(session.database, row) for row in tables],
        [found for row in indexes if (found := _index(session.database, row)) is not None],
        [HeldBack(row["what"], row["age"]) for row in held],
        server.get("age") or 0,
        server.get("freeze") or 200_000_000,
    )


def _table(database: str, row: Row) -> TableFacts:
    return TableFacts(database=database, **row)


def _index(database: str, row: Row) -> IndexFacts | None:
    """Only what is worth a word."""
    found = IndexFacts(database=database, table=row.pop("table_name"), **row)
    unused = not found.scans and not found.serves_constraint and found.bytes >= LEAST_BYTES
    return found if not found.valid or found.twin or unused else None
