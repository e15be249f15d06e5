"""A restore goes beside, is compared, changes names at once, and comes back; nothing that is not its own is touched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from docuquery_operator.domain.backups.manifest import DatabaseSetting, Manifest, PostgresPart
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.postgres import exchange, restore
from docuquery_operator.mover.postgres.restore import rights, set_statement
from docuquery_operator.mover.postgres.state import marked, names, unmarked

from .child import ID
from .conftest import APP, BACKUP, DATABASE, RESTORE, BlindStore, MemoryStore, World, manifest

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
COPY, PREVIOUS = f"{DATABASE}__r_{ID}", f"{DATABASE}__p_{ID}"


class Scene:
    """A set of the beginning, and a live database that has moved on."""

    def __init__(self, world: World, part: PostgresPart, store: MemoryStore, secrets: pathlib.Path) -> None:
        self.world, self.part, self.store, self.secrets = world, part, store, secrets
        self.request = world.request()
        self.manifest: Manifest = manifest(store, part)

    async def beside(self, **more: object) -> dict[str, object]:
        """Answers by the end of the check's name."""
        request = self.request.model_copy(update=more)
        checks = await restore.restore_beside(
            self.part, self.part.databases[0], self.manifest, self.store, request, self.secrets, ID,
            self.world.scratch, self.world.report,
        )  # fmt: skip
        return {check.name.rpartition("/")[2]: check.ok for check in checks}

    async def swap(self) -> str:
        return await restore.swap(self.request, self.secrets, DATABASE, ID)

    async def rollback(self) -> str:
        return await restore.rollback(self.request, self.secrets, DATABASE, ID)

    async def drop(self) -> str:
        return await restore.drop_previous(self.request, self.secrets, DATABASE, ID)

    def documents(self, database: str = DATABASE) -> int:
        return int(self.world.value("select count(*) from documents", database))


@pytest.fixture
async def scene(world: World) -> Scene:
    store = MemoryStore()
    part = await world.backup(store)
    world.app("delete from documents where id <= 100", "insert into twins values ('late')")
    return Scene(world, part, store, world.secrets(RESTORE))


OK = {
    "restore": True,
    "rows": True,
    "content": True,
    "schema": True,
    "sequences": True,
    "extensions": None,
    "settings": True,
}


@pytest.mark.parametrize("jobs", [1, 2])
async def test_there_and_back_again(scene: Scene, jobs: int) -> None:
    world = scene.world
    assert await scene.beside(jobs=jobs) == OK
    assert (scene.documents(), scene.documents(COPY)) == (2900, 3000)
    assert not list(world.scratch.iterdir())
    assert PREVIOUS in await scene.swap()
    assert (scene.documents(), world.names()) == (3000, {DATABASE, PREVIOUS})
    # As the application sees it: its own objects, rights and settings.
    world.app("insert into documents (title) values ('after')", "alter table documents add column more int")
    with world.connect() as client:
        assert client.execute("show work_mem").fetchone() == ("5MB",)
    with pytest.raises(psycopg.OperationalError, match="CONNECT"):
        outsider(world)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        world.connect(database=PREVIOUS)
    assert await scene.swap() == f"{DATABASE} is the restored one already"
    assert "kept as" in await scene.rollback()
    assert (scene.documents(), world.names()) == (2900, {DATABASE, COPY})
    assert (
        world.value("select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()")
        == "the application's"
    )
    assert await scene.rollback() == f"{DATABASE} is what it was before"
    assert await scene.beside() == {"restore": True}
    await scene.swap()
    assert await scene.drop() == f"dropped {PREVIOUS}"
    assert await scene.drop() == "nothing was kept"
    assert world.names() == {DATABASE}
    with pytest.raises(MoverError, match="no way back"):
        await scene.rollback()


def outsider(world: World) -> None:
    """Somebody who has no business in the database."""
    world.postgres.run("drop role if exists outsider", "create role outsider login password 'o'")
    psycopg.connect(host="127.0.0.1", port=world.postgres.port, user="outsider", password="o", dbname=DATABASE).close()


async def test_nothing_of_other_restores_or_people_is_touched(scene: Scene) -> None:
    other = [f"{DATABASE}__r_11111111", f"{DATABASE}__p_11111111", "somebody"]
    scene.world.postgres.run(*(f"create database {name}" for name in other))
    await scene.beside()
    await scene.swap()
    await scene.drop()
    assert scene.world.names() == {DATABASE, *other}


