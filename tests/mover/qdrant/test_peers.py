"""A cluster of two peers, as two addresses in front of one double: each has one shard and knows of the other."""

import pathlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from docuquery_operator.domain.backups.request import QdrantRequest, Server
from docuquery_operator.mover.contracts import MoverError
from docuquery_operator.mover.qdrant.backup import back_up
from docuquery_operator.mover.qdrant.peers import members
from docuquery_operator.mover.qdrant.restore import restore_beside
from docuquery_operator.mover.qdrant.switch import switch
from tests.mover.qdrant.killing import Killing
from tests.mover.qdrant.memory import Memory, count, fill, left_on, quiet
from tests.stack.services import QdrantDouble

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


class Peer(Killing):
    """Answers for the cluster itself, and refuses shards that are not its own."""

    def __init__(self, upstream: str, number: int, version: str = "1.18.3") -> None:
        super().__init__(upstream)
        self.number = number
        self.version = version
        self.states = {0: "Active", 1: "Active"}
        self.others: list[Peer] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """As a server of a cluster would."""
        if request.path == "/":
            return web.json_response({"title": "qdrant", "version": self.version})
        if request.path == "/cluster":
            peers = {str(each.number): {"uri": f"http://127.0.0.1:{each.port}/"} for each in (self, *self.others)}
            return web.json_response(
                {"result": {"status": "enabled", "peer_id": self.number, "peers": peers}, "status": "ok"}
            )
        if request.path.endswith("/cluster"):
            return web.json_response({"result": self._shards(), "status": "ok"})
        if "/shards/" in request.path and f"/shards/{self.number - 1}/" not in request.path:
            return web.json_response({"status": {"error": "Bad request: not a local shard"}}, status=400)
        return await super().handle(request)

    def _shards(self) -> dict[str, Any]:
        own, other = self.number - 1, 2 - self.number
        return {
            "peer_id": self.number,
            "shard_count": 2,
            "local_shards": [{"shard_id": own, "points_count": 30, "state": self.states[own]}],
            "remote_shards": [{"shard_id": other, "peer_id": 3 - self.number, "state": self.states[other]}],
            "shard_transfers": [],
        }


@asynccontextmanager
async def two(double: QdrantDouble) -> AsyncIterator[tuple[list[Peer], QdrantRequest]]:
    """Both, and a request that knows their addresses."""
    peers = [Peer(double.url, 1), Peer(double.url, 2)]
    peers[0].others, peers[1].others = [peers[1]], [peers[0]]
    async with AsyncExitStack() as stack:
        for peer in peers:
            application = web.Application(client_max_size=1 << 30)
            application.router.add_route("*", "/{rest:.*}", peer.handle)
            runner = web.AppRunner(application)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            peer.port = runner.addresses[0][1]
        servers = [Server(host="127.0.0.1", port=peer.port) for peer in peers]
        yield peers, QdrantRequest(server=servers[0], peers=servers, timeout_seconds=30)


async def test_each_shard_from_its_own_peer_and_back(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """A peer that is asked for another's shard refuses, so that it works means that the right one was asked."""
    fill(double, count=60)
    memory = Memory()
    async with two(double) as (peers, request):
        part = await back_up(request, secrets, memory, quiet)
        assert (part.distributed, part.version) == (True, "1.18.3")
        assert [(each.id, each.uri) for each in part.peers] == [
            (1, f"http://127.0.0.1:{peers[0].port}/"),
            (2, f"http://127.0.0.1:{peers[1].port}/"),
        ]
        assert [(each.id, each.peer) for each in part.collections[0].shards] == [(0, 1), (1, 2)]
        assert {note.url for note in memory.notes} == {f"http://127.0.0.1:{peer.port}" for peer in peers}
        await restore_beside(part, memory.manifest(part), request, memory, "1a2b3c4d", secrets, quiet)
        await switch(part, request, "1a2b3c4d", secrets, quiet)
    assert (count(double, "documents"), count(double, "documents__p_1a2b3c4d"), left_on(double)) == (60, 60, [])


async def test_a_shard_without_an_active_replica(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """No part of a collection is taken for all of it."""
    fill(double, count=20)
    async with two(double) as (peers, request):
        peers[1].states[1] = peers[0].states[1] = "Dead"
        memory = Memory()
        with pytest.raises(MoverError, match="shard 1: Dead") as error:
            await back_up(request, secrets, memory, quiet)
        assert (error.value.reason, memory.objects) == ("NoActiveReplica", {})
        peers[1].states[1] = "Active"
        only = request.model_copy(update={"peers": request.peers[:1]})
        with pytest.raises(MoverError, match="without an Active replica on a peer that can be reached"):
            await back_up(only, secrets, memory, quiet)


async def test_peers_in_the_middle_of_an_update(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Their snapshots do not fit together."""
    async with two(double) as (peers, request):
        peers[1].version = "1.19.0"
        with pytest.raises(MoverError, match="wait for the update") as error:
            await back_up(request, secrets, Memory(), quiet)
        assert error.value.retry


def test_members_as_a_real_server_names_them() -> None:
    """An id is larger than what JavaScript can count; a single node names nobody."""
    state = {"status": "enabled", "peer_id": 5395257186314509, "peers": {"5395257186314509": {"uri": "http://q-0:6335/"}}}
    assert members(state) == {5395257186314509: "http://q-0:6335/"}
    assert members({"status": "disabled"}) == {}
    assert members({"peers": {"x": {}, "7": None}}) == {7: ""}
