"""The review of a real PostgreSQL: with the statements, and with each reason for which they are not there."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from docuquery_operator.adapters.database_review import PsycopgReviewer
from docuquery_operator.ports import DatabaseReview, DatabaseTarget
from tests.adapters.conftest import APP, APP_PASSWORD, DATABASE, OPERATOR, OPERATOR_PASSWORD, initialise
from tests.stack.services import Postgres, prepared, running

pytestmark = [pytest.mark.services, pytest.mark.timeout(90)]


async def review(target: DatabaseTarget, statements: int = 20, timeout: float = 5.0) -> DatabaseReview:
    found = await PsycopgReviewer().review(target, statements, timeout)
    assert target.password not in repr(found)
    return found


@pytest.fixture(scope="module")
def loaded(folder: pathlib.Path) -> Iterator[Postgres]:
    """A server with pg_stat_statements loaded, as the reference stack's."""
    postgres = Postgres(prepared(folder / "reviewed"))
    with (postgres.data / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'pg_stat_statements'\n")
    with running(postgres):
        initialise(postgres)
        with psycopg.connect(host="127.0.0.1", port=postgres.port, dbname=DATABASE, user=APP, password=APP_PASSWORD) as app:
            app.execute("create table documents (id int primary key, body text)")
            app.execute("insert into documents select n, repeat('x', 500) from generate_series(1, 3000) n")
            app.execute("alter role docuquery set work_mem = '4MB'")
            app.commit()
            for n in range(40):
                app.execute("select count(*) from documents where body like %s", [f"%{n}%"])
            app.execute("select pg_sleep(0.25)")
            app.execute("alter role docuquery password 'hunter2hunter2'")
            app.rollback()
        yield postgres


@pytest.fixture
def full(loaded: Postgres) -> DatabaseTarget:
    return DatabaseTarget("127.0.0.1", loaded.port, DATABASE, OPERATOR, OPERATOR_PASSWORD, (APP,))


async def test_statements_by_the_time_that_they_took(full: DatabaseTarget) -> None:
    found = await review(full)
    assert (found.outcome, found.problem, found.role) == ("ok", "", OPERATOR)
    assert found.statements is not None
    totals = [s.total for s in found.statements]
    assert totals == sorted(totals, reverse=True)
    count = next(s for s in found.statements if "from documents where body like" in s.text)
    assert count.calls == 40
    assert count.mean == pytest.approx(count.total / 40)
    assert count.longest >= count.mean
    assert count.hit > 0
    sleep = next(s for s in found.statements if "pg_sleep" in s.text)
    assert 0.25 <= sleep.total < 2
    assert found.seconds is not None
    assert found.seconds >= sum(totals) - 0.001
    assert found.statements_since is not None
    assert "hunter2" not in repr(found)


async def test_no_more_statements_than_asked_for(full: DatabaseTarget) -> None:
    found = await review(full, 1)
    assert found.statements is not None
    assert len(found.statements) == 1
    none = await review(full, 0)
    assert none.statements == ()


async def test_counters_and_tables_are_the_servers_own(full: DatabaseTarget, loaded: Postgres) -> None:
    for _ in range(50):
        found = await review(full)
        if any(t.rows == 3000 for t in found.tables):
            break
        await asyncio.sleep(0.1)
    table = next(t for t in found.tables if t.name == "public.documents")
    assert table.rows == 3000
    assert table.whole_scans >= 40
    with loaded.admin() as connection:
        connection.execute("select 1")
    with psycopg.connect(host="127.0.0.1", port=loaded.port, dbname=DATABASE, user=APP, password=APP_PASSWORD) as app:
        size = app.execute("select pg_total_relation_size('documents')").fetchone()
    assert size is not None
    assert table.bytes == size[0]
    assert found.hit is not None
    assert found.hit > 1000
    assert found.commits is not None
    assert found.rollbacks is not None
    assert found.rollbacks >= 1
    assert found.deadlocks == 0


async def test_a_locked_table_does_not_hide_the_statements(full: DatabaseTarget, loaded: Postgres) -> None:
    with psycopg.connect(host="127.0.0.1", port=loaded.port, dbname=DATABASE, user=APP, password=APP_PASSWORD) as app:
        app.execute("lock table documents in access exclusive mode")
        found = await review(full, timeout=1.0)
        app.rollback()
    assert found.outcome == "ok"
    assert found.tables == ()
    assert found.statements


async def test_a_role_that_may_not_see_others_is_told_what_to_ask_for(full: DatabaseTarget, loaded: Postgres) -> None:
    loaded.run('drop role if exists "small ""one"""')
    loaded.run('create role "small ""one""" login password \'small-marker-1\'')
    loaded.run(f'grant connect on database {DATABASE} to "small ""one"""')
    found = await review(replace(full, user='small "one"', password="small-marker-1"))
    assert found.outcome == "ok"
    assert found.statements is None
    assert found.problem == 'statements of other roles are hidden: GRANT pg_read_all_stats TO "small ""one"""'
    # What it says helps.
    loaded.run('grant pg_read_all_stats to "small ""one"""')
    assert (await review(replace(full, user='small "one"', password="small-marker-1"))).statements


async def test_not_loaded(target: DatabaseTarget) -> None:
    found = await review(target)
    assert found.outcome == "ok"
    assert found.statements is None
    assert found.problem.startswith("pg_stat_statements is not loaded: add pg_stat_statements to shared_preload_libraries")
    assert found.hit is not None


async def test_not_in_this_database(target: DatabaseTarget) -> None:
    found = await review(replace(target, database="postgres"))
    assert found.problem.startswith("pg_stat_statements is not in this database")
    assert "CREATE EXTENSION" in found.problem


async def test_a_sick_server_is_an_answer(target: DatabaseTarget, postgres: Postgres) -> None:
    assert (await review(replace(target, port=1))).outcome == "refused"
    assert (await review(replace(target, password="no"))).outcome == "auth"
    os.kill(postgres.pids()[0], signal.SIGSTOP)
    try:
        found = await review(target, timeout=0.3)
    finally:
        os.kill(postgres.pids()[0], signal.SIGCONT)
    assert found.outcome == "timeout"
    assert found.hit is None
