"""Parameters of an incident against what its runbook declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...api.common import seconds
from ...api.runbook import ParameterSpec, RunbookSpec


def resolve(runbook: RunbookSpec, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """All declared parameters with their values; ValueError says what to write instead. Durations become seconds."""
    declared = {p.name: p for p in runbook.parameters}
    unknown = sorted(set(given or {}) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared)) or "none"
        raise ValueError(f"parameter '{unknown[0]}' is not declared by the runbook; it declares: {known}")
    values = {}
    for name, spec in declared.items():
        raw = (given or {}).get(name, spec.default)
        if raw is not None:
            values[name] = _value(spec, raw)
    return values


def _value(spec: ParameterSpec, raw: Any) -> Any:
    if spec.type == "Integer":
        return _integer(spec, raw)
    if spec.type == "Boolean":
        if str(raw).lower() not in ("true", "false"):
            raise ValueError(f"parameter '{spec.name}' must be true or false, not '{raw}'")
        return str(raw).lower() == "true"
    if spec.type == "Duration":
        return seconds(str(raw))
    if spec.values and str(raw) not in spec.values:
        raise ValueError(f"parameter '{spec.name}' must be one of {', '.join(spec.values)}, not '{raw}'")
    return str(raw)[:256]


def _integer(spec: ParameterSpec, raw: Any) -> int:
    try:
        value = int(str(raw))
    except ValueError as problem:
        raise ValueError(f"parameter '{spec.name}' must be a whole number, not '{raw}'") from problem
    low, high = spec.minimum, spec.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"parameter '{spec.name}' must be between {low} and {high}, not {value}")
    return value
