"""What every scenario holds against the world, and not only against the incident's own words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.harness import stackns
from tests.harness.cluster import wait_for
from tests.harness.stackns import StackNamespace, condition, holds

Deploy = Callable[..., StackNamespace]
WATCHED = stackns.DETECTION | {"openIncidents": True}
SECRETS = ("local-only-app", "local-only-operator", "local-only-admin", "local-only-backup", "local-only-restore")


def watched(stack: Deploy, detection: Mapping[str, Any] = WATCHED, **options: Any) -> StackNamespace:
    """A stack that opens incidents by itself, and was seen well."""
    ns = stack(detection=detection, **options)
    wait_for("a Stack that is seen well", lambda: set(states(ns).values()) == {"Operational"}, 60)
    return ns


def states(ns: StackNamespace) -> dict[str, str]:
    """What the Stack says of each component."""
    status = ns.api.read("stacks", "docuquery").get("status") or {}
    return {str(c["name"]): str(c["state"]) for c in status.get("components") or []}


def incidents(ns: StackNamespace) -> list[str]:
    """Names of all that exist."""
    return [i["metadata"]["name"] for i in ns.api.list("incidents")]


def uid(ns: StackNamespace) -> str:
    """Identity of the database pod."""
    found: str = ns.database_pod()["metadata"]["uid"]
    return found


def caused_by(name: str) -> Callable[[Any], bool]:
    """The incident names this cause."""
    return lambda status: (status.get("cause") or {}).get("name") == name


def asks_for_a_person(reason: str) -> Callable[[Any], bool]:
    """The incident says that a person must act, for this reason."""
    return lambda status: holds(status, "NeedsHuman", reason)


def check_end(ns: StackNamespace, name: str, reason: str, cause: str) -> dict[str, Any]:
    """Resolved for this reason, and true: a client of our own can work with the database, and the report tells the story."""
    status = ns.wait_resolved(name)
    assert ns.healthy(), (ns.health(), ns.database_problem())
    assert status["phase"] == "Resolved"
    assert condition(status, "Resolved")["reason"] == reason, stackns.brief(status)
    assert status["cause"]["name"] == cause, stackns.brief(status)
    assert not any(holds(status, c) for c in ("NeedsHuman", "NeedsApproval", "HealBlocked"))
    wait_for("the report", lambda: ns.incident(name).get("report"), 15)
    check_report(ns, name, cause)
    return ns.incident(name)


def check_report(ns: StackNamespace, name: str, cause: str) -> None:
    """A person can read it, a program can, and neither finds a password."""
    report = ns.report(name)
    text = report["report.md"]
    assert text.startswith(f"# Incident {name}")
    assert "Phase: Resolved" in text
    assert f"**{cause}**" in text
    assert "## Timeline" in text
    assert cause in json.dumps(json.loads(report["report.json"]))
    assert not any(secret in part for part in report.values() for secret in SECRETS)


def check_untouched(ns: StackNamespace, before: str) -> None:
    """The database pod is the very same, and nobody ordered a restart of it or entered one."""
    assert uid(ns) == before
    assert ns.restarts_ordered() == []
    assert [a for a in ns.attempts() if a["action"] == "restartWorkload"] == []


def check_left_alone(ns: StackNamespace, name: str, before: str) -> None:
    """No step of the incident had an effect, and neither database nor api was restarted."""
    assert [s for s in ns.incident(name).get("steps") or [] if s.get("attemptId")] == []
    assert ns.attempts() == []
    check_untouched(ns, before)
    assert ns.api.read("deployments", "api")["metadata"]["generation"] == 1


def check_one_restart(ns: StackNamespace, name: str, before: str) -> None:
    """Exactly one restart, entered in the ledger and carried by the pod template."""
    step = next(s for s in ns.incident(name)["steps"] if s["name"] == "restartWorkload" and s.get("attemptId"))
    assert uid(ns) != before
    assert ns.restarts_ordered() == [step["attemptId"]]
    assert [(a["id"], a["outcome"]) for a in ns.attempts()] == [(step["attemptId"], "Healed")]
