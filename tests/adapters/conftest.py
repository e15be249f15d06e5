"""A real PostgreSQL and a real Redis for each test process, prepared as the stack's own."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from docuquery_operator.ports import DatabaseTarget
from tests.stack.services import ROOT, Postgres, Redis, open_folder, prepared, running, wait_for

INIT = ROOT / "deploy" / "stack" / "base" / "postgres-init.sql"
APP, APP_PASSWORD = "docuquery", "app-marker-5d1f"
OPERATOR, OPERATOR_PASSWORD = "docuquery_operator", "operator-marker-77aa"
DATABASE = "docuquery_ai"


@pytest.fixture(scope="session")
def folder() -> Iterator[pathlib.Path]:
    """One for the whole run."""
    with open_folder("adapters") as made:
        yield made


def initialise(postgres: Postgres) -> None:
    """Run the stack's own script, so that the operator's role has here the rights that it has there."""
    with postgres.admin() as connection:
        version = connection.info.server_version
    script = INIT.read_text()
    if version < 160000:
        script = script.replace(", pg_use_reserved_connections", "")
    who = {"APP_USER": APP, "APP_PASSWORD": APP_PASSWORD, "OPERATOR_USER": OPERATOR, "OPERATOR_PASSWORD": OPERATOR_PASSWORD}
    who |= {
        "BACKUP_USER": "docuquery_backup",
        "BACKUP_PASSWORD": "b",
        "RESTORE_USER": "docuquery_restore",
        "RESTORE_PASSWORD": "r",
    }
    command = ["psql", "-X", "-q", "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", "postgres"]
    subprocess.run(command, input=script, text=True, check=True, env={**os.environ, **who}, capture_output=True)


@pytest.fixture(scope="session")
def server(folder: pathlib.Path) -> Iterator[Postgres]:
    """The server of all tests of this process."""
    postgres = Postgres(prepared(folder / "postgres"))
    with running(postgres):
        initialise(postgres)
        yield postgres


@pytest.fixture
def postgres(server: Postgres) -> Iterator[Postgres]:
    """The server, running and without sessions, before the test and after it."""
    yield server
    os.kill(server.pids()[0], signal.SIGCONT)
    server.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename is not null and pid <> pg_backend_pid()"
    )
    wait_for("no sessions", lambda: sessions(server) == 0)


def sessions(postgres: Postgres) -> int:
    """Sessions of clients but for the one that asks."""
    query = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    with postgres.admin() as connection:
        row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


@pytest.fixture
def target(postgres: Postgres) -> DatabaseTarget:
    """Where and as whom the operator connects."""
    return DatabaseTarget("127.0.0.1", postgres.port, DATABASE, OPERATOR, OPERATOR_PASSWORD, (APP,))


@pytest.fixture
def redis(folder: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A Redis of this test alone; it starts in a moment."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="redis-", dir=folder))
    made = Redis(place)
    made.process.command += ["--loglevel", "warning", *getattr(request, "param", [])]
    with running(made):
        yield made
        assert made.process.child
        if made.process.child.poll() is None:
            os.kill(made.process.child.pid, signal.SIGCONT)
