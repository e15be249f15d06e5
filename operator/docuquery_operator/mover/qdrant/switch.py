"""Restored collections made live, and the way back. Each step looks at the server first, so any of them can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...domain.backups.manifest import CollectionFacts, IntentNote, QdrantPart
from ...domain.backups.request import QdrantRequest
from ..contracts import MoverError, Report
from . import build, names
from .client import AnswerError
from .compare import compared_live
from .facts import exact_count
from .names import Live, Move
from .peers import Cluster, look, opened
from .preserve import preserve, same
from .restore import chosen, read_back
from .snapshots import Notes

TRIES = 5
CONFLICT = (400, 409)


class _Unnoted:
    """Where nobody writes notes down."""

    async def note(self, note: IntentNote) -> None:
        """Forget it."""


async def switch(
    part: QdrantPart, request: QdrantRequest, restore_id: str, secrets: Path, report: Report, notes: Notes | None = None
) -> list[str]:
    """Let the names lead to the restored copies, by one request for all of them; lines on what was done."""
    collections = chosen(part, request.collections)
    async with opened(request, secrets) as cluster:
        live = await look(cluster)
        moves = [m for m in _unfinished(names.moves(collections, live, restore_id), live, restore_id) if m.was != m.target]
        await _demand_whole(cluster, collections, {move.target for move in moves}, live, restore_id)
        if not moves:
            return ["Qdrant leads to the restored collections already"]
        for move in moves:
            if move.covered:
                await _preserved(cluster, move, restore_id, notes or _Unnoted(), report)
        await _switched(cluster, moves, restore_id)
        return [f"{move.name} leads to {move.target}" for move in moves]


async def _demand_whole(
    cluster: Cluster, collections: list[CollectionFacts], wanted: set[str], live: Live, restore_id: str
) -> None:
    """Half a copy has the same name as a whole one. One that a name leads to already may have changed since."""
    missing = sorted(wanted - live.collections)
    target = names.targets(collections, restore_id)
    for saved in collections:
        name = target[saved.name]
        if name not in wanted & live.collections or live.leading_to(name):
            continue
        if any(check.ok is False for check in compared_live(saved, await read_back(cluster, name, saved))):
            missing.append(name)
    if missing:
        message = f"{', '.join(missing)} must be restored before anything is switched"
        raise MoverError("NotRestored", message, retry=False)


def _unfinished(moves: list[Move], live: Live, restore_id: str) -> list[Move]:
    """Also names whose collection an earlier start has deleted, and their aliases, which went with it; it left the copy."""
    found = {move.name: move for move in moves}
    for move in moves:
        copy = names.previous(move.name, restore_id)
        if move.was or copy not in live.collections:
            continue
        found[move.name] = Move(move.name, move.target, copy)
        for alias, target in live.aliases.items():
            name = names.base_of(alias)
            if _of(alias, restore_id) == "p" and target == copy and not live.resolves(name):
                found[name] = Move(name, move.target, copy)
    return [found[name] for name in sorted(found)]


async def _preserved(cluster: Cluster, move: Move, restore_id: str, notes: Notes, report: Report) -> None:
    """A whole copy of a collection that has to make room, and the mark that says so."""
    copy, mark = names.previous(move.name, restore_id), names.deleting(move.name, restore_id)
    live = await look(cluster)
    if mark in live.aliases:
        # The copy is whole and the only one: what has the name now is either the original or made since.
        return
    points = await preserve(cluster, move.name, copy, notes, report)
    # Aliases of the collection are deleted with it; so they are written down first.
    marks = [_create(mark, copy)] + [_create(names.previous(each, restore_id), copy) for each in live.leading_to(move.name)]
    await _change(cluster, marks)
    now = await exact_count(cluster.client, move.name)
    if now != points:
        await _change(cluster, [_delete(mark)])
        message = (
            f"{move.name} was written to while it was copied ({points} points, now {now}); stop its writers and try again"
        )
        raise MoverError("WritersRunning", message)


async def _switched(cluster: Cluster, moves: list[Move], restore_id: str) -> None:
    """Delete what is in the way, and at once the one request for all names."""
    covered = [move for move in moves if move.covered]
    for left in reversed(range(TRIES)):
        live = await look(cluster)
        for move in covered:
            if move.name in live.collections:
                await _make_room(cluster, move.name, restore_id)
        try:
            gone = {move.name for move in covered}
            await _change(cluster, [action for move in moves for action in _actions(move, gone, restore_id)])
            return
        except AnswerError as error:
            # An application that finds its collection missing may have made an empty one in between.
            if not covered or not left or error.status not in CONFLICT:
                raise


async def _make_room(cluster: Cluster, name: str, restore_id: str) -> None:
    copy = names.previous(name, restore_id)
    if await exact_count(cluster.client, name) and not await same(cluster, name, copy):
        raise _written(name, copy)
    await build.drop(cluster.client, name)


def _written(name: str, copy: str) -> MoverError:
    message = (
        f"collection {name} was written to, or made again, while it was replaced: it holds points that are not in {copy}, "
        f"the copy of what was there before; stop the writers, move them if they are needed, delete {name}, try again"
    )
    return MoverError("WritersRunning", message)


def _actions(move: Move, gone: set[str], restore_id: str) -> list[dict[str, Any]]:
    """The name to its new place; where it led stays known under a name of ours."""
    made = [_create(move.name, move.target)]
    mark = names.previous(move.name, restore_id)
    was = names.previous(move.was, restore_id) if move.was in gone else move.was
    if was and not move.covered and was != mark:
        made.append(_create(mark, was))
    return made


async def rollback(request: QdrantRequest, restore_id: str, secrets: Path) -> list[str]:
    """Let the names lead where they led before, by one request; a name that leads elsewhere by now is left alone."""
    async with opened(request, secrets) as cluster:
        live = await look(cluster)
        actions: list[dict[str, Any]] = []
        lines: list[str] = []
        for name in _touched(live, restore_id):
            action, line = await _back(cluster, live, name, restore_id)
            actions += action
            lines.append(line)
        marks = [alias for alias in live.aliases if _of(alias, restore_id)]
        actions += [_delete(alias) for alias in sorted(marks)]
        if actions:
            await _change(cluster, actions)
        return lines or ["no name leads to what this restore has made"]


def _touched(live: Live, restore_id: str) -> list[str]:
    """Names that lead to a restored copy of ours, and those of which something from before is kept."""
    to_ours = {alias for alias, target in live.aliases.items() if _of(target, restore_id) == "r" and not names.parsed(alias)}
    kept = {names.base_of(name) for name in (*live.collections, *live.aliases) if _of(name, restore_id) in {"p", "d"}}
    return sorted(to_ours | kept)


async def _back(cluster: Cluster, live: Live, name: str, restore_id: str) -> tuple[list[dict[str, Any]], str]:
    copy, mark = names.previous(name, restore_id), names.deleting(name, restore_id)
    before = live.aliases.get(copy) or (copy if copy in live.collections else "")
    if name in live.collections:
        if mark not in live.aliases or await same(cluster, name, copy):
            return [], f"collection {name} is there as ever"
        if await exact_count(cluster.client, name):
            raise _written(name, copy)
        await build.drop(cluster.client, name)
        return [_create(name, copy)], f"{name} leads to {copy}, the copy of what was there before"
    leads = live.aliases.get(name, "")
    if leads and _of(leads, restore_id) != "r":
        return [], f"{name} leads to {leads} by now and is left alone"
    if before:
        return [_create(name, before)], f"{name} leads to {before} again"
    return [_delete(name)], f"{name} is gone again, as nothing had that name before"


async def drop_previous(request: QdrantRequest, restore_id: str, secrets: Path) -> list[str]:
    """Remove what this restore has made and no name leads to. Nothing without its id is touched."""
    async with opened(request, secrets) as cluster:
        live = await look(cluster)
        _refuse_unfinished(live, restore_id)
        kept = _kept(live, restore_id)
        marks = [alias for alias in sorted(live.aliases) if _of(alias, restore_id)]
        if marks:
            await _change(cluster, [_delete(alias) for alias in marks])
        dropped = []
        for name in sorted(live.collections):
            if _of(name, restore_id) and not live.leading_to(name):
                await build.drop(cluster.client, name)
                dropped.append(f"{name} removed")
        return dropped + kept or ["nothing of this restore is left to remove"]


def _kept(live: Live, restore_id: str) -> list[str]:
    """What names led to before, where that is no copy of ours."""
    was = {target: names.base_of(alias) for alias, target in live.aliases.items() if _of(alias, restore_id) == "p"}
    others = sorted(target for target in was if not _of(target, restore_id))
    return [f"{target}, to which {was[target]} led before, is left as it is" for target in others]


def _refuse_unfinished(live: Live, restore_id: str) -> None:
    """Between the deletion of a collection and its alias the copy is all there is."""
    for alias in live.aliases:
        name = names.base_of(alias)
        if _of(alias, restore_id) == "d" and name not in live.aliases:
            message = (
                f"the switch of {name} is not finished; apply the restore again or roll it back before anything is removed"
            )
            raise MoverError("SwitchUnfinished", message, retry=False)


def _of(name: str, restore_id: str) -> str:
    """Kind of a name of this restore, '' for any other."""
    found = names.parsed(name)
    return found[1] if found and found[2] == restore_id else ""


def _create(alias: str, collection: str) -> dict[str, Any]:
    return {"create_alias": {"alias_name": alias, "collection_name": collection}}


def _delete(alias: str) -> dict[str, Any]:
    return {"delete_alias": {"alias_name": alias}}


async def _change(cluster: Cluster, actions: list[dict[str, Any]]) -> None:
    await cluster.client.post("/collections/aliases", {"actions": actions})
