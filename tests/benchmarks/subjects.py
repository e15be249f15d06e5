"""The processes that are measured: our operator, the naive kopf operator, and the floor."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.apiserver import CHECKOUT, ApiServer

from .figures import Footprint, footprint

HERE = Path(__file__).resolve().parent
RUNTIME = CHECKOUT / "requirements" / "runtime.txt"
STOP_SECONDS = 40.0


@contextmanager
def ours(server: ApiServer, namespace: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Our operator, with the libraries of its image and no others."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT / "operator"),
        "PYTHONDONTWRITEBYTECODE": "1",
        # As in the image.
        "MALLOC_ARENA_MAX": "2",
        "DOCUQUERY_KUBECONFIG": str(server.kubeconfig),
        "DOCUQUERY_NAMESPACE": namespace,
        "DOCUQUERY_WATCH_NAMESPACES": namespace,
        "DOCUQUERY_HTTP_HOST": "127.0.0.1",
        "DOCUQUERY_HTTP_PORT": str(_free_port()),
    }
    with _process([str(runtime_python()), "-m", "docuquery_operator"], env, log) as process:
        yield process


@contextmanager
def peer(server: ApiServer, namespace: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The naive operator, started as kopf's documentation says."""
    env = {"PATH": os.environ["PATH"], "KUBECONFIG": str(server.kubeconfig), "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-m", "kopf", "run", "--namespace", namespace, str(HERE / "naive_kopf.py")]
    with _process(command, env, log) as process:
        yield process


def floor() -> Footprint:
    """The libraries alone, imported and idle."""
    env = {"PATH": os.environ["PATH"], "MALLOC_ARENA_MAX": "2"}
    command = [str(runtime_python()), str(HERE / "floor.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        if process.stdout is None or process.stdout.readline().strip() != b"ready":
            raise RuntimeError("the floor process did not start; see its message above")
        time.sleep(1.0)
        seen = footprint(process.pid)
        process.communicate(timeout=STOP_SECONDS)
    return seen


def runtime_python() -> Path:
    """Python of an environment with requirements/runtime.txt and nothing else, made once for each content.

    The checkout's own .venv also holds the big Kubernetes client for the tests, and kopf imports it where it finds it.
    """
    digest = hashlib.sha256(RUNTIME.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = cache() / "venvs" / f"runtime-{digest}"
    if (home / ".ready").exists():
        return home / "bin" / "python"
    print("making an environment like that of the image (once)", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    install = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "--require-hashes", "-r", str(RUNTIME)], check=True)
    # A half-made environment must never look like a whole one.
    (home / ".ready").touch()
    return home / "bin" / "python"


def cache() -> Path:
    """The project's cache folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DOCUQUERY_CACHE") or base / "docuquery-operator")


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for logs, kept when the run fails."""
    folder = Path(tempfile.mkdtemp(prefix="docuquery-bench-"))
    try:
        yield folder
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{command[2]} ended by itself: {log.read_text(errors='replace')[-2000:]}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
