"""Names of what a restore makes on a server, and what has to lead where. Pure.

For a restore with the id 1a2b3c4d of a collection `documents`:

- collection `documents__r_1a2b3c4d` is the restored copy
- `documents__p_1a2b3c4d` is what was there before: a collection, or an alias that leads to it
- alias `documents__d_1a2b3c4d` says that the copy of what was there is whole and the original is being deleted

So the server itself remembers what a restore has done, in names that no other restore has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...domain.backups.manifest import CollectionFacts
from ..contracts import MoverError

LONGEST = 255
_OURS = re.compile(r"^(?P<base>.+)__(?P<kind>[rpd])_(?P<id>[0-9a-f]{8})$")


@dataclass(frozen=True)
class Live:
    """Collections and aliases of a server."""

    collections: frozenset[str]
    aliases: dict[str, str] = field(default_factory=dict)

    def resolves(self, name: str) -> bool:
        """Whether a client that uses the name finds something."""
        return name in self.collections or name in self.aliases

    def leading_to(self, collection: str) -> list[str]:
        """Aliases that people use; those that a restore has made for itself do not count."""
        return sorted(alias for alias, target in self.aliases.items() if target == collection and not parsed(alias))


@dataclass(frozen=True)
class Move:
    """A name that is to lead to the restored collection. was: where it led before; '' nowhere, itself: a collection."""

    name: str
    target: str
    was: str

    @property
    def covered(self) -> bool:
        """A collection has the name: an alias of it cannot be made before that is gone."""
        return self.was == self.name


def restored(name: str, restore_id: str) -> str:
    """The restored copy."""
    return _named(name, "r", restore_id)


def previous(name: str, restore_id: str) -> str:
    """What the name led to before."""
    return _named(name, "p", restore_id)


def deleting(name: str, restore_id: str) -> str:
    """The mark of a deletion that has begun."""
    return _named(name, "d", restore_id)


def parsed(name: str) -> tuple[str, str, str] | None:
    """Base, kind and id of a name that a restore made."""
    match = _OURS.fullmatch(name)
    return (match["base"], match["kind"], match["id"]) if match else None


def base_of(name: str) -> str:
    """Without what a former restore has added."""
    found = parsed(name)
    return found[0] if found else name


def begun(live: Live, restore_id: str) -> bool:
    """Whether a name leads to a copy of this restore, or something from before is kept under a name of it."""
    ours = {name: found for name in (*live.collections, *live.aliases) if (found := parsed(name)) and found[2] == restore_id}
    kept = any(kind in ("p", "d") for _, kind, _ in ours.values())
    return kept or any(live.leading_to(name) for name in ours if name in live.collections)


def unused(live: Live) -> list[str]:
    """Copies of restores that no name leads to: neither saved nor restored with all others."""
    return sorted(name for name in live.collections if parsed(name) and not live.leading_to(name))


def targets(collections: Sequence[CollectionFacts], restore_id: str) -> dict[str, str]:
    """Name of the restored copy by that in the set."""
    names = {each.name for each in collections}
    made: dict[str, str] = {}
    for name in sorted(names):
        base = base_of(name)
        made[name] = restored(name if base != name and base in names else base, restore_id)
    if len(set(made.values())) < len(made):
        raise MoverError("NamesCollide", f"collections {sorted(names)} would be restored under one name", retry=False)
    return made


def moves(collections: Sequence[CollectionFacts], live: Live, restore_id: str) -> list[Move]:
    """Every name that has to lead to a restored copy: the aliases of the set, else the collection's own name."""
    found: dict[str, Move] = {}
    made = targets(collections, restore_id)
    for each in collections:
        wanted = list(each.aliases)
        if not wanted or (not parsed(each.name) and not live.resolves(each.name)):
            wanted.append(each.name)
        for name in wanted:
            beside = live.leading_to(name) if name in live.collections else []
            for one in (name, *beside):
                was = one if one in live.collections else live.aliases.get(one, "")
                found.setdefault(one, Move(one, made[each.name], was))
    return [found[name] for name in sorted(found)]


def _named(name: str, kind: str, restore_id: str) -> str:
    made = f"{name}__{kind}_{restore_id}"
    if not re.fullmatch(r"[0-9a-f]{8}", restore_id):
        raise MoverError("BadRestoreId", f"the id of a restore is 8 hex digits, not {restore_id!r}", retry=False)
    if len(made) > LONGEST:
        raise MoverError("NameTooLong", f"{made!r} is longer than the {LONGEST} characters that Qdrant takes", retry=False)
    return made
