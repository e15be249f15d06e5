"""A second copy of a live collection on its own server, compared with it, before its name is needed for an alias."""

from __future__ import annotations

from ..contracts import MoverError, Report
from . import build, facts, snapshots
from .client import Client
from .peers import Cluster, Replica, replicas
from .snapshots import Notes

SAMPLE = 200
TRIES = 3


async def preserve(cluster: Cluster, name: str, copy: str, notes: Notes, report: Report) -> int:
    """Points of the copy. MoverError when the collection is written to all the time; then it is left as it is."""
    for _ in range(TRIES):
        await build.drop(cluster.client, copy)
        before = await facts.first_reading(cluster.client, name, 0, SAMPLE)
        await build.create_like(cluster, copy, before.info["config"], before.info.get("payload_schema") or {})
        await _filled(cluster, name, copy, notes, report)
        after = await facts.second_reading(cluster.client, name, before)
        points = await facts.exact_count(cluster.client, copy)
        still = before.points == after.points and len(after.samples) == len(before.samples)
        if still and points == before.points:
            await _compare(cluster, copy, before.samples)
            return points
    await build.drop(cluster.client, copy)
    message = (
        f"collection {name} changes while it is copied, and what is written then would be lost; stop the writers, try again"
    )
    raise MoverError("WritersRunning", message)


async def _filled(cluster: Cluster, name: str, copy: str, notes: Notes, report: Report) -> None:
    chosen = await replicas(cluster, name)
    place = await build.places(cluster, copy, [replica.shard for replica in chosen])
    for replica in chosen:
        await _shard(cluster, name, copy, replica, notes, report, place)
    await build.settle(cluster, copy)


async def _shard(
    cluster: Cluster, name: str, copy: str, replica: Replica, notes: Notes, report: Report, place: dict[int, Client]
) -> None:
    client = replica.peer.client
    async with snapshots.taken(client, name, replica.shard, notes) as made:
        stream = snapshots.content(client, name, replica.shard, made)
        report(f"qdrant/{name}/preserve", 0, made.size)
        await build.send_shard(place[replica.shard], copy, replica.shard, stream, made.sha256)


async def same(cluster: Cluster, name: str, copy: str) -> bool:
    """Whether a collection still is what was copied of it, as far as counts and points by chance tell."""
    kept = await facts.first_reading(cluster.client, copy, 0, SAMPLE)
    if await facts.exact_count(cluster.client, name) != kept.points:
        return False
    return await facts.sampled(cluster.client, name, list(kept.samples)) == kept.samples


async def _compare(cluster: Cluster, copy: str, samples: dict[str, str]) -> None:
    found = await facts.sampled(cluster.client, copy, list(samples))
    differ = [each for each in samples if found.get(each) != samples[each]]
    if differ:
        message = (
            f"{copy} differs from the collection it was copied from in {len(differ)} of {len(samples)} points: {differ[:5]}"
        )
        raise MoverError("CopyDiffers", message)
