"""Collections of a set brought back beside the live ones, under names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...domain.backups.manifest import Check, CollectionFacts, Manifest, QdrantPart
from ...domain.backups.request import QdrantRequest
from ..chunks import counted
from ..contracts import MoverError, ObjectReader, Report
from . import build, facts, names
from .compare import compared_live
from .engine import Answer, Hit
from .names import Live, Move
from .peers import Cluster, look, opened

ALL = "*"


@dataclass(frozen=True)
class QdrantPlan:
    """What a restore would do. depends: what the plan's digest has to cover, without counts of points, which change."""

    lines: list[str]
    bytes: int
    depends: dict[str, Any] = field(default_factory=dict)


async def plan(part: QdrantPart, manifest: Manifest, request: QdrantRequest, restore_id: str, secrets: Path) -> QdrantPlan:
    """Look at the server and say what would happen; nothing is changed."""
    collections = chosen(part, request.collections)
    async with opened(request, secrets) as cluster:
        check_version(part.version, cluster.version)
        live = await look(cluster)
        moves = names.moves(collections, live, restore_id)
        size = sum(manifest.entry(shard.object).plain_bytes for each in collections for shard in each.shards)
        target = names.targets(collections, restore_id)
        lines = [f"Qdrant {cluster.version} at {cluster.client.url}: {len(collections)} collections, {size} bytes"]
        for each in collections:
            lines.append(await _restored_line(cluster, each, target[each.name], moves))
        lines += [_move_line(move, restore_id) for move in moves]
        lines += [_kept_line(each, live) for each in collections if each.name in live.collections and each.aliases]
    depends = {"version": cluster.version, "moves": [[m.name, m.target, m.was] for m in moves]}
    return QdrantPlan(lines, size, depends)


async def _restored_line(cluster: Cluster, each: CollectionFacts, target: str, moves: Sequence[Move]) -> str:
    old = next((move.was for move in moves if move.target == target and move.was), "")
    text = f"Qdrant collection {each.name} comes back as {target} with about {each.points_after} points"
    if not old:
        return f"{text}; nothing has its place now"
    now = await facts.exact_count(cluster.client, old)
    lost = max(0, now - each.points_after)
    return f"{text}; {old} has {now} now" + (f", at least {lost} of them are not in the set" if lost else "")


def _move_line(move: Move, restore_id: str) -> str:
    if move.covered:
        copy = names.previous(move.name, restore_id)
        return (
            f"Qdrant collection {move.name} is copied to {copy}, the copy is compared, then {move.name} is deleted and made "
            f"an alias of {move.target}, as Qdrant has no renaming; between these two requests it is not there, and what is "
            "written after the copy is lost: stop the writers"
        )
    before = f"it leads to {move.was} now" if move.was else "nothing has that name now"
    return f"Qdrant alias {move.name} will lead to {move.target}, by one request for all aliases; {before}"


def _kept_line(each: CollectionFacts, live: Live) -> str:
    return f"Qdrant collection {each.name} itself stays as it is; only its aliases are switched"


async def restore_beside(
    part: QdrantPart,
    manifest: Manifest,
    request: QdrantRequest,
    reader: ObjectReader,
    restore_id: str,
    secrets: Path,
    report: Report,
) -> list[Check]:
    """Bring the collections back under new names and ask them what the server answered once. Again after a kill: goes on.

    MoverError when a copy does not answer as it must; the live collections are not touched in any case.
    """
    collections = chosen(part, request.collections)
    target = names.targets(collections, restore_id)
    checks: list[Check] = []
    async with opened(request, secrets) as cluster:
        check_version(part.version, cluster.version)
        for each in collections:
            job = _Copy(cluster, each, target[each.name], manifest, reader, report)
            checks += await job.made(await look(cluster))
    return checks


