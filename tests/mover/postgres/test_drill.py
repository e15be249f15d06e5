"""The drill believes nothing: it finds what was changed, cut, flipped or lost, and says what it cannot tell."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from docuquery_operator.api.backup_job import SqlAssertion
from docuquery_operator.domain.backups.manifest import Check, DatabaseFacts, PostgresPart
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.postgres import contents, fill
from docuquery_operator.mover.postgres import drill as drilling
from docuquery_operator.mover.postgres.drill import drill
from docuquery_operator.mover.postgres.tools import Tools

from .conftest import BACKUP, DATABASE, BlindStore, MemoryStore, World, manifest, small_disk

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
KINDS = ("restore", "rows", "content", "schema", "sequences", "extensions", "amcheck")


async def drilled(world: World, part: PostgresPart, store: MemoryStore, *assertions: SqlAssertion) -> dict[str, Check]:
    """All checks by the end of their names; nothing is left of the server afterwards."""
    checks = await drill(part, store, manifest(store, part), world.scratch, assertions)
    assert not list(world.scratch.iterdir())
    return {check.name.removeprefix(f"postgres/{DATABASE}/"): check for check in checks}


def wrong(found: dict[str, Check]) -> set[str]:
    return {name for name, check in found.items() if check.ok is False}


def changed(part: PostgresPart, change: Callable[[DatabaseFacts], dict[str, object]]) -> PostgresPart:
    """The part with other facts of its database."""
    database = part.databases[0]
    return part.model_copy(update={"databases": [database.model_copy(update=change(database))]})


async def test_a_copy_taken_from_under_a_writer_is_equal(world: World) -> None:
    """The manifest is of the dump's snapshot, whatever is written, deleted and truncated meanwhile."""
    over = threading.Event()

    def write() -> None:
        with world.connect() as connection:
            number = 0
            while not over.is_set():
                number += 1
                connection.execute("insert into documents (title, size) values ('new', %s)", [number])
                connection.execute("update documents set title = title || '!' where id = %s", [1 + number % 3000])
                connection.execute("delete from documents where id = %s", [number])
                connection.execute("insert into audit (note) values ('more')")

    writer = threading.Thread(target=write)
    writer.start()
    store = MemoryStore()
    try:
        await asyncio.sleep(0.2)
        part = await world.backup(store)
    finally:
        over.set()
        writer.join()
    recorded = next(t for t in part.databases[0].tables if t.name == "documents")
    assert recorded.rows != world.value("select count(*) from documents") or recorded.rows == 3000
    found = await drilled(world, part, store)
    assert set(found) == {"postgres/server", *KINDS}
    assert {name: check.detail for name, check in found.items() if check.ok is not True} == {}
    assert found["restore"].seconds > 0
    assert found["postgres/server"].seconds > 0


async def test_the_parallel_format_is_proved_as_well(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store, jobs=2)
    found = await drilled(world, part, store)
    assert {name: check.detail for name, check in found.items() if check.ok is not True} == {}


@pytest.mark.parametrize(("where", "name", "value"), [(contents, "HEAD", 1000), (fill, "ENTRIES_AT_ONCE", 1)])
async def test_a_long_list_of_contents_is_restored_in_the_slower_way(
    world: World, monkeypatch: pytest.MonkeyPatch, where: ModuleType, name: str, value: int
) -> None:
    """One that the head does not hold whole, and one with more objects than a transaction should lock."""
    monkeypatch.setattr(where, name, value)
    store = MemoryStore()
    found = await drilled(world, await world.backup(store), store)
    assert {name: check.detail for name, check in found.items() if check.ok is not True} == {}


async def test_large_objects_and_a_filled_view_come_back(world: World) -> None:
    """Neither may be restored in one transaction, or without the rows that it is made of."""
    world.app("select lo_from_bytea(4711, 'large')", f"grant select on large object 4711 to {BACKUP}")
    world.app("create materialized view held as select title from documents")
    store = MemoryStore()
    found = await drilled(world, await world.backup(store), store, SqlAssertion.model_validate(
        {"name": "view", "database": DATABASE, "query": "select count(*) = (select count(*) from documents) from held",
         "expect": "true"}))  # fmt: skip
    assert {name: check.detail for name, check in found.items() if check.ok is not True} == {}
    assert found["assertion/view"].ok


