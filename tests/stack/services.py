"""Real servers in temporary folders, started by exact command lines and stopped by their own ids."""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import psycopg
import pytest

from tests.harness.bytecode import KEPT

ROOT = pathlib.Path(__file__).resolve().parents[2]
APP = ROOT / "deploy" / "stack" / "app"
DOUBLE = ROOT / "tests" / "doubles" / "qdrant"

Value = TypeVar("Value")


@contextlib.contextmanager
def open_folder(name: str) -> Iterator[pathlib.Path]:
    """A folder that another user may enter; pytest's own is closed to the user of PostgreSQL."""
    made = pathlib.Path(tempfile.mkdtemp(prefix=f"docuquery-{name}-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def prepared(folder: pathlib.Path) -> pathlib.Path:
    """A new folder."""
    folder.mkdir()
    return folder


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ask: Callable[[], Value | Literal[False] | None], seconds: float = 20.0) -> Value:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for: {what} (last answer {answer!r})")
        time.sleep(0.1)


def wait_up(process: "Process", ask: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a process answers; show what it wrote when it does not."""
    try:
        wait_for(" ".join(process.command[:3]), ask, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{process.text()[-3000:]}") from error


def environment_python(name: str, requirements: pathlib.Path) -> str:
    """The Python of a cached environment with `requirements`."""
    maker = [sys.executable, str(APP / "venv.py"), name, str(requirements)]
    return subprocess.run(maker, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@dataclass
class Process:
    """A child process with its output in a file."""

    command: list[str]
    log: pathlib.Path
    env: dict[str, str] = field(default_factory=dict)
    cwd: pathlib.Path | None = None
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a group of its own."""
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.env},
                cwd=self.cwd,
                start_new_session=True,
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and its children."""
        if self.child is None or self.child.poll() is not None:
            return
        self.child.send_signal(how)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait(10)

    def text(self) -> str:
        """What it wrote."""
        return self.log.read_text(errors="replace")


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def http(
    method: str, url: str, body: object = None, headers: dict[str, str] | None = None, raw: bytes | None = None
) -> Answer:
    """Send one request; a bad status is an answer, not an error."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    content = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(url, data=data, method=method, headers={**content, **(headers or {})})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def answers(url: str) -> bool:
    """Whether a GET succeeds."""
    try:
        return http("GET", url).status == 200
    except OSError:
        return False


def need(program: str, package: str) -> str:
    """The path of a program. `make test` installs it, so that a missing one is a mistake and no reason to pass."""
    found = shutil.which(program)
    if not found:
        pytest.fail(f"{program} is missing: apt-get install {package}")
    return found


class Postgres:
    """A PostgreSQL server of its own, run by an ordinary user as it refuses root."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Make a cluster in `folder`."""
        binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not binaries:
            pytest.fail("PostgreSQL is missing: apt-get install postgresql")
        self._bin = binaries[-1].parent
        self.port = free_port()
        self.folder = folder
        self.data = folder / "data"
        self._prefix = self._as_user(folder)
        self._log = folder / "postgres.log"
        self._process: Process | None = None
        self._initialise()

    @staticmethod
    def _as_user(folder: pathlib.Path) -> list[str]:
        if os.geteuid() != 0:
            return []
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]

    def _initialise(self) -> None:
        command = [
            *self._prefix,
            str(self._bin / "initdb"),
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        subprocess.run([*command, "--auth-local=trust", "--auth-host=scram-sha-256"], check=True, capture_output=True)

    def start(self) -> None:
        """Start and wait until it takes connections."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 14,
            "superuser_reserved_connections": 3,
            "fsync": "off",
            "min_wal_size": "32MB",
            "max_wal_size": "64MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = Process(
            [*self._prefix, str(self._bin / "postgres"), "-D", str(self.data), *options], self._log, cwd=self.folder
        )
        self._process.start()
        wait_up(self._process, self._up)

    def _up(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self.admin():
            return True
        return False

    def stop(self) -> None:
        """Fast shutdown: sessions are cut."""
        if self._process:
            self._process.stop(signal.SIGINT)

    def reap(self) -> None:
        """Take note of a killed server's end: PostgreSQL does not start while there is a process of the old number."""
        if self._process and self._process.child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.child.wait(5)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A superuser's connection, through the socket."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=2
        )

    def run(self, *statements: str) -> None:
        """Execute as superuser."""
        with self.admin() as connection:
            for statement in statements:
                connection.execute(statement)

    def pids(self) -> list[int]:
        """The server's processes, postmaster first."""
        assert self._process
        assert self._process.child
        parent = self._process.child.pid
        children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]


class Redis:
    """A Redis server of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Keep everything in `folder`."""
        self.port = free_port()
        command = [
            need("redis-server", "redis-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--appendonly",
            "yes",
        ]
        self.process = Process(command, folder / "redis.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it listens."""
        self.process.start()
        wait_up(self.process, self._up)

    def _up(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class QdrantDouble:
    """The double of Qdrant as a process."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Keep everything in `folder`."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.snapshots = folder / "snapshots"
        python = environment_python("qdrant-double", DOUBLE / "requirements.txt")
        command = [python, "-m", "qdrant_double", "--host", "127.0.0.1", "--port", str(self.port)]
        folders = ["--storage", str(folder / "storage"), "--snapshots", str(self.snapshots)]
        self.process = Process([*command, *folders], folder / "qdrant.log", {**KEPT, "PYTHONPATH": str(DOUBLE)})

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.process.start()
        wait_up(self.process, lambda: answers(f"{self.url}/readyz"))


@contextlib.contextmanager
def running(*parts: Any) -> Iterator[None]:
    """Start the parts in order and stop them in reverse, whatever happens."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.callback(getattr(part, "process", part).stop)
            part.start()
        yield


class Application:
    """The api and the worker as processes of the application's own environment."""

    def __init__(self, folder: pathlib.Path, settings: dict[str, str]) -> None:
        """Run both with `settings`."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        python = environment_python("app", APP / "requirements.txt")
        env = {
            **settings,
            **KEPT,
            "PYTHONPATH": str(APP),
            "TMPDIR": str(folder),
            "API_URL": self.url,
        }
        serve = [
            python,
            "-m",
            "uvicorn",
            "app.main:app",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--no-access-log",
        ]
        work = [python, "-m", "celery", "-A", "app.background.worker", "worker", "--loglevel=INFO", "--concurrency=1"]
        self.process = Process(serve, folder / "api.log", env, APP)
        self.worker = Process(work, folder / "worker.log", env, APP)
        self.seed = Process([python, "-m", "app.seed", "--count=25", "--timeout=90"], folder / "seed.log", env, APP)
        self.celery = [python, "-m", "celery", "-A", "app.background.worker"]
        self.env = env

    def start(self) -> None:
        """Start the api."""
        self.process.start()
        wait_up(self.process, lambda: answers(f"{self.url}/readyz"))

    def health(self) -> Answer:
        """GET /health."""
        return http("GET", f"{self.url}/health")
