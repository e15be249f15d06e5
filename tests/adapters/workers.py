"""Real Celery workers on a real Redis, and messages as Celery's own client sends them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redis import Redis as Client

from docuquery_operator.ports import CeleryTarget, RedisTarget
from tests.harness.bytecode import KEPT
from tests.stack.services import APP, Process, Redis, environment_python, wait_for

HERE = pathlib.Path(__file__).parent / "celery_app"
SEND = """
import json, sys, tasks
with tasks.celery.connection_for_write() as connection:
    for name, argument, options in json.load(sys.stdin):
        tasks.celery.send_task(name, args=[argument], connection=connection, **options)
"""


@dataclass
class Broker:
    """Where workers and clients meet."""

    redis: Redis
    folder: pathlib.Path
    database: int = 0
    prefix: str = ""

    @property
    def target(self) -> CeleryTarget:
        return CeleryTarget(RedisTarget("127.0.0.1", self.redis.port, database=self.database), key_prefix=self.prefix)

    @property
    def python(self) -> str:
        return environment_python("app", APP / "requirements.txt")

    @property
    def env(self) -> dict[str, str]:
        broker = f"redis://127.0.0.1:{self.redis.port}/{self.database}"
        notes = str(self.folder / f"notes-{self.redis.port}")
        return {
            "BROKER": broker,
            "NOTES": notes,
            "PREFIX": self.prefix,
            "PYTHONPATH": str(HERE),
            **KEPT,
        }

    def worker(self, *options: str, name: str = "one") -> Process:
        """A worker; `running` starts and stops it."""
        command = [self.python, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO", f"--hostname={name}@test"]
        return Process([*command, *options], self.folder / f"{name}-{self.redis.port}.log", self.env, self.folder)

    def send(self, *messages: tuple[str, Any, dict[str, Any]]) -> None:
        """Send these tasks, in this order."""
        subprocess.run(
            [self.python, "-c", SEND],
            input=json.dumps(messages),
            text=True,
            check=True,
            env={**os.environ, **self.env},
            timeout=60,
        )

    def notes(self) -> list[int]:
        """Numbers that were worked on, in the order in which they were."""
        path = pathlib.Path(self.env["NOTES"])
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """An administrator."""
        with contextlib.closing(Client(port=self.redis.port, db=self.database)) as connection:
            yield connection


@contextlib.contextmanager
def working(broker: Broker, *options: str, name: str = "one") -> Iterator[Process]:
    """A worker that has said that it is ready."""
    worker, before = broker.worker(*options, name=name), listeners(broker)
    worker.start()
    try:
        wait_for("a worker", lambda: "ready." in worker.text(), 40)
        wait_for("its remote control", lambda: listeners(broker) > before, 10)
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            assert worker.child
            os.kill(worker.child.pid, signal.SIGCONT)
            os.killpg(worker.child.pid, signal.SIGKILL)
        worker.stop(signal.SIGKILL)


def listeners(broker: Broker) -> int:
    """Workers that listen for remote control: they say that they are ready a moment before they do."""
    with broker.client() as client:
        return sum(int(c["psub"]) for c in client.client_list())
