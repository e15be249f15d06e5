"""A real S3 server: versitygw over a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore.store

from tests.stack.services import ROOT, Process, free_port, http, open_folder, prepared, wait_up

ACCESS, SECRET = "tests-key", "tests-secret-3f9a"


@dataclass
class Gateway:
    """versitygw over a folder, where each bucket is a folder."""

    folder: Path
    port: int
    process: Process

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            return http("GET", f"{self.endpoint}/health").status == 200
        except OSError:
            return False

    def raw(self, bucket: str) -> obstore.store.S3Store:
        return obstore.store.S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def serving() -> Iterator[Gateway]:
    """Up within the block."""
    cluster = [sys.executable, str(ROOT / "deploy" / "local" / "cluster.py"), "tool", "versitygw"]
    binary = subprocess.run(cluster, check=True, capture_output=True, text=True).stdout.split()[-1]
    with open_folder("s3") as folder:
        port = free_port()
        command = [binary, "--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--health", "/health"]
        command += ["posix", str(prepared(folder / "data"))]
        process = Process(command, folder / "log", cwd=folder)
        gateway = Gateway(folder / "data", port, process)
        process.start()
        try:
            wait_up(process, gateway.answers)
            yield gateway
        finally:
            process.stop()
