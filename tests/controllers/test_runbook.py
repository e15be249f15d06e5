"""A Runbook that cannot be used says so in every tool's words: kstatus calls it failed, and does not wait for it."""

from __future__ import annotations

from typing import Any

from docuquery_operator.catalogue.runbooks import problem_of, shipped
from docuquery_operator.controllers.runbook import RunbookController
from docuquery_operator.ports import RUNBOOK, Key
from tests.fakes.rig import NAMESPACE, Rig

KEY = Key(RUNBOOK.plural, NAMESPACE, "own")


async def conditions(rig: Rig) -> dict[str, tuple[str, str]]:
    await RunbookController(rig.life.ports).reconcile(KEY)
    found: dict[str, Any] | None = rig.server.find(RUNBOOK, NAMESPACE, "own")
    assert found is not None
    return {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}


async def test_a_runbook_is_ready_or_stalled() -> None:
    rig = Rig()
    assert await conditions(rig) == {"Ready": ("True", "Valid"), "Stalled": ("False", "Valid")}
    rig.server.edit(RUNBOOK, NAMESPACE, "own", lambda r: r["spec"].update(symptom="finding.ok"))
    assert await conditions(rig) == {"Ready": ("False", "InvalidExpression"), "Stalled": ("True", "InvalidExpression")}


def test_a_step_that_would_never_come_is_a_mistake() -> None:
    spec = shipped()["DatabaseConnectionFailure"]
    cause = next(c for c in spec.causes if c.name == "ProcessDown")
    twice = cause.model_copy(update={"remediate": [*cause.remediate, *cause.remediate]})
    problem = problem_of(spec.model_copy(update={"causes": [twice]}))
    assert problem is not None
    assert (problem.reason, "restartWorkload" in problem.message) == ("DuplicateStep", True)
