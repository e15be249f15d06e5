"""Objects of a set: what comes back is what went in, or an error; memory stays small."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest
import zstandard

from docuquery_operator.domain.backups.layout import Layout, safe_name
from docuquery_operator.domain.backups.manifest import IntentNote, ObjectEntry, ObjectKind
from docuquery_operator.mover import cipher
from docuquery_operator.mover.chunks import once, whole
from docuquery_operator.mover.contracts import DamagedError, MoverError
from docuquery_operator.mover.objects import SetReader, SetWriter
from docuquery_operator.mover.pipes import through
from docuquery_operator.mover.store import Store
from docuquery_operator.mover.volume import Volume

from .conftest import Place

SET = "20261125T020000Z-1a2b3c4d.1"
LAYOUT = Layout("backups", "demo")
KIND = ObjectKind.POSTGRES_DUMP
MIB = 1 << 20


def silent(_step: str, _done: int, _total: int) -> None:
    """No report."""


def key(folder: Path, name: str = "key.txt") -> str:
    made = pyrage.x25519.Identity.generate()
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"# public key: {made.to_public()}\n{made}\n")
    return str(made.to_public())


def writer(store: Store, recipients: list[str] | None = None) -> SetWriter:
    return SetWriter(store, LAYOUT, SET, recipients or [], silent)


def reader(store: Store, identity: Path | None = None) -> SetReader:
    return SetReader(store, LAYOUT, SET, identity, silent)


async def back(store: Store, entry: ObjectEntry, identity: Path | None = None) -> bytes:
    return await whole(reader(store, identity).read(entry), 1 << 30)


def some(size: int) -> bytes:
    """Half noise, half text."""
    noise = random.Random(size).randbytes(size // 2)
    return noise + (b"all work and no play " * (size // 21 + 1))[: size - size // 2]


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB + 3])
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("sealed", [True, False])
async def test_what_comes_back_is_what_went_in(
    place: Place, tmp_path: Path, size: int, compress: bool, sealed: bool
) -> None:
    store, data = place.open(), some(size)
    recipients = [key(tmp_path / "id")] if sealed else []
    made = writer(store, recipients)
    entry = await made.write("postgres/x.dump", KIND, once(data), compress=compress)
    assert (entry.plain_bytes, entry.plain_sha256) == (size, hashlib.sha256(data).hexdigest())
    assert (entry.compression, entry.recipients) == ("zstd" if compress else "none", recipients)
    stored = await store.get(LAYOUT.object(SET, "postgres/x.dump"))
    assert stored is not None
    assert (entry.stored_bytes, entry.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert await back(store, entry, tmp_path / "id") == data
    await reader(store).check_stored(entry)
    assert made.entries == [entry]
    if sealed and size > 100:
        assert b"no play" not in stored


async def test_any_other_tool_of_age_and_zstd_opens_it(volume: Place, tmp_path: Path) -> None:
    """The format is the standard one: the library's own whole-buffer calls read it."""
    store, data = volume.open(), some(3 * MIB)
    recipient = key(tmp_path / "id")
    await writer(store, [recipient]).write("x", KIND, once(data))
    stored = await store.get(LAYOUT.object(SET, "x"))
    assert stored is not None
    frame = pyrage.decrypt(stored, cipher.identities(tmp_path / "id"))
    assert zstandard.get_frame_parameters(frame).has_checksum
    assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == data


