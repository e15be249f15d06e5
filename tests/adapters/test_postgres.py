"""The PostgreSQL adapter against a real server: every outcome that can be made real, and sessions."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from docuquery_operator.adapters.postgres import PsycopgDatabase
from docuquery_operator.ports import DatabaseFacts, DatabaseTarget
from tests.adapters.conftest import APP, APP_PASSWORD, DATABASE, OPERATOR, OPERATOR_PASSWORD, sessions
from tests.stack.services import Postgres, free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(90)]
TIMEOUT = 5.0
NASTY = (
    "it's",
    'say "no"',
    "'; drop table witness; --",
    '"; drop table witness; --',
    "a\nb\tc",
    "%(pid)s %s {} $1",
    "back\\slash \\' \\x27",
    "überall 漢字",
)
Client = psycopg.Connection[Any]
Who = tuple[int, str]


async def look(target: DatabaseTarget, timeout: float = TIMEOUT) -> DatabaseFacts:
    """One look; whatever it says, no password is in it."""
    found = await PsycopgDatabase().look(target, timeout)
    assert target.password not in repr(found)
    return found


async def until(target: DatabaseTarget, fits: Callable[[DatabaseFacts], bool]) -> DatabaseFacts:
    """Look until it fits: the view of activity is a moment behind."""
    for _ in range(100):
        found = await look(target)
        if fits(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


def client(postgres: Postgres, user: str = APP, password: str = APP_PASSWORD, **more: Any) -> Client:
    """A session as an application opens it."""
    values: dict[str, Any] = {"host": "127.0.0.1", "dbname": DATABASE, "connect_timeout": 3} | more
    return psycopg.connect(port=postgres.port, user=user, password=password, **values)


def idle(postgres: Postgres, **more: Any) -> Client:
    """A session that forgot its transaction."""
    connection = client(postgres, **more)
    connection.execute("select 1")
    return connection


def who(connection: Client) -> int:
    """The server's process of a session."""
    return connection.info.backend_pid


def gone(connection: Client) -> bool:
    """Whether the server has ended this session."""
    try:
        connection.execute("select 1")
    except psycopg.Error:
        return True
    return False


def identities(found: DatabaseFacts) -> dict[int, str]:
    """Start of each listed session, by process."""
    return {s.pid: s.started for s in found.idle_in_transaction}


@contextmanager
def changed(postgres: Postgres, change: str, back: str) -> Iterator[None]:
    """A change of the server's catalogue that is taken back."""
    postgres.run(change)
    try:
        yield
    finally:
        postgres.run(back)


# Outcomes.


async def test_healthy(target: DatabaseTarget, postgres: Postgres) -> None:
    with client(postgres):
        found = await until(target, lambda f: f.used == 1)
    assert (found.outcome, found.message, found.sqlstate) == ("ok", "", "")
    assert (found.write, found.in_recovery, found.read_only) == ("ok", False, False)
    assert (found.max_connections, found.reserved) == (14, 3)
    assert found.latency_ms > 0
    assert found.database_bytes
    assert found.wal_bytes, "pg_monitor may list the log"
    assert (found.idle_in_transaction, found.waiting_on_locks, found.blockers) == ((), 0, ())
    assert any(a["usename"] == APP for a in found.activity)


async def test_the_operators_role_is_limited(target: DatabaseTarget, postgres: Postgres) -> None:
    """What these tests prove, they prove for the role of the stack's own script."""
    with client(postgres, OPERATOR, OPERATOR_PASSWORD) as connection:
        query = (
            "select rolsuper or rolcreaterole or rolcreatedb or rolreplication from pg_roles where rolname = current_user"
        )
        assert connection.execute(query).fetchone() == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table witness (x int)")
        connection.rollback()
    assert (await look(target)).outcome == "ok"


async def test_a_role_without_rights_still_tells_health(target: DatabaseTarget, postgres: Postgres) -> None:
    with changed(
        postgres,
        f"revoke pg_monitor, pg_signal_backend from {OPERATOR}",
        f"grant pg_monitor, pg_signal_backend to {OPERATOR}",
    ):
        found = await look(target)
    assert (found.outcome, found.write, found.wal_bytes) == ("ok", "ok", None)


