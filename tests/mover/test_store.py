"""The same questions to a folder and to a real S3 server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from docuquery_operator.api.backup_job import Destination
from docuquery_operator.mover import volume as volume_module
from docuquery_operator.mover.chunks import once, whole
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.store import MissingError, Store, open_store, prefix_of

from .conftest import Gateway, Place, secret

MIB = 1 << 20


async def zeros(size: int, error: Exception | None = None) -> AsyncIterator[bytes]:
    for _ in range(size // MIB):
        yield bytes(MIB)
    if error is not None:
        raise error


async def keys(store: Store, prefix: str) -> list[str]:
    return sorted([found.key async for found in store.list(prefix)])


async def test_what_is_put_is_listed_read_and_deleted(place: Place) -> None:
    store = place.open()
    assert await store.put("a/sets/one/x", once(b"hello")) == 5
    assert await store.put("a/sets/one/empty", once(b"")) == 0
    assert await store.put("a/sets/one.2/x", once(b"other")) == 5
    found = await store.head("a/sets/one/x")
    assert found is not None
    assert (found.size, await store.get("a/sets/one/x")) == (5, b"hello")
    assert await store.get("a/sets/one/empty") == b""
    assert await keys(store, "a/sets/one/") == ["a/sets/one/empty", "a/sets/one/x"]
    assert await keys(store, "a/none/") == []
    await store.delete(["a/sets/one/x", "a/sets/one/empty", "a/sets/one/never"])
    assert await keys(store, "a/") == ["a/sets/one.2/x"]


async def test_a_large_object_goes_in_parts_and_comes_back(place: Place) -> None:
    store = place.open()
    assert await store.put("a/large", zeros(75 * MIB)) == 75 * MIB
    sizes = [len(chunk) async for chunk in store.stream("a/large")]
    assert (sum(sizes), max(sizes) <= 8 * MIB) == (75 * MIB, True)


@pytest.mark.parametrize("size", [3, 75])
async def test_a_source_that_fails_leaves_nothing(place: Place, size: int) -> None:
    store = place.open()
    with pytest.raises(MoverError, match="the dump has failed") as caught:
        await store.put("a/sets/x", zeros(size * MIB, MoverError("DumpFailed", "the dump has failed")))
    assert caught.value.reason == "DumpFailed"
    assert await keys(store, "") == []
    assert [p for p in place.files.rglob("*") if p.is_file()] == []  # nor hidden parts of an upload


async def test_an_upload_under_way_is_invisible(place: Place) -> None:
    store = place.open()
    seen: list[list[str]] = []

    async def looking() -> AsyncIterator[bytes]:
        for number in range(40):
            yield bytes(MIB)
            if number == 39:
                seen.append(await keys(store, ""))

    await store.put("a/sets/x", looking())
    assert (seen, await keys(store, "")) == ([[]], ["a/sets/x"])


async def test_create_never_overwrites(place: Place) -> None:
    store = place.open()
    assert await store.create("c/one.json", b"first")
    assert not await store.create("c/one.json", b"second")
    assert await store.get("c/one.json") == b"first"
    assert await keys(store, "c/") == ["c/one.json"]


async def test_create_after_a_lost_answer_knows_its_own(bucket: Place) -> None:
    store = bucket.open()
    assert await store.create("c/one.json", b"mine")
    assert await store.create("c/one.json", b"mine")


async def test_what_is_absent_is_said_to_be(place: Place) -> None:
    store = place.open()
    assert (await store.head("a/x"), await store.get("a/x")) == (None, None)
    with pytest.raises(MissingError, match="a/x is not in"):
        await whole(store.stream("a/x"), 10)


async def test_a_document_that_is_too_large_is_refused(place: Place) -> None:
    store = place.open()
    await store.put("a/x", once(b"12345"))
    with pytest.raises(MoverError, match="5 bytes, more than 4"):
        await store.get("a/x", 4)


async def test_the_store_tells_the_time(place: Place) -> None:
    told = await place.open().clock()
    assert told is not None
    assert abs((told - datetime.now(UTC)).total_seconds()) < 5


async def test_a_store_that_answers_passes_the_check(place: Place) -> None:
    await place.open().check(prefix_of(place.destination) + "/demo/catalogue/")


async def test_names_of_all_kinds_keep_their_form(place: Place) -> None:
    name = "a/sets/20261125T020000Z-1a2b3c4d.1/qdrant/my=20docs=E2=82=AC/0.snapshot"
    store = place.open()
    await store.put(name, once(b"x"))
    assert await keys(store, "a/") == [name]


def changed(place: Place, **fields: str) -> Store:
    assert place.destination.s3 is not None
    s3 = place.destination.s3.model_copy(update=fields)
    return open_store(Destination(s3=s3), place.secrets, place.volume)


@pytest.mark.parametrize("call", ["check", "head", "get", "put", "list", "stream"])
async def test_a_missing_bucket_is_named(bucket: Place, call: str) -> None:
    store = changed(bucket, bucket="no-such-bucket")
    with pytest.raises(MoverError, match=r"s3://no-such-bucket does not exist; create it") as caught:
        await asked(store, call)
    assert (caught.value.reason, caught.value.retry) == ("BucketMissing", False)


async def asked(store: Store, call: str) -> None:
    if call == "check":
        await store.check("a")
    elif call == "head":
        await store.head("a/x")
    elif call == "get":
        await store.get("a/x")
    elif call == "put":
        await store.put("a/x", once(b"x"))
    elif call == "list":
        await keys(store, "a/")
    else:
        await whole(store.stream("a/x"), 10)


@pytest.mark.parametrize("call", ["check", "put", "list"])
@pytest.mark.parametrize("wrong", [{"accessKeyId": "nobody"}, {"secretAccessKey": "guessed"}])
async def test_wrong_credentials_are_told_without_them(bucket: Place, wrong: dict[str, str], call: str) -> None:
    secret(bucket.secrets, **wrong)
    with pytest.raises(MoverError, match="check the store's Secret") as caught:
        await asked(bucket.open(), call)
    assert (caught.value.reason, caught.value.retry) == ("AccessDenied", False)
    assert "tests-secret" not in caught.value.message


async def test_a_secret_without_its_key_says_which(bucket: Place) -> None:
    (bucket.secrets / "secretAccessKey").unlink()
    with pytest.raises(MoverError, match="no key secretAccessKey"):
        bucket.open()


async def test_an_endpoint_that_does_not_answer_fails_soon(bucket: Place) -> None:
    store = changed(bucket, endpoint="http://127.0.0.1:9")
    began = datetime.now(UTC)
    with pytest.raises(MoverError, match="check the endpoint") as caught:
        await store.check("a")
    assert (caught.value.reason, caught.value.retry) == ("StoreUnreachable", True)
    assert (datetime.now(UTC) - began).total_seconds() < 30
    assert await store.clock() is None


async def test_a_bucket_that_vanishes_is_no_empty_one(gateway: Gateway, bucket: Place) -> None:
    store = bucket.open()
    await store.put("a/x", once(b"x"))
    bucket.files.rename(bucket.files.with_name("hidden-for-now"))
    try:
        for call in ("head", "get", "list"):
            with pytest.raises(MoverError, match="does not exist"):
                await asked(store, call)
    finally:
        bucket.files.with_name("hidden-for-now").rename(bucket.files)


async def test_a_volume_that_is_not_mounted_is_named(volume: Place, tmp_path: Path) -> None:
    store = open_store(volume.destination, volume.secrets, tmp_path / "nothing")
    with pytest.raises(MoverError, match="mount the volume there"):
        await store.check("a")


async def test_what_a_killed_writer_left_is_hidden_and_swept(volume: Place) -> None:
    store = volume.open()
    await store.put("a/sets/s/x", once(b"x"))
    (volume.files / "a/sets/s/.y.1234.part").write_bytes(b"half")
    (volume.files / "a/sets/t").mkdir()
    (volume.files / "a/sets/t/.z.1234.part").write_bytes(b"half")
    assert await keys(store, "a/") == ["a/sets/s/x"]
    assert await store.sweep("a/sets/t/") == 1
    assert await store.sweep("a/sets/s/") == 1
    assert sorted(p.name for p in (volume.files / "a/sets").rglob("*")) == ["s", "x"]


@pytest.mark.parametrize("key", ["../x", "a//x", "/x", "a/./x", "a/.x.part", ""])
async def test_a_key_cannot_leave_the_folder(volume: Place, key: str) -> None:
    with pytest.raises(MoverError, match="is no key"):
        await volume.open().put(key, once(b"x"))


async def test_a_file_system_without_links_still_creates_once(volume: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(volume_module.os, "link", refuse)
    store = volume.open()
    assert await store.create("c/x.json", b"first")
    assert not await store.create("c/x.json", b"second")
    assert (await store.get("c/x.json"), await keys(store, "c/")) == (b"first", ["c/x.json"])
    await store.delete(["c/x.json"])
    assert await store.create("c/x.json", b"third")


async def test_a_full_volume_is_told(volume: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(volume_module.os, "write", full)
    with pytest.raises(MoverError, match="enlarge it, or keep fewer sets") as caught:
        await volume.open().put("a/x", once(b"x"))
    assert caught.value.reason == "StoreFull"
    monkeypatch.undo()
    assert [p for p in volume.files.rglob("*") if p.is_file()] == []


async def test_the_file_is_on_the_disk_before_it_has_its_name(volume: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(volume_module.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    await volume.open().put("a/x", once(b"x"))
    assert order[:3] == ["file", "rename", "folder"]


def test_other_clouds_take_their_own_keys(tmp_path: Path) -> None:
    azure = {"azure": {"account": "backups01", "container": "sets", "prefix": "a", "secretRef": {"secretName": "x"}}}
    wanted = Destination.model_validate(azure)
    with pytest.raises(MoverError, match="no key accountKey"):
        open_store(wanted, tmp_path, tmp_path)
    secret(tmp_path, accountKey="bm90IGEga2V5")
    assert open_store(wanted, tmp_path, tmp_path).where == "https://backups01.blob.core.windows.net/sets"
    secret(tmp_path, sasToken="sv=2024-01-01&sig=abc")
    assert open_store(wanted, tmp_path, tmp_path).where == "https://backups01.blob.core.windows.net/sets"
    gcs = Destination.model_validate({"gcs": {"bucket": "sets-of-ours", "secretRef": {"secretName": "x"}}})
    with pytest.raises(MoverError, match=r"no key serviceAccount\.json"):
        open_store(gcs, tmp_path, tmp_path)
    secret(tmp_path, **{"serviceAccount.json": "{}"})
    with pytest.raises(MoverError, match=r"serviceAccount\.json of the store's Secret") as caught:
        open_store(gcs, tmp_path, tmp_path)
    assert caught.value.reason == "AccessDenied"


@pytest.mark.parametrize("waiting", [True, False])
async def test_an_upload_that_is_cancelled_leaves_no_parts(bucket: Place, waiting: bool) -> None:
    """A drained node ends the pod; hidden parts would cost money until a rule of the bucket removes them."""
    store = bucket.open()
    begun = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for number in range(10_000):
            if number == 70:
                begun.set()
                if waiting:
                    await asyncio.sleep(3600)
            yield bytes(MIB)

    task = asyncio.create_task(store.put("a/x", source()))
    await begun.wait()
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [p for p in bucket.files.rglob("*") if p.is_file()] == []
