"""Ways to spoil a shard's archive that leave it a good archive."""

import json
import pathlib
import sys
import tempfile
from collections.abc import Callable

from qdrant_edge import EdgeShard

from tests.stack.services import DOUBLE

sys.path.insert(0, str(DOUBLE))


def repacked(data: bytes, change: Callable[[pathlib.Path], None]) -> bytes:
    """The archive again, after `change` has had its way with the shard's folder."""
    from qdrant_double import archive

    with tempfile.TemporaryDirectory() as made:
        work = pathlib.Path(made)
        (work / "before.tar").write_bytes(data)
        EdgeShard.unpack_snapshot(str(work / "before.tar"), str(work / "shard"))
        change(work / "shard")
        archive.pack_shard(work / "shard", work / "content")
        archive.write(work / "content", work / "after.tar")
        return (work / "after.tar").read_bytes()


def _files(shard: pathlib.Path, name: str) -> list[pathlib.Path]:
    found = list((shard / "segments").rglob(name))
    assert found, name
    return found


def flip_one_vector(shard: pathlib.Path) -> None:
    """The highest bits of one number of one vector in each segment."""
    for file in _files(shard, "chunk_0.mmap"):
        data = bytearray(file.read_bytes())
        if any(data[:64]):
            data[64 * 5 + 3] ^= 0x40
        file.write_bytes(data)


def zero_vectors(shard: pathlib.Path) -> None:
    """All of them."""
    for file in _files(shard, "chunk_0.mmap"):
        file.write_bytes(bytes(file.stat().st_size))


def half_ids(shard: pathlib.Path) -> None:
    """The second half of the points is forgotten."""
    for file in _files(shard, "mutable_id_tracker.mappings"):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])


def flip_payload(shard: pathlib.Path) -> None:
    """Some bytes of each page."""
    for file in _files(shard, "page_0.dat"):
        if file.parent.name != "payload_storage":
            continue
        data = bytearray(file.read_bytes())
        for place in range(0, min(len(data), 20_000), 64):
            data[place + 11] ^= 0x01
        file.write_bytes(data)


def short_vectors(shard: pathlib.Path) -> None:
    """The file ends too early."""
    for file in _files(shard, "chunk_0.mmap"):
        with file.open("r+b") as opened:
            opened.truncate(4096)


def without_index(shard: pathlib.Path) -> None:
    """The payload index is gone; the engine's own call to drop one leaves it in place."""
    for file in _files(shard, "config.json"):
        if file.parent.name == "payload_index":
            kept = json.loads(file.read_text())
            file.write_text(json.dumps({name: {} for name in kept}))


def no_segment_json(shard: pathlib.Path) -> None:
    """What describes a segment is gone."""
    for file in _files(shard, "segment.json"):
        file.unlink()