async def test_may_not_write_temporary_tables(target: DatabaseTarget, postgres: Postgres) -> None:
    """Not being allowed to try is not a sick server."""
    with changed(
        postgres, f"revoke temporary on database {DATABASE} from public", f"grant temporary on database {DATABASE} to public"
    ):
        found = await look(target)
    assert (found.outcome, found.write) == ("ok", "")


async def test_refused(target: DatabaseTarget) -> None:
    found = await look(replace(target, port=free_port()))
    assert found.outcome == "refused"
    assert found.used is None


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300], ids=["unknown", "empty label", "long"])
async def test_no_such_name(target: DatabaseTarget, host: str) -> None:
    found = await look(replace(target, host=host))
    assert found.outcome in ("dns", "error", "timeout")
    assert found.message


async def test_frozen_server(target: DatabaseTarget, postgres: Postgres) -> None:
    """The kernel still accepts; nobody answers."""
    postmaster = postgres.pids()[0]
    os.kill(postmaster, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = await look(target, 1.0)
        assert found.outcome == "timeout"
        assert time.monotonic() - began < 4
        assert await PsycopgDatabase().terminate(target, [(1, "x")], True, 0.5) == 0
        assert await PsycopgDatabase().alive(target, [(1, "x")], True, 0.5) is None
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert (await until(target, lambda f: f.outcome == "ok")).write == "ok"


async def test_hangs_at_the_door(target: DatabaseTarget, postgres: Postgres) -> None:
    """The server runs but cannot let anybody in: somebody holds the table of roles."""
    with postgres.admin() as holder:
        holder.execute("begin")
        holder.execute("lock table pg_catalog.pg_authid in access exclusive mode")
        began = time.monotonic()
        found = await look(target, 1.0)
        assert time.monotonic() - began < 4
        assert (found.outcome, found.used) == ("timeout", None)
        holder.execute("rollback")
    wait_for("nothing left of the look", lambda: sessions(postgres) == 0)


async def test_frozen_while_it_is_asked(target: DatabaseTarget, postgres: Postgres) -> None:
    """The process that serves the look stops in the middle of a query, as on a dead disk: the look ends in time all the same."""
    asked = "select pid from pg_stat_activity where application_name = 'docuquery-operator' and wait_event_type = 'Lock'"
    with postgres.admin(DATABASE) as holder:
        holder.execute("begin")
        holder.execute("lock table pg_catalog.pg_class in share mode")
        began = time.monotonic()
        looking = asyncio.ensure_future(look(target, 2.0))
        pid = 0
        while not pid and time.monotonic() - began < 1.5:
            await asyncio.sleep(0.05)
            holder.execute("select pg_stat_clear_snapshot()")
            row = holder.execute(asked).fetchone()
            pid = row[0] if row else 0
        assert pid, "the look never came to its write"
        os.kill(pid, signal.SIGSTOP)
        try:
            found = await looking
            took = time.monotonic() - began
        finally:
            os.kill(pid, signal.SIGCONT)
        assert took < 5
        assert (found.outcome, found.used) == ("timeout", None)
        holder.execute("rollback")
    wait_for("nothing left of the look", lambda: sessions(postgres) == 0)


@pytest.mark.parametrize(
    "change",
    [{"password": "wrong"}, {"password": ""}, {"user": "nobody_at_all"}, {"password": "no\nno'; \\ \""}],
    ids=["wrong", "empty", "no such role", "odd"],
)
async def test_auth(target: DatabaseTarget, change: dict[str, Any]) -> None:
    found = await PsycopgDatabase().look(replace(target, **change), TIMEOUT)
    assert found.outcome == "auth", found


async def test_may_not_log_in(target: DatabaseTarget, postgres: Postgres) -> None:
    with changed(postgres, f"alter role {OPERATOR} nologin", f"alter role {OPERATOR} login"):
        assert (await look(target)).outcome == "auth"


async def test_password_that_changed(target: DatabaseTarget, postgres: Postgres) -> None:
    with changed(
        postgres, f"alter role {OPERATOR} password 'other'", f"alter role {OPERATOR} password '{OPERATOR_PASSWORD}'"
    ):
        assert (await look(target)).outcome == "auth"
        assert (await look(replace(target, password="other"))).outcome == "ok"


async def test_missing_database(target: DatabaseTarget) -> None:
    assert (await look(replace(target, database="elsewhere"))).outcome == "missing_database"


async def test_too_many_connections(target: DatabaseTarget, postgres: Postgres) -> None:
    with ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(client(postgres))
        found = await look(target)
        assert found.outcome == "too_many_connections", found
        assert found.used is None


async def test_too_many_connections_of_the_role(target: DatabaseTarget, postgres: Postgres) -> None:
    """Its own limit; the name of a role in the message does not make it a matter of passwords."""
    with (
        changed(postgres, f"alter role {OPERATOR} connection limit 1", f"alter role {OPERATOR} connection limit -1"),
        client(postgres, OPERATOR, OPERATOR_PASSWORD),
    ):
        assert (await look(target)).outcome == "too_many_connections"


async def test_too_many_connections_of_the_database(target: DatabaseTarget, postgres: Postgres) -> None:
    with (
        changed(postgres, f"alter database {DATABASE} connection limit 1", f"alter database {DATABASE} connection limit -1"),
        client(postgres),
    ):
        assert (await look(target)).outcome == "too_many_connections"


async def test_shutting_down(target: DatabaseTarget, postgres: Postgres) -> None:
    """A smart shutdown waits for the sessions and lets nobody new in."""
    with client(postgres) as last:
        os.kill(postgres.pids()[0], signal.SIGTERM)
        found = await look(target)
        for _ in range(50):
            if found.outcome != "ok":
                break
            await asyncio.sleep(0.05)
            found = await look(target)
        assert found.outcome == "starting", found
        last.close()
    postgres.stop()
    assert (await look(target)).outcome == "refused"
    postgres.start()
    assert (await look(target)).outcome == "ok"


@contextmanager
def standby(postgres: Postgres, hot: bool) -> Iterator[None]:
    """The same server as a standby without a primary."""
    process = postgres._process
    assert process
    mark, settings = postgres.data / "standby.signal", postgres.data / "postgresql.auto.conf"
    kept, options = settings.read_text(), list(process.command)
    postgres.stop()
    mark.touch()
    settings.write_text(kept + f"hot_standby = {'on' if hot else 'off'}\n")
    try:
        if hot:
            postgres.start()
        else:
            process.start()
        yield
    finally:
        postgres.stop()
        mark.unlink()
        settings.write_text(kept)
        process.command[:] = options
        postgres.start()


async def test_standby(target: DatabaseTarget, postgres: Postgres) -> None:
    """Answers, but takes no writes."""
    with standby(postgres, hot=True):
        found = await look(target)
        assert (found.outcome, found.in_recovery, found.write) == ("ok", True, "read_only")


async def test_recovery_that_lets_nobody_in(target: DatabaseTarget, postgres: Postgres) -> None:
    with standby(postgres, hot=False):
        found = await until(target, lambda f: f.outcome not in ("refused", "timeout"))
        assert found.outcome == "starting", found


@pytest.mark.parametrize("where", [f"database {DATABASE}", f"role {OPERATOR}", "system"])
async def test_read_only(target: DatabaseTarget, postgres: Postgres, where: str) -> None:
    setting = "default_transaction_read_only"
    with changed(postgres, f"alter {where} set {setting} = on", f"alter {where} reset {setting}"):
        postgres.run("select pg_reload_conf()")
        found = await until(target, lambda f: f.read_only is True)
        assert (found.outcome, found.write) == ("ok", "read_only")
    postgres.run("select pg_reload_conf()")
    await until(target, lambda f: f.write == "ok" and f.read_only is False)


async def test_disk_full(target: DatabaseTarget, postgres: Postgres, folder: pathlib.Path) -> None:
    """Where the probe's temporary table goes there is no room left."""
    place = folder / "tiny"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    try:
        data = place / "data"
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
        postgres.run(f"create tablespace tiny location '{data}'", f"grant create on tablespace tiny to {OPERATOR}")
        postgres.run(f"alter role {OPERATOR} set temp_tablespaces = tiny")
        with suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        found = await look(target)
        assert (found.outcome, found.write) == ("ok", "disk_full"), found
    finally:
        postgres.run(f"alter role {OPERATOR} reset temp_tablespaces")
        (place / "filler").unlink(missing_ok=True)
        with suppress(psycopg.Error):
            postgres.run("drop tablespace tiny")
        subprocess.run(["umount", "-l", str(place)], check=True)
    assert (await look(target)).write == "ok"


# Sessions idle in a transaction.


async def test_idle_sessions_are_listed(target: DatabaseTarget, postgres: Postgres) -> None:
    with idle(postgres, application_name="leaky") as leak, client(postgres) as quiet, idle(postgres) as other:
        other.rollback()
        found = await until(target, lambda f: len(f.idle_in_transaction) == 1)
        (session,) = found.idle_in_transaction
        assert (session.pid, session.role, session.application, session.address) == (who(leak), APP, "leaky", "127.0.0.1")
        assert 0 <= session.idle_seconds < 60
        assert session.started
        assert who(quiet) != session.pid


async def test_only_the_given_session_is_ended(target: DatabaseTarget, postgres: Postgres) -> None:
    with idle(postgres) as first, idle(postgres) as second, client(postgres) as working:
        listed = identities(await until(target, lambda f: len(f.idle_in_transaction) == 2))
        database, named = PsycopgDatabase(), (who(first), listed[who(first)])
        assert await database.alive(target, [named], True, TIMEOUT) == 1
        assert await database.terminate(target, [named], True, TIMEOUT) == 1
        assert gone(first)
        assert not gone(second)
        assert not gone(working)
        assert await settles_at(target, [named], 0)
        assert await database.terminate(target, [named], True, TIMEOUT) == 0, "ended twice is ended once"


async def settles_at(target: DatabaseTarget, named: list[Who], number: int, only_idle: bool = True) -> bool:
    """Whether so many of them are left soon."""
    for _ in range(100):
        if await PsycopgDatabase().alive(target, named, only_idle, TIMEOUT) == number:
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize("only_idle", [True, False])
async def test_a_pid_used_again_is_another_session(target: DatabaseTarget, postgres: Postgres, only_idle: bool) -> None:
    with idle(postgres) as leak:
        started = identities(await until(target, lambda f: len(f.idle_in_transaction) == 1))[who(leak)]
        database = PsycopgDatabase()
        for other in ("2001-01-01 00:00:00+00", started[:-4], "", "' or true --", f"{started} "):
            assert await database.terminate(target, [(who(leak), other)], only_idle, TIMEOUT) == 0
            assert await database.alive(target, [(who(leak), other)], only_idle, TIMEOUT) == 0
        assert await database.terminate(target, [(who(leak) + 1, started)], only_idle, TIMEOUT) == 0
        assert not gone(leak)


async def test_a_session_at_work_again_is_left_alone(target: DatabaseTarget, postgres: Postgres) -> None:
    """Between plan and act it went on: only_idle spares it, and it counts as no longer idle."""
    with idle(postgres) as leak:
        named = [(who(leak), identities(await until(target, lambda f: len(f.idle_in_transaction) == 1))[who(leak)])]
        leak.commit()
        database = PsycopgDatabase()
        assert await settles_at(target, named, 0)
        assert await database.alive(target, named, False, TIMEOUT) == 1
        assert await database.terminate(target, named, True, TIMEOUT) == 0
        assert not gone(leak)
        assert await database.terminate(target, named, False, TIMEOUT) == 1
        assert gone(leak)


async def test_sessions_of_other_roles_are_not_listed(target: DatabaseTarget, postgres: Postgres) -> None:
    """A person with psql, and another application."""
    postgres.run("create role stranger login password 'stranger'", f"grant connect on database {DATABASE} to stranger")
    try:
        with (
            idle(postgres) as ours,
            idle(postgres, user="stranger", password="stranger") as theirs,
            postgres.admin() as person,
        ):
            person.execute("begin")
            person.execute("select 1")
            found = await until(target, lambda f: f.used == 3 and bool(f.idle_in_transaction))
            assert set(identities(found)) == {who(ours)}
            by_owner = await look(replace(target, roles=()))
            assert set(identities(by_owner)) == {who(ours)}, "without roles it is the owner's"
            both = await look(replace(target, roles=(APP, "stranger")))
            assert set(identities(both)) == {who(ours), who(theirs)}
            none = await look(replace(target, roles=("nobody",)))
            assert none.idle_in_transaction == ()
    finally:
        postgres.run("revoke connect on database docuquery_ai from stranger", "drop role stranger")


async def test_a_superusers_session_cannot_be_ended_and_protects_nobody(target: DatabaseTarget, postgres: Postgres) -> None:
    with postgres.admin(DATABASE) as person, idle(postgres) as leak:
        person.execute("begin")
        person.execute("select 1")
        found = await until(replace(target, roles=(APP, "postgres")), lambda f: len(f.idle_in_transaction) == 2)
        listed = identities(found)
        named = [(who(person), listed[who(person)]), (who(leak), listed[who(leak)])]
        assert await PsycopgDatabase().terminate(target, named, False, TIMEOUT) == 1
        assert gone(leak)
        assert not gone(person)


async def test_without_the_right_to_signal(target: DatabaseTarget, postgres: Postgres) -> None:
    with (
        changed(postgres, f"revoke pg_signal_backend from {OPERATOR}", f"grant pg_signal_backend to {OPERATOR}"),
        idle(postgres) as leak,
    ):
        named = list(identities(await until(target, lambda f: len(f.idle_in_transaction) == 1)).items())
        assert await PsycopgDatabase().terminate(target, named, True, TIMEOUT) == 0
        assert await PsycopgDatabase().alive(target, named, True, TIMEOUT) == 1
        assert not gone(leak)


async def test_a_time_zone_set_by_the_tenant_changes_nobodys_identity(target: DatabaseTarget, postgres: Postgres) -> None:
    """The database's owner may set defaults of every session in it, also of ours."""
    with idle(postgres) as leak:
        named = list(identities(await until(target, lambda f: len(f.idle_in_transaction) == 1)).items())
        with ExitStack() as reset:
            for setting, value in (("timezone", "Asia/Kathmandu"), ("datestyle", "SQL, DMY"), ("intervalstyle", "iso_8601")):
                change = f"alter database {DATABASE} set {setting} = '{value}'"
                reset.enter_context(changed(postgres, change, f"alter database {DATABASE} reset {setting}"))
            assert await PsycopgDatabase().alive(target, named, True, TIMEOUT) == 1
            assert list(identities(await look(target)).items()) == named
            assert await PsycopgDatabase().terminate(target, named, True, TIMEOUT) == 1
        assert gone(leak)


async def test_no_session_of_ours_stays(target: DatabaseTarget, postgres: Postgres) -> None:
    await asyncio.gather(*(look(target) for _ in range(6)))
    wait_for("no session of ours", lambda: sessions(postgres) == 0)


# Locks.


@asynccontextmanager
async def waiting(postgres: Postgres, *scripts: tuple[str, ...]) -> AsyncIterator[list[int]]:
    """Sessions that each run their statements in one transaction; the last statement may wait for ever."""
    opened: list[psycopg.AsyncConnection[Any]] = []
    tasks: list[asyncio.Task[Any]] = []
    try:
        for script in scripts:
            connection = await psycopg.AsyncConnection.connect(
                host="127.0.0.1",
                port=postgres.port,
                user=APP,
                password=APP_PASSWORD,
                dbname=DATABASE,
                application_name="storm",
            )
            opened.append(connection)
            for statement in script[:-1]:
                await connection.execute(statement)
            tasks.append(asyncio.ensure_future(connection.execute(script[-1])))
            await asyncio.sleep(0.05)
        yield [c.info.backend_pid for c in opened]
    finally:
        postgres.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'storm'")
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in opened:
            await connection.close()


@pytest.fixture
def tables(postgres: Postgres) -> Iterator[None]:
    with client(postgres, autocommit=True) as connection:
        connection.execute("create table t (x int)")
        connection.execute("create table u (x int)")
    yield
    with postgres.admin(DATABASE) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'docuquery'")
        connection.execute("drop table t, u")


@pytest.mark.usefixtures("tables")
async def test_lock_storm(target: DatabaseTarget, postgres: Postgres) -> None:
    """A chain and a crowd behind one session: that one is the root, and those in the middle are not."""
    lock = "lock table {} in access exclusive mode"
    with client(postgres, application_name="'; drop table t; --") as root:
        root.execute(lock.format("t"))
        crowd = [(lock.format("t"),)] * 3
        async with waiting(postgres, (lock.format("u"), lock.format("t")), (lock.format("u"),), *crowd):
            found = await until(target, lambda f: f.waiting_on_locks == 5 and bool(f.blockers))
            (blocker,) = found.blockers
            assert (blocker.pid, blocker.role, blocker.waiting) == (who(root), APP, 5)
            assert blocker.application == "'; drop table t; --"
            assert 0 <= blocker.age_seconds < 60
            named = [(blocker.pid, blocker.started)]
            assert await PsycopgDatabase().terminate(target, named, False, TIMEOUT) == 1
            assert gone(root)
            after = await until(target, lambda f: all(b.pid != who(root) for b in f.blockers))
            assert (after.waiting_on_locks or 0) < 5


@pytest.mark.usefixtures("tables")
async def test_two_roots(target: DatabaseTarget, postgres: Postgres) -> None:
    with client(postgres) as first, client(postgres) as second:
        first.execute("lock table t in access exclusive mode")
        second.execute("lock table u in access exclusive mode")
        async with waiting(postgres, ("select * from t",), ("select * from t",), ("select * from u",)):
            found = await until(target, lambda f: f.waiting_on_locks == 3 and len(f.blockers) == 2)
            assert {b.pid: b.waiting for b in found.blockers} == {who(first): 2, who(second): 1}


# Text of others.


@pytest.mark.parametrize("name", NASTY)
async def test_hostile_names_are_taken_literally(target: DatabaseTarget, postgres: Postgres, name: str) -> None:
    """Database, role, password and application's name at once."""
    quoted, password = sql.Identifier(name), f"{name} password"
    with postgres.admin() as admin:
        admin.execute(sql.SQL("create role {} login password {}").format(quoted, sql.Literal(password)))
        admin.execute(sql.SQL("grant pg_monitor, pg_signal_backend to {}").format(quoted))
        admin.execute(sql.SQL("create database {} owner {}").format(quoted, quoted))
    try:
        as_owner: dict[str, Any] = {"dbname": name, "user": name, "password": password}
        with client(postgres, **as_owner) as owner:
            owner.execute("create table witness (x int)")
        theirs = replace(target, database=name, user=name, password=password, roles=(name,))
        with idle(postgres, application_name=name, **as_owner) as leak:
            found = await until(theirs, lambda f: len(f.idle_in_transaction) == 1)
            (session,) = found.idle_in_transaction
            assert (session.pid, session.role) == (who(leak), name)
            assert set(identities(await look(replace(theirs, roles=())))) == {who(leak)}
            assert await PsycopgDatabase().terminate(theirs, [(session.pid, session.started)], True, TIMEOUT) == 1
            assert gone(leak)
        with client(postgres, **as_owner) as owner:
            assert owner.execute("select count(*) from witness").fetchone() == (0,)
        # The server's message names them; the class does not change with the name.
        assert (await look(replace(theirs, password="no such one"))).outcome == "auth"
        assert (await look(replace(theirs, database=name + "2"))).outcome == "missing_database"
    finally:
        with postgres.admin() as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(quoted))
            admin.execute(sql.SQL("drop role {}").format(quoted))


