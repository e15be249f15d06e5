"""Any windows, any severity, any times of the operator's passes: nobody is told while it is muted, and what burns is told after."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import LocalRef, ObjectMeta, Severity
from docuquery_operator.api.incident import Incident, IncidentSpec, IncidentStatus
from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.api.stack import Stack
from docuquery_operator.domain.incidents.healing import decide
from docuquery_operator.domain.maintenance.effects import muted, paged_as, quiets
from docuquery_operator.domain.world import Delivery, World

BEGIN = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STACK = Stack.model_validate(
    {
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {
            "components": {"db": {"type": "PostgreSQL", "workload": {"kind": "StatefulSet", "name": "db"}}},
            "healing": {"mode": "Off"},
            "communication": {"channels": {"pagerduty": {"secretRef": {"secretName": "p"}}}},
        },
    }
)
PAST = BEGIN - timedelta(days=1)
WINDOWS = st.lists(
    st.tuples(
        st.integers(-30, 120),
        st.integers(1, 90),
        st.sampled_from(["Mute", "Mute", "Downgrade", "None"]),
        st.sampled_from([[], ["db"], ["api"]]),
        st.sampled_from([[], ["P0"], ["P0", "P1"]]),
    ),
    max_size=4,
)
Windows = list[MaintenanceWindow]


def window(name: str, begin: int, minutes: int, paging: str, components: list[str], pierce: list[str]) -> MaintenanceWindow:
    effects = {"paging": paging, **({"pierce": pierce} if paging != "None" else {})}
    spec = {
        "stackRef": {"name": "s"},
        "schedule": {"at": (BEGIN + timedelta(minutes=begin)).isoformat()},
        "duration": f"{minutes}m",
        "components": components,
        "effects": effects,
    }
    return MaintenanceWindow.model_validate(
        {"metadata": {"name": name, "namespace": "n", "creationTimestamp": PAST.isoformat()}, "spec": spec}
    )


def covered(windows: Windows, severity: Severity, paging: str, now: datetime) -> bool:
    """By the windows' own words, without any code of the operator."""
    for w in windows:
        assert w.spec.schedule.at is not None
        end = w.spec.schedule.at + timedelta(minutes=int(w.spec.duration[:-1]))
        applies = w.spec.effects.paging == paging and severity not in w.spec.effects.pierce
        if applies and w.spec.components in ([], ["db"]) and w.spec.schedule.at <= now < end:
            return True
    return False


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(WINDOWS, st.sampled_from(list(Severity)), st.lists(st.floats(0.1, 40), min_size=1, max_size=12), st.integers(0, 60))
def test_told_only_when_it_may_be_and_always_in_the_end(
    found: list[tuple[int, int, str, list[str], list[str]]], severity: Severity, waits: list[float], late: int
) -> None:
    windows = [window(f"w{i}", *args) for i, args in enumerate(found)]
    now = BEGIN + timedelta(minutes=late)
    meta = ObjectMeta(name="i", namespace="n", uid="u", creation_timestamp=now)
    incident = Incident(
        metadata=meta, spec=IncidentSpec(stack_ref=LocalRef(name="s"), type="X", severity=severity, component="db")
    )
    sent: dict[str, Delivery] = {}
    # The last looks come when all windows are over.
    for wait in [*waits, 400, 0.1, 0.1]:
        world = World(stack=STACK, quiets=quiets(windows, "s", now), deliveries=sent, component="db")
        plan = decide(incident, world, now)
        mute = covered(windows, severity, "Mute", now)
        assert muted(plan.status) is mute
        lowered = not mute and covered(windows, severity, "Downgrade", now)
        order = list(Severity)
        assert paged_as(plan.status) == (order[min(order.index(severity) + 1, 3)] if lowered else severity)
        if mute:
            assert plan.send == ()
        sent = {n.key: Delivery(True, now) for n in plan.send}
        incident = incident.model_copy(update={"status": IncidentStatus.model_validate(plan.status.to_wire())})
        again = decide(incident, World(stack=STACK, quiets=quiets(windows, "s", now), component="db"), now)
        assert again.status.paging == incident.status.paging if incident.status else False, "a second look changes nothing"
        now += timedelta(minutes=wait)
    assert incident.status is not None
    assert [e for e in incident.status.escalation if e.sent_at], "it still burns, and nobody was ever told"
    held = incident.status.paging.held_seconds if incident.status.paging else 0
    assert 0 <= held <= (now - BEGIN).total_seconds()
