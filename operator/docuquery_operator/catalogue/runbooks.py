"""The shipped runbooks, and what is wrong with a runbook."""

from __future__ import annotations

import functools
from importlib import resources

import yaml
from pydantic import ValidationError

from ..api.runbook import RunbookSpec
from ..domain.expressions import ExpressionError, compile_expression
from ..domain.world import Problem
from .actions import ACTIONS
from .probes import PROBES

PACKAGE = "docuquery_operator.runbooks"


@functools.cache
def shipped() -> dict[str, RunbookSpec]:
    """The runbooks of the package by incident type."""
    found = {}
    for path in resources.files(PACKAGE).iterdir():
        if path.name.endswith(".yaml"):
            spec = RunbookSpec.model_validate(yaml.safe_load(path.read_text())["spec"])
            found[spec.incident_type] = spec
    return found


def text_of(incident_type: str) -> str:
    """The YAML of a shipped runbook, to read, copy and override; KeyError when none is shipped."""
    for path in resources.files(PACKAGE).iterdir():
        if path.name.endswith(".yaml") and yaml.safe_load(path.read_text())["spec"]["incidentType"] == incident_type:
            return path.read_text()
    raise KeyError(incident_type)


def problem_of(spec: RunbookSpec) -> Problem | None:
    """The first thing that keeps a runbook from being used, with what to write instead."""
    for probe in spec.diagnose:
        if probe.probe not in PROBES:
            return Problem("UnknownProbe", f"probe '{probe.probe}' is unknown; there are: {', '.join(sorted(PROBES))}")
    for name, text in [("symptom", spec.symptom), *((f"causes[{c.name}].when", c.when) for c in spec.causes)]:
        try:
            compile_expression(text)
        except ExpressionError as error:
            return Problem("InvalidExpression", f"{name}: {error}")
    for cause in spec.causes:
        names = [s.name or s.action for s in cause.remediate]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            text = f"causes[{cause.name}]: two steps are called '{twice}'; give the second a name, or it is never done"
            return Problem("DuplicateStep", text)
        for step in cause.remediate:
            if step.action not in ACTIONS:
                known = ", ".join(sorted(ACTIONS))
                return Problem(
                    "UnknownAction", f"causes[{cause.name}]: action '{step.action}' is unknown; there are: {known}"
                )
            try:
                ACTIONS[step.action].parameters.model_validate(step.parameters or {})
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(p) for p in first["loc"])
                return Problem("InvalidParameters", f"causes[{cause.name}].{step.action}: {where}: {first['msg']}")
    return None