@pytest.mark.parametrize(
    "database",
    ["the database system is starting up", "too many clients", "no pg_hba.conf entry", 'role "', "SSL", "timeout expired"],
)
async def test_a_name_in_the_servers_words_is_not_the_servers_word(target: DatabaseTarget, database: str) -> None:
    assert (await look(replace(target, database=database))).outcome == "missing_database"


@pytest.mark.parametrize(
    "change",
    [
        {"database": "postgresql://127.0.0.1/postgres"},
        {"database": "dbname=postgres user=postgres"},
        {"database": "' dbname='postgres"},
        {"user": f"{APP}' options='-c search_path=evil"},
        {"user": "a\0b"},
        {"database": "a\0b"},
        {"password": "a\0b"},
        {"host": "127.0.0.1' dbname='postgres"},
        {"host": "a\0b"},
        {"host": ""},
        {"user": ""},
        {"database": "x" * 5000},
    ],
    ids=lambda c: repr(c)[:40],
)
async def test_hostile_targets(target: DatabaseTarget, change: dict[str, Any]) -> None:
    """Nothing in a name adds a parameter to the connection, and nothing raises."""
    found = await PsycopgDatabase().look(replace(target, **change), TIMEOUT)
    assert found.outcome in ("missing_database", "auth", "dns", "error", "refused", "timeout")


