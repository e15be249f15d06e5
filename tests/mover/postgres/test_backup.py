"""Dump and facts are of one snapshot, nothing that failed looks like a backup, and each failure says what to do."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from docuquery_operator.domain.backups.manifest import ObjectKind, PostgresPart
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.postgres import facts
from docuquery_operator.mover.postgres.backup import back_up
from docuquery_operator.mover.postgres.session import Session
from docuquery_operator.mover.postgres.tools import Tools, chosen

from .conftest import APP, BACKUP, DATABASE, PASSWORDS, MemoryStore, World, small_disk, table

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


async def test_it_records_what_the_database_holds(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    found = part.databases[0]
    assert part.client_version // 10000 >= part.server_version // 10000
    assert int(part.system_identifier) > 0
    assert part.cut_at < part.finished_at
    assert {t.name: t.rows for t in found.tables} == {
        "Odd, name": 2, "audit": 2, "documents": 3000, "nothing": 0, "parts_new": 2, "parts_old": 1, "twins": 4
    }  # fmt: skip
    assert all(t.content.startswith("rows-md5-64:") for t in found.tables)
    assert {s.name: (s.last_value, s.is_called) for s in found.sequences} == {
        "audit_id_seq": (2, True), "counter": (7, False), "documents_id_seq": (3000, True)
    }  # fmt: skip
    assert (found.owner, found.encoding, found.comment) == (APP, "UTF8", "the application's")
    assert list(found.extensions) == ["pg_stat_statements"]
    assert [s.setting for s in found.settings] == ["work_mem=5MB"]
    assert "CONNECT docuquery_backup" in found.acl
    assert not [right for right in found.acl if right == "CONNECT public"]
    assert APP in found.roles
    assert found.objects == [f"postgres/{DATABASE}.dump"]
    assert store.entries[found.objects[0]].kind is ObjectKind.POSTGRES_DUMP
    assert store.objects[part.globals_object].startswith(b"--")
    assert b"PASSWORD" not in store.objects[part.globals_object].replace(b"BYPASSRLS PASSWORD", b"")
    assert (part.skipped, part.warnings) == ([], [])
    assert world.progress[-1][1] == store.entries[found.objects[0]].plain_bytes
    assert not list(world.scratch.iterdir())


async def test_equal_rows_do_not_cancel_out(world: World) -> None:
    """XOR of four equal rows is that of none; the sum is not."""
    first = table((await world.backup(MemoryStore())).databases[0], "twins")
    world.app("delete from twins", "insert into twins select 'else' from generate_series(1, 4)")
    second = table((await world.backup(MemoryStore())).databases[0], "twins")
    assert (first.rows, first.content.split(":")[2]) == (second.rows, second.content.split(":")[2])
    assert first.content != second.content


async def test_hash_and_schema_do_not_depend_on_order_or_settings(world: World) -> None:
    before = (await world.backup(MemoryStore())).databases[0]
    world.run(f"alter role {BACKUP} set datestyle = 'German'", f"alter role {BACKUP} set extra_float_digits = -5")
    world.run(f"alter database {DATABASE} set timezone = 'Asia/Tokyo'", "cluster documents using documents_title_idx")
    try:
        after = (await world.backup(MemoryStore())).databases[0]
    finally:
        world.run(f"alter role {BACKUP} reset all")
    assert [t.content for t in before.tables] == [t.content for t in after.tables]
    world.run("alter table documents set without cluster")
    again = (await world.backup(MemoryStore())).databases[0]
    assert before.schema_sha256 == again.schema_sha256
    world.app("create index other on documents (size)")
    assert before.schema_sha256 != (await world.backup(MemoryStore())).databases[0].schema_sha256


async def test_a_right_on_a_table_is_part_of_the_schema(world: World) -> None:
    before = (await world.backup(MemoryStore())).databases[0]
    world.app("grant select on documents to docuquery_operator")
    assert before.schema_sha256 != (await world.backup(MemoryStore())).databases[0].schema_sha256


async def test_directory_format_makes_one_object_a_file(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store, jobs=2)
    found = part.databases[0]
    assert found.dump_format == "directory"
    assert f"postgres/{DATABASE}/toc.dat" in found.objects
    assert all(store.entries[name].kind is ObjectKind.POSTGRES_DIRECTORY for name in found.objects)
    assert next(s.last_value for s in found.sequences if s.name == "documents_id_seq") == 3000
    assert not list(world.scratch.iterdir())


async def test_rows_left_out_are_named(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(
        store, exclude_tables=["public.documents", "public.parts", "twins", "public.Odd, name", "nobody"]
    )
    found = part.databases[0]
    assert {t.name for t in found.tables if not t.data} == {"documents", "parts_old", "parts_new", "twins", "Odd, name"}
    assert b"title 2999" not in store.objects[found.objects[0]]
    assert {s.what for s in part.skipped} >= {
        f"postgres/{DATABASE}/public.documents",
        f"postgres/{DATABASE}/public.parts_old",
    }
    assert part.warnings == [f"postgres/{DATABASE}: excludeTables names nobody, which is no table"]


async def test_a_large_table_is_counted_and_the_gap_named(world: World) -> None:
    part = await world.backup(MemoryStore(), hash_limit_bytes=100_000)
    documents = table(part.databases[0], "documents")
    assert (documents.rows, documents.content) == (3000, "")
    assert table(part.databases[0], "twins").content
    assert [s.what for s in part.skipped] == [f"postgres/{DATABASE}/public.documents"]


async def test_large_objects_are_seen(world: World) -> None:
    world.app("select lo_from_bytea(4711, 'abc')")
    world.app(f"grant select on large object 4711 to {BACKUP}")
    found = (await world.backup(MemoryStore())).databases[0]
    assert table(found, "pg_largeobject").rows == 1


async def test_no_password_is_anywhere(world: World) -> None:
    """Neither in the arguments nor in the environment of any process of ours, nor in what is written."""
    store, seen, over = MemoryStore(), list[bytes](), threading.Event()

    def look() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    seen.append((process / "cmdline").read_bytes() + (process / "environ").read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        await world.backup(store)
    finally:
        over.set()
        watcher.join()
    assert any(b"pg_dump" in text for text in seen)
    assert not any(PASSWORDS[BACKUP].encode() in text for text in seen)
    assert PASSWORDS[BACKUP].encode() not in b"".join(store.objects.values())


async def failure(world: World, **more: object) -> MoverError:
    """The error of a backup that must fail, with no dump in the store."""
    store = MemoryStore()
    with pytest.raises(MoverError) as caught:
        await world.backup(store, **more)
    assert not [name for name in store.objects if "dump" in name]
    assert PASSWORDS[BACKUP] not in caught.value.message
    return caught.value


async def test_wrong_password(world: World) -> None:
    secrets = world.secrets(BACKUP, "wrong-marker")
    with pytest.raises(MoverError) as caught:
        await back_up(world.request(), secrets, MemoryStore(), world.report, world.scratch)
    assert caught.value.reason == "WrongPassword"
    assert not caught.value.retry
    assert "Secret" in caught.value.message
    assert "wrong-marker" not in caught.value.message


async def test_no_secret(world: World) -> None:
    with pytest.raises(MoverError, match="username and password") as caught:
        await back_up(world.request(), world.scratch, MemoryStore(), world.report, world.scratch)
    assert caught.value.reason == "NoCredentials"


async def test_row_security(world: World) -> None:
    world.app("alter table twins enable row level security")
    error = await failure(world)
    assert (error.reason, error.retry) == ("RowSecurity", False)
    assert "BYPASSRLS" in error.message


async def test_no_rights(world: World) -> None:
    world.run(f"revoke pg_read_all_data from {BACKUP}")
    try:
        error = await failure(world)
    finally:
        world.run(f"grant pg_read_all_data to {BACKUP}")
    assert (error.reason, error.retry) == ("NotAllowed", False)
    assert "pg_read_all_data" in error.message


async def test_no_right_to_connect(world: World) -> None:
    world.run(f"revoke connect on database {DATABASE} from {BACKUP}")
    assert (await failure(world)).reason == "NotAllowed"


async def test_no_database(world: World) -> None:
    error = await failure(world, databases=["elsewhere"])
    assert (error.reason, error.retry) == ("NoDatabase", False)
    assert (await failure(world, databases=[])).reason == "NoDatabase"


async def test_a_lock_is_not_queued_behind(world: World) -> None:
    with world.connect() as holder, holder.transaction():
        holder.execute("lock table twins in access exclusive mode")
        error = await failure(world, lock_timeout_seconds=0.3)
        assert (error.reason, error.retry) == ("LockTimeout", True)
        assert world.value("select count(*) from pg_locks where not granted") == 0


async def test_a_table_that_is_dropped_between_look_and_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first list of tables is out of date; the second is not."""
    real, calls = facts.tables, list[int]()

    async def tables(session: Session) -> list[facts.Table]:
        found = await real(session)
        calls.append(len(found))
        if len(calls) == 1:
            world.app("drop table twins")
        return found

    monkeypatch.setattr(facts, "tables", tables)
    found = (await world.backup(MemoryStore())).databases[0]
    assert len(calls) == 2
    assert "twins" not in {t.name for t in found.tables}


