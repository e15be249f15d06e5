"""However time is cut into passes, and whenever the process is started anew: the same sums."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.stack import ComponentState, ComponentStatus, ComponentUptime
from docuquery_operator.domain.detection import uptime

BEGIN = datetime(2026, 11, 20, 21, 30, 0, 250_000, tzinfo=UTC)
SPAN = 12 * 3600
FIELDS = ("down", "partial", "unknown", "maintenance")
# Changes at these seconds; the last state lasts to the end.
stories = st.lists(
    st.tuples(st.integers(1, SPAN - 1), st.sampled_from(list(ComponentState))), max_size=12, unique_by=lambda c: c[0]
)
cuts = st.lists(st.integers(1, SPAN - 1), max_size=60)


def passes(story: list[tuple[int, ComponentState]], extra: list[int]) -> list[tuple[float, ComponentState]]:
    """Looks at each change, at the extra seconds, and every 50 s at the latest."""
    changes = dict(story)
    state, found = ComponentState.OPERATIONAL, []
    for second in sorted({0, SPAN, *changes, *extra, *range(0, SPAN, 50)}):
        state = changes.get(second, state)
        # Not on whole seconds: fractions must not add up.
        found.append((second + (second % 7) / 10, state))
    return found


def run(looks: list[tuple[float, ComponentState]]) -> tuple[ComponentUptime, int]:
    records: list[ComponentUptime] = []
    looked, writes = None, 0
    for second, state in looks:
        now = BEGIN + timedelta(seconds=second)
        status = ComponentStatus(name="api", state=state, since=now)
        after = uptime.counted(records, [status], looked, now)
        writes += after != records
        # A restart: only what stands in the status and the Lease is left, as JSON.
        records = [ComponentUptime.model_validate(r.to_wire()) for r in after]
        looked = now
    return uptime.current(records[0], records[0].state, BEGIN + timedelta(seconds=SPAN + 1)), writes


def sums(record: ComponentUptime) -> list[tuple[int, ...]]:
    return [tuple(getattr(d, f) for f in FIELDS) for d in record.days]


@settings(max_examples=60, derandomize=True, database=None)
@given(stories, cuts, cuts)
def test_any_cut_gives_the_same_sums(story: list[tuple[int, ComponentState]], one: list[int], other: list[int]) -> None:
    first, writes = run(passes(story, one))
    second, _ = run(passes(story, other))
    assert sums(first) == sums(second)
    # Begin, the turn of the day, and one for each change.
    assert writes <= 2 + len(story)


@settings(max_examples=60, derandomize=True, database=None)
@given(stories)
def test_every_second_is_counted_once(story: list[tuple[int, ComponentState]]) -> None:
    record, _ = run(passes(story, []))
    total = sum(sum(day) for day in sums(record))
    changes = [(0, ComponentState.OPERATIONAL), *sorted(story), (SPAN, ComponentState.OPERATIONAL)]
    bad = sum(b - a for (a, s), (b, _) in itertools.pairwise(changes) if s is not ComponentState.OPERATIONAL)
    # Each change is seen within its second, so that only the rounding of its own instants is between.
    assert abs(total - bad) <= len(changes)


@settings(max_examples=60, derandomize=True, database=None)
@given(stories, st.integers(0, SPAN - 600), st.integers(300, 6 * 3600))
def test_time_without_a_look_is_unknown(story: list[tuple[int, ComponentState]], begin: int, length: int) -> None:
    known = [(at, state) for at, state in story if state is not ComponentState.UNKNOWN]
    looks = [look for look in passes(known, []) if not begin < look[0] < begin + length]
    silent = sum(int(b) - int(a) for (a, _), (b, _) in itertools.pairwise(looks) if b - a > 60.0)
    record, _ = run(looks)
    assert sum(day[FIELDS.index("unknown")] for day in sums(record)) == silent