async def test_hostile_sessions(target: DatabaseTarget, postgres: Postgres) -> None:
    """Values are parameters, of whatever size and shape."""
    with idle(postgres) as leak:
        await until(target, lambda f: len(f.idle_in_transaction) == 1)
        named = [(who(leak), text) for text in (*NASTY, "x" * 10**5)] + [(0, ""), (-1, ""), (2**31 - 1, "")]
        assert await PsycopgDatabase().terminate(target, named, False, TIMEOUT) == 0
        assert await PsycopgDatabase().alive(target, named, False, TIMEOUT) == 0
        for pid, text in ((2**31, ""), (2**63, ""), (1, "a\0b")):
            assert await PsycopgDatabase().terminate(target, [(pid, text)], False, TIMEOUT) == 0
            assert await PsycopgDatabase().alive(target, [(pid, text)], False, TIMEOUT) in (0, None)
        assert not gone(leak)


async def test_a_search_path_set_by_the_tenant_steers_nothing(target: DatabaseTarget, postgres: Postgres) -> None:
    """Views and functions of the same names in a schema that comes first: CNPG CVE-2026-55769."""
    with postgres.admin(DATABASE) as admin:
        admin.execute("create schema evil")
        admin.execute("grant usage on schema evil to public")
        admin.execute("create view evil.pg_stat_activity as select * from pg_catalog.pg_stat_activity where false")
        admin.execute("grant select on evil.pg_stat_activity to public")
        admin.execute("create function evil.pg_is_in_recovery() returns bool language sql as 'select true'")
        admin.execute("create function evil.pg_terminate_backend(integer) returns bool language sql as 'select true'")
        admin.execute(f"alter database {DATABASE} set search_path = evil, pg_catalog")
    try:
        with idle(postgres) as leak:
            assert leak.execute("select pg_is_in_recovery()").fetchone() == (True,)
            found = await until(target, lambda f: len(f.idle_in_transaction) == 1)
            assert (found.in_recovery, found.used) == (False, 1)
            assert await PsycopgDatabase().terminate(target, list(identities(found).items()), True, TIMEOUT) == 1
            assert gone(leak)
    finally:
        with postgres.admin() as admin:
            admin.execute(f"alter database {DATABASE} reset search_path")
        with postgres.admin(DATABASE) as admin:
            admin.execute("drop schema evil cascade")


