"""Restored beside, switched, rolled back and cleaned up, on a real process of the double."""

import pathlib
import random
from typing import Any

import pytest

from docuquery_operator.domain.backups.manifest import QdrantPart
from docuquery_operator.domain.backups.request import QdrantRequest, Server
from docuquery_operator.mover.contracts import DamagedError, MoverError
from docuquery_operator.mover.qdrant.backup import back_up
from docuquery_operator.mover.qdrant.restore import plan, restore_beside
from docuquery_operator.mover.qdrant.switch import drop_previous, rollback, switch
from tests.mover.qdrant.killing import killing
from tests.mover.qdrant.memory import Memory, asked, count, fill, left_on, quiet, upsert, vector
from tests.stack.services import QdrantDouble, http

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

ID = "1a2b3c4d"
NEW, OLD = f"documents__r_{ID}", f"documents__p_{ID}"


async def saved(double: QdrantDouble, secrets: pathlib.Path, *aliases: str, points: int = 60) -> tuple[Memory, QdrantPart]:
    """A set; after it 5 points are added that are not in it, and one is changed."""
    fill(double, count=points)
    alias(double, *aliases)
    memory = Memory()
    part = await back_up(asked(double, canaries=3, sample=20), secrets, memory, quiet)
    chance = random.Random(1)
    upsert(double, "documents", [{"id": n, "vector": vector(chance), "payload": {"n": -1}} for n in (0, *range(900, 905))])
    return memory, part


def alias(double: QdrantDouble, *names: str, of: str = "documents") -> None:
    """Make them."""
    actions = [{"create_alias": {"alias_name": name, "collection_name": of}} for name in names]
    assert http("POST", f"{double.url}/collections/aliases", {"actions": actions}).status == 200


def world(double: QdrantDouble) -> tuple[list[str], dict[str, str]]:
    """Collections and aliases."""
    listed = http("GET", f"{double.url}/collections").json()["result"]["collections"]
    aliases = http("GET", f"{double.url}/aliases").json()["result"]["aliases"]
    return sorted(each["name"] for each in listed), {each["alias_name"]: each["collection_name"] for each in aliases}


async def brought_back(double: QdrantDouble, secrets: pathlib.Path, memory: Memory, part: QdrantPart, **more: Any) -> None:
    """Both steps."""
    request = asked(double, **more)
    checks = await restore_beside(part, memory.manifest(part), request, memory, ID, secrets, quiet)
    assert all(check.ok for check in checks), checks
    await switch(part, request, ID, secrets, quiet)