class _Copy:
    """One collection on its way back."""

    def __init__(
        self, cluster: Cluster, saved: CollectionFacts, target: str, manifest: Manifest, reader: ObjectReader, report: Report
    ) -> None:
        self._cluster = cluster
        self._saved = saved
        self._target = target
        self._manifest = manifest
        self._reader = reader
        self._report = report

    async def made(self, live: Live) -> list[Check]:
        if self._target in live.collections:
            if live.leading_to(self._target):
                # Switched already: clients write to it, so it need not be what it was.
                name = f"qdrant/{self._saved.name}/restored"
                return [Check(name=name, ok=True, detail=f"{self._target} is live already")]
            checks = await self._checked()
            if all(check.ok is not False for check in checks):
                return checks
            # Half a copy of an earlier start; its name is ours alone.
            await build.drop(self._cluster.client, self._target)
        await build.create_like(self._cluster, self._target, self._saved.config, self._saved.payload_schema)
        await self._filled()
        checks = await self._checked()
        wrong = [check for check in checks if check.ok is False]
        if wrong:
            said = "; ".join(f"{check.name}: {check.detail}" for check in wrong)
            raise MoverError("RestoredDiffers", f"{self._target} is not what was saved: {said}"[:1000])
        return checks

    async def _filled(self) -> None:
        place = await build.places(self._cluster, self._target, [shard.id for shard in self._saved.shards])
        for shard in self._saved.shards:
            entry = self._manifest.entry(shard.object)
            step, size = f"qdrant/{self._saved.name}/restore", entry.plain_bytes
            stream = counted(self._reader.read(entry), lambda done, step=step, size=size: self._report(step, done, size))  # type: ignore[misc]
            await build.send_shard(place[shard.id], self._target, shard.id, stream, entry.plain_sha256)
        await build.settle(self._cluster, self._target)
        await build.index(self._cluster.client, self._target, self._saved.payload_schema)

    async def _checked(self) -> list[Check]:
        return compared_live(self._saved, await read_back(self._cluster, self._target, self._saved))


async def read_back(cluster: Cluster, name: str, saved: CollectionFacts) -> Answer:
    """What a collection on the server answers to the recorded questions."""
    client = cluster.client
    info = await facts.describe(client, name)
    hits: list[list[Hit]] = []
    for canary in saved.canaries:
        found = await facts.answered(client, name, canary)
        hits.append([Hit(id=each, score=score) for each, score in zip(found.expected, found.scores, strict=True)])
    return Answer(
        points=await facts.exact_count(client, name),
        payload_types=facts.payload_types(info.get("payload_schema") or {}),
        samples=await facts.sampled(client, name, saved.sample_ids),
        canaries=hits,
    )


def chosen(part: QdrantPart, wanted: Sequence[str]) -> list[CollectionFacts]:
    """Collections of the set by name or alias; MoverError with what there is."""
    if ALL in wanted:
        return list(part.collections)
    by_name = {alias: each for each in part.collections for alias in (*each.aliases, each.name)}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        message = (
            f"the set has no collection {', '.join(map(repr, missing))}; it has: {', '.join(sorted(by_name)) or 'none'}"
        )
        raise MoverError("CollectionMissing", message, retry=False)
    found = {by_name[name].name: by_name[name] for name in wanted}
    return [found[name] for name in sorted(found)]


def check_version(saved: str, live: str) -> None:
    """A snapshot goes into the same minor version or the next one."""
    old, new = _minor(saved), _minor(live)
    if old is None or new is None or (old[0] == new[0] and old[1] <= new[1] <= old[1] + 1):
        return
    way = (
        f"update it to {old[0]}.{old[1]} first"
        if new < old
        else f"restore into {old[0]}.{old[1]} or {old[0]}.{old[1] + 1} first"
    )
    message = f"the set is of Qdrant {saved}, the server is {live}; snapshots fit the same minor version or the next: {way}"
    raise MoverError("VersionMismatch", message, retry=False)


def _minor(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit() else None