async def test_it_finds_wrong_rows_content_sequences_and_schema(world: World) -> None:
    """The dump is of another moment than the facts, each time by one small thing."""
    store = MemoryStore()
    honest = await world.backup(store)
    world.app("update documents set body = decode('00', 'hex') where id = 77")
    assert wrong(await drilled(world, *await other_dump(world, honest))) == {"content"}
    world.app("delete from twins where ctid = '(0,1)'")
    found = await drilled(world, *await other_dump(world, honest))
    assert wrong(found) == {"rows", "content"}
    assert "public.twins has 3 rows instead of 4" in found["rows"].detail
    world.app("select setval('counter', 9)")
    found = await drilled(world, *await other_dump(world, honest))
    assert wrong(found) == {"rows", "content", "sequences"}
    assert "public.counter stands at 9 instead of 7" in found["sequences"].detail
    world.app("alter table audit add column more int")
    assert "schema" in wrong(await drilled(world, *await other_dump(world, honest)))
    world.app("drop table parts_old", "create table unknown ()")
    found = await drilled(world, *await other_dump(world, honest))
    assert "parts_old is missing" in found["rows"].detail
    assert "unknown is not in the manifest" in found["rows"].detail


async def other_dump(world: World, honest: PostgresPart) -> tuple[PostgresPart, MemoryStore]:
    """The first facts with a dump of today."""
    store = MemoryStore()
    await world.backup(store)
    return honest, store


