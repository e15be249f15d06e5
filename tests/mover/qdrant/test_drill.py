"""Each way to spoil a shard is found by the drill, and a sound one is not accused."""

import asyncio
import pathlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from docuquery_operator.domain.backups.manifest import Check, ObjectKind, QdrantPart
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.qdrant.backup import back_up
from docuquery_operator.mover.qdrant.drill import drill
from tests.mover.qdrant import damage
from tests.mover.qdrant.memory import Memory, asked, fill, quiet, upsert, vector
from tests.stack.services import QdrantDouble, http, running

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


async def saved(double: QdrantDouble, secrets: pathlib.Path, **more: Any) -> tuple[Memory, QdrantPart]:
    """A set of a small collection."""
    fill(double)
    memory = Memory()
    return memory, await back_up(asked(double, **more), secrets, memory, quiet)


async def drilled(memory: Memory, part: QdrantPart, scratch: pathlib.Path) -> dict[str, Check]:
    """Checks by their last word."""
    checks = await drill(part, memory, memory.manifest(part), scratch, [])
    assert list(scratch.iterdir()) == []
    return {check.name.rpartition("/")[2]: check for check in checks}


@pytest.fixture
def scratch(tmp_path: pathlib.Path) -> pathlib.Path:
    """The Job's volume."""
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def failed(checks: dict[str, Check]) -> set[str]:
    """Names of those that are not ok."""
    return {name for name, check in checks.items() if not check.ok}


