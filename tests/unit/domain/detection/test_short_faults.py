"""Faults that were over before they could count as one are counted, told when they are many, and forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from docuquery_operator.api.common import Condition, ObjectMeta
from docuquery_operator.api.stack import ComponentState, ComponentStatus, Stack, StackSpec
from docuquery_operator.domain.detection import short_faults

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
STACK = Stack(metadata=ObjectMeta(name="docuquery", namespace="docuquery"), spec=StackSpec(components={}))


def _state(*ago: int) -> ComponentStatus:
    times = [NOW - timedelta(minutes=m) for m in ago]
    return ComponentStatus(name="redis", state=ComponentState.OPERATIONAL, since=NOW, short_faults=times)


def _flapping(state: ComponentStatus, before: list[Condition]) -> list[Condition]:
    return short_faults.flapping(STACK, [state], before, NOW)


def test_they_are_counted_for_half_an_hour() -> None:
    [state] = short_faults.counted([_state()], [_state(31, 29, 1)], {"redis"}, NOW)
    assert [NOW - t for t in state.short_faults] == [timedelta(minutes=29), timedelta(minutes=1), timedelta(0)]


def test_those_of_others_are_not_counted() -> None:
    assert short_faults.counted([_state()], [], {"postgres"}, NOW)[0].short_faults == []


def test_their_list_is_bounded() -> None:
    state = _state()
    for n in range(100):
        [state] = short_faults.counted([state], [state], {"redis"}, NOW + timedelta(seconds=n))
    assert len(state.short_faults) == short_faults.KEPT


def test_three_are_told_and_then_calm() -> None:
    assert _flapping(_state(1, 2), []) == []
    [told] = _flapping(_state(1, 2, 3), [])
    assert (told.status, told.reason, "redis 3 times" in told.message) == ("True", "ShortFaults", True)
    [calm] = _flapping(_state(1), [told])
    assert (calm.status, calm.reason) == ("False", "Calm")
