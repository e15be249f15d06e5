"""What keeps a runbook from being used. The operator and `lint` say the same, for both ask here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ..api.runbook import CauseSpec, RunbookSpec, StepSpec
from ..domain.diagnosis import parameters
from ..domain.diagnosis.expressions import ExpressionError, compile_expression
from ..domain.diagnosis.references import Reference, references
from .actions import ACTIONS
from .base import Parameters
from .probes import PROBES


@dataclass(frozen=True)
class Mistake:
    """Where it is, below spec, and what to write instead."""

    reason: str
    path: str
    message: str


def mistakes(spec: RunbookSpec) -> Iterator[Mistake]:
    """All of them, the first ones first."""
    for probe in spec.diagnose:
        if probe.probe not in PROBES:
            text = f"probe '{probe.probe}' is unknown{among(probe.probe, PROBES)}"
            yield Mistake("UnknownProbe", f"diagnose[{probe.name}].probe", text)
    for path, text in expressions(spec):
        yield from _expression(spec, path, text)
    for cause in spec.causes:
        yield from _steps(cause)
    yield from _defaults(spec)


def expressions(spec: RunbookSpec) -> list[tuple[str, str]]:
    """Path and text of each expression."""
    severities = ((f"severities[{r.severity}].when", r.when) for r in spec.severities)
    return [("symptom", spec.symptom), *severities, *((f"causes[{c.name}].when", c.when) for c in spec.causes)]


def among(name: str, known: Iterable[str]) -> str:
    """'; did you mean x? there are: …' for a message about a name that is not known."""
    there = sorted(known)
    lowered = {k.lower(): k for k in reversed(there)}
    close = difflib.get_close_matches(name.lower(), lowered, 1)
    guess = f"; did you mean '{lowered[close[0]]}'? " if close else "; "
    return f"{guess}there are: {', '.join(there) or 'none'}"


def _expression(spec: RunbookSpec, path: str, text: str) -> Iterator[Mistake]:
    try:
        compile_expression(text)
    except ExpressionError as error:
        yield Mistake("InvalidExpression", path, str(error))
        return
    for named in references(text):
        problem = _parameter(spec, named) if named.root == "parameters" else _finding(spec, named)
        if problem:
            reason = "UnknownParameter" if named.root == "parameters" else "UnknownFinding"
            yield Mistake(reason, path, f"{named}: {problem}")


def _parameter(spec: RunbookSpec, named: Reference) -> str:
    declared = [p.name for p in spec.parameters]
    return "" if named.name in declared else f"spec.parameters declares no '{named.name}'{among(named.name, declared)}"


def _finding(spec: RunbookSpec, named: Reference) -> str:
    probes = {p.name: p.probe for p in spec.diagnose}
    if named.name not in probes:
        return f"no probe of diagnose is called '{named.name}'{among(named.name, probes)}"
    probe = PROBES.get(probes[named.name])
    if probe is None or not named.key or gives(probe.gives, named.key):
        return ""
    return f"probe {probe.name} gives no '{named.key}'{among(named.key, [*probe.gives, 'summary'])}"


def gives(keys: Sequence[str], key: str, by_name: bool = False) -> bool:
    """Whether a finding with these keys can have this one; by_name: a `*` does not do."""
    return key in (*keys, "summary") or (not by_name and any("*" in k for k in keys))


def _steps(cause: CauseSpec) -> Iterator[Mistake]:
    where = f"causes[{cause.name}].remediate"
    names = [s.name or s.action for s in cause.remediate]
    for name in sorted({n for n in names if names.count(n) > 1}):
        text = f"two steps are called '{name}'; give the second a name, or it is never done"
        yield Mistake("DuplicateStep", where, text)
    for name, step in zip(names, cause.remediate, strict=True):
        if step.action not in ACTIONS:
            text = f"action '{step.action}' is unknown{among(step.action, ACTIONS)}"
            yield Mistake("UnknownAction", f"{where}[{name}].action", text)
        else:
            yield from _given(step, ACTIONS[step.action].parameters, f"{where}[{name}].parameters")


def _given(step: StepSpec, model: type[Parameters], where: str) -> Iterator[Mistake]:
    try:
        model.model_validate(step.parameters or {})
    except ValidationError as error:
        known = [f.alias or name for name, f in model.model_fields.items()]
        for item in error.errors():
            path = ".".join([where, *(str(p) for p in item["loc"])])
            yield Mistake("InvalidParameters", path, _instead(step, item, known))


def _instead(step: StepSpec, item: Any, known: Sequence[str]) -> str:
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return f"action {step.action} has no parameter '{name}'{among(name, known)}"
    return f"{str(item['msg']).replace('Input should be', 'must be')}, not {str(item['input'])[:64]}"


def _defaults(spec: RunbookSpec) -> Iterator[Mistake]:
    for parameter in spec.parameters:
        try:
            parameters.resolve(spec.model_copy(update={"parameters": [parameter]}), None)
        except ValueError as error:
            yield Mistake("InvalidParameters", f"parameters[{parameter.name}].default", str(error))
