"""A database as large as one wants, which does not compress well, backed up by the real mover on the scales."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.harness.weighed import Weight, weigh
from tests.stack.services import ROOT, Postgres, prepared

MIB = 1 << 20
# What a mover's pod has by default.
LIMIT = 256 * MIB
SET = "20261125T020000Z-1a2b3c4d.1"
# One row is 4 KiB of digits by chance, stored as they are; rows are repeated further apart than a compressor remembers.
FILL = """
create table documents (id bigserial primary key, body text);
alter table documents alter body set storage external;
insert into documents (body)
  select (select string_agg(md5(random()::text || i || j), '') from generate_series(1, 128) j) from generate_series(1, 6400) i;
insert into documents (body) select body from documents, generate_series(2, {times}) n where id <= 6400 order by n, id;
"""
# MiB of text of one such part; on the server it takes 35.
PART = 25


def fill(postgres: Postgres, name: str, mebibytes: int) -> int:
    """A database with so much text; its bytes."""
    postgres.run(f"create database {name}")
    with postgres.admin(name) as connection:
        connection.execute(FILL.format(times=max(1, -(-mebibytes // PART))).encode())
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    assert row
    return int(row[0])


def back_up(postgres: Postgres, name: str, folder: Path) -> Weight:
    """By `python -m docuquery_operator.mover`, into a folder."""
    secrets, scratch, store = prepared(folder / "secrets"), prepared(folder / "scratch"), prepared(folder / "store")
    for each in ("postgres", "store"):
        prepared(secrets / each)
    (secrets / "postgres" / "username").write_text("postgres")
    (secrets / "postgres" / "password").write_text("")
    request = {
        "command": "backup",
        "source": {"namespace": "n", "stack": "large", "backupJob": "nightly"},
        "destination": {"volume": {"claimName": "c"}},
        "secretsDir": str(secrets),
        "scratchDir": str(scratch),
        "volumeDir": str(store),
        "attemptId": "a",
        "setId": SET,
        "postgres": {"server": {"host": str(postgres.folder), "port": postgres.port}, "databases": [name], "globals": False},
    }
    (folder / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(folder / "request.json")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "MALLOC_ARENA_MAX": "2"}
    return weigh(command, env, LIMIT, scratch)


def verify(folder: Path) -> Weight:
    """Restore the set that `back_up` has made into a server of the mover's own, and compare."""
    request = json.loads((folder / "request.json").read_text())
    kept = ("source", "destination", "secretsDir", "scratchDir", "volumeDir", "attemptId", "setId")
    asked = {name: request[name] for name in kept} | {"command": "verify", "level": "Restore"}
    (folder / "verify.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(folder / "verify.json")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "MALLOC_ARENA_MAX": "2"}
    return weigh(command, env, 4 * LIMIT, prepared(folder / "temporary"))
