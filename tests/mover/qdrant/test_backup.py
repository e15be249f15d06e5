"""Qdrant's part of a set, from a real process of the double."""

import asyncio
import pathlib
import random

import pytest

from docuquery_operator.domain.backups.manifest import IntentNote
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.qdrant import snapshots
from docuquery_operator.mover.qdrant.backup import back_up
from tests.mover.qdrant.memory import Memory, asked, faults, fill, left_on, quiet, server_of, upsert, vector
from tests.stack.services import QdrantDouble, http

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


async def test_every_shard_once_with_its_facts(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Two collections and an alias; nothing stays on the server."""
    fill(double)
    fill(double, "notes", count=50, shards=1)
    actions = {"actions": [{"create_alias": {"alias_name": "live", "collection_name": "documents"}}]}
    assert http("POST", f"{double.url}/collections/aliases", actions).status == 200
    said: list[tuple[str, int, int]] = []
    memory = Memory()
    part = await back_up(asked(double), secrets, memory, lambda *line: said.append(line))
    assert [each.name for each in part.collections] == ["documents", "notes"]
    documents = part.collections[0]
    assert (part.version, part.distributed) == ("1.18.3-double", False)
    assert (documents.points_before, documents.points_after, documents.aliases) == (600, 600, ["live"])
    assert documents.payload_schema["n"]["data_type"] == "integer"
    assert [(each.id, each.state, each.points) for each in documents.shards] == [(0, "Active", 300), (1, "Active", 300)]
    assert list(memory.objects) == ["qdrant/documents/0.tar", "qdrant/documents/1.tar", "qdrant/notes/0.tar"]
    for shard in documents.shards:
        assert memory.entries[shard.object].plain_sha256 == shard.server_sha256
    assert (len(documents.canaries), len(documents.canaries[0].expected)) == (10, 10)
    assert len(documents.sample_ids) == len(documents.sample_hashes) == 200
    assert left_on(double) == []
    assert said[-1][0] == "qdrant/notes"
    assert said[-1][1] == said[-1][2] == len(memory.objects["qdrant/notes/0.tar"])


async def test_notes_for_the_janitor(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """One before the server is asked, one with the name; the first is of no use any more then."""
    fill(double, count=20, shards=1)
    memory = Memory()
    await back_up(asked(double), secrets, memory, quiet)
    first, second = memory.notes
    assert (first.snapshot, first.known, first.url) == ("", [], double.url)
    assert first.not_before is not None
    assert second.snapshot.startswith("documents-shard-0-")
    assert snapshots.pending(memory.notes) == [second]


async def test_a_named_collection_that_is_not_there(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Is told with those that are."""
    fill(double, count=5)
    with pytest.raises(MoverError, match="no collection 'docs'; there are: documents") as error:
        await back_up(asked(double, "docs", "documents"), secrets, Memory(), quiet)
    assert (error.value.reason, error.value.retry) == ("CollectionMissing", False)


async def test_a_writer_all_the_time(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """What is sure to be in the copy is what answered the same before and after."""
    fill(double)
    stop = asyncio.Event()
    chance = random.Random(3)

    async def write() -> None:
        number = 10_000
        while not stop.is_set():
            point = {"id": number, "vector": vector(chance), "payload": {"n": number}}
            changed = {"id": number % 600, "vector": vector(chance), "payload": {"n": -1}}
            await asyncio.to_thread(upsert, double, "documents", [point, changed])
            number += 1

    writer = asyncio.create_task(write())
    try:
        part = await back_up(asked(double), secrets, Memory(), quiet)
    finally:
        stop.set()
        await writer
    documents = part.collections[0]
    assert documents.points_after > documents.points_before
    assert 0 < len(documents.sample_ids) <= 200


async def test_a_short_archive_under_a_clean_200(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """No object is made of it, and the server is cleaned up."""
    fill(double, count=50, shards=1)
    faults(double, short_download=1024)
    memory = Memory()
    with pytest.raises(MoverError, match="has not come whole") as error:
        await back_up(asked(double), secrets, memory, quiet)
    assert error.value.reason == "SnapshotDamaged"
    assert (memory.objects, left_on(double)) == ({}, [])


async def test_the_end_of_a_tar_is_demanded_without_a_checksum(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """A server with snapshots in S3 gives none; and an archive that is cut within zeros ends with zeros too."""
    fill(double, count=50, shards=1)
    async with (
        snapshots.connected(server_of(double), secrets, 30) as client,
        snapshots.taken(client, "documents", 0, Memory()) as made,
    ):
        whole = b"".join([chunk async for chunk in snapshots.content(client, "documents", 0, made)])
        end = len(whole.rstrip(b"\0"))
        zeros = whole.rindex(bytes(4096), 0, end)
        for cut in (-(-end // 512) * 512, (zeros // 512 + 6) * 512):
            assert not any(whole[cut - 1024 : cut]) or cut >= end
            faults(double, short_download=len(whole) - cut)
            blind = snapshots.Made(made.name, cut, "")
            with pytest.raises(MoverError, match="does not end as a tar does"):
                async for _ in snapshots.content(client, "documents", 0, blind):
                    pass


async def test_a_snapshot_that_fails(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """The server's words are passed on; another try of the run may help."""
    fill(double, count=50, shards=1)
    faults(double, snapshot_fails=9)
    memory = Memory()
    with pytest.raises(MoverError, match="No space left on device") as error:
        await back_up(asked(double), secrets, memory, quiet)
    assert (error.value.reason, error.value.retry, memory.objects) == ("QdrantFailed", True, {})


async def test_an_answer_that_is_lost(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """The server works on: its snapshot is used, and no second one is ordered."""
    fill(double, count=50, shards=1)
    faults(double, snapshot=2500)
    memory = Memory()
    part = await back_up(asked(double, timeout_seconds=2.0), secrets, memory, quiet)
    assert len(part.collections[0].shards) == 1
    metrics = http("GET", f"{double.url}/metrics").body.decode()
    assert "snapshot_created_total 1\n" in metrics
    assert left_on(double) == []


async def test_two_at_once(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Both are whole, though their snapshots may have one name."""
    fill(double)
    first, second = Memory(), Memory()
    await asyncio.gather(*(back_up(asked(double), secrets, memory, quiet) for memory in (first, second)))
    assert len(first.objects) == len(second.objects) == 2


async def test_the_janitor_removes_what_is_ours_alone(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """By name; without a name only what was begun right after the note, and nothing when in doubt."""
    fill(double, count=20, shards=1)
    url = f"{double.url}/collections/documents/shards/0/snapshots"
    foreign = http("POST", url).json()["result"]["name"]
    async with snapshots.connected(server_of(double), secrets, 30) as client:
        _, at = await snapshots._listing(client, "/collections/documents/shards/0/snapshots")
    await asyncio.sleep(1.1)
    ours = http("POST", url).json()["result"]["name"]
    note = IntentNote(collection="documents", shard=0, snapshot="", url=double.url, known=[foreign], not_before=at)
    assert await snapshots.remove_noted(note, secrets) == [ours]
    assert await snapshots.remove_noted(note, secrets) == []
    doubtful = note.model_copy(update={"known": []})
    await asyncio.sleep(1.1)
    http("POST", url)
    assert await snapshots.remove_noted(doubtful, secrets) == []
    named = note.model_copy(update={"snapshot": foreign})
    assert await snapshots.remove_noted(named, secrets) == [foreign]
    gone = note.model_copy(update={"collection": "nope"})
    assert await snapshots.remove_noted(gone, secrets) == []


async def test_the_key(folder: pathlib.Path, secrets: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """From its file; without it the message says what is missing."""
    from tests.stack.services import running

    own = QdrantDouble(tmp_path)
    own.process.env["QDRANT__SERVICE__API_KEY"] = "marker-key"
    with running(own):
        with pytest.raises(MoverError, match="needs a valid api-key") as error:
            await back_up(asked(own), secrets, Memory(), quiet)
        assert (error.value.reason, error.value.retry) == ("QdrantUnauthorized", False)
        (secrets / "qdrant").mkdir()
        (secrets / "qdrant" / "api-key").write_text("marker-key\n")
        part = await back_up(asked(own), secrets, Memory(), quiet)
        assert part.collections == []


async def test_nobody_there(secrets: pathlib.Path, folder: pathlib.Path) -> None:
    """Another try may help."""
    from docuquery_operator.domain.backups.request import QdrantRequest, Server

    with pytest.raises(MoverError) as error:
        await back_up(QdrantRequest(server=Server(host="127.0.0.1", port=9)), secrets, Memory(), quiet)
    assert (error.value.reason, error.value.retry) == ("QdrantUnreachable", True)