def flip(at: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = min(int(len(data) * at), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first bit": flip(0),
    "middle bit": flip(0.5),
    "last bit": flip(1),
    "cut by one": lambda data: data[:-1],
    "cut to half": lambda data: data[: len(data) // 2],
    "cut to an age chunk": lambda data: data[: len(data) // 65552 * 65552],
    "one more byte": lambda data: data + b"x",
    "twice": lambda data: data + data,
    "zeros of the same size": lambda data: bytes(len(data)),
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", ["plain", "compressed", "sealed"])
async def test_damage_is_found_by_reading_and_by_hashing(volume: Place, tmp_path: Path, form: str, damage: str) -> None:
    store = volume.open()
    recipients = [key(tmp_path / "id")] if form == "sealed" else []
    entry = await writer(store, recipients).write("x", KIND, once(some(300_000)), compress=form != "plain")
    file = volume.files / LAYOUT.object(SET, "x")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(DamagedError) as caught:
        await back(store, entry, tmp_path / "id")
    assert caught.value.message.startswith("x: ")
    with pytest.raises(DamagedError):
        await reader(store).check_stored(entry)


async def test_an_object_swapped_for_another_of_the_same_set_is_found(volume: Place) -> None:
    store, made = volume.open(), writer(volume.open())
    one = await made.write("one", KIND, once(b"a" * 1000))
    await made.write("two", KIND, once(b"b" * 1000))
    (volume.files / LAYOUT.object(SET, "two")).replace(volume.files / LAYOUT.object(SET, "one"))
    with pytest.raises(DamagedError, match="SHA-256"):
        await back(store, one)
    with pytest.raises(DamagedError, match="two is not in"):
        await back(store, one.model_copy(update={"name": "two"}))


async def test_a_wrong_key_and_no_key_are_told_apart_from_damage(place: Place, tmp_path: Path) -> None:
    store = place.open()
    entry = await writer(store, [key(tmp_path / "right")]).write("x", KIND, once(some(100_000)))
    key(tmp_path / "wrong")
    with pytest.raises(MoverError, match="none of the private keys") as caught:
        await back(store, entry, tmp_path / "wrong")
    assert caught.value.reason == "WrongKey"
    with pytest.raises(MoverError, match="no private key was given") as caught:
        await back(store, entry)
    assert caught.value.reason == "KeyMissing"
    key(tmp_path / "wrong", "another.txt")
    (tmp_path / "right" / "key.txt").rename(tmp_path / "wrong" / "z.txt")
    assert await back(store, entry, tmp_path / "wrong") == some(100_000)


async def test_a_damaged_key_file_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("AGE-SECRET-KEY-1NEARLYAKEY\n")
    with pytest.raises(MoverError) as caught:
        cipher.identities(tmp_path)
    assert "NEARLY" not in caught.value.message


async def test_a_bad_recipient_is_told(volume: Place) -> None:
    with pytest.raises(MoverError, match=r"encryption\.recipients") as caught:
        await writer(volume.open(), ["age1nonsense"]).write("x", KIND, once(b"x"))
    assert (caught.value.reason, caught.value.retry) == ("BadRecipient", False)


async def test_secrets_are_never_stored_in_clear(volume: Place, tmp_path: Path) -> None:
    with pytest.raises(MoverError, match="only encrypted") as caught:
        await writer(volume.open()).write("s", ObjectKind.SECRETS, once(b"x"), encrypt=True)
    assert caught.value.reason == "RecipientsMissing"
    assert [p for p in volume.files.rglob("*") if p.is_file()] == []
    made = writer(volume.open(), [key(tmp_path / "id")])
    assert (await made.write("open", KIND, once(b"x"), encrypt=False)).recipients == []


async def failing(data: bytes, error: Exception) -> AsyncIterator[bytes]:
    yield data
    raise error


@pytest.mark.parametrize("size", [10, 20 * MIB])
@pytest.mark.parametrize("sealed", [True, False])
async def test_a_source_that_fails_makes_no_object(place: Place, tmp_path: Path, size: int, sealed: bool) -> None:
    made = writer(place.open(), [key(tmp_path / "id")] if sealed else [])
    before = threading.active_count()
    with pytest.raises(MoverError, match="pg_dump ended with 1") as caught:
        await made.write("x", KIND, failing(os.urandom(size), MoverError("DumpFailed", "pg_dump ended with 1")))
    assert caught.value.reason == "DumpFailed"
    assert made.entries == []
    assert [p for p in place.files.rglob("*") if p.is_file()] == []
    assert threading.active_count() <= before + 2  # to_thread keeps its own


async def test_a_store_that_fails_ends_the_source(volume: Place) -> None:
    closed = []

    async def source() -> AsyncIterator[bytes]:
        try:
            while True:
                yield os.urandom(MIB)
        finally:
            closed.append(True)

    class Full(Volume):
        async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
            async for _ in stream:
                raise MoverError("StoreFull", "no room")
            return 0

    stream = source()
    with pytest.raises(MoverError, match="no room"):
        await writer(Full(volume.files)).write("x", KIND, stream)
    await stream.aclose()
    assert closed == [True]


async def test_a_reader_may_stop_early(volume: Place) -> None:
    store = volume.open()
    entry = await writer(store).write("x", KIND, once(some(30 * MIB)))
    stream = reader(store).read(entry)
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name == "stream"]


async def test_cancelling_ends_the_thread() -> None:
    async def source() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    async def slow() -> None:
        async for _ in through(source(), lambda chunks, sink: [sink.write(c) for c in chunks] and None):
            await asyncio.sleep(0.01)

    task = asyncio.create_task(slow())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert not [t for t in threading.enumerate() if t.name == "stream"]


@pytest.mark.parametrize("name", ["", "/x", "a//b", "../x", "a/../b", ".hidden", "a b", "ä", "a/"])
async def test_a_name_that_is_no_key_is_refused(volume: Place, name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        await writer(volume.open()).write(name, KIND, once(b"x"))


async def test_the_same_name_twice_is_refused(volume: Place) -> None:
    made = writer(volume.open())
    await made.write("x", KIND, once(b"x"))
    with pytest.raises(ValueError, match="is no name"):
        await made.write("x", KIND, once(b"x"))


def test_any_text_becomes_a_name_and_no_two_the_same() -> None:
    texts = ["docs", "my docs", "my=20docs", "a/b", "..", ".", "é", "a=b", "A", "%20", ""]
    assert len({safe_name(t) for t in texts}) == len(texts)
    assert (safe_name("my docs"), safe_name("..")) == ("my=20docs", "=2E.")


async def test_notes_are_kept_beside_the_intent(place: Place) -> None:
    store = place.open()
    made = writer(store)
    note = IntentNote(collection="docs", shard=0, snapshot="docs-1.snapshot", url="http://qdrant:6333")
    await made.note(note)
    await made.note(note)
    found = sorted([f.key async for f in store.list(LAYOUT.intent())])
    assert found == [LAYOUT.intent(SET, 1), LAYOUT.intent(SET, 2)]
    assert IntentNote.model_validate_json(await store.get(found[0]) or b"") == note


async def test_a_lost_lease_stops_the_work(volume: Place) -> None:
    over = datetime.now(UTC) + timedelta(seconds=1)
    made = SetWriter(volume.open(), LAYOUT, SET, [], silent, over)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.02)

    with pytest.raises(MoverError, match="was over at") as caught:
        await made.write("x", KIND, endless())
    assert caught.value.reason == "LeaseLost"
    assert [p for p in volume.files.rglob("*") if p.is_file()] == []


async def test_a_bomb_is_opened_a_little_at_a_time(volume: Place) -> None:
    """3 GiB of zeros in 100 KB; the manifest says 1000 bytes: refused at once."""
    store = volume.open()
    entry = await writer(store).write("x", KIND, once(bytes(1000)))
    made = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    bomb = b"".join(made.compress(bytes(64 * MIB)) for _ in range(4)) + made.flush()
    (volume.files / LAYOUT.object(SET, "x")).write_bytes(bomb)
    changed = {"stored_bytes": len(bomb), "stored_sha256": hashlib.sha256(bomb).hexdigest()}
    with pytest.raises(DamagedError, match="more than the 1000 bytes"):
        await back(store, entry.model_copy(update=changed))


MEMORY = """
import asyncio, json, random, sys
from pathlib import Path
from docuquery_operator.api.backup_job import Destination
from docuquery_operator.domain.backups.layout import Layout
from docuquery_operator.mover.objects import SetReader, SetWriter
from docuquery_operator.mover.store import open_store
request = json.loads(sys.argv[1])
store = open_store(Destination.model_validate(request["destination"]), Path(request["secretsDir"]) / "store", Path(request["volumeDir"]))
layout = Layout("m", "demo")
def silent(*_): pass
def peak(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')) // 1024
async def source():
    noise = random.Random(1)
    for _ in range(1024):
        yield noise.randbytes(1 << 19) + bytes(1 << 19)
async def main():
    entry = await SetWriter(store, layout, "20261125T020000Z-1a2b3c4d.1", sys.argv[3:], silent).write("x", "postgres.dump", source())
    print(entry.stored_bytes, peak())
    async for _ in SetReader(store, layout, "20261125T020000Z-1a2b3c4d.1", Path(sys.argv[2]), silent).read(entry): pass
    print(entry.plain_bytes, peak())
asyncio.run(main())
"""


def test_a_gibibyte_streams_within_256_mib_of_memory(place: Place, tmp_path: Path) -> None:
    recipient = key(tmp_path / "id")
    command = [sys.executable, "-c", MEMORY, json.dumps(place.request()), str(tmp_path / "id"), recipient]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "operator"})
    (stored, write_peak), (plain, peak) = (map(int, line.split()) for line in done.stdout.splitlines())
    print(
        f"{place.kind}: {plain >> 20} MiB plain, {stored >> 20} MiB stored, peak {write_peak} MiB writing, {peak} MiB in all"
    )
    assert plain == 1 << 30
    assert peak <= 256


async def test_an_object_for_another_key_than_the_manifest_says_is_damage(volume: Place, tmp_path: Path) -> None:
    store = volume.open()
    entry = await writer(store, [key(tmp_path / "theirs")]).write("x", KIND, once(some(1000)))
    named = entry.model_copy(update={"recipients": [key(tmp_path / "ours")]})
    with pytest.raises(DamagedError, match="not encrypted to the recipients"):
        await back(store, named, tmp_path / "ours")
