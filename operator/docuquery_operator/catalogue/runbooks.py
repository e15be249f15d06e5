"""The shipped runbooks, and what is wrong with a runbook."""

from __future__ import annotations

import functools
from importlib import resources

import yaml

from ..api.runbook import RunbookSpec
from ..domain.world import Problem
from .mistakes import mistakes

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
    first = next(mistakes(spec), None)
    return Problem(first.reason, f"{first.path}: {first.message}") if first else None
