"""Collections made anew: like a recorded one, with the shards that are sent to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..contracts import MoverError
from . import facts
from .client import AnswerError, Client, path
from .peers import ACTIVE, Cluster

# Settings that a collection reports under another name than it is made with.
RENAMED = {"optimizer_config": "optimizers_config"}
WHOLE = ("hnsw_config", "optimizer_config", "wal_config", "quantization_config", "strict_mode_config", "metadata")
PARAMS = (
    "vectors",
    "sparse_vectors",
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
    "payload",
)
LATER = ("read_fan_out_factor", "read_fan_out_delay_ms")
SETTLE = 300.0
POLL = 1.0


def creation(config: dict[str, Any]) -> dict[str, Any]:
    """The body that makes a collection with this configuration; what is not set stays the server's default."""
    params = config.get("params") or {}
    body = {name: params[name] for name in PARAMS if params.get(name) is not None}
    body |= {RENAMED.get(name, name): config[name] for name in WHOLE if config.get(name) is not None}
    return {name: _set(each) for name, each in body.items()}


def _set(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _set(each) for name, each in value.items() if each is not None}
    return value


def custom_sharding(config: dict[str, Any]) -> bool:
    """Whether the application chooses the shards: these get lost on the way into a new name (qdrant#10135)."""
    return bool((config.get("params") or {}).get("sharding_method") == "custom")


async def create_like(cluster: Cluster, name: str, config: dict[str, Any], schema: dict[str, Any]) -> None:
    """An empty collection with the same settings and payload indexes."""
    if custom_sharding(config):
        why = "custom sharding gets lost when Qdrant restores into a new name; restore its shards by hand"
        message = f"{name} cannot be made: {why}"
        raise MoverError("CustomSharding", message, retry=False)
    where = path("collections", name)
    await cluster.client.send("PUT", where, creation(config))
    later = {each: config["params"][each] for each in LATER if (config.get("params") or {}).get(each) is not None}
    if later:
        await cluster.client.send("PATCH", where, {"params": later})
    await index(cluster.client, name, schema)


async def index(client: Client, name: str, schema: dict[str, Any]) -> None:
    """Make the payload indexes that are not there."""
    there = facts.payload_types((await facts.describe(client, name)).get("payload_schema") or {})
    for field, each in schema.items():
        if there.get(field) == each.get("data_type"):
            continue
        wanted = each.get("params") or each["data_type"]
        body = {"field_name": field, "field_schema": wanted}
        await client.send("PUT", f"{path('collections', name)}/index?wait=true", body)


async def places(cluster: Cluster, name: str, shards: Sequence[int]) -> dict[int, Client]:
    """A peer for each shard; MoverError when the new collection is not divided as the old one."""
    found: dict[int, Client] = {}
    for peer in cluster.peers:
        told = await peer.client.get(f"{path('collections', name)}/cluster")
        for shard in told["local_shards"]:
            found.setdefault(int(shard["shard_id"]), peer.client)
    if sorted(found) != sorted(shards):
        message = f"{name} has the shards {sorted(found)}, those to be put there are {sorted(shards)}"
        raise MoverError("ShardsDiffer", message, retry=False)
    return found


async def send_shard(client: Client, name: str, shard: int, stream: AsyncIterator[bytes], sha256: str) -> None:
    """Make the shard what the archive holds. The server compares the hash before it touches anything."""
    checksum = f"&checksum={sha256}" if sha256 else ""
    folder = f"{path('collections', name, 'shards', shard)}/snapshots"
    await client.upload(f"{folder}/upload?wait=true&priority=snapshot{checksum}", stream)
    # Some versions leave the uploaded file behind (qdrant#10207).
    for left in await client.get(folder):
        await client.send("DELETE", f"{folder}{path(left['name'])}?wait=true")


async def settle(cluster: Cluster, name: str) -> None:
    """Wait until every replica is active."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLE
    while True:
        states = await _states(cluster, name)
        if all(state == ACTIVE for state in states):
            return
        if loop.time() > until:
            message = f"replicas of {name} are still {sorted(set(states))} {SETTLE:.0f} s after the restore"
            raise MoverError("ReplicasNotActive", message)
        await asyncio.sleep(POLL)


async def _states(cluster: Cluster, name: str) -> list[str]:
    told = await cluster.client.get(f"{path('collections', name)}/cluster")
    return [str(shard["state"]) for shard in (*told["local_shards"], *told["remote_shards"])]


async def drop(client: Client, name: str) -> bool:
    """Remove a collection; False when it is gone already."""
    try:
        return bool(await client.send("DELETE", path("collections", name)))
    except AnswerError as error:
        if error.status == 404:
            return False
        raise
