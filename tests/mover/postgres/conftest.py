"""A real PostgreSQL with the roles of the reference stack, and a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from docuquery_operator.domain.backups.manifest import (
    DatabaseFacts,
    IntentNote,
    Manifest,
    ObjectEntry,
    ObjectKind,
    PostgresPart,
    Source,
)
from docuquery_operator.domain.backups.request import PostgresRequest, Server
from docuquery_operator.mover.contracts import DamagedError, MoverError
from docuquery_operator.mover.postgres.backup import back_up
from tests.stack.services import ROOT, Postgres, open_folder, prepared, running

INIT = ROOT / "deploy" / "stack" / "base" / "postgres-init.sql"
DATABASE, APP = "docuquery_ai", "docuquery"
BACKUP, RESTORE, MAINTENANCE = "docuquery_backup", "docuquery_restore", "docuquery_maintenance"
PASSWORDS = {
    APP: "app-marker-5d1f",
    BACKUP: "backup:marker\\31c9",
    RESTORE: "restore-marker-90ab",
    MAINTENANCE: "maintenance-marker-7c12",
    "docuquery_operator": "x",
}
CONTENT = """
create type colour as enum ('red', 'green');
create table documents (id bigserial primary key, title text not null, size double precision, made timestamptz default now(),
                        body bytea, tags text[], colour colour default 'red', extra jsonb);
create index on documents (title);
insert into documents (title, size, body, tags, extra)
  select 'title ' || i, i / 3.0, decode(md5(i::text), 'hex'), array['a', i::text], jsonb_build_object('n', i)
    from generate_series(1, 3000) i;
create table twins (word text);
insert into twins select 'same' from generate_series(1, 4);
create table nothing ();
create table "Odd, name" ("Column, A" int, "b""c" text, dropped int);
alter table "Odd, name" drop column dropped;
insert into "Odd, name" values (1, 'x'), (2, null);
create table parts (id int, at date) partition by range (at);
create table parts_old partition of parts for values from ('2020-01-01') to ('2021-01-01');
create table parts_new partition of parts for values from ('2021-01-01') to ('2030-01-01');
insert into parts values (1, '2020-05-05'), (2, '2022-05-05'), (3, '2023-05-05');
create table audit (id int generated always as identity, note text);
insert into audit (note) values ('one'), ('two');
create sequence counter start 7;
create view titles as select id, title from documents;
create function twice(n int) returns int language sql as $$ select n * 2 $$;
alter database docuquery_ai set work_mem = '5MB';
comment on database docuquery_ai is 'the application''s';
"""


class MemoryStore:
    """contracts.ObjectWriter and ObjectReader in memory; an object of a failed source is not made."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.entries: dict[str, ObjectEntry] = {}
        self.fail_after: int | None = None

    async def write(
        self, name: str, kind: ObjectKind, plain: AsyncIterator[bytes], *, compress: bool = True, encrypt: bool | None = None
    ) -> ObjectEntry:
        data = bytearray()
        async for chunk in plain:
            data += chunk
            if self.fail_after is not None and len(data) > self.fail_after:
                raise MoverError("StoreFull", "the store is full")
        digest = hashlib.sha256(data).hexdigest()
        entry = ObjectEntry(
            name=name,
            kind=kind,
            plain_bytes=len(data),
            plain_sha256=digest,
            stored_bytes=len(data),
            stored_sha256=digest,
            compression="none",
        )
        self.objects[name], self.entries[name] = bytes(data), entry
        return entry

    async def note(self, note: IntentNote) -> None:
        raise AssertionError(note)

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        data = self.objects[entry.name]
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]
            await asyncio.sleep(0)
        if hashlib.sha256(data).hexdigest() != entry.plain_sha256:
            raise DamagedError(f"{entry.name} is not what was written")


class BlindStore(MemoryStore):
    """Does not compare hashes: what a check finds then, it finds by itself."""

    async def read(self, entry: ObjectEntry) -> AsyncIterator[bytes]:
        data = self.objects[entry.name]
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]