async def test_queries_in_another_encoding(target: DatabaseTarget, postgres: Postgres) -> None:
    """A session of a neighbouring database has bytes in its query that are no UTF-8."""
    postgres.run("create database latin encoding 'LATIN1' locale 'C' template template0")
    try:
        with postgres.admin("latin") as neighbour:
            neighbour.execute("set client_encoding to 'UTF8'")
            neighbour.execute("begin")
            neighbour.execute("select 'Straße, " + "é" * 300 + "'")
            found = await until(target, lambda f: any(a["pid"] == who(neighbour) for a in f.activity))
            assert found.outcome == "ok"
            assert {a["query"] for a in found.activity if a["pid"] == who(neighbour)} == {""}
    finally:
        postgres.run("drop database latin with (force)")


async def test_a_database_without_an_encoding(target: DatabaseTarget, postgres: Postgres) -> None:
    """SQL_ASCII takes any bytes: they are not text for us, but the facts still are."""
    postgres.run(f"create database bytes encoding 'SQL_ASCII' locale 'C' template template0 owner {APP}")
    try:
        with client(postgres, dbname="bytes", client_encoding="latin1") as leak:
            leak.execute("select 'Straße'")
            found = await until(replace(target, database="bytes", roles=()), lambda f: len(f.idle_in_transaction) == 1)
            assert (found.outcome, found.idle_in_transaction[0].role) == ("ok", APP)
    finally:
        postgres.run("drop database bytes with (force)")
