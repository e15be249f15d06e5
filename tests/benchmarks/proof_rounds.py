"""B9 for Qdrant: a shard's archive proved, beside the embedded engine alone, which unpacks it, opens it and counts."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    PayloadSchemaType,
    Point,
    UpdateOperation,
)

from docuquery_operator.domain.backups.manifest import (
    Canary,
    CollectionFacts,
    ObjectKind,
    QdrantPart,
    ShardFacts,
)
from docuquery_operator.mover.clock import now
from docuquery_operator.mover.qdrant.archive import unpack_shard
from docuquery_operator.mover.qdrant.drill import drill
from docuquery_operator.mover.qdrant.engine import Question, ask
from docuquery_operator.mover.qdrant.records import sample_hash
from tests.mover.qdrant import damage
from tests.mover.qdrant.memory import Memory
from tests.stack.services import prepared

from .log_rounds import row
from .report import Row

SIZE = 128
OBJECT = "qdrant/documents/0.tar"
Spoil = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Subject:
    """A shard's archive and what was recorded of it."""

    archive: bytes
    part: QdrantPart

    @property
    def points(self) -> int:
        """As counted by the server."""
        return self.part.collections[0].points_before


def measure(points: int, rounds: int, folder: Path) -> list[Row]:
    """Damage of each kind once, and the sound archive so often."""
    work = prepared(folder / "proofs")
    subject, other = _subject(points, 1, prepared(work / "a")), _subject(points, 2, prepared(work / "b"))
    kinds = _damages(other.archive)
    ours = alone = 0
    for name, spoil in kinds.items():
        spoilt = spoil(subject.archive)
        found, noticed = not _drilled(subject, spoilt), not _opened(subject, spoilt)
        ours, alone = ours + found, alone + noticed
        print(
            f"proofs: {name}: {'found' if found else 'MISSED'}; the engine alone: {'found' if noticed else 'missed'}",
            flush=True,
        )
    times: dict[str, list[float]] = {"ours": [], "alone": []}
    for n in range(rounds):
        for side, work_of in (("ours", _drilled), ("alone", _opened))[:: 1 if n % 2 else -1]:
            began = time.monotonic()
            assert work_of(subject, subject.archive), side
            times[side].append(time.monotonic() - began)
    sparse, dense = _disk(subject.archive, work)
    total = float(len(kinds))
    what = f"a shard of {points} vectors of {SIZE}"
    return [
        row("proof-found", f"kinds of damage found, of {len(kinds)}", [float(ours)], [float(alone)], total, f"== {len(kinds)}",
            ours == len(kinds), "kinds"),
        row("proof-time", f"{what} proved, beside unpacking, opening and counting it", times["ours"], times["alone"], None, "",
            None, "s"),
        row("proof-disk", f"{what} unpacked, from an archive with its zeros", [sparse], [dense], None, "<= 0.5 x",
            sparse <= 0.5 * dense, "bytes"),
    ]  # fmt: skip


def _subject(points: int, seed: int, folder: Path) -> Subject:
    chance = random.Random(seed)
    live = folder / "shard"
    live.mkdir()
    shard = EdgeShard.create(str(live), EdgeConfig(vectors=EdgeVectorParams(size=SIZE, distance=Distance.Cosine)))
    shard.update(UpdateOperation.create_field_index("n", PayloadSchemaType.Integer))
    for start in range(0, points, 1000):
        batch = [Point(n, [chance.gauss(0, 1) for _ in range(SIZE)], {"n": n, "text": f"point {n} of {seed}"})
                 for n in range(start, min(points, start + 1000))]  # fmt: skip
        shard.update(UpdateOperation.upsert_points(batch))
    shard.flush()
    shard.close()
    archive = _dense(live, folder)
    asked = [Canary(vector=[chance.gauss(0, 1) for _ in range(SIZE)], expected=[]) for _ in range(10)]
    ids = [str(each) for each in sorted(chance.sample(range(points), min(200, points)))]
    told = ask(Question(folder=str(live), sample_ids=ids, canaries=asked, distances={"": "Cosine"}))
    hashes = [told.samples[each] for each in ids]
    canaries = [
        canary.model_copy(update={"expected": [hit.id for hit in hits], "scores": [hit.score for hit in hits]})
        for canary, hits in zip(asked, told.canaries, strict=True)
    ]
    collection = CollectionFacts(
        name="documents", config={"params": {"vectors": {"size": SIZE, "distance": "Cosine"}}}, status="green",
        payload_schema={"n": {"data_type": "integer"}}, points_before=points, points_after=points, canaries=canaries,
        shards=[ShardFacts(id=0, peer=0, state="Active", object=OBJECT)], sample_ids=ids, sample_hashes=hashes,
        sample_sha256=sample_hash(hashes),
    )  # fmt: skip
    part = QdrantPart(version="1.18.3", distributed=False, cut_at=now(), finished_at=now(), collections=[collection])
    return Subject(archive, part)


