"""Who keeps whom from beginning."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.domain.backups.occupied import Doing, Occupant, in_the_way, occupants


def backup(name: str = "nightly", stack: str = "s", work: str = "Backup", **include: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"stackRef": {"name": stack}, **({"include": include} if include else {})}
    return {"metadata": {"name": name}, "spec": spec, "status": {"work": {"kind": work}} if work else {}}


def restore(name: str = "back", stack: str = "s", phase: str = "Planned", work: str = "", waits: bool = False) -> Any:
    conditions = [{"type": "Waiting", "status": "True" if waits else "False"}]
    status = {"phase": phase, "conditions": conditions, **({"work": {"kind": work}} if work else {})}
    return {"metadata": {"name": name}, "spec": {"target": {"stackRef": {"name": stack}}}, "status": status}


MAINTENANCE = Occupant("Maintenance", "MaintenanceJob", "weekly", stores=frozenset({"postgres"}))


@pytest.mark.parametrize(
    ("backups", "restores", "expected"),
    [
        ([backup()], [], ["nightly"]),
        ([backup(stack="other"), backup(work="Verify"), backup(work="Catalogue"), backup(work="")], [], []),
        ([backup(configuration={}, postgres=None)], [], []),
        ([], [restore(phase="Restoring"), restore(phase="Verifying", name="b")], ["back", "b"]),
        ([], [restore(phase="Complete", work="Rollback"), restore(phase="Complete", work="DropPrevious")], ["back", "back"]),
        ([], [restore(), restore(work="Plan"), restore(phase="Restoring", stack="other")], []),
        ([{"metadata": {"name": "new"}, "spec": {}}], [{"metadata": {"name": "new"}}], []),
    ],
)
def test_who_is_at_work(backups: Any, restores: Any, expected: list[str]) -> None:
    assert [each.name for each in occupants("s", backups, restores)] == expected


@pytest.mark.parametrize(
    ("wanted", "found", "held"),
    [
        ("Backup", occupants("s", [backup()], []), False),
        ("Backup", occupants("s", [], [restore(phase="Restoring")]), True),
        ("Backup", occupants("s", [], [restore(waits=True)]), True),
        ("Backup", [MAINTENANCE], True),
        ("Restore", occupants("s", [backup()], []), True),
        ("Restore", occupants("s", [], [restore(waits=True)]), False),
        ("Restore", occupants("s", [], [restore(phase="Restoring")]), True),
        ("Restore", [MAINTENANCE], True),
        ("Maintenance", occupants("s", [backup()], []), True),
        ("Maintenance", occupants("s", [], [restore(waits=True)]), True),
        ("Maintenance", [MAINTENANCE], True),
    ],
)
def test_who_may_not_begin(wanted: Doing, found: list[Occupant], held: bool) -> None:
    assert (in_the_way(wanted, "me", found) is not None) is held


def test_of_the_stores_that_are_used() -> None:
    vectors = occupants("s", [backup(qdrant={})], [])
    assert in_the_way("Maintenance", "me", vectors, frozenset({"postgres"})) is None
    assert in_the_way("Maintenance", "me", vectors, frozenset({"qdrant"})) is not None


def test_nobody_is_in_his_own_way() -> None:
    assert in_the_way("Restore", "back", occupants("s", [], [restore(phase="Restoring")])) is None
    assert in_the_way("Maintenance", "weekly", [MAINTENANCE]) is None
    # A backup and a restore may have the same name.
    assert in_the_way("Restore", "nightly", occupants("s", [backup()], [])) is not None


def test_in_words() -> None:
    first, second = occupants("s", [backup()], [restore(waits=True)])
    assert str(first) == "BackupJob nightly saves the data of the same Stack"
    assert str(second) == "RestoreJob back waits for its turn: it replaces the data of the same Stack"
