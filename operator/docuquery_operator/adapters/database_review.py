"""Reads what a review of a database needs, through the client of adapters/postgres.py."""

from __future__ import annotations

from typing import Any, LiteralString

from ..domain.redaction import redact
from ..ports import DatabaseFacts, DatabaseReview, DatabaseTarget, Statement, TableSize
from .postgres import Connection, asked, in_schema, rows_of

QUESTIONS = 5
TABLES = 20
TEXT = 1000
COUNTERS = """
select current_user as role, stats_reset as since, blks_hit as hit, blks_read as read, xact_commit as commits,
       xact_rollback as rollbacks, deadlocks, temp_bytes as temporary_bytes
  from pg_stat_database where datname = current_database()
"""
# Sizes of those that look largest: each takes a lock for a moment, and waits for who rewrites the table.
SIZES = """
select t.schemaname || '.' || t.relname as name, pg_total_relation_size(t.relid) as bytes, t.n_live_tup as rows,
       t.n_dead_tup as dead, coalesce(t.seq_scan, 0) as whole_scans, coalesce(t.idx_scan, 0) as index_scans
  from (select s.* from pg_stat_user_tables s join pg_class c on c.oid = s.relid
         order by c.relpages desc, s.relid limit %(most)s) t
 order by bytes desc nulls last, name
"""
EXTENSION = """
select n.nspname as schema from pg_extension e join pg_namespace n on n.oid = e.extnamespace
 where e.extname = 'pg_stat_statements'
"""
STATEMENTS = """
select left(query, %(text)s) as text, sum(calls)::bigint as calls, (sum(total_exec_time) / 1000)::float as total,
       (sum(total_exec_time) / sum(calls) / 1000)::float as mean, (max(max_exec_time) / 1000)::float as longest,
       sum(rows)::bigint as rows, sum(shared_blks_hit)::bigint as hit, sum(shared_blks_read)::bigint as read
  from {schema}.pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database()) and calls > 0
 group by query order by total desc limit %(most)s
"""
ALL_SECONDS = """
select (coalesce(sum(total_exec_time), 0) / 1000)::float as seconds,
       count(*) filter (where query = '<insufficient privilege>')::int as hidden
  from {schema}.pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
"""
RESET = "select stats_reset as since from {schema}.pg_stat_statements_info"
LOADED = "add pg_stat_statements to shared_preload_libraries, restart the server"


class PsycopgReviewer:
    """ports.DatabaseReviewer."""

    async def review(self, target: DatabaseTarget, statements: int, timeout: float) -> DatabaseReview:
        """Each question has `timeout` seconds; one that is refused does not keep the others from being asked."""

        async def read(connection: Connection) -> DatabaseReview:
            return await _review(connection, statements)

        found = await asked(target, timeout, read, timeout * QUESTIONS)
        if isinstance(found, DatabaseFacts):
            return DatabaseReview(found.outcome, found.message)
        return found


async def _review(connection: Connection, statements: int) -> DatabaseReview:
    counters = await rows_of(connection, COUNTERS)
    if isinstance(counters, str) or not counters:
        return DatabaseReview("error", counters if isinstance(counters, str) else "no counters")
    sizes = await rows_of(connection, SIZES, {"most": TABLES})
    tables = () if isinstance(sizes, str) else tuple(TableSize(**row) for row in sizes)
    said = await _statements(connection, statements, counters[0]["role"])
    return DatabaseReview("ok", tables=tables, **counters[0], **said)


async def _statements(connection: Connection, most: int, role: str) -> dict[str, Any]:
    """Statements, or why there are none and what helps."""
    there = await rows_of(connection, EXTENSION)
    if isinstance(there, str) or not there:
        return {"problem": f"pg_stat_statements is not in this database: {LOADED}, and CREATE EXTENSION pg_stat_statements"}
    schema: str = there[0]["schema"]

    async def ask(query: LiteralString, **values: Any) -> list[dict[str, Any]] | str:
        return await rows_of(connection, in_schema(query, schema), values or None)

    sums, found = await ask(ALL_SECONDS), await ask(STATEMENTS, text=TEXT, most=most)
    if isinstance(sums, str) or isinstance(found, str):
        return {"problem": _advice(str(sums if isinstance(sums, str) else found), role)}
    if sums[0]["hidden"]:
        return {"problem": f"statements of other roles are hidden: GRANT pg_read_all_stats TO {_quoted(role)}"}
    reset = await ask(RESET)
    since = None if isinstance(reset, str) or not reset else reset[0]["since"]
    told = tuple(Statement(**{**row, "text": redact(row["text"])}) for row in found)
    return {"statements": told, "statements_since": since, "seconds": sums[0]["seconds"]}


def _advice(said: str, role: str) -> str:
    if "shared_preload_libraries" in said:
        return f"pg_stat_statements is not loaded: {LOADED}"
    if "permission denied for schema" in said:
        return f"{said}: GRANT USAGE on it and pg_read_all_stats TO {_quoted(role)}"
    if "permission denied" in said:
        return f"{said}: GRANT SELECT on it and pg_read_all_stats TO {_quoted(role)}"
    return f"pg_stat_statements cannot be read: {said}"


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'
