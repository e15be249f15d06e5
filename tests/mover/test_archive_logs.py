"""Copies of log archives in a real store: no archive leaves the volume before its copy is proved, killed at any call."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from docuquery_operator.domain.backups.manifest import ObjectEntry
from docuquery_operator.domain.backups.report import Result, parsed
from docuquery_operator.domain.maintenance.task_outcome import TaskOutcome
from docuquery_operator.domain.maintenance.task_requests import LogStore, RotateRequest
from docuquery_operator.mover.contracts import MoverError, silent
from docuquery_operator.mover.logs import work
from docuquery_operator.mover.logs.archive import FOLDER, LogLayout
from docuquery_operator.mover.logs.work import rotate_all
from docuquery_operator.mover.objects import SetReader
from docuquery_operator.mover.store import Store

from .conftest import Place

pytestmark = pytest.mark.timeout(120)
IDENTITY = pyrage.x25519.Identity.generate()
LINES = [f"{number:06d} a line of the log\n".encode() for number in range(40_000)]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Watched:
    """A store whose n-th call is the process's last, before or after its effect, or spoils what it writes."""

    store: Store
    kill_before: int = 0
    kill_after: int = 0
    spoil: bool = False
    away: MoverError | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return self.store.where

    def _called(self, name: str) -> int:
        self.calls.append(name)
        if self.away is not None:
            raise self.away
        if len(self.calls) == self.kill_before:
            raise Killed
        return len(self.calls)

    def _ended(self, number: int) -> None:
        if number == self.kill_after:
            raise Killed

    def stream(self, key: str) -> AsyncIterator[bytes]:
        self._called("stream")
        return self.store.stream(key)

    async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
        number = self._called("put")

        async def spoilt() -> AsyncIterator[bytes]:
            async for chunk in stream:
                yield chunk[:-1] + bytes([chunk[-1] ^ 1])

        size = await self.store.put(key, spoilt() if self.spoil and not key.endswith(".json") else stream)
        self._ended(number)
        return size

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*given: Any) -> Any:
            number = self._called(name)
            found = await getattr(self.store, name)(*given)
            self._ended(number)
            return found

        return call


class Story:
    """One folder with one log that grows, and a store."""

    def __init__(self, place: Place, folder: Path, recipients: list[str]) -> None:
        self.place, self.folder, self.recipients = place, folder, recipients
        self.log = folder / "api.log"
        self.written = 0
        self.identity = folder.parent / "age.key"
        self.identity.write_text(f"{IDENTITY}\n")

    def write(self, count: int = 4_000) -> None:
        with self.log.open("ab") as file:
            file.writelines(LINES[self.written : self.written + count])
        self.written += count

    async def run(self, store: Watched, stamp: str, keep: int = 0) -> TaskOutcome:
        wanted = LogStore(
            destination=self.place.destination, stack="demo", folders=["api/logs-0/app"], recipients=self.recipients
        )
        asked = RotateRequest(
            attempt_id="t", folders=[str(self.folder)], pattern="*.log", stamp=stamp, keep=keep, store=wanted
        )
        work.open_store = lambda *_given: store  # type: ignore[assignment, return-value]
        return await rotate_all(asked, silent)

    def local(self) -> dict[str, bytes]:
        return {p.name: _plain(p.read_bytes()) for p in self.folder.glob("*.zst")}

    async def stored(self) -> dict[str, bytes]:
        """What the store has a receipt for, read as a person would after a disaster."""
        layout, store = LogLayout("backups/demo", "demo"), self.place.open()
        reader, found = SetReader(store, layout, FOLDER, self.identity, silent), dict[str, bytes]()
        async for each in store.list(f"{layout.root}{FOLDER}/"):
            if each.key.endswith(".json"):
                entry = ObjectEntry.model_validate_json(await store.get(each.key) or b"")
                data = b"".join([chunk async for chunk in reader.read(entry)])
                found[entry.name.removeprefix("api/logs-0/app/").removesuffix(".age")] = _plain(data)
        return found

    async def complete(self) -> dict[str, bytes]:
        """Every line once, in order: archives by their time, here or in the store, and then the file."""
        kept = {**await self.stored(), **self.local()}
        assert b"".join([*(kept[n] for n in sorted(kept)), self._rest()]) == b"".join(LINES[: self.written])
        return kept

    def _rest(self) -> bytes:
        return self.log.read_bytes().lstrip(b"\0")


def _plain(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(data).read()


@pytest.fixture(autouse=True)
def real_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "open_store", work.open_store)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "logs"
    made.mkdir()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("recipients", [[], [str(IDENTITY.to_public())]], ids=["clear", "age"])
