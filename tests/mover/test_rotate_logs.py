"""Log rotation under a writer of 5,000 lines/s: archives and file after one another are what was written, also after kills."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from docuquery_operator.domain.backups.report import Result, parsed
from docuquery_operator.domain.maintenance.task_requests import RotateRequest
from docuquery_operator.mover.contracts import silent
from docuquery_operator.mover.logs import journal, space
from docuquery_operator.mover.logs.rotate import LeftAloneError, expired, logs_in, rotate
from docuquery_operator.mover.logs.work import rotate_all

pytestmark = pytest.mark.timeout(120)
RATE = 5000
WRITER = Path(__file__).with_name("log_writer.py")
FOLDERS = {"collapse": Path(tempfile.gettempdir()), "punch": Path("/dev/shm")}


@pytest.fixture(params=list(FOLDERS))
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder where blocks can be collapsed, and one where they can only be punched."""
    with tempfile.TemporaryDirectory(prefix="rotate-", dir=FOLDERS[request.param]) as made:
        path = Path(made)
        if _way(path) != request.param:
            pytest.skip(f"the file system of {FOLDERS[request.param]} does not {request.param}")
        yield path


def _way(folder: Path) -> str:
    probe = folder / "probe"
    probe.write_bytes(b"x" * 20_000)
    way = rotate(probe, "0").way
    for left in folder.iterdir():
        left.unlink()
    return way


@contextlib.contextmanager
def writing(log: Path, rate: int = RATE) -> Iterator[list[int]]:
    """A writer of another process; at the end the list holds how many lines it wrote."""
    lines: list[int] = []
    process = subprocess.Popen([sys.executable, str(WRITER), str(log), str(rate)], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 10
        while not log.exists() or log.stat().st_size < 100_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield lines
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=10)
        lines.append(int(out))


def everything(log: Path) -> bytes:
    """All archives, oldest first, and then the file itself without the hole at its beginning."""
    archives = sorted(log.parent.glob(f"{log.name}.*.zst"), key=lambda p: p.stat().st_mtime_ns)
    parts = [zstandard.ZstdDecompressor().stream_reader(p.read_bytes()).read() for p in archives]
    with log.open("rb") as file:
        file.seek(space.data_from(file.fileno()) or 0)
        parts.append(file.read().lstrip(b"\0"))
    return b"".join(parts)


def complete(log: Path, lines: int) -> None:
    """Every line once, in order, whole."""
    found = everything(log).splitlines()
    assert len(found) == lines
    for number, line in enumerate(found):
        assert line == f"{number:09d} {'x' * (number % 173)}".encode(), number


def test_no_line_is_lost_or_doubled_under_a_writer(folder: Path) -> None:
    log = folder / "api.log"
    moved = 0
    with writing(log) as lines:
        for number in range(12):
            time.sleep(0.25)
            moved += rotate(log, f"stamp-{number:02d}").moved
    assert moved > 500_000
    assert lines[0] >= 3 * RATE * 0.8
    complete(log, lines[0])
    # What was moved was given back to the volume.
    assert log.stat().st_blocks * 512 < 1_000_000


