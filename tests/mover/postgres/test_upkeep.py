"""Upkeep of a real PostgreSQL by the maintenance role: what the figures say is what the test's own SQL sees."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from docuquery_operator.domain.backups.report import parsed
from docuquery_operator.domain.backups.request import Server
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.domain.maintenance.task_requests import UpkeepRequest
from docuquery_operator.mover.contracts import silent
from docuquery_operator.mover.postgres.upkeep import upkeep

from .conftest import APP, DATABASE, MAINTENANCE, ROOT, World

pytestmark = pytest.mark.timeout(120)
BLOATED = """
create table events (id bigint primary key, note text not null, at int not null default 0) with (autovacuum_enabled = off);
create index events_note on events (note);
insert into events select i, repeat('x', 200), 0 from generate_series(1, 20000) i;
analyze events;
delete from events where id > 2000;
"""
DEAD = "select n_dead_tup from pg_stat_all_tables where relname = 'events'"
SIZE = "select pg_relation_size('events')"


def request(world: World, user: str = MAINTENANCE, **more: Any) -> UpkeepRequest:
    server = Server(host="127.0.0.1", port=world.postgres.port)
    values = {"server": server, "databases": [DATABASE], "attempt_id": "t-1", "lock_timeout_seconds": 0.5, **more}
    return UpkeepRequest(secrets_dir=str(world.secrets(user)), budget_seconds=values.pop("budget_seconds", 60.0), **values)


async def done(world: World, user: str = MAINTENANCE, **more: Any) -> TaskOutcome:
    return await upkeep(request(world, user, **more), silent)


def row(outcome: TaskOutcome, table: str = "public.events") -> dict[str, Any]:
    found = outcome.tables[0]
    return next(dict(zip(found.columns, r, strict=True)) for r in found.rows if r[1] == table)


def bloated(world: World) -> tuple[int, int]:
    """Dead rows and bytes of the bloated table, by the test's own SQL."""
    world.app(BLOATED)
    deadline = time.monotonic() + 10
    while world.value(DEAD) < 18_000:
        assert time.monotonic() < deadline, "the server counts no dead rows"
        time.sleep(0.1)
    return world.value(DEAD), world.value(SIZE)


async def test_a_bloated_table_is_vacuumed_and_the_figures_are_those_of_the_server(world: World) -> None:
    dead, size = bloated(world)
    found = await done(world)
    assert found.state == "Succeeded"
    figures = row(found)
    assert (figures["dead rows before"], figures["heap before (bytes)"]) == (dead, size)
    assert (figures["dead rows after"], figures["heap after (bytes)"]) == (world.value(DEAD), world.value(SIZE))
    assert (world.value(DEAD), figures["result"]) == (0, "done")
    assert world.value(SIZE) < size / 2
    assert world.value("select last_vacuum is not null and last_analyze is not null from pg_stat_all_tables "
                       "where relname = 'events'")  # fmt: skip
    # Of the heap nine tenths held no rows, and next to nothing is left of it.
    assert 0.7 * size < figures["bloat before (bytes)"] < size
    assert figures["bloat after (bytes)"] < 0.05 * size
    line = next(e for e in found.evidence if "public.events" in e)
    assert f"dead rows {dead} → 0" in line
    assert found.figures["tables done"] == found.figures["tables"]


async def test_analyze_alone_counts_rows_and_removes_none(world: World) -> None:
    dead, _ = bloated(world)
    found = await done(world, vacuum=False)
    assert (found.state, row(found)["result"]) == ("Succeeded", "done")
    assert world.value(DEAD) >= dead * 0.9
    assert found.summary.startswith("analyze: ")


async def test_a_locked_table_is_skipped_by_name_of_its_holder_and_the_others_are_done(world: World) -> None:
    bloated(world)
    with world.connect() as holder:
        holder.execute("begin")
        holder.execute("lock table events in share row exclusive mode")
        began = time.monotonic()
        found = await done(world)
        assert time.monotonic() - began < 20
        assert row(found)["result"].startswith("locked: held by session ")
        assert f"of {APP}" in row(found)["result"]
        assert row(found, "public.documents")["result"] == "done"
        assert (found.state, found.figures["tables locked"]) == ("Succeeded", 1)
        assert any("public.events: locked" in f.text for f in found.findings)
        holder.execute("rollback")
    again = await done(world)
    assert row(again)["result"] == "done"