async def test_archives_go_to_the_store_once_and_only_then_from_the_volume(
    place: Place, folder: Path, recipients: list[str]
) -> None:
    story = Story(place, folder, recipients)
    for number in range(3):
        story.write()
        store = Watched(place.open())
        found = await story.run(store, f"2026112{number}T030000Z", keep=1)
        assert found.state == "Succeeded", found.summary
        assert found.figures["new in the store"] == 1
        assert len(story.local()) == 1
        assert len(await story.stored()) == number + 1
    await story.complete()
    # What is there is not sent again.
    again = Watched(place.open())
    assert (await story.run(again, "20261128T030000Z", keep=1)).figures["new in the store"] == 0
    assert "put" not in again.calls
    raw = b"".join(p.read_bytes() for p in place.files.rglob("*.age"))
    assert bool(raw) == bool(recipients)


async def test_killed_at_every_call_to_the_store_no_line_is_lost(volume: Place, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        ended = 0
        for when in ("kill_before", "kill_after"):
            ended += await _killed(volume, tmp_path / f"{when}-{number}", when, number)
        if ended == 2:
            break
        assert number < 40
    assert number > 8


async def _killed(volume: Place, base: Path, when: str, number: int) -> bool:
    """One life that ends at this call, and the next one; whether the first came to its end."""
    folder = base / "logs"
    folder.mkdir(parents=True)
    shutil.rmtree(volume.files / "backups", ignore_errors=True)
    story = Story(volume, folder, [str(IDENTITY.to_public())])
    story.write()
    await story.run(Watched(volume.open(), away=MoverError("StoreUnreachable", "away")), "20261120T030000Z")
    story.write()
    ended = False
    try:
        await story.run(Watched(volume.open(), **{when: number}), "20261121T030000Z")
        ended = True
    except Killed:
        await story.complete()
    found = await story.run(Watched(volume.open()), "20261122T030000Z")
    assert found.state == "Succeeded", (when, number, found.summary)
    assert story.local() == {}
    assert len(await story.complete()) == 2, (when, number)
    return ended


async def test_a_store_that_is_away_or_spoils_its_copy_keeps_the_archives_on_the_volume(place: Place, folder: Path) -> None:
    story = Story(place, folder, [])
    story.write()
    away = MoverError("StoreUnreachable", "s3://logs does not answer")
    found = await story.run(Watched(place.open(), away=away), "20261120T030000Z")
    assert (found.state, found.figures["archives removed"], len(story.local())) == ("Failed", 0, 1)
    assert "s3://logs does not answer; 1 archives stay on the volume until they are in the store" in found.summary
    spoilt = await story.run(Watched(place.open(), spoil=True), "20261121T030000Z")
    assert (spoilt.state, len(story.local()), await story.stored()) == ("Failed", 1, {})
    assert "stored SHA-256" in spoilt.summary
    await story.complete()
    assert (await story.run(Watched(place.open()), "20261122T030000Z")).state == "Succeeded"
    assert story.local() == {}
    await story.complete()


async def test_a_copy_that_the_store_has_let_go_is_sent_again_and_another_of_its_name_is_left_alone(
    volume: Place, folder: Path
) -> None:
    story = Story(volume, folder, [])
    story.write()
    await story.run(Watched(volume.open()), "20261120T030000Z", keep=5)
    copy = next(volume.files.rglob("*.zst"))
    copy.unlink()
    found = await story.run(Watched(volume.open()), "20261121T030000Z", keep=5)
    assert (found.state, found.figures["new in the store"]) == ("Succeeded", 1)
    archive = next(folder.glob("*.zst"))
    archive.write_bytes(zstandard.ZstdCompressor().compress(b"something else\n"))
    before = copy.read_bytes()
    other = await story.run(Watched(volume.open()), "20261122T030000Z", keep=0)
    assert "another archive of this name is in the store" in other.summary
    assert (archive.exists(), copy.read_bytes()) == (True, before)


async def test_told_to_end_while_it_sends_it_removes_only_what_is_proved(volume: Place, folder: Path) -> None:
    story = Story(volume, folder, [])
    story.write()
    store = Watched(volume.open())
    running = asyncio.create_task(story.run(store, "20261120T030000Z"))
    while "put" not in store.calls:
        await asyncio.sleep(0)
    running.cancel()
    found = await running
    assert (found.state, found.figures["archives removed"], len(story.local())) == ("Aborted", 0, 1)
    await story.complete()


async def test_as_its_job_runs_it(bucket: Place, folder: Path, tmp_path: Path) -> None:
    story = Story(bucket, folder, [str(IDENTITY.to_public())])
    story.write()
    wanted = LogStore(destination=bucket.destination, stack="demo", folders=["api/logs-0/app"], recipients=story.recipients)
    asked = RotateRequest(attempt_id="t", folders=[str(folder)], pattern="*.log", stamp="s", keep=0, store=wanted,
                          secrets_dir=str(bucket.secrets.parent))  # fmt: skip
    file = tmp_path / "request.json"
    file.write_text(asked.model_dump_json(by_alias=True, exclude_none=True))
    command = [sys.executable, "-m", "docuquery_operator.mover", "--request", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    last = parsed(done.stdout.splitlines())[-1]
    assert isinstance(last, Result)
    assert last.outcome is not None
    assert (last.outcome.figures["new in the store"], story.local()) == (1, {})
    await story.complete()
