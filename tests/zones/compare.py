"""Holds schedules and windows against the second reading, around one day of one zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.domain.maintenance.openings import decide, open_span
from docuquery_operator.domain.schedules import Schedule, upcoming
from tests.zones.second import openings, shown

# Where clocks are set on this earth, and around it.
TIMES = ((0, 0), (0, 30), (1, 0), (1, 45), (2, 0), (2, 15), (2, 30), (3, 0), (3, 30), (12, 0), (23, 45))
DAYS = 5


def compare(zone: str, day: datetime, times: Sequence[tuple[int, int]]) -> int:
    """How many openings were compared: instants of cron and rrule, and what a window makes of them."""
    begin = day - timedelta(days=2)
    walk = list(shown(zone, begin, DAYS))
    compared = 0
    for hour, minute in times:
        wanted = sorted(set(openings(walk, hour, minute).values()))
        after = wanted[0] - timedelta(seconds=1)
        cron = Schedule(zone, cron=f"{minute} {hour} * * *")
        assert list(upcoming(cron, after, len(wanted))) == wanted, (zone, day, hour, minute)
        compared += len(wanted)
    return compared


def live(zone: str, day: datetime, hour: int, minute: int) -> int:
    """A window lived through around the day, looked at when it asks for it: it opens at each of its instants, once."""
    begin = day - timedelta(days=2)
    wanted = sorted(set(openings(list(shown(zone, begin, DAYS)), hour, minute).values()))
    spec = {"stackRef": {"name": "s"}, "schedule": {"cron": f"{minute} {hour} * * *"}, "timeZone": zone, "duration": "30m"}
    now = wanted[0] - timedelta(hours=3)
    meta = {"name": "w", "namespace": "n", "generation": 1, "creationTimestamp": now.isoformat()}
    window = MaintenanceWindow.model_validate({"metadata": meta, "spec": spec})
    opened: list[datetime] = []
    while now <= wanted[-1]:
        plan = decide(window, frozenset(), now)
        window = window.model_copy(update={"status": plan.status})
        if any(n.reason == "WindowOpened" for n in plan.news):
            assert plan.status.active is not None
            opened.append(plan.status.active.since)
        assert (plan.status.active is not None) == (open_span(window, now) is not None)
        assert not any(p.outcome == "Missed" for p in plan.status.history), (zone, now)
        assert plan.look_again is not None
        now = plan.look_again
    assert opened == wanted, (zone, day, hour, minute)
    return len(opened)
