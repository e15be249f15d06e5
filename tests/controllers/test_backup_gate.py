"""What backups mean for others: the Stack's last backup, the gate before steps that risk data, and the incidents they open."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.runbook import StepSpec
from docuquery_operator.api.stack import Stack
from docuquery_operator.controllers.stack import StackController
from docuquery_operator.domain.rails.candidate import Candidate
from docuquery_operator.domain.rails.target import backup_gate
from docuquery_operator.domain.world import PlannedStep, Risk, World
from docuquery_operator.ports import INCIDENT, STACK, Key
from tests.fakes.backup_rig import NIGHTLY, SPEC, BackupRig
from tests.fakes.movers import Fate
from tests.fakes.rig import NAMESPACE
from tests.unit.domain.rails.test_rails import candidate

# Each lives through hours or days of a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(240)
RESTORED = {**SPEC, "verification": {"level": "Restore"}}


async def stack_after(rig: BackupRig, seconds: float = 3600) -> Stack:
    """The Stack as its own controller has written it after the BackupJob's run."""
    key = rig.backup(RESTORED)
    await rig.run(key, seconds)
    controller = StackController(rig.rig.life.ports, rig.rig.life.prober, lambda _key: None)
    await controller.reconcile(Key(STACK.plural, NAMESPACE, "docuquery"))
    return Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))


def gate(rig: BackupRig, stack: Stack) -> str:
    """The rail's answer to a step that risks the database's data: '' when it may begin."""
    planned = PlannedStep("dropTable", "postgres", Risk.DATA, {}, "drop")
    asked: Candidate = replace(
        candidate(), stack=stack, world=World(stack=stack), planned=planned, spec=StepSpec(action="x"), now=rig.clock.now()
    )
    refusal = backup_gate(asked)
    return refusal.reason if refusal else ""


async def test_a_set_that_a_restore_has_proved_opens_the_gate_for_a_day() -> None:
    rig = BackupRig()
    stack = await stack_after(rig)
    assert stack.status is not None
    assert stack.status.last_backup is not None
    assert stack.status.last_backup.verified is True
    assert gate(rig, stack) == ""
    rig.clock.jump(timedelta(hours=24).total_seconds())
    assert gate(rig, stack) == "BackupNotFit"


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ({"backup": Fate(state="Suspicious")}, "NoBackup"),
        ({"verify": Fate(verdict="Failed")}, "NoBackup"),
        ({"verify": Fate(verdict="Unverifiable")}, "BackupNotFit"),
        ({"verify": Fate(ok=False)}, "BackupNotFit"),
        ({"backup": Fate(ok=False)}, "NoBackup"),
    ],
    ids=["suspicious", "failed check", "unverifiable", "no verdict", "failed run"],
)
async def test_what_is_not_proved_keeps_the_gate_shut(fate: dict[str, Fate], reason: str) -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: fate.get(r.command, Fate())
    assert gate(rig, await stack_after(rig)) == reason


async def test_a_set_that_was_only_read_again_keeps_the_gate_shut() -> None:
    rig = BackupRig()
    key = rig.backup(SPEC)
    status = await rig.run(key, 3600)
    assert status["runs"][0]["verified"] == "Verified"
    stack = await stack_after_key(rig)
    assert gate(rig, stack) == "BackupNotFit"


async def stack_after_key(rig: BackupRig) -> Stack:
    controller = StackController(rig.rig.life.ports, rig.rig.life.prober, lambda _key: None)
    await controller.reconcile(Key(STACK.plural, NAMESPACE, "docuquery"))
    return Stack.model_validate(rig.server.find(STACK, NAMESPACE, "docuquery"))


async def test_the_stack_is_told_at_once() -> None:
    rig = BackupRig()
    await rig.run(rig.backup(SPEC), 3600)
    assert Key(STACK.plural, NAMESPACE, "docuquery") in rig.nudged


@pytest.mark.parametrize("databases", [0, 2])
async def test_it_ends_by_itself_whatever_databases_the_stack_has(databases: int) -> None:
    """None, where only vectors are saved, or several, of which the incident names none."""
    rig = BackupRig()
    rig.rig.with_qdrant()

    def change(stack: dict[str, Any]) -> None:
        components = stack["spec"]["components"]
        postgres = components.pop("postgres")
        components["api"] = {**components["api"], "dependsOn": ["qdrant"]}
        components.update({f"db-{n}": postgres for n in range(databases)})

    rig.rig.edit_stack(change)
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "backup")
    key = rig.backup({**NIGHTLY, "include": {"qdrant": {}}})
    await rig.run(key, 1.6 * 86400)
    (incident,) = rig.server.all(INCIDENT)
    told = Key(INCIDENT.plural, NAMESPACE, incident["metadata"]["name"])
    status = await rig.rig.run(told, 60, lambda s: "cause" in s)
    assert status["cause"]["name"] == "RunsFail"
    rig.movers.fate = lambda _r, _n: Fate()
    await rig.run(key, 86400)
    status = await rig.rig.run(told, 600)
    assert status["phase"] == "Resolved"


async def test_an_incident_of_a_missing_run_names_it_and_ends_with_the_next_good_one() -> None:
    rig = BackupRig()
    rig.movers.fate = lambda r, _n: Fate(ok=r.command != "backup")
    key = rig.backup(NIGHTLY)
    await rig.run(key, 1.6 * 86400)
    (incident,) = rig.server.all(INCIDENT)
    told = Key(INCIDENT.plural, NAMESPACE, incident["metadata"]["name"])

    def known(status: dict[str, Any]) -> bool:
        return "cause" in status

    status = await rig.rig.run(told, 60, known)
    assert status["cause"]["name"] == "RunsFail"
    rig.movers.fate = lambda _r, _n: Fate()
    await rig.run(key, 86400)
    status = await rig.rig.run(told, 600)
    assert status["phase"] == "Resolved"
    assert not status.get("steps")
