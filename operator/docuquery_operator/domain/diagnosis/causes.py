"""Diagnosis: findings → symptom and cause. The first cause whose expression is true wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...api.common import Severity
from ...api.runbook import CauseSpec, RunbookSpec
from ..redaction import redact
from . import expressions

Findings = Mapping[str, Mapping[str, Any]]
Confidence = Literal["High", "Medium", "Low"]

EVIDENCE_LINES = 12
EVIDENCE_CHARS = 300


@dataclass(frozen=True)
class Diagnosis:
    """A named cause and what it rests on. open: causes that come before it and could not be ruled out."""

    name: str
    message: str
    evidence: tuple[str, ...]
    confidence: Confidence
    spec: CauseSpec
    open: tuple[CauseSpec, ...] = ()

    def would_worsen(self, action: str) -> str:
        """Name of a cause that could not be ruled out and forbids the action, '' when there is none."""
        return next((c.name for c in self.open if action in c.forbid), "")


@dataclass(frozen=True)
class Verdict:
    """One round of probes, judged: symptom None means that the data do not say. severity: where the findings say one."""

    symptom: bool | None
    diagnosis: Diagnosis | None
    severity: Severity | None = None


def judge(runbook: RunbookSpec, findings: Findings, parameters: Mapping[str, Any]) -> Verdict:
    """Symptom and cause of one round of findings."""
    facts = {"findings": findings, "parameters": parameters}
    symptom = expressions.holds(runbook.symptom, facts)
    if symptom is not True:
        return Verdict(symptom, None)
    severity = next((r.severity for r in runbook.severities if expressions.holds(r.when, facts) is True), None)
    return Verdict(symptom, _first(runbook.causes, facts, findings), severity)


def _first(causes: Sequence[CauseSpec], facts: Mapping[str, Any], findings: Findings) -> Diagnosis | None:
    unknown: list[CauseSpec] = []
    for cause in causes:
        answer = expressions.holds(cause.when, facts)
        if answer is None:
            unknown.append(cause)
        if answer is not True:
            continue
        confidence: Confidence = "Low" if cause.name == "Unknown" else "Medium" if unknown else "High"
        lines = evidence(findings)
        if unknown:
            names = ", ".join(c.name for c in unknown)
            lines = (f"could not be ruled out, data missing: {names}"[:EVIDENCE_CHARS], *lines)
        return Diagnosis(cause.name, cause.message, lines[:EVIDENCE_LINES], confidence, cause, tuple(unknown))
    return None


def evidence(findings: Findings) -> tuple[str, ...]:
    """One line a finding, its `summary`: text from outside, masked, capped, never evaluated."""
    return tuple(
        " ".join(redact(f"{name}: {finding['summary']}").split())[:EVIDENCE_CHARS]
        for name, finding in sorted(findings.items())
        if finding.get("summary")
    )
