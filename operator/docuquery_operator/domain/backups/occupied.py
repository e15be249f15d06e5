"""Who is at work on a Stack's data, and what may not go on beside it. Pure, and the same rule for all that ask.

A backup beside a restore would hold half of each; a restore beside a backup would take away what is being read; maintenance
takes locks on which a dump waits. So each says in its own status what it is about to do, looks for the others only then, and
steps back from what it finds: of two that begin at once at least one sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Doing = Literal["Backup", "Restore", "Maintenance"]
STORES = frozenset({"postgres", "qdrant"})
REPLACING = ("Restoring", "Verifying")
# Work of a RestoreJob on live servers; a plan only reads, and a throwaway copy touches nothing.
LIVE_WORK = ("Apply", "Rollback", "DropPrevious")
WAITING = "Waiting"
WORDS = {
    "Backup": "saves the data of the same Stack",
    "Restore": "replaces the data of the same Stack",
    "Maintenance": "maintains the data of the same Stack",
}
# Tasks of a MaintenanceWindow that work on a store, or restart it, and so keep others from it.
TASK_STORES: Mapping[str, frozenset[str]] = {
    "VacuumDatabase": frozenset({"postgres"}),
    "AnalyzeTables": frozenset({"postgres"}),
    "OptimizeCollections": frozenset({"qdrant"}),
    "UpdateImages": STORES,
}
# What each of them must not meet. Several backups may run side by side: they only read.
EXCLUDES: dict[Doing, tuple[Doing, ...]] = {
    "Backup": ("Restore", "Maintenance"),
    "Restore": ("Backup", "Restore", "Maintenance"),
    "Maintenance": ("Backup", "Restore", "Maintenance"),
}


@dataclass(frozen=True)
class Occupant:
    """An object that works on a Stack's data, or, with `waits`, is the next one that will."""

    doing: Doing
    kind: str
    name: str
    waits: bool = False
    stores: frozenset[str] = STORES

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {'waits for its turn: it ' if self.waits else ''}{WORDS[self.doing]}"


def occupants(
    stack: str,
    backups: Iterable[Mapping[str, Any]],
    restores: Iterable[Mapping[str, Any]],
    windows: Iterable[Mapping[str, Any]] = (),
) -> list[Occupant]:
    """Of this Stack, from the BackupJobs, RestoreJobs and MaintenanceWindows of its namespace as the API server has them."""
    found = [each for backup in backups if (each := _backup(stack, backup)) is not None]
    found += [each for restore in restores if (each := _restore(stack, restore)) is not None]
    return found + [each for window in windows if (each := _window(stack, window)) is not None]


def in_the_way(
    wanted: Doing, own: str, found: Sequence[Occupant], stores: frozenset[str] = STORES, behind: bool = True
) -> Occupant | None:
    """Who keeps the object `own` from beginning; None: nobody. stores: of which it would use the data.

    behind: stand behind those that wait. A restore waits only for those at work; behind it stands everybody else, so that
    backups which follow one another do not keep it out for ever.
    """
    for each in found:
        same = each.doing == wanted and each.name == own
        if same or each.doing not in EXCLUDES[wanted] or not each.stores & stores:
            continue
        if each.waits and (not behind or wanted == "Restore"):
            continue
        return each
    return None


def _backup(stack: str, backup: Mapping[str, Any]) -> Occupant | None:
    spec, work = backup.get("spec") or {}, (backup.get("status") or {}).get("work") or {}
    if (spec.get("stackRef") or {}).get("name") != stack or work.get("kind") != "Backup":
        return None
    include = spec.get("include")
    stores = STORES if include is None else STORES & {name for name, part in include.items() if part is not None}
    return Occupant("Backup", "BackupJob", backup["metadata"]["name"], stores=stores) if stores else None


def _restore(stack: str, restore: Mapping[str, Any]) -> Occupant | None:
    status = restore.get("status") or {}
    target = ((restore.get("spec") or {}).get("target") or {}).get("stackRef") or {}
    if target.get("name") != stack:
        return None
    name, work = restore["metadata"]["name"], status.get("work") or {}
    if status.get("phase") in REPLACING or work.get("kind") in LIVE_WORK:
        return Occupant("Restore", "RestoreJob", name)
    waits = any(c.get("type") == WAITING and c.get("status") == "True" for c in status.get("conditions") or [])
    return Occupant("Restore", "RestoreJob", name, waits=True) if waits else None


def _window(stack: str, window: Mapping[str, Any]) -> Occupant | None:
    spec, tasks = window.get("spec") or {}, (window.get("status") or {}).get("tasks") or []
    if (spec.get("stackRef") or {}).get("name") != stack:
        return None
    at_work = [TASK_STORES.get(task.get("type"), frozenset()) for task in tasks if task.get("state") == "Running"]
    stores = frozenset[str]().union(*at_work)
    return Occupant("Maintenance", "MaintenanceWindow", window["metadata"]["name"], stores=stores) if stores else None


def replaces(restore: Mapping[str, Any], stack: str) -> bool:
    """Whether this RestoreJob, as the API server has it, replaces the data of the Stack just now."""
    target, status = ((restore.get("spec") or {}).get("target") or {}).get("stackRef") or {}, restore.get("status") or {}
    at_work = status.get("phase") in REPLACING or (status.get("work") or {}).get("kind") == "Rollback"
    return bool(target.get("name") == stack and at_work)
