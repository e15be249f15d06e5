"""What `docuquery-restore unpack` and RESTORE.txt say is typed into a shell, with the tools of PostgreSQL and curl alone."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from docuquery_operator.mover import offline
from tests.mover.postgres.conftest import APP, BACKUP, DATABASE, RESTORE, folder, server
from tests.mover.test_damage import Kit, kit, qdrant
from tests.stack.services import Postgres, QdrantDouble, http, open_folder, prepared, running

__all__ = ["folder", "kit", "qdrant", "server"]
pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


def said(kit: Kit, to: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines after the objects of `unpack`."""
    identity = kit.secrets / "identity" / "key.txt"
    assert (
        offline.main(["unpack", "latest", "--from", str(kit.store / "demo"), "--identity", str(identity), "--to", str(to)])
        == 0
    )
    return [line for line in capsys.readouterr().out.partition("Go on with:")[2].splitlines() if line]


def typed(commands: list[str], postgres: Postgres, double: QdrantDouble) -> None:
    """Each succeeds; kubectl is only looked at."""
    login = {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    env = {**os.environ, **login, "QDRANT": double.url, "QDRANT_API_KEY": ""}
    for command in commands:
        if command.startswith("kubectl"):
            assert command.split()[1:4] == ["apply", "-n", "n"]
            continue
        done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def around(postgres: Postgres) -> list[str]:
    """What is no part of a dump: rights on the database and its settings."""
    query = b"""
        select unnest(datacl)::text as what from pg_database where datname = 'docuquery_ai' union all
        select unnest(setconfig) from pg_db_role_setting where setdatabase =
          (select oid from pg_database where datname = 'docuquery_ai') order by what
    """
    with postgres.admin() as session:
        return [row[0] for row in session.execute(query)]


def number(postgres: Postgres, database: str = DATABASE) -> int:
    """Documents."""
    with postgres.admin(database) as session:
        row = session.execute("select count(*) from documents").fetchone()
    assert row
    return int(row[0])


def recorded(kit: Kit) -> int:
    """Documents at the cut."""
    part = kit.manifest().postgres
    assert part
    return next(table.rows for table in part.databases[0].tables if table.name == "documents")


def like(double: QdrantDouble, name: str, other: QdrantDouble, original: str) -> None:
    """Configuration, indexes and points are the same."""
    made = http("GET", f"{double.url}/collections/{name}").json()["result"]
    was = http("GET", f"{other.url}/collections/{original}").json()["result"]
    assert (made["config"], made["payload_schema"]) == (was["config"], was["payload_schema"])
    assert made["points_count"] == was["points_count"] > 0


def test_onto_empty_servers(
    kit: Kit, qdrant: QdrantDouble, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All is gone: no role, no database, no collection."""
    lines = said(kit, tmp_path / "set", capsys)
    with open_folder("by-hand") as place:
        postgres, double = Postgres(prepared(place / "postgres")), QdrantDouble(prepared(place / "qdrant"))
        with running(postgres, double):
            typed([line for line in lines if not line.startswith("#")], postgres, double)
            assert around(postgres) == around(kit.world.postgres)
            assert number(postgres) == recorded(kit)
            with postgres.admin() as session:
                roles = {row[0] for row in session.execute("select rolname from pg_roles where rolcanlogin")}
            assert {APP, BACKUP, RESTORE} <= roles
            like(double, "live", qdrant, "documents")


def test_beside_what_is_live(
    kit: Kit, qdrant: QdrantDouble, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was there stays under another name."""
    lines, postgres = said(kit, tmp_path / "set", capsys), kit.world.postgres
    before = around(postgres)
    in_the_way = next(line.partition(": ")[2] for line in lines if line.startswith("#   where a database"))
    commands = [line for line in lines if not line.startswith("#")]
    renaming = next(n for n, line in enumerate(commands) if "rename to" in line)
    try:
        # The roles are there: psql says so and goes on.
        typed([*commands[:renaming], in_the_way, *commands[renaming:]], postgres, qdrant)
        assert around(postgres) == before
        assert (number(postgres), number(postgres, f"{DATABASE}_before")) == (recorded(kit), recorded(kit) + 1)
        like(qdrant, "live", qdrant, "documents")
        assert http("GET", f"{qdrant.url}/collections/documents_restored").status == 200
    finally:
        back = {"actions": [{"create_alias": {"collection_name": "documents", "alias_name": "live"}}]}
        http("POST", f"{qdrant.url}/collections/aliases", back)
        http("DELETE", f"{qdrant.url}/collections/documents_restored")
        for name in (f"{DATABASE}_restored", f"{DATABASE}_before"):
            postgres.run(f"drop database if exists {name} with (force)")