async def test_beside_touches_nothing(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """The copy answers what was saved; the live collection goes on; nothing is left in the snapshots' folder."""
    memory, part = await saved(double, secrets)
    checks = await restore_beside(part, memory.manifest(part), asked(double), memory, ID, secrets, quiet)
    assert [check.name.rpartition("/")[2] for check in checks] == ["count", "payloadSchema", "sample", "canaries"]
    assert all(check.ok for check in checks)
    assert (count(double, NEW), count(double, "documents")) == (60, 65)
    assert world(double) == (["documents", NEW], {})
    assert left_on(double) == []
    info = http("GET", f"{double.url}/collections/{NEW}").json()["result"]
    assert info["payload_schema"]["n"]["data_type"] == "integer"
    assert info["config"]["params"]["shard_number"] == 2


async def test_a_collection_becomes_an_alias_and_its_old_points_are_kept(
    double: QdrantDouble, secrets: pathlib.Path
) -> None:
    """The name has the restored points; the way back has those that were written since."""
    memory, part = await saved(double, secrets)
    await brought_back(double, secrets, memory, part)
    assert (count(double, "documents"), count(double, OLD)) == (60, 65)
    assert world(double)[0] == [OLD, NEW]
    assert await switch(part, asked(double), ID, secrets, quiet) == ["Qdrant leads to the restored collections already"]
    assert await rollback(asked(double), ID, secrets) == [f"documents leads to {OLD} again"]
    assert (count(double, "documents"), world(double)[1]) == (65, {"documents": OLD})
    assert await drop_previous(asked(double), ID, secrets) == [f"{NEW} removed"]
    assert (count(double, "documents"), world(double)) == (65, ([OLD], {"documents": OLD}))


async def test_aliases_are_switched_in_one_call(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """What they led to stays, and is left alone at the end as it is not ours."""
    memory, part = await saved(double, secrets, "live", "beta")
    async with killing(double.url) as proxy:
        request = QdrantRequest(server=Server(host="127.0.0.1", port=proxy.port))
        await restore_beside(part, memory.manifest(part), request, memory, ID, secrets, quiet)
        before = len(proxy.changes)
        await switch(part, request, ID, secrets, quiet)
        assert proxy.changes[before:] == ["POST /collections/aliases"]
    assert (count(double, "live"), count(double, "beta"), count(double, "documents")) == (60, 60, 65)
    await rollback(asked(double), ID, secrets)
    assert (count(double, "live"), world(double)[1]) == (65, {"live": "documents", "beta": "documents"})
    await switch(part, asked(double), ID, secrets, quiet)
    dropped = await drop_previous(asked(double), ID, secrets)
    assert dropped == ["documents, to which live led before, is left as it is"]
    assert world(double) == (["documents", NEW], {"live": NEW, "beta": NEW})


async def test_after_the_loss_of_everything(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Every name of the set leads to its points again; rollback means: nothing there, as before."""
    memory, part = await saved(double, secrets, "live")
    http("DELETE", f"{double.url}/collections/documents")
    await brought_back(double, secrets, memory, part)
    assert (count(double, "live"), count(double, "documents")) == (60, 60)
    assert await drop_previous(asked(double), ID, secrets) == ["nothing of this restore is left to remove"]
    await rollback(asked(double), ID, secrets)
    assert world(double) == ([NEW], {})


async def test_the_next_backup_and_restore_go_on_from_there(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Copies that nothing uses are not saved; the second restore's names do not grow."""
    memory, part = await saved(double, secrets)
    await brought_back(double, secrets, memory, part)
    again = Memory()
    second = await back_up(asked(double), secrets, again, quiet)
    assert [(each.name, each.aliases) for each in second.collections] == [(NEW, ["documents"])]
    assert [each.what for each in second.skipped] == [OLD]
    request = asked(double)
    await restore_beside(second, again.manifest(second), request, again, "00000002", secrets, quiet)
    await switch(second, request, "00000002", secrets, quiet)
    assert world(double)[1]["documents"] == "documents__r_00000002"
    await drop_previous(request, ID, secrets)
    await drop_previous(request, "00000002", secrets)
    assert count(double, "documents") == 60
    # The first restore's copy is what the second one found; only its own id may remove it.
    assert world(double)[0] == ["documents__r_00000002"] or NEW in world(double)[0]


async def test_a_damaged_object_changes_nothing(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """The error is the store's own; half a copy is made anew by the next try."""
    memory, part = await saved(double, secrets)
    good = memory.objects["qdrant/documents/1.tar"]
    memory.objects["qdrant/documents/1.tar"] = good[:-20480] + bytes(20480)[:100] + good[-20380:]
    with pytest.raises(DamagedError):
        await restore_beside(part, memory.manifest(part), asked(double), memory, ID, secrets, quiet)
    with pytest.raises(MoverError, match="must be restored before"):
        await switch(part, asked(double), ID, secrets, quiet)
    assert count(double, "documents") == 65
    memory.objects["qdrant/documents/1.tar"] = good
    await brought_back(double, secrets, memory, part)
    assert count(double, "documents") == 60


async def test_the_plan_says_what_happens(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """And changes nothing; its digest does not hang on counts."""
    memory, part = await saved(double, secrets)
    first = await plan(part, memory.manifest(part), asked(double), ID, secrets)
    text = "\n".join(first.lines)
    assert (
        f"documents comes back as {NEW} with about 60 points; documents has 65 now, at least 5 of them are not in the set"
        in text
    )
    assert f"copied to {OLD}" in text
    assert "stop the writers" in text
    assert first.bytes == sum(len(each) for each in memory.objects.values())
    assert world(double) == (["documents"], {})
    upsert(double, "documents", [{"id": 77_777, "vector": [1.0] * 16, "payload": {}}])
    second = await plan(part, memory.manifest(part), asked(double), ID, secrets)
    assert (second.depends, second.lines == first.lines) == (first.depends, False)
    alias(double, "live")
    assert all(len(line) <= 512 for line in first.lines)


async def test_another_version_is_refused(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """With what to do."""
    memory, part = await saved(double, secrets, points=10)
    for version, words in (("1.15.2", "restore into 1.15 or 1.16 first"), ("1.19.0", "update it to 1.19 first")):
        with pytest.raises(MoverError, match=words) as error:
            await plan(part.model_copy(update={"version": version}), memory.manifest(part), asked(double), ID, secrets)
        assert (error.value.reason, error.value.retry) == ("VersionMismatch", False)
    with pytest.raises(MoverError, match="the set has no collection 'x'; it has: documents"):
        await plan(part, memory.manifest(part), asked(double, "x"), ID, secrets)


async def test_a_switch_needs_the_copy(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """Nothing is deleted for a copy that is not there."""
    _, part = await saved(double, secrets, points=10)
    with pytest.raises(MoverError, match="must be restored before"):
        await switch(part, asked(double), ID, secrets, quiet)
    assert world(double) == (["documents"], {})


async def test_an_application_makes_its_collection_again(double: QdrantDouble, secrets: pathlib.Path) -> None:
    """In the moment in which the name is free. Empty: it goes; with points: a person is asked, and nothing is dropped."""
    memory, part = await saved(double, secrets)
    request = asked(double)
    await restore_beside(part, memory.manifest(part), request, memory, ID, secrets, quiet)
    async with killing(double.url) as proxy:
        through = QdrantRequest(server=Server(host="127.0.0.1", port=proxy.port))
        await killed(proxy, "DELETE /collections/documents", switch(part, through, ID, secrets, quiet))
    assert world(double)[0] == [OLD, NEW]
    http("PUT", f"{double.url}/collections/documents", {"vectors": {"size": 16, "distance": "Cosine"}})
    upsert(double, "documents", [{"id": 5, "vector": [1.0] * 16, "payload": {}}])
    for step in (switch(part, request, ID, secrets, quiet), rollback(request, ID, secrets)):
        with pytest.raises(MoverError, match="was written to, or made again"):
            await step
    with pytest.raises(MoverError, match="the switch of documents is not finished"):
        await drop_previous(request, ID, secrets)
    assert count(double, OLD) == 65
    http("POST", f"{double.url}/collections/documents/points/delete?wait=true", {"points": [5]})
    await switch(part, request, ID, secrets, quiet)
    assert (count(double, "documents"), count(double, OLD)) == (60, 65)


@pytest.mark.parametrize("onward", [True, False], ids=["again", "back"])
async def test_an_alias_of_a_collection_that_makes_room(double: QdrantDouble, secrets: pathlib.Path, onward: bool) -> None:
    """It is made after the backup, goes with the collection, and comes back, though we died in between."""
    memory, part = await saved(double, secrets)
    alias(double, "late")
    request = asked(double)
    await restore_beside(part, memory.manifest(part), request, memory, ID, secrets, quiet)
    async with killing(double.url) as proxy:
        through = QdrantRequest(server=Server(host="127.0.0.1", port=proxy.port))
        await killed(proxy, "DELETE /collections/documents", switch(part, through, ID, secrets, quiet))
    assert "late" not in world(double)[1]
    if onward:
        await switch(part, request, ID, secrets, quiet)
        assert (count(double, "late"), count(double, "documents")) == (60, 60)
    await rollback(request, ID, secrets)
    assert world(double)[1] == {"late": OLD, "documents": OLD}
    assert await drop_previous(request, ID, secrets) == [f"{NEW} removed"]
    assert count(double, "late") == 65


async def killed(proxy: Any, change: str, work: Any) -> None:
    """Run until this change has come true, and lose the client then."""
    proxy.done = True

    class Watching(list[str]):
        def append(self, each: str) -> None:
            super().append(each)
            if each == change:
                proxy.at = len(self)

    proxy.changes = Watching(proxy.changes)
    with pytest.raises(MoverError):
        await work
    assert proxy.at is not None


@pytest.mark.parametrize("aliases", [(), ("live", "beta")], ids=["collection", "aliases"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_killed_at_every_change(
    double: QdrantDouble, secrets: pathlib.Path, aliases: tuple[str, ...], done: bool
) -> None:
    """Neither the points of the set nor those that were live are ever lost, and doing it again ends well."""
    memory, part = await saved(double, secrets, *aliases, points=12)
    live = aliases[0] if aliases else "documents"

    async def apply(request: QdrantRequest) -> None:
        await restore_beside(part, memory.manifest(part), request, memory, ID, secrets, quiet)
        await switch(part, request, ID, secrets, quiet)

    at = 0
    while True:
        at += 1
        async with killing(double.url, at, done) as proxy:
            request = QdrantRequest(server=Server(host="127.0.0.1", port=proxy.port), timeout_seconds=20)
            try:
                await apply(request)
                break
            except MoverError:
                held(double, live)
        if at % 2:
            # A person may also give up at this point.
            await rollback(asked(double), ID, secrets)
            assert count(double, live) == 17
            reset(double, live, aliases)
        else:
            await apply(asked(double))
            assert count(double, live) == 12
            await rollback(asked(double), ID, secrets)
            assert count(double, live) == 17
            reset(double, live, aliases)
    assert at > (4 if aliases else 9)
    assert count(double, live) == 12


def held(double: QdrantDouble, live: str) -> None:
    """The old points are in a collection, and the name leads to them or to the restored ones, but for one moment."""
    collections, names = world(double)
    counts = {name: count(double, name) for name in collections}
    assert 17 in counts.values(), counts
    if live in (*collections, *names):
        assert count(double, live) in {12, 17}
    else:
        assert counts.get(OLD) == 17


def reset(double: QdrantDouble, live: str, aliases: tuple[str, ...]) -> None:
    """As it was before: the old points under the collection's own name, nothing of ours."""
    collections, _names = world(double)
    if not aliases and "documents" not in collections:
        http("POST", f"{double.url}/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "documents"}}]})
        fill(double, count=12)
        chance = random.Random(1)
        upsert(
            double, "documents", [{"id": n, "vector": vector(chance), "payload": {"n": -1}} for n in (0, *range(900, 905))]
        )
    for name in world(double)[0]:
        if name != "documents":
            http("DELETE", f"{double.url}/collections/{name}")
    assert world(double) == (["documents"], dict.fromkeys(aliases, "documents"))