@dataclass
class World:
    """A server with the stack's roles, and what is needed to back it up."""

    postgres: Postgres
    folder: pathlib.Path
    scratch: pathlib.Path
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def secrets(self, user: str, password: str | None = None) -> pathlib.Path:
        """A mounted Secret of this role."""
        made = pathlib.Path(tempfile.mkdtemp(prefix="secrets-", dir=self.folder))
        place = prepared(made / "postgres")
        (place / "username").write_text(user)
        (place / "password").write_text(PASSWORDS[user] if password is None else password)
        return made

    def request(self, **more: Any) -> PostgresRequest:
        """A request for the stack's database."""
        server = Server(host="127.0.0.1", port=self.postgres.port)
        return PostgresRequest(**{"server": server, "databases": [DATABASE], "lock_timeout_seconds": 2, **more})

    def report(self, step: str, done: int, total: int) -> None:
        self.progress.append((step, done, total))

    async def backup(self, store: MemoryStore, **more: Any) -> PostgresPart:
        """One backup by the backup role."""
        return await back_up(self.request(**more), self.secrets(BACKUP), store, self.report, self.scratch)

    def run(self, *statements: str, database: str = DATABASE) -> None:
        """As superuser."""
        with self.postgres.admin(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def app(self, *statements: str) -> None:
        """As the application's role."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def connect(self, user: str = APP, database: str = DATABASE) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.postgres.port,
            user=user,
            password=PASSWORDS[user],
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def value(self, query: str, database: str = DATABASE) -> Any:
        with self.postgres.admin(database) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row
        return row[0]

    def names(self) -> set[str]:
        """Databases of the server."""
        with self.postgres.admin() as connection:
            rows = connection.execute("select datname from pg_database where not datistemplate and datname <> 'postgres'")
            return {row[0] for row in rows}

    def anew(self) -> None:
        """The stack's database as it was in the beginning, and no other."""
        for name in self.names():
            self.postgres.run(f'alter database "{name}" allow_connections false', f'drop database "{name}" with (force)')
        self.postgres.run(
            f"create database {DATABASE} owner {APP}",
            f"revoke connect on database {DATABASE} from public",
            f"grant connect on database {DATABASE} to docuquery_operator, {BACKUP}",
        )
        self.run("create extension pg_stat_statements")
        self.app(CONTENT)


def initialise(postgres: Postgres) -> None:
    """Run the stack's own script, so that the roles have here the rights that they have there."""
    script = INIT.read_text()
    with postgres.admin() as connection:
        if connection.info.server_version < 160000:
            script = script.replace(", pg_use_reserved_connections", "")
    short = {APP: "APP", BACKUP: "BACKUP", RESTORE: "RESTORE", MAINTENANCE: "MAINTENANCE", "docuquery_operator": "OPERATOR"}
    who = {f"{short[user]}_USER": user for user in short}
    who |= {f"{short[user]}_PASSWORD": PASSWORDS[user] for user in short}
    command = ["psql", "-X", "-q", "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", "postgres"]
    subprocess.run(command, input=script, text=True, check=True, env={**os.environ, **who}, capture_output=True)


@pytest.fixture(scope="session")
def folder() -> Iterator[pathlib.Path]:
    """One for the whole run."""
    with open_folder("mover") as made:
        yield made


@pytest.fixture(scope="session")
def server(folder: pathlib.Path) -> Iterator[Postgres]:
    """The server of all tests of this process."""
    postgres = Postgres(prepared(folder / "postgres"))
    with running(postgres):
        initialise(postgres)
        yield postgres


@pytest.fixture
def scratch(folder: pathlib.Path) -> pathlib.Path:
    """Folder of this test that another user may enter."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="scratch-", dir=folder))
    made.chmod(0o755)
    return made


@pytest.fixture
def world(server: Postgres, folder: pathlib.Path, scratch: pathlib.Path) -> World:
    """The server with its first content."""
    made = World(server, folder, scratch)
    made.anew()
    return made


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 200 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def manifest(store: MemoryStore, part: PostgresPart) -> Manifest:
    """A manifest with this part alone."""
    return Manifest(
        set_id="20261125T020000Z-1a2b3c4d.1",
        run="20261125T020000Z-1a2b3c4d",
        source=Source(namespace="n", stack="s", backup_job="b"),
        operator_version="0",
        started_at=part.cut_at,
        finished_at=part.finished_at,
        objects=list(store.entries.values()),
        postgres=part,
    )


def table(found: DatabaseFacts, name: str) -> Any:
    """Facts of one table."""
    return next(t for t in found.tables if t.name == name)