async def test_nobody_there(world: World) -> None:
    server = world.request().server.model_copy(update={"port": 1})
    error = await failure(world, server=server)
    assert (error.reason, error.retry) == ("Unreachable", True)


async def test_a_dump_whose_session_is_ended(world: World) -> None:
    """pg_dump dies in the midst: no object, and the words of the server."""
    store = MemoryStore()
    world.app("alter table documents alter body set storage external")
    world.app(
        "insert into documents (title, body) select 'big', convert_to(repeat('x', 1000000), 'UTF8') from generate_series(1, 40)"
    )

    class Killing(MemoryStore):
        async def write(self, name, kind, plain, **more):  # type: ignore[no-untyped-def]
            return await super().write(name, kind, self.killing(plain), **more)

        async def killing(self, plain):  # type: ignore[no-untyped-def]
            killed = False
            async for chunk in plain:
                yield chunk
                if not killed:
                    world.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pg_dump'"
                              " or query like 'COPY%'")  # fmt: skip
                    killed = True

    store = Killing()
    with pytest.raises(MoverError) as caught:
        await world.backup(store, globals=False)
    assert (caught.value.reason, caught.value.retry) == ("ConnectionLost", True)
    assert not store.objects


async def test_the_error_of_the_store_is_passed_on_and_nothing_stays(world: World) -> None:
    store = MemoryStore()
    store.fail_after = 1000
    with pytest.raises(MoverError) as caught:
        await world.backup(store)
    assert caught.value.reason == "StoreFull"
    await asyncio.sleep(0.1)
    assert world.value("select count(*) from pg_stat_activity where usename = 'docuquery_backup'") == 0