async def test_what_holds_vacuum_back_is_named(world: World) -> None:
    world.app(BLOATED)
    with world.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        holder.execute("select count(*) from documents")
        world.app("do $$ begin for i in 1..11000 loop perform 1; begin insert into audit (note) values (i::text); "
                  "exception when others then null; end; end loop; end $$")  # fmt: skip
        found = await done(world)
        texts = [f.text for f in found.findings]
        assert any("holds them back" in t and f"of {APP}" in t for t in texts), texts
        assert row(found)["dead rows after"] is not None
        holder.execute("rollback")


async def test_a_role_without_rights_is_told_what_to_grant(world: World) -> None:
    found = await done(world, user="docuquery_operator")
    assert found.state == "Failed"
    assert found.figures["tables not allowed"] == found.figures["tables"]
    assert any(f'GRANT {APP} TO "docuquery_operator"' in f.text for f in found.findings)


async def test_a_wrong_password_is_a_failure_in_words(world: World) -> None:
    wrong = request(world)
    (Path(wrong.secrets_dir) / "postgres" / "password").write_text("wrong")
    found = await upkeep(wrong, silent)
    assert found.state == "Failed"
    assert "Put the role's present username and password into the Secret" in found.summary


async def test_when_the_time_is_over_the_rest_is_said_to_be_left(world: World) -> None:
    found = await done(world, budget_seconds=4.0)
    assert (found.state, found.figures["tables not reached"]) == ("Failed", found.figures["tables"])
    assert "not reached in time" in found.summary


async def test_indexes_are_rebuilt_and_the_leftover_of_an_earlier_try_goes(world: World) -> None:
    world.app(BLOATED, "create index events_note_ccnew on events (note)", "create index twin on events (note)")
    world.run("update pg_index set indisvalid = false where indexrelid = 'events_note_ccnew'::regclass")
    size = world.value("select pg_relation_size('events_note')")
    found = await done(world, reindex=["public.events_note", "public.nowhere"])
    assert world.value("select pg_relation_size('events_note')") < size
    assert world.value("select count(*) from pg_class where relname like 'events_note_cc%'") == 0
    assert world.value("select indisvalid from pg_index where indexrelid = 'events_note'::regclass")
    assert any(
        e.startswith("public.events_note: rebuilt") and "1 left by an earlier try dropped" in e for e in found.evidence
    )
    assert (found.state, "index public.nowhere is in none of the databases" in found.summary) == ("Failed", True)
    assert any("does the same as" in f.text and "public." in f.text for f in found.findings)


async def test_several_connections_share_the_tables(world: World) -> None:
    bloated(world)
    found = await done(world, parallel=3)
    assert found.figures["tables done"] == found.figures["tables"]
    assert world.value(DEAD) == 0


async def test_killed_in_the_middle_it_is_simply_done_again(world: World, tmp_path: Path) -> None:
    bloated(world)
    with world.connect() as holder:
        # It gets no further than this table, so it is killed while it is at work.
        holder.execute("begin")
        holder.execute("lock table events in access exclusive mode")
        asked = request(world, lock_timeout_seconds=30.0)
        process = child(asked, tmp_path)
        await asyncio.sleep(3)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        holder.execute("rollback")
    found = await done(world)
    assert (found.state, row(found)["result"], world.value(DEAD)) == ("Succeeded", "done", 0)


async def test_told_to_end_it_says_how_far_it_came(world: World, tmp_path: Path) -> None:
    bloated(world)
    with world.connect() as holder:
        holder.execute("begin")
        holder.execute("lock table events in access exclusive mode")
        process = child(request(world, lock_timeout_seconds=30.0), tmp_path)
        await asyncio.sleep(4)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        holder.execute("rollback")
    last = parsed(out.decode().splitlines())[-1]
    outcome = getattr(last, "outcome", None)
    assert outcome is not None, out
    assert (outcome.state, "stopped before its end" in outcome.summary) == ("Aborted", True)
    assert world.value("select count(*) from pg_stat_activity where application_name = 'docuquery-mover'") == 0


def child(asked: UpkeepRequest, folder: Path) -> subprocess.Popen[bytes]:
    """The mover's own entry, as its Job runs it."""
    file = folder / "request.json"
    file.write_text(json.dumps(asked.model_dump(mode="json", by_alias=True)))
    command = [sys.executable, "-m", "docuquery_operator.mover", "upkeep", "--request", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