async def test_a_sound_set(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """All is well, and something was really asked."""
    memory, part = await saved(double, secrets)
    checks = await drilled(memory, part, scratch)
    assert failed(checks) == set(), checks
    assert checks["count"].detail == "600 points, the server counted 600"
    assert checks["sample"].detail == "200 points are the same"
    assert checks["canaries"].detail == "10 searches find 100% of what the server found"
    assert checks["selfSearch"].detail == "40 points find themselves"
    assert checks["payloadSchema"].detail == "1 indexed fields"


async def test_a_sound_set_under_a_writer(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """Points that are changed, added and deleted meanwhile are no damage."""
    fill(double)
    stop = asyncio.Event()
    chance = random.Random(3)

    async def write() -> None:
        number = 10_000
        while not stop.is_set():
            points = [{"id": each, "vector": vector(chance), "payload": {"n": each}} for each in (number, number % 600)]
            await asyncio.to_thread(upsert, double, "documents", points)
            gone = {"points": [number - 3]}
            await asyncio.to_thread(http, "POST", f"{double.url}/collections/documents/points/delete?wait=true", gone)
            number += 1

    writer = asyncio.create_task(write())
    memory = Memory()
    try:
        part = await back_up(asked(double), secrets, memory, quiet)
    finally:
        stop.set()
        await writer
    checks = await drilled(memory, part, scratch)
    assert failed(checks) - {"count"} == set(), checks


DAMAGES: dict[str, tuple[Callable[[pathlib.Path], None], set[str]]] = {
    "flipped bits of one vector": (damage.flip_one_vector, {"vectors"}),
    "zeroed vectors": (damage.zero_vectors, {"sample", "canaries"}),
    "half an id file": (damage.half_ids, {"count"}),
    "flipped payload": (damage.flip_payload, {"sample"}),
    "short vector file": (damage.short_vectors, {"shards"}),
    "no description of a segment": (damage.no_segment_json, {"shards"}),
    "payload index gone": (damage.without_index, {"payloadSchema"}),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_inside_an_archive(
    double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path, name: str
) -> None:
    """With all hashes of the set made right again: only the content tells."""
    change, found_by = DAMAGES[name]
    memory, part = await saved(double, secrets, sample=600)
    spoilt = blind(part)
    memory.put(
        "qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, damage.repacked(memory.objects["qdrant/documents/0.tar"], change)
    )
    checks = await drilled(memory, spoilt, scratch)
    assert any(checks[each].ok is False for each in found_by if each in checks) or checks["shards"].ok is False, checks


async def test_repacking_is_no_damage(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """Else the tests above prove nothing."""
    memory, part = await saved(double, secrets)
    same = damage.repacked(memory.objects["qdrant/documents/0.tar"], lambda shard: None)
    memory.put("qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, same)
    assert failed(await drilled(memory, blind(part), scratch)) == set()


async def test_a_cut_archive(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """At any place."""
    memory, part = await saved(double, secrets)
    whole = memory.objects["qdrant/documents/0.tar"]
    for share in (0.2, 0.5, 0.9):
        memory.put("qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, whole[: int(len(whole) * share) // 512 * 512])
        checks = await drilled(memory, blind(part), scratch)
        assert checks["shards"].ok is False
        assert "does not end as a tar does" in checks["shards"].detail


async def test_swapped_shards(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """One twice, or both in each other's place."""
    memory, part = await saved(double, secrets)
    first, second = (memory.objects[f"qdrant/documents/{shard}.tar"] for shard in (0, 1))
    memory.put("qdrant/documents/1.tar", ObjectKind.QDRANT_SHARD, first)
    checks = await drilled(memory, blind(part), scratch)
    assert checks["sample"].ok is False
    assert "two shards" in checks["sample"].detail
    memory.put("qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, second)
    checks = await drilled(memory, part, scratch)
    assert "not the snapshot that the server made" in checks["shards"].detail


async def test_another_collections_shard(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """As many points, of the same shape."""
    fill(double, "other", seed=8)
    memory, part = await saved(double, secrets)
    memory.put("qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, memory.objects["qdrant/other/0.tar"])
    documents = blind(part).model_copy(update={"collections": blind(part).collections[:1]})
    checks = await drilled(memory, documents, scratch)
    assert checks["count"].ok
    assert {"sample", "canaries"} <= failed(checks)


async def test_a_stale_alias(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """An alias that leads to two collections, or that a collection has as its name."""
    fill(double, "old", count=5)
    memory, part = await saved(double, secrets)
    for aliases in (["live", "old"], ["live"]):
        stale = [each.model_copy(update={"aliases": aliases}) for each in part.collections]
        checks = await drilled(memory, part.model_copy(update={"collections": stale}), scratch)
        assert failed(checks) == {"aliases"}


async def test_an_object_that_is_missing_or_changed(
    double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path
) -> None:
    """Told by the set's own hashes."""
    memory, part = await saved(double, secrets)
    data = bytearray(memory.objects["qdrant/documents/1.tar"])
    data[5000] ^= 1
    memory.objects["qdrant/documents/1.tar"] = bytes(data)
    checks = await drilled(memory, part, scratch)
    assert (checks["shards"].ok, checks["shards"].detail) == (
        False,
        "shard 1: qdrant/documents/1.tar is not what was written",
    )
    del memory.entries["qdrant/documents/1.tar"]
    checks = await drilled(memory, part, scratch)
    assert "the set has no object qdrant/documents/1.tar" in checks["shards"].detail


async def test_a_version_that_the_engine_does_not_know(
    double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path
) -> None:
    """That it does not open says nothing against the set; that it opens is as good as ever."""
    memory, part = await saved(double, secrets)
    newer = blind(part).model_copy(update={"version": "1.25.0"})
    assert failed(await drilled(memory, newer, scratch)) == set()
    spoilt = damage.repacked(memory.objects["qdrant/documents/0.tar"], damage.no_segment_json)
    memory.put("qdrant/documents/0.tar", ObjectKind.QDRANT_SHARD, spoilt)
    checks = await drilled(memory, newer, scratch)
    assert checks["shards"].ok is None
    assert "1.25.0" in checks["shards"].detail


async def test_empty_collection(double: QdrantDouble, secrets: pathlib.Path, scratch: pathlib.Path) -> None:
    """Is no failure."""
    fill(double, count=0)
    memory = Memory()
    part = await back_up(asked(double), secrets, memory, quiet)
    assert failed(await drilled(memory, part, scratch)) == set()


def blind(part: QdrantPart) -> QdrantPart:
    """As from a server that keeps no checksums."""
    collections = [
        each.model_copy(update={"shards": [shard.model_copy(update={"server_sha256": ""}) for shard in each.shards]})
        for each in part.collections
    ]
    return part.model_copy(update={"collections": collections})


async def test_markers_stay_in_the_archives(
    tmp_path: pathlib.Path, secrets: pathlib.Path, scratch: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty in payloads, one as the key: none in what a mover says, notes or puts into the manifest."""
    markers = [f"marker-{number:02d}-s3cr3t" for number in range(20)]
    own = QdrantDouble(tmp_path / "keyed")
    (tmp_path / "keyed").mkdir()
    own.process.env["QDRANT__SERVICE__API_KEY"] = "marker-key"
    (secrets / "qdrant").mkdir()
    (secrets / "qdrant" / "api-key").write_text("marker-key")
    headers = {"api-key": "marker-key"}
    said: list[Any] = []
    memory = Memory()
    with running(own):
        url = f"{own.url}/collections/documents"
        http("PUT", url, {"vectors": {"size": 16, "distance": "Cosine"}}, headers)
        chance = random.Random(5)
        points = [{"id": n, "vector": vector(chance), "payload": {"secret": marker}} for n, marker in enumerate(markers)]
        assert http("PUT", f"{url}/points?wait=true", {"points": points}, headers).status == 200
        part = await back_up(asked(own), secrets, memory, lambda *line: said.append(line))
        assert http("PUT", f"{own.url}/double/faults", {"snapshot_fails": 1}, headers).status == 200
        with pytest.raises(MoverError) as error:
            await back_up(asked(own), secrets, Memory(), lambda *line: said.append(line))
        said.append(error.value.message)
    said += [part.to_json().decode(), *(note.to_json().decode() for note in memory.notes), caplog.text]
    said += [check.detail for check in await drill(part, memory, memory.manifest(part), scratch, [])]
    memory.put(
        "qdrant/documents/0.tar",
        ObjectKind.QDRANT_SHARD,
        damage.repacked(memory.objects["qdrant/documents/0.tar"], damage.flip_payload),
    )
    said += [check.detail for check in await drill(blind(part), memory, memory.manifest(part), scratch, [])]
    text = str(said)
    assert not [marker for marker in (*markers, "marker-key") if marker in text]