def child(log: Path, kill_at: int) -> int:
    """A rotation of another process that kills itself before its n-th step; its exit code."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from docuquery_operator.mover.logs.rotate import rotate\nleft = [int(sys.argv[2])]\n"
        "def step(name):\n    left[0] -= 1\n    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rotate(Path(sys.argv[1]), 'killed', step)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code, str(log), str(kill_at)], env=environment, check=False).returncode


def test_killed_before_each_step_nothing_is_lost_or_doubled(folder: Path) -> None:
    log = folder / "api.log"
    with writing(log) as lines:
        for kill_at in range(1, 12):
            time.sleep(0.15)
            if child(log, kill_at) == 0:
                break
            rotate(log, f"again-{kill_at:02d}")
            assert journal.read(log) is None
            assert not list(folder.glob("*.partial"))
        else:
            pytest.fail("it never came to its end")
        assert kill_at >= 6
    complete(log, lines[0])


def test_killed_between_the_cut_and_its_note_it_is_not_cut_twice(folder: Path) -> None:
    """The very moment in which nothing but the blocks tells what was done; and with lines that are all alike."""
    log = folder / "api.log"
    log.write_bytes(b"the same line\n" * 50_000)

    def die(name: str) -> None:
        if name == "forget":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(log, "one", die)
    assert journal.read(log) is not None
    rotate(log, "two")
    assert everything(log) == b"the same line\n" * 50_000


def test_a_copy_that_was_not_taken_out_is_taken_out_once(folder: Path) -> None:
    log = folder / "api.log"
    log.write_bytes(b"the same line\n" * 50_000)

    def die(name: str) -> None:
        if name == "take":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(log, "one", die)
    size = log.stat().st_blocks
    rotate(log, "two")
    assert everything(log) == b"the same line\n" * 50_000
    assert log.stat().st_blocks < size


def test_a_file_that_was_replaced_meanwhile_is_left_as_it_is(folder: Path) -> None:
    log = folder / "api.log"
    log.write_bytes(b"old line\n" * 5_000)

    def die(name: str) -> None:
        if name == "take":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(log, "one", die)
    log.rename(folder / "api.log.1")
    log.write_bytes(b"new line\n" * 10)
    assert rotate(log, "two").moved == 0
    assert log.read_bytes() == b"new line\n" * 10


def test_blocks_that_were_moved_leave_the_file_alone() -> None:
    with tempfile.TemporaryDirectory(dir=FOLDERS["collapse"]) as made:
        log = Path(made) / "api.log"
        log.write_bytes(b"x" * 20_000)
        (log.parent / "api.log.one.zst").write_bytes(b"")
        journal.write(log, journal.Note(log.stat().st_ino, 0, 8192, "api.log.one.zst", "collapse", 4096, 8192))
        with pytest.raises(LeftAloneError, match="cannot be told"):
            rotate(log, "two")
        assert log.stat().st_size == 20_000


def test_only_regular_files_that_match_are_logs(folder: Path) -> None:
    for name in ("a.log", "b.log", "a.log.one.zst", "c.txt", ".docuquery-rotate-a.log.json", "a.log.one.zst.partial"):
        (folder / name).write_text("x")
    (folder / "link.log").symlink_to(folder / "c.txt")
    (folder / "dir.log").mkdir()
    assert [p.name for p in logs_in(folder, "*.log")] == ["a.log", "b.log"]
    assert [p.name for p in logs_in(folder, "*")] == ["a.log", "b.log", "c.txt"]
    with pytest.raises(OSError, match="symbolic links"):
        rotate(folder / "link.log", "one")


def test_archives_go_by_number_age_and_bytes_and_only_those_of_the_file(tmp_path: Path) -> None:
    log = tmp_path / "a[1].log"
    log.write_text("x")
    for number in range(5):
        archive = tmp_path / f"a[1].log.{number}.zst"
        archive.write_bytes(b"z" * 100)
        os.utime(archive, (1000 + number, 1000 + number))
    (tmp_path / "a1.log.0.zst").write_bytes(b"other")
    assert [p.name[9:10] for p in expired(log, 3, 0, 0)] == ["0", "1"]
    assert [p.name[9:10] for p in expired(log, 9, 1003, 0)] == ["0", "1", "2"]
    assert [p.name[9:10] for p in expired(log, 9, 0, 250)] == ["0", "1", "2"]
    assert expired(log, 5, 0, 0) == []


async def test_all_files_in_words_and_figures(folder: Path) -> None:
    (folder / "a.log").write_bytes(b"line\n" * 50_000)
    (folder / "b.log").write_bytes(b"short\n")
    asked = RotateRequest(attempt_id="t", folders=[str(folder), str(folder / "none")], pattern="*.log", stamp="s", keep=2)
    found = await rotate_all(asked, silent)
    assert found.state == "Failed"
    assert "none: No such file or directory" in found.summary
    assert (found.figures["rotated"], found.figures["files"]) == (1, 2)
    again = await rotate_all(asked.model_copy(update={"folders": [str(folder)]}), silent)
    assert again.state == "Succeeded"
    assert "smaller than a block" in str(again.tables[0].rows)


async def test_told_to_end_it_stops_between_two_files(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.log").write_bytes(b"line\n" * 50_000)
    asked = RotateRequest(attempt_id="t", folders=[str(folder)], pattern="*.log", stamp="s", keep=2)
    loop = asyncio.get_running_loop()

    def reported(_step: str, number: int, _total: int) -> None:
        # In its thread, before the second file: the pod is told to end.
        if number == 1:
            loop.call_soon_threadsafe(work.cancel)
            time.sleep(0.3)

    work = asyncio.create_task(rotate_all(asked, reported))
    found = await work
    assert (found.state, "stopped before its end" in found.summary) == ("Aborted", True)
    assert found.figures["rotated"] == 1
    assert (await rotate_all(asked, silent)).figures["rotated"] == 2


def test_as_its_job_runs_it(folder: Path, tmp_path: Path) -> None:
    (folder / "a.log").write_bytes(b"line\n" * 50_000)
    asked = RotateRequest(attempt_id="t", folders=[str(folder)], pattern="*.log", stamp="s", keep=2)
    file = tmp_path / "request.json"
    file.write_text(asked.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    last = parsed(done.stdout.splitlines())[-1]
    assert isinstance(last, Result)
    assert last.outcome is not None
    assert (last.outcome.state, last.outcome.figures["rotated"]) == ("Succeeded", 1)
