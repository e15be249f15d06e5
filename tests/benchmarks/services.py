"""The services that are broken on purpose: real PostgreSQL and Redis, and an HTTP stub, each a process of this machine on loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from redis import Redis as RedisClient
from redis.exceptions import RedisError

from tests.adapters.conftest import DATABASE, OPERATOR, OPERATOR_PASSWORD, initialise
from tests.stack.services import Postgres, Process, Redis, free_port, prepared, running

STUB = Path(__file__).resolve().parent / "http_stub.py"
SECRET = {"username": OPERATOR, "password": OPERATOR_PASSWORD}


class Server(Protocol):
    """What can be done to a service."""

    name: str
    port: int
    component: dict[str, Any]

    def pids(self) -> list[int]:
        """Its processes, the first one first."""

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def answers(self) -> bool:
        """Whether it works."""


class Database:
    """PostgreSQL."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        self._server = Postgres(prepared(folder / self.name))
        self.port = self._server.port
        self.component = {"type": "PostgreSQL", "database": DATABASE, "credentials": {"secretName": "postgres-operator"}}
        self._ready = False

    def start(self) -> None:
        """Start it; the first time with the operator's role."""
        if self._ready:
            self._server.reap()
        while any(map(alive, self._left())):
            time.sleep(0.01)
        self._server.start()
        if not self._ready:
            initialise(self._server)
            self._ready = True

    def stop(self) -> None:
        """End it in good order."""
        self._server.stop()

    def pids(self) -> list[int]:
        """Postmaster first; none when it is gone."""
        try:
            return self._server.pids()
        except OSError:
            return []

    def answers(self) -> bool:
        """Whether a client is let in."""
        with contextlib.suppress(psycopg.Error):
            with psycopg.connect(host="127.0.0.1", port=self.port, user=OPERATOR, password=OPERATOR_PASSWORD,
                                 dbname=DATABASE, connect_timeout=2) as connection:  # fmt: skip
                connection.execute("select 1")
            return True
        return False

    def cut(self) -> None:
        """End all sessions, as an administrator may."""
        self._server.run("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")

    def _left(self) -> list[int]:
        try:
            return [int((self._server.data / "postmaster.pid").read_text().split()[0])]
        except (OSError, ValueError, IndexError):
            return []


class Cache:
    """Redis."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        self._server = Redis(prepared(folder / self.name))
        self._server.process.command += ["--loglevel", "warning", "--appendonly", "no", "--save", ""]
        self.port = self._server.port
        self.component: dict[str, Any] = {"type": "Redis"}

    def start(self) -> None:
        """Start it."""
        self._server.start()

    def stop(self) -> None:
        """End it in good order."""
        self._server.process.stop()

    def pids(self) -> list[int]:
        """One."""
        return pids_of(self._server.process)

    def answers(self) -> bool:
        """PING."""
        with contextlib.suppress(RedisError), RedisClient(port=self.port, socket_timeout=2) as client:
            return bool(client.ping())
        return False

    def cut(self) -> None:
        """End all connections."""
        with contextlib.suppress(RedisError), RedisClient(port=self.port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")


class Stub:
    """An api that says that it is well."""

    name = "api"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._process = Process([sys.executable, str(STUB), str(self.port)], folder / "api.log")
        self.component: dict[str, Any] = {"type": "Api"}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process.start()
        while not self.answers():
            time.sleep(0.005)

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def pids(self) -> list[int]:
        """One."""
        return pids_of(self._process)

    def answers(self) -> bool:
        """GET /health."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def slow(self, seconds: float) -> None:
        """Answers take so long from now on: 0, 0.5 or 5 s."""
        os.kill(self.pids()[0], {0.0: signal.SIGHUP, 0.5: signal.SIGUSR2, 5.0: signal.SIGUSR1}[seconds])

    def cut(self) -> None:
        """Close all connections."""
        os.kill(self.pids()[0], signal.SIGURG)


@dataclass(frozen=True)
class Servers:
    """All of them, running."""

    database: Database
    cache: Cache
    api: Stub

    def all(self) -> list[Database | Cache | Stub]:
        """In a fixed order."""
        return [self.database, self.cache, self.api]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Servers]:
    """Started, and stopped by their process ids whatever state they are in."""
    # PostgreSQL runs as a user of its own.
    folder.chmod(0o755)
    made = Servers(Database(folder), Cache(folder), Stub(folder))
    with running(*made.all()):
        try:
            yield made
        finally:
            for server in made.all():
                for pid in server.pids():
                    resume(pid)


def kill(server: Server) -> None:
    """As the kernel ends a container: its first process, and with it all others."""
    for pid in server.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def freeze(server: Server) -> None:
    """All its processes stand still; the kernel goes on taking connections for them."""
    for pid in server.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def thaw(server: Server) -> None:
    """They go on."""
    for pid in server.pids():
        resume(pid)


def resume(pid: int) -> None:
    """SIGCONT, where it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def alive(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids_of(process: Process) -> list[int]:
    """Its child, while it runs."""
    return [process.child.pid] if process.child is not None and process.child.poll() is None else []
