"""The mover as a process: what it says when it is ended, and that the result is the last line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from docuquery_operator.domain.backups.report import Progress, Result, parsed
from docuquery_operator.mover.clock import now
from docuquery_operator.mover.report_out import Reporter
from tests.mover.qdrant.memory import fill, left_on, server_of
from tests.stack.services import ROOT, QdrantDouble, free_port, open_folder, prepared, running

from .conftest import Place
from .zygotes import RUN, backup, catalogue, files

# Longer than it takes to make a snapshot here.
LEASE = 20.0


def started(place: Place, folder: Path, request: Any) -> subprocess.Popen[str]:
    (folder / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(folder / "request.json")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_sigterm_still_ends_with_a_result(volume: Place, tmp_path: Path) -> None:
    """It waits for a server that takes the connection and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", free_port())) as silent:
        server = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        request = backup(volume, postgres=None, configuration=None, qdrant={"server": server, "collections": ["*"]})
        request = {k: v for k, v in request.items() if v is not None}
        process = started(volume, tmp_path, request)
        deadline = time.monotonic() + 60
        while not [name for name in files(volume) if "intents/" in name]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    last = json.loads(out.splitlines()[-1])
    assert (process.returncode, last["event"], last["reason"], last["retry"]) == (143, "result", "Terminated", True)


def test_a_part_that_fails_is_told_in_its_own_words(volume: Place, tmp_path: Path) -> None:
    request = {k: v for k, v in backup(volume, postgres=None, configuration=None).items() if v is not None}
    request["qdrant"] = {"server": {"host": "127.0.0.1", "port": free_port()}, "collections": ["*"]}
    process = started(volume, tmp_path, request)
    out, _ = process.communicate(timeout=120)
    last = json.loads(out.splitlines()[-1])
    assert (process.returncode, last["ok"], last["retry"]) == (1, False, True)
    assert "127.0.0.1" in last["message"]


def test_only_the_first_result_counts_and_progress_is_rare(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        reporter = Reporter(out.fileno())
        for number in range(100_000):
            reporter("dump", number, 0)
        reporter.end(Result(ok=True, reason="Complete", at=now()))
        reporter.end(Result(ok=False, reason="Late", at=now()))
        reporter.say(Progress(step="late"))
    lines = parsed((tmp_path / "out").read_text().splitlines())
    assert [type(line).__name__ for line in lines] == ["Progress", "Result"]
    assert lines[-1].model_dump()["reason"] == "Complete"


def test_the_operator_itself_loads_none_of_this() -> None:
    """Its memory goal leaves no room for the libraries of movers."""
    code = "import sys, docuquery_operator.__main__; print(*{m.split('.')[0] for m in sys.modules})"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout.split()
    assert not {"obstore", "zstandard", "pyrage", "qdrant_edge", "kubernetes", "requests"} & set(loaded)


def test_a_snapshot_that_a_killed_mover_left_on_qdrant_is_removed(volume: Place, tmp_path: Path) -> None:
    """With the parts and the clean-up as they are; only Qdrant is a double."""
    with open_folder("left") as folder:
        double = QdrantDouble(prepared(folder / "double"))
        with running(double):
            fill(double, count=2000)
            number = killed_with_a_snapshot(double, volume, tmp_path)
            mine = left_on(double)
            assert mine
            time.sleep(LEASE + 2)  # stores tell whole seconds
            dead = [f"{RUN}.{n}" for n in range(1, number + 1)]
            request = catalogue(volume, deadAttempts=dead, qdrant={"server": server_of(double).model_dump()})
            out, errors = started(volume, tmp_path, request).communicate(timeout=100)
            told = json.loads(out.splitlines()[-1])
            assert told["ok"], errors
            assert left_on(double) == [], told
            assert not [name for name in files(volume) if "intents/" in name or "sets/" in name]


def killed_with_a_snapshot(double: QdrantDouble, volume: Place, folder: Path) -> int:
    """Attempts until one died at the right moment."""
    asked = {"server": server_of(double).model_dump(), "collections": ["*"]}
    for number in range(1, 20):
        request = backup(volume, number, postgres=None, configuration=None, qdrant=asked, leaseSeconds=LEASE)
        process = started(volume, folder, {k: v for k, v in request.items() if v is not None})
        while process.poll() is None:
            if left_on(double):
                process.kill()
                process.communicate()
                if left_on(double):
                    return number
                break
        if process.returncode == 0:  # it was quicker than the eye: a new store, a new try
            for path in volume.files.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            assert process.returncode == -signal.SIGKILL, process.communicate()
    raise AssertionError("never killed in time")
