"""One window with all its effects: a page muted, a heal stopped at its safe point, a silence in a real Alertmanager, and its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.checks import Deploy, states
from tests.e2e.receivers import Hook, RealAlertmanager, alertmanager, hook
from tests.harness.cluster import JSON, wait_for
from tests.harness.stackns import StackNamespace, brief, condition, decisions, steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
LENGTH = 85
ALERT = {"alertname": "DatabaseDown", "namespace": "e2e-maintenance", "component": "postgres"}
# Tasks that the window runs; each has its check below.
TASKS: list[JSON] = [{"type": "HealthCheck"}]
PROMPT = timedelta(seconds=30)


def test_maintenance(stack: Deploy) -> None:
    """Everything that the window changes is so while it is open, and no longer."""
    with hook() as sink, alertmanager() as server:
        ns = stack()
        prepare(ns, sink, server)
        ns.freeze()
        ns.open("running")
        wait_for("a restart that was ordered", ns.restarts_ordered, 60, 0.05)
        with window(ns) as until:
            check_running_heal(ns, sink)
            check_silenced(ns, server)
            check_muted(ns, sink)
            check_tasks(ns)
            assert datetime.now(UTC) < until, "all of this was to be seen while the window is open"
            check_end(ns, sink, server, until)


def prepare(ns: StackNamespace, sink: Hook, server: RealAlertmanager) -> None:
    """A channel for people, and the Alertmanager."""
    ns.api.apply(sink.secret("to-hook"), *server.service("alertmanager"))
    talk = {
        "channels": {"webhook": {"secretRef": {"secretName": "to-hook"}}},
        "routes": {"P0": ["webhook"]},
        "contacts": {"onCall": ["ana"]},
    }
    am = {"service": "alertmanager", "port": server.port, "labels": {"namespace": ns.name}}
    ns.api.patch("stacks", "docuquery", {"spec": {"communication": talk, "alertmanager": am}})
    wait_for("no silence before the window", lambda: server.ask("/api/v2/alerts") is not None, 10)
    assert server.living() == []


@contextlib.contextmanager
def window(ns: StackNamespace) -> Iterator[datetime]:
    """Open from this moment; when it ends. Whatever happens, nothing of it is left in the namespace."""
    begin = datetime.now(UTC).replace(microsecond=0)
    spec = {
        "stackRef": {"name": "docuquery"},
        "schedule": {"at": begin.isoformat()},
        "duration": f"{LENGTH}s",
        "effects": {"paging": "Mute", "healing": "Block", "alertmanagerSilence": True},
        "tasks": TASKS,
    }
    kind = {"apiVersion": "ops.docuquery.ai/v1alpha1", "kind": "MaintenanceWindow"}
    ns.api.create("maintenancewindows", {**kind, "metadata": {"name": "night"}, "spec": spec})
    try:
        yield begin + timedelta(seconds=LENGTH)
    finally:
        if ns.api.get("maintenancewindows", "night") is not None:
            ns.api.patch("maintenancewindows", "night", {"metadata": {"finalizers": None}})
            ns.api.delete("maintenancewindows", "night")


def status(ns: StackNamespace) -> JSON:
    found: JSON = ns.api.read("maintenancewindows", "night").get("status") or {}
    return found


def check_running_heal(ns: StackNamespace, sink: Hook) -> None:
    """A rollout that has begun is finished and verified, and says why nothing follows."""
    done = ns.wait_resolved("running", 60)
    assert steps(done) == [("restartWorkload", "Healed")], brief(done)
    assert "StepFinishes" in decisions(done), brief(done)
    assert [what for _, what in sink.of("running")][:1] == ["Step"], "it was told before the window opened"


def check_silenced(ns: StackNamespace, server: RealAlertmanager) -> None:
    """Alertmanager itself says that the Stack's alerts are silenced, by the window's silence."""
    silence = wait_for("the silence", lambda: (status(ns).get("silence") or {}).get("id"), 20)
    assert [s["id"] for s in server.living()] == [silence]
    assert wait_for("a silenced alert", lambda: server.silenced(ALERT), 10) == [silence]
    assert server.silenced({**ALERT, "namespace": "elsewhere"}) == []
    assert condition(status(ns), "Silenced")["status"] == "True"
    assert set(states(ns).values()) == {"UnderMaintenance"}


def check_muted(ns: StackNamespace, sink: Hook) -> None:
    """A second fault: seen, named, not healed and not told."""
    # The ledger would keep a second restart back for ten minutes; that is not what is asked here.
    ns.forget_attempts()
    ordered = ns.restarts_ordered()
    ns.freeze()
    ns.open("muted")
    found = ns.wait_incident("muted", "it waits", lambda s: {"PagingMuted", "MaintenanceWindow"} <= set(decisions(s)), 40)
    assert found["paging"]["windows"] == ["night"]
    assert (sink.of("muted"), ns.restarts_ordered()) == ([], ordered)


def check_tasks(ns: StackNamespace) -> None:
    """What the window's tasks have done."""
    ended = wait_for("the tasks' end", lambda: _all_ended(status(ns)), 30)
    assert ended == {"HealthCheck": "Succeeded"}


def _all_ended(found: JSON) -> dict[str, str] | None:
    seen = {t["type"]: t["state"] for t in found.get("tasks") or []}
    return seen if seen and not {"Pending", "Running"} & set(seen.values()) else None


def check_end(ns: StackNamespace, sink: Hook, server: RealAlertmanager, until: datetime) -> None:
    """What still burns is raised and healed, and nothing is left of the window."""
    wait_for("the page", lambda: sink.of("muted"), LENGTH + 30)
    told = sink.of("muted")
    assert told[0][1] == "Step"
    assert timedelta(0) <= told[0][0] - until <= PROMPT, (told, until)
    wait_for("an Alertmanager without silences", lambda: not server.living(), 30)
    assert datetime.now(UTC) - until <= PROMPT
    ended = ns.wait_resolved("muted", 120)
    assert steps(ended) == [("restartWorkload", "Healed")], brief(ended)
    assert server.silenced(ALERT) == []
    found = ns.api.read("maintenancewindows", "night")
    assert [p["outcome"] for p in found["status"]["history"]] == ["Completed"]
    assert (found["metadata"].get("finalizers"), found["status"].get("silence")) == (None, None)
    wait_for("states as they are seen", lambda: set(states(ns).values()) == {"Operational"} or None, 30)
