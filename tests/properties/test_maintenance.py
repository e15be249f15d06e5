"""Whenever the operator looks, and however long it was away: each window is opened or told as missed, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.maintenance_window import MaintenanceWindow
from docuquery_operator.domain.maintenance.openings import decide, open_span
from docuquery_operator.domain.schedules import instants_between, schedule_of

BEGIN = datetime(2026, 10, 20, tzinfo=UTC)


def window(cron: str, zone: str, duration: str, late: str | None) -> MaintenanceWindow:
    spec = {"stackRef": {"name": "s"}, "schedule": {"cron": cron}, "timeZone": zone, "duration": duration}
    spec |= {"startingDeadline": late} if late else {}
    meta = {"name": "w", "namespace": "n", "generation": 1, "creationTimestamp": BEGIN.isoformat()}
    return MaintenanceWindow.model_validate({"metadata": meta, "spec": spec})


def missed(before: MaintenanceWindow, after: MaintenanceWindow) -> int:
    """Openings that one pass told as missed."""
    assert after.status is not None
    old = before.status.history if before.status else []
    fresh = [p for p in after.status.history[-2:] if p.outcome == "Missed" and p not in old]
    return sum(1 + int(p.summary.partition(", and ")[2].split(" ")[0] or 0) for p in fresh)


@settings(deadline=None, max_examples=100, derandomize=True, database=None)
@given(
    st.lists(st.integers(1, 30 * 60), min_size=1, max_size=12),
    st.sampled_from(["0 3 * * *", "30 2 * * *", "0 */6 * * *", "15 1 * * 6"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Etc/UTC"]),
    st.sampled_from(["30m", "2h", "7h"]),
    st.sampled_from([None, "5m", "1h"]),
)
def test_each_opening_is_told_once(gaps: list[int], cron: str, zone: str, length: str, late: Any) -> None:
    """Over the autumn's change of clocks in Europe, Australia and America."""
    w, now, told = window(cron, zone, length, late), BEGIN, 0
    begun: list[datetime] = []
    for gap in gaps:
        now += timedelta(minutes=gap)
        before, w = w, w.model_copy(update={"status": decide(w, frozenset(), now).status})
        assert w.status is not None
        told += missed(before, w)
        active = w.status.active
        if active is not None and active.since not in begun:
            begun.append(active.since)
        assert (active is not None) == (open_span(before, now) is not None), "the status and the schedule disagree"
    due = instants_between(schedule_of(w.spec.schedule, zone), BEGIN - timedelta(seconds=1), now, 1000)
    # The one that stood open when the object came had begun before it.
    since = [b for b in begun if b >= BEGIN]
    assert len(since) + told == len(due)
    assert set(since) <= set(due)