async def test_no_cut_and_no_flip_of_the_dump_passes(world: World) -> None:
    """Also with a store that compares no hashes: what pg_restore swallows, the comparison finds."""
    store = BlindStore()
    part = await world.backup(store)
    name = part.databases[0].objects[0]
    good = store.objects[name]
    damaged: dict[str, bytes] = {f"cut to {share} %": good[: len(good) * share // 100] for share in (0, 5, 30, 60, 90, 99)}
    rows = good.index(b"title 1\t")
    # Not in a number: one of its many digits more or less may be the same value.
    for word in random.Random(5).sample(range(100, 2900), 3):
        for place in (good.index(b"title %d\t" % word) + 3, good.index(hashlib.md5(b"%d" % word).hexdigest().encode()) + 9):
            damaged[f"flip at {place}"] = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
    damaged["row lost"] = good.replace(good[rows - 2 : good.index(b"\n", rows) + 1], b"", 1)
    passed = {}
    for what, data in damaged.items():
        store.objects[name] = data
        found = await drilled(world, part, store)
        if not wrong(found):
            passed[what] = found
    assert passed == {}


async def test_bytes_that_are_not_those_written_fail(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    name = part.databases[0].objects[0]
    store.objects[name] += b"\0"
    found = await drilled(world, part, store)
    assert wrong(found) == {"restore"}
    assert "not what was written" in found["restore"].detail


async def test_a_store_that_cannot_be_read_is_no_verdict(world: World) -> None:
    class Broken(MemoryStore):
        async def read(self, entry):  # type: ignore[no-untyped-def]
            yield self.objects[entry.name][:70000]
            raise MoverError("StoreUnreachable", "the store does not answer")

    store = Broken()
    part = await world.backup(store)
    with pytest.raises(MoverError, match="does not answer"):
        await drill(part, store, manifest(store, part), world.scratch, [])
    assert not list(world.scratch.iterdir())


async def test_questions_to_the_copy(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    queries = {
        "right": ("select count(*) from documents", "3000"),
        "truth": ("select exists(select from twins); ", "true"),
        "wrong": ("select count(*) from twins", "5"),
        "broken": ("select nonsense", "1"),
        "writes": ("with gone as (delete from twins returning 1) select count(*) from gone", "4"),
        "several": ("select 1); commit; delete from twins; select (1", "1"),
    }
    asked = [SqlAssertion(name=n, database=DATABASE, query=q, expect=e) for n, (q, e) in queries.items()]
    elsewhere = SqlAssertion(name="elsewhere", database="other", query="select 1", expect="1")
    found = await drilled(world, part, store, *asked, elsewhere)
    answers = {name.removeprefix("assertion/"): check.ok for name, check in found.items() if name.startswith("assertion/")}
    assert answers == {
        "right": True, "truth": True, "wrong": False, "broken": False, "writes": False, "several": False, "elsewhere": None
    }  # fmt: skip
    assert "'4' instead of '5'" in found["assertion/wrong"].detail


async def test_a_missing_extension_is_not_held_against_the_set(world: World) -> None:
    store = MemoryStore()
    part = changed(await world.backup(store), lambda d: {"extensions": {**d.extensions, "vector": "0.8.0"}})
    found = await drilled(world, part, store)
    assert found["restore"].ok is None
    assert "vector" in found["restore"].detail
    other = changed(part, lambda d: {"extensions": {"pg_stat_statements": "1.0"}})
    assert (await drilled(world, other, store))["extensions"].ok is None


async def test_a_locale_that_is_missing_here_does_not_matter(world: World) -> None:
    store = MemoryStore()
    part = changed(await world.backup(store), lambda d: {"collate": "xx_XX.UTF-8", "ctype": "xx_XX.UTF-8"})
    found = await drilled(world, part, store)
    assert not wrong(found)
    assert "locale C" in found["restore"].detail


async def test_a_server_of_another_version_is_no_verdict(world: World) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    newer = part.model_copy(update={"server_version": 990000})
    checks = await drill(newer, store, manifest(store, newer), world.scratch, [])
    assert [(c.name, c.ok) for c in checks] == [("postgres/server", None)]
    other_client = changed(part, lambda d: {"schema_sha256": "0" * 64}).model_copy(update={"client_version": 150001})
    assert (await drilled(world, other_client, store))["schema"].ok is None


async def test_without_room_nothing_is_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    monkeypatch.setattr(drilling, "ROOM", 1e9)
    checks = await drill(part, store, manifest(store, part), world.scratch, [])
    assert [(c.ok, "bytes" in c.detail) for c in checks] == [(None, True)]


async def test_a_full_volume_is_no_verdict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    part = await world.backup(store)
    monkeypatch.setattr(drilling, "ROOM", 0)
    with small_disk(world.scratch) as scratch, pytest.raises(MoverError) as caught:
        await drill(part, store, manifest(store, part), scratch, [])
    assert (caught.value.reason, caught.value.retry) == ("DiskFull", True)


async def test_broken_indexes_are_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_amcheck's own answer is passed on: 2 is damage, anything else no answer."""
    store = MemoryStore()
    part = await world.backup(store)
    for code, ok in (("2", False), ("1", None)):
        fake = world.scratch.parent / f"amcheck-{code}"
        fake.write_text(f"#!/bin/sh\necho item order invariant violated\nexit {code}\n")
        fake.chmod(0o755)
        find = Tools.find
        with monkeypatch.context() as patched:
            patched.setattr(
                Tools,
                "find",
                lambda self, program, fake=fake, find=find: str(fake) if program == "pg_amcheck" else find(self, program),
            )
            check = (await drilled(world, part, store))["amcheck"]
        assert (check.ok, "invariant" in check.detail) == (ok, True)


CHILD = """
import asyncio, os, sys, pathlib
from docuquery_operator.mover.postgres.throwaway import throwaway
from docuquery_operator.mover.postgres.session import connect
from docuquery_operator.mover.postgres.tools import installed

# Only now: the interpreter of a checkout may lie where only root can go.
os.setgroups([]), os.setgid(65534), os.setuid(65534)

async def main():
    tools = (await installed("postgres"))[-1]
    async with throwaway(pathlib.Path(sys.argv[1]), tools) as who, connect(who, "template1") as session:
        row = await session.one("select current_setting('listen_addresses') as addresses")
        print(repr(row["addresses"]), os.geteuid())
        if len(sys.argv) > 2:
            raise SystemExit(3)
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
@pytest.mark.parametrize("fails", [False, True])
def test_an_ordinary_user_can_run_it_and_it_listens_to_nobody(world: World, fails: bool) -> None:
    scratch = world.scratch / "own"
    scratch.mkdir()
    os.chown(scratch, 65534, 65534)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", CHILD, str(scratch), *(["x"] if fails else [])]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode, made.stdout.strip()) == (3 if fails else 0, "'' 65534"), made.stderr[-2000:]
    assert not list(scratch.iterdir())
    assert not running_in(scratch)


def running_in(folder: pathlib.Path) -> list[str]:
    """Processes with this folder in their arguments."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found
