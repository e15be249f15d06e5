"""Which peers there are, and from which of them each shard is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...domain.backups.request import QdrantRequest, Server
from ..contracts import MoverError
from . import facts
from .client import Client, connected, path
from .names import Live

ACTIVE = "Active"


@dataclass(frozen=True)
class Peer:
    """One server of the cluster; id 0 where the server is alone and says none."""

    id: int
    client: Client


@dataclass(frozen=True)
class Cluster:
    """All peers that can be reached; `version` is the one that all of them have."""

    peers: tuple[Peer, ...]
    distributed: bool
    version: str
    # Address by id, as the cluster names its members; reached or not.
    members: dict[int, str] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """Any of them, for what is the same on all."""
        return self.peers[0].client


@dataclass(frozen=True)
class Replica:
    """A shard and the peer it is taken from. points: as that peer says, approximate. key: of custom sharding, '' else."""

    shard: int
    peer: Peer
    state: str
    points: int | None
    key: str = ""


@asynccontextmanager
async def opened(request: QdrantRequest, secrets: Path) -> AsyncIterator[Cluster]:
    """Connect to the server, and to every peer when there are several."""
    async with AsyncExitStack() as stack:

        async def connect(server: Server) -> Client:
            return await stack.enter_async_context(connected(server, secrets, request.timeout_seconds))

        first = await connect(request.server)
        state = await first.get("/cluster")
        if not isinstance(state, dict) or state.get("status") != "enabled":
            yield Cluster((Peer(0, first),), False, await _version([first]))
            return
        servers = request.peers or _addresses(state, request.server)
        peers = [await _peer(await connect(server)) for server in servers]
        yield Cluster(tuple(peers), True, await _version([peer.client for peer in peers]), members(state))


async def _peer(client: Client) -> Peer:
    state = await client.get("/cluster")
    return Peer(int(state["peer_id"]), client)


def members(state: dict[str, Any]) -> dict[int, str]:
    """Address by id from the answer to GET /cluster; {} where it names none."""
    named = state.get("peers") or {}
    return {
        int(number): str((peer or {}).get("uri", ""))[:256] for number, peer in sorted(named.items()) if number.isdigit()
    }


def _addresses(state: dict[str, Any], known: Server) -> list[Server]:
    """The hosts of the peers' own addresses; REST is taken to be on the same port as with the known server."""
    hosts = [urlsplit(str(peer.get("uri", ""))).hostname for peer in state.get("peers", {}).values()]
    return [known.model_copy(update={"host": host}) for host in hosts if host]


async def _version(clients: Sequence[Client]) -> str:
    """Peers in the middle of an update give snapshots that cannot be brought back together."""
    import json

    found = set()
    for client in clients:
        body, _ = await client.plain("GET", "/")
        try:
            found.add(str(json.loads(body)["version"])[:32])
        except (ValueError, KeyError, TypeError) as error:
            raise MoverError("NotQdrant", f"{client.url} does not say its version; is this a Qdrant server?") from error
    if len(found) > 1:
        raise MoverError("MixedVersions", f"the peers have different versions: {sorted(found)}; wait for the update to end")
    return found.pop()


async def look(cluster: Cluster) -> Live:
    """Collections and aliases as they are now."""
    return Live(frozenset(await facts.names(cluster.client)), await facts.aliases(cluster.client))


async def replicas(cluster: Cluster, collection: str) -> list[Replica]:
    """Each shard once, from the first peer that holds an active replica; MoverError when a shard has none."""
    chosen: dict[int, Replica] = {}
    states: dict[int, list[str]] = {}
    expected = 0
    for peer in cluster.peers:
        told = await peer.client.get(f"{path('collections', collection)}/cluster")
        expected = max(expected, int(told.get("shard_count", 0)))
        for shard in told["local_shards"]:
            states.setdefault(shard["shard_id"], []).append(shard["state"])
            if shard["state"] == ACTIVE and shard["shard_id"] not in chosen:
                chosen[shard["shard_id"]] = _replica(Peer(int(told["peer_id"]), peer.client), shard)
        for shard in told["remote_shards"]:
            states.setdefault(shard["shard_id"], []).append(f"{shard['state']} on peer {shard['peer_id']}")
    lost = sorted(states.keys() - chosen.keys())
    if lost or len(chosen) < expected:
        said = "; ".join(f"shard {shard}: {', '.join(sorted(set(states[shard])))}" for shard in lost[:5])
        message = f"collection {collection!r} has shards without an Active replica on a peer that can be reached: {said}"
        raise MoverError("NoActiveReplica", message)
    return [chosen[shard] for shard in sorted(chosen)]


def _replica(peer: Peer, shard: dict[str, Any]) -> Replica:
    points = shard.get("points_count")
    key = shard.get("shard_key")
    return Replica(shard["shard_id"], peer, shard["state"], points, "" if key is None else str(key))
