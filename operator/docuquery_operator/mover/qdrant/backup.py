"""Qdrant's part of a set: every shard once, with what the collection answered around it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

from ...domain.backups.layout import safe_name
from ...domain.backups.manifest import (
    CollectionFacts,
    ObjectEntry,
    ObjectKind,
    PeerFacts,
    QdrantPart,
    ShardFacts,
    Skipped,
    sha256,
)
from ...domain.backups.request import QdrantRequest
from ..chunks import counted
from ..clock import now
from ..contracts import MoverError, ObjectWriter, Report
from . import facts, snapshots
from .build import custom_sharding
from .client import AnswerError
from .names import parsed, unused
from .peers import Cluster, Replica, look, opened, replicas
from .records import sample_hash

ALL = "*"
LONGEST = 200
TRIES = 3
PAUSE = (0.5, 2.5)


async def back_up(request: QdrantRequest, secrets: Path, writer: ObjectWriter, report: Report) -> QdrantPart:
    """Save the collections. MoverError when one that is named is not there or a shard cannot be had whole."""
    async with opened(request, secrets) as cluster:
        cut_at = now()
        names, left_out = await _chosen(cluster, request.collections)
        saved = [await _Collection(cluster, name, writer, report).save(request) for name in names]
        placed, skipped = _with_aliases(saved, await facts.aliases(cluster.client))
        return QdrantPart(
            version=cluster.version,
            distributed=cluster.distributed,
            peers=[PeerFacts(id=number, uri=uri) for number, uri in sorted(cluster.members.items())],
            cut_at=cut_at,
            finished_at=now(),
            collections=placed,
            skipped=left_out + skipped + [_unusual(each) for each in placed if custom_sharding(each.config)],
        )


async def _chosen(cluster: Cluster, wanted: list[str]) -> tuple[list[str], list[Skipped]]:
    """Names of collections, and those left out of all."""
    live = await look(cluster)
    there, aliases = sorted(live.collections), live.aliases
    if ALL in wanted:
        copies = unused(live)
        reason = "a copy that a restore has made and nothing uses; name it to have it saved"
        return [name for name in there if name not in copies], [Skipped(what=name, reason=reason) for name in copies]
    missing = [name for name in wanted if aliases.get(name, name) not in there]
    if missing:
        known = ", ".join(sorted([*there, *aliases])[:20]) or "none"
        message = f"there is no collection {', '.join(repr(name) for name in missing)}; there are: {known}"
        raise MoverError("CollectionMissing", message, retry=False)
    return sorted({aliases.get(name, name) for name in wanted}), []


def _with_aliases(saved: list[CollectionFacts], aliases: dict[str, str]) -> tuple[list[CollectionFacts], list[Skipped]]:
    """Aliases as they are after the last snapshot; one that points elsewhere by then is told."""
    names = {each.name for each in saved}
    aliases = {alias: target for alias, target in aliases.items() if not parsed(alias)}
    own = {name: sorted(alias for alias, target in aliases.items() if target == name) for name in names}
    others = sorted(f"{alias} (of {target})" for alias, target in aliases.items() if target not in names)
    reason = "their collections were not asked for"
    skipped = [Skipped(what=f"aliases {', '.join(others[:20])}", reason=reason)] if others else []
    return [each.model_copy(update={"aliases": own[each.name]}) for each in saved], skipped


def _unusual(collection: CollectionFacts) -> Skipped:
    why = "custom sharding gets lost when Qdrant restores into a new name; its shards are saved, restore them by hand"
    return Skipped(what=f"automatic restore of collection {collection.name}", reason=why)


class _Collection:
    """One collection on its way into the set."""

    def __init__(self, cluster: Cluster, name: str, writer: ObjectWriter, report: Report) -> None:
        self._cluster = cluster
        self._name = name
        self._writer = writer
        self._report = report

    async def save(self, request: QdrantRequest) -> CollectionFacts:
        client = self._cluster.client
        before = await facts.first_reading(client, self._name, request.canaries, request.sample)
        chosen = await replicas(self._cluster, self._name)
        shards = [await self._shard(replica) for replica in chosen]
        after = await facts.second_reading(client, self._name, before)
        hashes = list(after.samples.values())
        return CollectionFacts(
            name=self._name,
            config=before.info["config"],
            payload_schema=before.info.get("payload_schema") or {},
            status=str(before.info.get("status", "")),
            points_before=before.points,
            points_after=after.points,
            shards=shards,
            canaries=list(after.canaries),
            sample_ids=list(after.samples),
            sample_hashes=hashes,
            sample_sha256=sample_hash(hashes) if hashes else "",
        )

    async def _shard(self, replica: Replica) -> ShardFacts:
        for attempt in range(1, TRIES + 1):
            try:
                return await self._try_shard(replica, object_name(self._name, replica.shard, attempt))
            except MoverError as error:
                # Another backup at the same time may have removed the file: both got the same name in the same second.
                gone = isinstance(error, AnswerError) and error.status == 404
                if attempt == TRIES or not (gone or error.reason == "SnapshotDamaged"):
                    raise
                # Names have seconds: two that try again at once would meet again.
                await asyncio.sleep(random.uniform(*PAUSE))
        raise AssertionError

    async def _try_shard(self, replica: Replica, name: str) -> ShardFacts:
        client = replica.peer.client
        async with snapshots.taken(client, self._name, replica.shard, self._writer) as made:
            stream = snapshots.content(client, self._name, replica.shard, made)
            entry = await self._write(name, stream, made.size)
        return ShardFacts(
            id=replica.shard,
            peer=replica.peer.id,
            state=replica.state,
            points=replica.points,
            object=entry.name,
            server_sha256=made.sha256,
            key=replica.key,
        )

    async def _write(self, name: str, stream: AsyncIterator[bytes], size: int) -> ObjectEntry:
        step = f"qdrant/{self._name}"
        seen = counted(stream, lambda done: self._report(step, done, size))
        return await self._writer.write(name, ObjectKind.QDRANT_SHARD, seen)


def object_name(collection: str, shard: int, attempt: int = 1) -> str:
    """Where a shard lies in the set. A key is written once, so that a second try takes another."""
    kept = safe_name(collection)
    if len(kept) > LONGEST:
        kept = f"{kept[:LONGEST]}={sha256(collection.encode())[:16]}"
    return f"qdrant/{kept}/{shard}.tar" if attempt == 1 else f"qdrant/{kept}/{shard}-{attempt}.tar"