async def test_a_full_scratch_volume(world: World) -> None:
    with small_disk(world.scratch) as scratch, pytest.raises(MoverError) as caught:
        await back_up(world.request(jobs=2), world.secrets(BACKUP), MemoryStore(), world.report, scratch)
    assert (caught.value.reason, caught.value.retry) == ("DiskFull", True)
    assert "No space left" in caught.value.message


async def test_scratch_that_cannot_be_written(world: World) -> None:
    with pytest.raises(MoverError) as caught:
        await back_up(world.request(jobs=2), world.secrets(BACKUP), MemoryStore(), world.report, Path("/proc/scratch"))
    assert caught.value.reason == "NoScratch"


async def test_globals_that_cannot_be_had_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tools, "path", lambda self, program: "/bin/false" if program == "pg_dumpall" else self.find(program))
    part = await world.backup(MemoryStore())
    assert part.globals_object == ""
    assert [s.what for s in part.skipped] == ["postgres/globals"]


async def test_no_table_is_no_error_here(world: World) -> None:
    """Whether an empty database is a failure is said by the set."""
    world.run("create database hollow")
    assert (await world.backup(MemoryStore(), databases=["hollow"])).databases[0].tables == []


async def test_several_databases_have_cuts_near_together(world: World) -> None:
    world.run('create database "second$"')
    part: PostgresPart = await world.backup(MemoryStore(), databases=[DATABASE, "second$"])
    assert [d.name for d in part.databases] == [DATABASE, "second$"]
    assert part.databases[1].objects == ["postgres/second=24.dump"]


@pytest.mark.parametrize(
    ("server", "made_by", "major"),
    [(150018, 0, 15), (160002, 0, 17), (170001, 0, 17), (150000, 170002, 17), (140000, 0, 15)],
)
def test_the_client_fits_the_server(server: int, made_by: int, major: int) -> None:
    have = [Tools(Path("/15"), 150018), Tools(Path("/17"), 170002)]
    assert chosen(have, server, made_by).major == major


@pytest.mark.parametrize(
    ("server", "reason", "says"), [(180000, "ServerTooNew", "client-18"), (90600, "ServerTooOld", "14")]
)
def test_a_server_that_no_client_fits_is_refused(server: int, reason: str, says: str) -> None:
    with pytest.raises(MoverError, match=says) as caught:
        chosen([Tools(Path("/17"), 170002)], server)
    assert (caught.value.reason, caught.value.retry) == (reason, False)