async def test_a_fresh_server_has_nothing_to_keep(scene: Scene) -> None:
    scene.world.postgres.run(f"drop database {DATABASE} with (force)")
    plans = await restore.plan(scene.part, scene.part.databases, scene.request, scene.secrets, ID)
    assert "no way back" in " ".join(plans[0].lines)
    await scene.beside()
    assert "nothing is kept" in await scene.swap()
    assert scene.documents() == 3000
    with pytest.raises(MoverError) as caught:
        await scene.rollback()
    assert caught.value.reason == "NoPrevious"
    assert await scene.drop() == "nothing was kept"
    assert scene.documents() == 3000


async def test_clients_lose_their_session_and_come_back_to_the_restored_data(scene: Scene) -> None:
    """A pool that reconnects at once must neither stop the exchange nor be shut out."""
    await scene.beside()
    over, failures, seen = threading.Event(), list[str](), set[int]()

    def hammer() -> None:
        while not over.is_set():
            try:
                with scene.world.connect() as client:
                    while not over.is_set():
                        row = client.execute("select count(*) from documents").fetchone()
                        seen.add(int(row[0]) if row else -1)
            except psycopg.Error as problem:
                failures.append(str(problem))

    hammers = [threading.Thread(target=hammer) for _ in range(4)]
    for one in hammers:
        one.start()
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await scene.swap()
    seconds = time.monotonic() - began
    await asyncio.sleep(0.5)
    over.set()
    for one in hammers:
        one.join()
    assert seen == {2900, 3000}
    assert failures
    assert seconds < 5


async def test_a_session_that_cannot_be_ended_stops_the_exchange_and_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "TRIES", 1)
    await scene.beside()
    with scene.world.postgres.admin(DATABASE), pytest.raises(MoverError) as caught:
        await scene.swap()
    assert (caught.value.reason, "1 of postgres" in caught.value.message) == ("InUse", True)
    assert (scene.documents(), scene.world.names()) == (2900, {DATABASE, COPY})
    scene.world.app("select 1")


async def test_a_copy_that_differs_does_not_go_live(scene: Scene) -> None:
    """The dump has other rows than the manifest says."""
    store = MemoryStore()
    await scene.world.backup(store)
    scene.store, scene.manifest = store, manifest(store, scene.part)
    found = await scene.beside()
    assert (found["rows"], found["content"]) == (False, False)
    with pytest.raises(MoverError) as caught:
        await scene.swap()
    assert caught.value.reason == "NotChecked"
    assert scene.documents() == 2900


async def test_a_damaged_dump_fails_and_the_next_try_begins_anew(scene: Scene) -> None:
    blind = BlindStore()
    blind.entries = scene.store.entries
    name = scene.part.databases[0].objects[0]
    blind.objects[name] = scene.store.objects[name][:-50000]
    honest, scene.store = scene.store, blind
    with pytest.raises(MoverError):
        await scene.beside()
    with pytest.raises(MoverError, match="not restored and checked"):
        await scene.swap()
    scene.store = honest
    assert await scene.beside() == OK
    await scene.swap()


async def test_what_is_in_the_way_is_said_before_anything_is_made(scene: Scene) -> None:
    def with_facts(**change: object) -> PostgresPart:
        database = scene.part.databases[0].model_copy(update=change)
        return scene.part.model_copy(update={"databases": [database]})

    honest = scene.part
    for part, reason in (
        (with_facts(roles=[APP, "gone"]), "NoRole"),
        (with_facts(owner="postgres"), "NotOwner"),
        (with_facts(extensions={"vector": "0.8"}), "ExtensionMissing"),
        (honest.model_copy(update={"server_version": 170000}), "ServerTooOld"),
    ):
        scene.part = part
        with pytest.raises(MoverError) as caught:
            await scene.beside()
        assert caught.value.reason in (reason, "ServerTooNew")
        assert not caught.value.retry
        assert scene.world.names() == {DATABASE}
        if reason != "ServerTooOld":
            plans = await restore.plan(part, part.databases, scene.request, scene.secrets, ID)
            assert len(plans[0].in_the_way) == 1


async def test_the_backup_role_cannot_restore(scene: Scene) -> None:
    scene.secrets = scene.world.secrets(BACKUP)
    with pytest.raises(MoverError) as caught:
        await scene.beside()
    assert caught.value.reason == "NotOwner"


