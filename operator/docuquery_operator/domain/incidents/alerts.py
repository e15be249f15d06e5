"""What alerts mean to an incident: each beginning and each end is a fact, and none is a proof. Pure.

The probes of the runbook say whether the fault is gone. An alert that has ended closes nothing by itself, and one that
still fires keeps an incident from being called over. Only where no runbook can tell, the last end is the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ...api.alerts import IncidentAlert
from ...api.incident import Incident
from ..world import World
from . import lifecycle
from .draft import Draft

# Rules look at windows of some minutes: what still fires later contradicts the probes, and a person must judge.
PATIENCE = timedelta(minutes=15)
LOOK = timedelta(seconds=15)
NAMED = 5


def firing(alerts: Sequence[IncidentAlert]) -> list[str]:
    """Names of the alerts that have not ended."""
    return sorted({a.name or a.fingerprint for a in alerts if a.ends_at is None})


def named(names: Sequence[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def line(incident: Incident) -> str:
    """What people are told of its alerts, '' without any."""
    alerts, left_out = incident.spec.alerts, incident.spec.alerts_left_out
    if not alerts:
        return ""
    fires = firing(alerts)
    state = f"firing: {named(fires)}" if fires else f"all ended: {named(sorted({a.name or a.fingerprint for a in alerts}))}"
    return f"{state}{f'; at least {left_out} more are not listed' if left_out else ''}"


def hold(d: Draft) -> bool:
    """The probes find nothing any more, but alerts still fire: it is not over yet."""
    fires = firing(d.incident.spec.alerts)
    if not fires:
        return False
    text = f"the symptom is gone, but alerts still fire: {named(fires)}"
    d.summary(text)
    since = d.status.times.mitigated_at or d.now
    if d.now - since >= PATIENCE:
        lifecycle.needs_human(d, "AlertsStillFire", f"{text}; end what they see, or close the incident by spec.resolved")
    else:
        d.look(since + PATIENCE)
    d.look(LOOK)
    return True


def all_ended(d: Draft, w: World) -> bool:
    """Stage of a decision: no runbook can tell, and the last alert has ended."""
    alerts, began = d.incident.spec.alerts, d.status.times.detected_at
    if not alerts or firing(alerts) or w.problem is None or w.problem.reason not in lifecycle.NO_RUNBOOK:
        return False
    last = max(a.ends_at for a in alerts if a.ends_at is not None)
    if d.status.round > 1 and began is not None and last < began:
        # Opened again by somebody, and not by an alert.
        return False
    lifecycle.close(d, "AlertsEnded", f"all alerts have ended: {named(sorted({a.name or a.fingerprint for a in alerts}))}")
    return True
