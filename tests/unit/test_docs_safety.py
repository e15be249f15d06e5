"""docs/safety.md names every rule and reason of a refusal, and the figures that the code has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from docuquery_operator.api.common import Severity, delta
from docuquery_operator.api.detection import LONGEST_PATIENCE, Detection
from docuquery_operator.api.incident import DECISIONS_KEPT, TIMELINE_KEPT
from docuquery_operator.api.runbook import StepSpec, Verify
from docuquery_operator.api.stack import Budget, Healing
from docuquery_operator.catalogue.actions import ACTIONS
from docuquery_operator.catalogue.actions.scale_workload import LONGEST, SHORTEST, ScaleParameters
from docuquery_operator.controllers.evidence import COLLECT_SECONDS
from docuquery_operator.domain import rails
from docuquery_operator.domain.detection import faults
from docuquery_operator.domain.diagnosis.expressions import MACROS_ALLOWED
from docuquery_operator.domain.incidents import approvals, bounds, lifecycle
from docuquery_operator.domain.ledger import LEASE_FOR
from docuquery_operator.domain.paging.sending import LIMITS
from docuquery_operator.domain.rails import candidate, past, target
from docuquery_operator.domain.remedies import scaling
from docuquery_operator.domain.reports.incident import EVIDENCE_LIMIT
from docuquery_operator.domain.workloads.rollout import MOST_AT_ONCE
from docuquery_operator.domain.world import Risk

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "operator" / "docuquery_operator"
PAGE = (CHECKOUT / "docs" / "safety.md").read_text(encoding="utf-8")
RULE = re.compile(r"`([a-z0-9-]+)`: ((?:`[A-Za-z]+`(?:, )?)+)")
IN_FORCE = PAGE.partition("\n## In force\n")[2].partition("\n## ")[0]
ROWS = {
    cells[0]: cells[1:]
    for line in IN_FORCE.splitlines()
    if line.startswith("| ") and (cells := [c.strip() for c in line.strip("|").split("|")])
}


def _refusals() -> Iterator[tuple[str, str]]:
    """Rule and reason of each refusal in the code; a mode is one as well."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "Refusal(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                rule, reason = node.args[:2]
                yield ast.literal_eval(rule), ast.literal_eval(reason)


def test_every_rule_and_reason_is_on_the_page_and_no_other() -> None:
    said = {(rule, reason) for rule, reasons in RULE.findall(PAGE) for reason in re.findall(r"`(\w+)`", reasons)}
    assert said == set(_refusals())


def test_each_rule_stands_in_its_row() -> None:
    for number, cells in ROWS.items():
        for rule, _ in RULE.findall(cells[-1]):
            assert not number or rule.startswith(f"{number}-"), (number, rule)


def _words(span: timedelta) -> str:
    whole = int(span.total_seconds())
    return f"{whole // 3600}h" if whole % 3600 == 0 else f"{whole // 60}m" if whole % 60 == 0 else f"{whole} s"


def _pace(channel: str) -> str:
    return f"{LIMITS[channel].count} in {_words(LIMITS[channel].per)}"


def test_the_figures_are_those_of_the_code() -> None:
    verify, budget = Verify(), Budget()
    cooldowns = {_words(a.cooldown) for a in ACTIONS.values() if a.risk is not Risk.NONE}
    approval = {severity.value: _words(approvals.APPROVAL_TIME[severity]) for severity in Severity}
    failed, every = past.RECURRENCE_FAILED, past.RECURRENCE_ANY
    per_target, per_stack = (rate.replace("/1h", "/h") for rate in (budget.per_target, budget.per_stack))
    settle = f"{int(delta(verify.settle).total_seconds())} s"
    assert {number: cells[1] for number, cells in ROWS.items() if cells[1] not in ("always", "default", "---")} == {
        "1": Healing().mode.value,
        "4": f"{int(LEASE_FOR.total_seconds())} s, renewed at {int(LEASE_FOR.total_seconds() / 3)} s",
        "5": f"target {per_target} and {past.PER_TARGET_DAILY}/day, Stack {per_stack}",
        "6": "restart 10m, scaling 5m, sessions and blocks 2m, optimising 30m",
        "7": ", ".join(str(m) for m in past.BACKOFF_MINUTES) + " min",
        "8": f"{past.BREAKER_FAILURES} in a row: {_words(past.BREAKER_OPEN)}",
        "9": f"{failed} not healed or {every} of any outcome in {_words(past.RECURRENCE_WINDOW)}",
        "10": f"{faults.STORM_ROOTS} stores, released after {_words(faults.STORM_OVER)} in which all are well",
        "11": StepSpec(action="restartWorkload").timeout,
        "12": f"1 pod, then {MOST_AT_ONCE}%",
        "13": f"{Detection().failures} rounds, `Stack.spec.detection`",
        "14": f"{lifecycle.FLAPPING_OPENINGS} times in {_words(lifecycle.FLAPPING_WITHIN)}",
        "15": f"{settle}, clear {verify.symptom_clear_for}, within {verify.within}",
        "18": f"{ScaleParameters().duration}, {_words(timedelta(seconds=SHORTEST))} to {_words(timedelta(seconds=LONGEST))}",
        "19": f"{_words(target.BACKUP_AGE)}, P0 {_words(target.BACKUP_AGE_P0)}",
        "20": f"P0/P1 {approval['P1']}, P2 {approval['P2']}, P3 {approval['P3']}",
        "21": f"{Detection().patience:.0f} s, {StepSpec(action='restartWorkload').timeout}, "
        f"{_words(rails.LADDER_TIME)}, {_words(candidate.AUTOMATIC_PHASE)}",
        "22": f"{rails.LADDER_STEPS} steps",
        "24": _words(target.FOREIGN_ROLLOUT),
        "25": f"+{scaling.STEP_PERCENT} % or +{scaling.SMALL_STEP}, {scaling.MOST_TIMES}x",
        "32": f"{EVIDENCE_LIMIT // 1024} KiB, {COLLECT_SECONDS:.0f} s",
        "33": f"calls {_pace('phone')} and {_words(LIMITS['phone'].spacing)} apart, chat 1/s, mail and pages {_pace('email')}",
        "34": f"{bounds.STATUS_LIMIT // 1024} KiB, timeline {TIMELINE_KEPT}, decisions {DECISIONS_KEPT}",
    }
    assert (_pace("pagerduty"), LIMITS["slack"].spacing) == (_pace("email"), timedelta(seconds=1))
    assert cooldowns == {"10m", "5m", "2m", "30m"}
    assert approval["P0"] == approval["P1"]
    assert (3, 5, timedelta(days=7)) == (past.DEMOTION_FAILED, past.DEMOTION_OF, past.DEMOTION_WINDOW)
    assert f"no probe takes longer than {LONGEST_PATIENCE:.0f} s" in ROWS["21"][0]
    assert MACROS_ALLOWED == 2


def test_what_is_not_in_force_is_true() -> None:
    # What Redis holds has no backup: what is dropped was set aside by persons and is approved by number and name.
    data = {a.name for a in ACTIONS.values() if a.risk is Risk.DATA} - {
        "dropQuarantine",
        "setAsideRedis",
        "putBackRedis",
        "dropRedisAside",
    }
    assert not data, "rail 19 needs a backup gate now"