async def test_two_restores_of_one_database_do_not_meet(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from docuquery_operator.mover.postgres import state
    from docuquery_operator.mover.postgres.session import login

    monkeypatch.setattr(state, "LOCK_SECONDS", 0.5)
    async with state.exclusive(login(scene.request.server, scene.secrets), DATABASE):
        with pytest.raises(MoverError) as caught:
            await scene.beside()
    assert (caught.value.reason, caught.value.retry) == ("RestoreRunning", True)


async def test_the_only_copy_is_never_dropped(scene: Scene) -> None:
    await scene.beside()
    await scene.swap()
    scene.world.postgres.run(f"alter database {DATABASE} rename to aside")
    with pytest.raises(MoverError, match="may be the only copy"):
        await scene.drop()
    # And it can go back to its place.
    await scene.rollback()
    assert scene.documents() == 2900


async def test_the_plan_says_what_would_be_lost(scene: Scene) -> None:
    scene.world.app("insert into audit (note) values ('late')", "create table later as select 1 as n", "drop table nothing")
    scene.world.app("update parts set at = '2020-06-06' where id = 1")
    found = (await restore.plan(scene.part, scene.part.databases, scene.request, scene.secrets, ID))[0]
    text = "\n".join(found.lines)
    for says in (
        "3011 rows in 7 tables come back",
        f"kept as {PREVIOUS}",
        "public.documents has 2900 rows live and 3000 in the set",
        "public.audit has 3 rows live and 2 in the set, at least 1 would be lost",
        "what was written after the set was cut is in docuquery_ai__p_",
        "public.later with 1 rows is not in the set and would be gone",
        "public.parts_old has 1 rows in both, with other content",
        "public.nothing comes back",
        "without the extension pg_stat_statements",
    ):
        assert says in text
    assert all(len(line) <= 512 for line in found.lines)
    scene.world.app("insert into audit (note) values ('later')")
    again = (await restore.plan(scene.part, scene.part.databases, scene.request, scene.secrets, ID))[0]
    assert again.fixed == found.fixed


async def test_ids_are_only_read(scene: Scene) -> None:
    async def ids(query: str) -> list[str]:
        return [found async for found in restore.document_ids(scene.request, scene.secrets, DATABASE, query)]

    assert await ids("select id from documents where id between 101 and 103 order by id;") == ["101", "102", "103"]
    assert await ids("select null::int union all select 7 -- comment") == ["7"]
    for query in (
        "with gone as (delete from twins returning 1) select * from gone",
        "select 1) t(x); commit; delete from twins; select (1",
        "select pg_catalog.set_config('transaction_read_only', 'off', false) from (select 1) x",
        "select repeat('x', 2000)",
        "select 1, 2",
    ):
        with pytest.raises(MoverError):
            await ids(query)
    assert scene.world.value("select count(*) from twins") == 5


async def test_a_repair_gets_the_ids_as_they_are(scene: Scene) -> None:
    changed = await restore.run_sql(
        scene.request, scene.secrets, DATABASE, "update documents set size = null where id = any($1)", ["101", "102", "9999"]
    )
    assert changed == 2
    nasty = ["it's", 'a"b', "c\\d", "e,f", "{g}"]
    await restore.run_sql(scene.request, scene.secrets, DATABASE, "insert into twins select unnest($1::text[])", nasty)
    with scene.world.connect() as client:
        assert set(nasty) <= {row[0] for row in client.execute("select word from twins")}
    with pytest.raises(MoverError):
        await restore.run_sql(
            scene.request, scene.secrets, DATABASE, "delete from twins where word = any($1); drop table twins", []
        )
    assert scene.world.value("select count(*) from twins") == 10


def test_names_and_marks() -> None:
    long = "d" * 63
    found = names(long, ID)
    assert max(map(len, (found.copy, found.previous))) <= 63
    assert found.copy != names("d" * 62, ID).copy
    with pytest.raises(ValueError):
        names("x", "';drop")
    assert "it''s\n[docuquery-restore 0badcafe live s.1]" in marked(names("x", ID), "x", "it's", "live", "s.1")
    assert unmarked("it's\n[docuquery-restore 0badcafe live s.1]") == "it's"


def test_rights_and_settings_are_written_as_they_were() -> None:
    assert rights("d", []) == []
    assert rights("d", ["CONNECT public", "TEMPORARY* a\"b"])[1:] == [
        'grant CONNECT on database "d" to public', 'grant TEMPORARY on database "d" to "a""b" with grant option'
    ]  # fmt: skip
    setting = DatabaseSetting(role="", setting='search_path="$user", public')
    assert set_statement("d", setting) == 'alter database "d" set search_path to "$user", public'
    assert (
        set_statement("d", DatabaseSetting(role="r", setting="a.b=it's"))
        == """alter role "r" in database "d" set a.b to 'it''s'"""
    )
    assert set_statement("d", DatabaseSetting(role="", setting="x; drop=1")) == ""


class Killed:
    """Runs the phases in processes that are killed at a statement."""

    def __init__(self, scene: Scene, folder: pathlib.Path, forks: subprocess.Popen[str]) -> None:
        self.scene, self.folder, self.forks = scene, folder, forks
        (self.folder / "manifest.json").write_bytes(scene.manifest.to_json())
        for name, data in scene.store.objects.items():
            (self.folder / name.replace("/", "_")).write_bytes(data)

    def run(self, phases: str, number: int = 0, when: str = "before") -> int:
        """Statements of a run that came to its end, 0 of one that was killed."""
        assert self.forks.stdin
        assert self.forks.stdout
        order = [self.scene.world.postgres.port, str(self.scene.secrets), str(self.folder), phases, number, when]
        self.forks.stdin.write(json.dumps(order) + "\n")
        self.forks.stdin.flush()
        line = self.forks.stdout.readline()
        assert line, self.errors()
        code, statements = json.loads(line)
        if code == -9:
            return 0
        assert code == 0, (code, self.errors())
        return int(statements)

    def errors(self) -> str:
        return (self.folder / "errors").read_text()[-3000:]


@pytest.fixture
def killed(scene: Scene) -> Iterator[Killed]:
    folder = scene.world.scratch / "set"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.mover.postgres.child"]
    with (
        (folder / "errors").open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as forks,
    ):
        yield Killed(scene, folder, forks)
        # It ends with its orders.
        forks.communicate()


def live(scene: Scene) -> int:
    """Documents that the application sees now: it must always see some."""
    for _ in range(50):
        with contextlib.suppress(psycopg.OperationalError), scene.world.connect() as client:
            row = client.execute("select count(*) from documents").fetchone()
            return int(row[0]) if row else -1
        time.sleep(0.02)
    raise AssertionError("the application has no database")


@pytest.mark.timeout(900)
async def test_killed_at_each_statement_it_comes_to_the_same_end(scene: Scene, killed: Killed) -> None:
    """Live data are the old ones or the new ones, all the time; and the next start finishes what was begun."""
    total = killed.run("beside,swap")
    assert total > 15
    assert live(scene) == 3000
    for when in ("before", "after"):
        for number in range(1, total + 1):
            killed.run("rollback,drop_previous")
            assert (live(scene), scene.world.names()) == (2900, {DATABASE})
            assert killed.run("beside,swap", number, when) == 0
            there = live(scene)
            assert there in (2900, 3000)
            # Not live before the names are exchanged, and those are the last statements.
            assert there == 2900 or number > total - 4
            assert scene.world.names() <= {DATABASE, COPY, PREVIOUS}
            killed.run("beside,swap")
            assert (live(scene), scene.world.names()) == (3000, {DATABASE, PREVIOUS})


async def test_killed_while_pg_restore_is_at_work(scene: Scene, killed: Killed) -> None:
    """What it leaves behind neither goes live nor stands in the way."""
    assert killed.run("beside", 0, "reading") == 0
    assert scene.world.names() == {DATABASE, COPY}
    with pytest.raises(MoverError, match="not restored and checked"):
        await scene.swap()
    assert await scene.beside() == OK
    await scene.swap()
    assert live(scene) == 3000


@pytest.mark.timeout(600)
async def test_killed_on_the_way_back(scene: Scene, killed: Killed) -> None:
    killed.run("beside,swap")
    total = killed.run("rollback")
    for when in ("before", "after"):
        for number in range(1, total + 1):
            killed.run("beside,swap")
            killed.run("rollback", number, when)
            assert live(scene) in (2900, 3000)
            killed.run("rollback")
            assert (live(scene), scene.world.names()) == (2900, {DATABASE, COPY})
