"""Every fault is a real one, and what the operator says of it is held against what a client sees.

Run them side by side: pytest tests/e2e/test_scenarios.py -n 3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import stackns
from tests.harness.stackns import StackNamespace, condition, decisions, holds, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

Stack = Callable[..., StackNamespace]


def uid(ns: StackNamespace) -> str:
    """Identity of the database pod."""
    found: str = ns.database_pod()["metadata"]["uid"]
    return found


def identified(cause: str) -> Callable[[Any], bool]:
    """The incident names this cause."""
    return lambda status: (status.get("cause") or {}).get("name") == cause


def check_end(ns: StackNamespace, name: str, reason: str, cause: str) -> dict[str, Any]:
    """Resolved for this reason, and true: a client of our own can work with the database, and the report tells the story."""
    status = ns.wait_resolved(name)
    assert ns.healthy(), (ns.health(), ns.database_problem())
    assert status["phase"] == "Resolved"
    assert condition(status, "Resolved")["reason"] == reason, stackns.brief(status)
    assert status["cause"]["name"] == cause
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    stackns.wait_for("the report", lambda: ns.incident(name).get("report"), 15)
    check_report(ns, name, cause)
    return status


def check_report(ns: StackNamespace, name: str, cause: str) -> None:
    """A person can read it, and it holds no password."""
    report = ns.report(name)
    text = report["report.md"]
    assert text.startswith(f"# Incident {name}")
    assert f"**{cause}**" in text
    assert "## Timeline" in text
    assert not any(secret in part for part in report.values() for secret in ("local-only-app", "local-only-operator"))


def check_untouched(ns: StackNamespace, before: str) -> None:
    """The database pod is the very same, and nobody ordered a restart."""
    assert uid(ns) == before
    assert ns.restarts_ordered() == []
    assert ns.attempts() == []


def check_one_restart(ns: StackNamespace, name: str, before: str) -> None:
    """Exactly one restart, entered in the ledger and carried by the pod template."""
    step = next(s for s in ns.incident(name)["steps"] if s["name"] == "restartWorkload")
    assert uid(ns) != before
    assert ns.restarts_ordered() == [step["attemptId"]]
    assert [(a["id"], a["outcome"]) for a in ns.attempts()] == [(step["attemptId"], "Healed")]


def test_process_down(stack: Stack) -> None:
    ns = stack()
    before = uid(ns)
    ns.freeze()
    assert ns.database_problem() != ""
    ns.open("frozen")
    status = check_end(ns, "frozen", "Healed", "ProcessDown")
    assert steps(status) == [("restartWorkload", "Healed")]
    assert decisions(status) == []
    check_one_restart(ns, "frozen", before)
    evidence = [part for part in ns.report("frozen") if part.startswith("evidence-")]
    assert evidence, "what a restart destroys was not kept"
    assert "StepStarted" in ns.api.events("frozen")
