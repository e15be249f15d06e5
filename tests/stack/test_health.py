"""/health names what is wrong with each dependency, quickly, and recovers by itself."""

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest

from tests.stack.conftest import Stack, settings
from tests.stack.services import Application, Postgres, prepared, running, wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def dependency(app: Application, name: str = "database") -> dict[str, Any]:
    """What /health says of one dependency."""
    found: dict[str, Any] = app.health().json()["dependencies"][name]
    return found


def failure(app: Application, kind: str, name: str = "database", seconds: float = 15) -> dict[str, Any]:
    """Wait until /health names `kind`."""
    state = wait_for(f"{name} {kind}", lambda: (now := dependency(app, name)).get("error") == kind and now, seconds)
    assert state["status"] == "down"
    return state


@pytest.fixture
def app(stack: Stack) -> Iterator[Application]:
    """The api, healthy before the test and again after it."""
    wait_for("a healthy stack", lambda: stack.app.health().json()["status"] == "healthy")
    yield stack.app
    wait_for("a healthy stack again", lambda: stack.app.health().json()["status"] == "healthy", 20)


def test_healthy(app: Application) -> None:
    """All three are up and measured."""
    answer = app.health()
    assert answer.status == 200
    assert set(answer.json()["dependencies"]) == {"database", "redis", "qdrant"}
    assert all(state["status"] == "up" and state["latencyMs"] >= 0 for state in answer.json()["dependencies"].values())


def test_database_stopped(stack: Stack, app: Application) -> None:
    """Refused, 503, while the probes of the process stay good."""
    stack.postgres.stop()
    try:
        failure(app, "refused")
        assert app.health().status == 503
        assert app.health().json()["status"] == "unhealthy"
    finally:
        stack.postgres.start()


def test_wrong_password(stack: Stack, app: Application) -> None:
    """Open sessions do not hide a password that changed."""
    stack.postgres.run("ALTER ROLE docuquery PASSWORD 'other'")
    try:
        state = failure(app, "auth")
        assert state["sqlstate"] == "28P01"
        assert b"right" not in app.health().body
    finally:
        stack.postgres.run("ALTER ROLE docuquery PASSWORD 'right'")


def test_missing_database(stack: Stack, app: Application) -> None:
    """The server runs, the database does not exist."""
    stack.postgres.run("ALTER DATABASE docuquery_ai ALLOW_CONNECTIONS false")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'docuquery_ai'"
    stack.postgres.run(end)
    wait_for("no sessions", lambda: sessions(stack.postgres) == 0)
    stack.postgres.run("ALTER DATABASE docuquery_ai RENAME TO elsewhere")
    try:
        assert failure(app, "missing_database")["sqlstate"] == "3D000"
    finally:
        stack.postgres.run(
            "ALTER DATABASE elsewhere RENAME TO docuquery_ai", "ALTER DATABASE docuquery_ai ALLOW_CONNECTIONS true"
        )


def sessions(postgres: Postgres) -> int:
    """Sessions on the application's database."""
    with postgres.admin() as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'docuquery_ai'").fetchone()
    assert row
    return int(row[0])


def test_too_many_connections(stack: Stack, app: Application) -> None:
    """Somebody holds every ordinary connection."""
    with ExitStack() as held:
        take_all(held, stack.postgres)
        assert failure(app, "too_many_connections")["sqlstate"] == "53300"


def take_all(held: ExitStack, postgres: Postgres) -> None:
    """Open sessions until the server has no more."""
    with suppress(psycopg.OperationalError):
        while True:
            held.enter_context(connect(postgres))


def connect(postgres: Postgres) -> psycopg.Connection[Any]:
    """A session as the application's role."""
    return psycopg.connect(
        host="127.0.0.1",
        port=postgres.port,
        user="docuquery",
        password="right",
        dbname="docuquery_ai",
        connect_timeout=2,
    )


def test_read_only(stack: Stack, app: Application) -> None:
    """Connections and reads work, writes do not."""
    stack.postgres.run("ALTER DATABASE docuquery_ai SET default_transaction_read_only = on")
    try:
        assert failure(app, "read_only")["sqlstate"] == "25006"
    finally:
        stack.postgres.run("ALTER DATABASE docuquery_ai RESET default_transaction_read_only")


def test_frozen_database_does_not_hang_the_api(stack: Stack, app: Application) -> None:
    """Nobody answers: a time-out in time, and the other dependencies are still measured."""
    frozen = stack.postgres.pids()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1.1)
        started = time.monotonic()
        state = dependency(app)
        assert time.monotonic() - started < 3
        assert state["error"] == "timeout"
        assert dependency(app, "redis")["status"] == "up"
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


def test_redis_stopped_is_degraded(stack: Stack, app: Application) -> None:
    """200 and degraded; requests go through without a limit; an upload waits in PostgreSQL for the queue."""
    stack.redis.process.stop()
    try:
        failure(app, "refused", "redis")
        assert app.health().status == 200
        assert app.health().json()["status"] == "degraded"
    finally:
        stack.redis.start()


def test_redis_read_only(stack: Stack, app: Application) -> None:
    """PING would still answer."""
    command = ["redis-cli", "-p", str(stack.redis.port)]
    subprocess.run([*command, "replicaof", "127.0.0.1", "1"], check=True, capture_output=True)
    try:
        failure(app, "read_only", "redis")
    finally:
        subprocess.run([*command, "replicaof", "no", "one"], check=True, capture_output=True)


def test_qdrant_stopped_is_degraded(stack: Stack, app: Application) -> None:
    """The double is away."""
    stack.qdrant.process.stop()
    try:
        failure(app, "refused", "qdrant")
        assert app.health().json()["status"] == "degraded"
    finally:
        stack.qdrant.start()


@contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder on a file system of 112 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=112m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("this machine does not allow to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: pathlib.Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as target:
        block = b"\0" * 4096
        try:
            while True:
                target.write(block)
        except OSError:
            return


def test_disk_full(stack: Stack, folder: pathlib.Path) -> None:
    """The server runs and reads; only what needs new space fails. Emptied, it heals."""
    with small_disk(prepared(folder / "small")) as disk:
        postgres = Postgres(disk)
        full = Application(prepared(folder / "full"), settings(postgres, stack.redis, stack.qdrant))
        with running(postgres):
            postgres.run("CREATE ROLE docuquery LOGIN PASSWORD 'right'", "CREATE DATABASE docuquery_ai OWNER docuquery")
            with running(full):
                wait_for("health", lambda: full.health().json()["status"] == "healthy")
                fill(disk / "ballast")
                assert failure(full, "disk_full", seconds=20)["sqlstate"] == "53100"
                (disk / "ballast").unlink()
                wait_for("health", lambda: full.health().json()["status"] == "healthy")


def test_starts_without_any_dependency(stack: Stack, folder: pathlib.Path) -> None:
    """An api that cannot start without its database could not report the outage."""
    nowhere = {
        **settings(stack.postgres, stack.redis, stack.qdrant),
        "DATABASE_HOST": "postgres.invalid",
        "QDRANT_URL": "",
    }
    app = Application(prepared(folder / "alone"), nowhere)
    with running(app):
        failure(app, "dns")
        assert "qdrant" not in app.health().json()["dependencies"]