def _dense(shard: Path, folder: Path) -> bytes:
    """As a server makes it, zeros and all."""
    segments = prepared(folder / "segments")
    for segment in (shard / "segments").iterdir():
        inner = [
            "tar",
            "-cf",
            str(segments / f"{segment.name}.tar"),
            "--transform",
            r"s,^\.,snapshot/files,",
            "-C",
            str(segment),
            ".",
        ]
        subprocess.run(inner, check=True)
    subprocess.run(["tar", "-cf", str(folder / "whole.tar"), "-C", str(folder), "segments"], check=True)
    return (folder / "whole.tar").read_bytes()


def _damages(other: bytes) -> dict[str, Spoil]:
    def inside(change: Callable[[Path], None]) -> Spoil:
        return lambda archive: damage.repacked(archive, change)

    return {
        "cut at half": lambda archive: archive[: len(archive) // 1024 * 512],
        "cut within the last zeros": lambda archive: archive[: len(archive.rstrip(b"\0")) // 512 * 512],
        "bits of one vector flipped": inside(damage.flip_one_vector),
        "all vectors zero": inside(damage.zero_vectors),
        "half an id file": inside(damage.half_ids),
        "payload flipped": inside(damage.flip_payload),
        "vector file cut": inside(damage.short_vectors),
        "segment.json missing": inside(damage.no_segment_json),
        "payload index missing": inside(damage.without_index),
        "another collection's shard": lambda _: other,
    }


def _drilled(subject: Subject, archive: bytes) -> bool:
    memory = Memory()
    memory.put(OBJECT, ObjectKind.QDRANT_SHARD, archive)
    with tempfile.TemporaryDirectory() as scratch:
        checks = asyncio.run(drill(subject.part, memory, memory.manifest(subject.part), Path(scratch)))
    return all(check.ok for check in checks)


ALONE = """
import sys
from qdrant_edge import CountRequest, EdgeShard
EdgeShard.unpack_snapshot(sys.argv[1], sys.argv[2])
assert EdgeShard.load(sys.argv[2]).count(CountRequest(exact=True)) == int(sys.argv[3])
"""


def _opened(subject: Subject, archive: bytes) -> bool:
    """In a process of its own, for a damaged shard may end it."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "snapshot.tar"
        file.write_bytes(archive)
        command = [sys.executable, "-c", ALONE, str(file), str(Path(scratch) / "shard"), str(subject.points)]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _disk(archive: bytes, work: Path) -> tuple[float, float]:
    """Bytes on disk: unpacked with holes, and by the engine."""
    file = work / "dense.tar"
    file.write_bytes(archive)
    unpack_shard(file, work / "sparse")
    EdgeShard.unpack_snapshot(str(file), str(work / "engine"))
    assert EdgeShard.load(str(work / "sparse")).count(CountRequest(exact=True)) > 0
    return _used(work / "sparse"), _used(work / "engine")


def _used(folder: Path) -> float:
    return float(sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()))
