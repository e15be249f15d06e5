"""No history, no clock and no policy makes retention let the last good or the last verified set go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.backups.manifest import CatalogueEntry, Source, Verdict, VerifyLevel
from docuquery_operator.domain.backups.request import KeepPolicy
from docuquery_operator.domain.backups.retention import DELETIONS, LEVELS, SKEW, decide, is_good, standing

START = datetime(2026, 11, 25, tzinfo=UTC)
LIMITS = settings(max_examples=400, deadline=None, derandomize=True, database=None)
HOURS = st.integers(-3000, 3000)


def entry(hour: int, state: str, late: int) -> CatalogueEntry:
    due = START + timedelta(hours=hour)
    run = f"{due:%Y%m%dT%H%M%SZ}-1a2b3c4d"
    return CatalogueEntry.model_validate(
        {
            "set_id": f"{run}.1",
            "run": run,
            "source": Source(namespace="n", stack="s", backup_job="b"),
            "state": state,
            "started_at": due + timedelta(minutes=late),
            "finished_at": due + timedelta(minutes=late + 5),
            "manifest_sha256": "",
            "stored_bytes": 1,
            "plain_bytes": 1,
            "parts": [],
        }
    )


entries = st.lists(
    st.builds(entry, HOURS, st.sampled_from(["Complete", "Complete", "Suspicious"]), st.integers(-600, 600)),
    max_size=25,
    unique_by=lambda e: e.set_id,
)
policies = st.builds(
    KeepPolicy,
    last=st.integers(0, 6),
    daily=st.integers(0, 6),
    weekly=st.integers(0, 4),
    monthly=st.integers(0, 4),
    min_age_seconds=st.sampled_from([0.0, 3600.0, 86400.0, 30 * 86400.0]),
    time_zone=st.sampled_from(["Etc/UTC", "Pacific/Kiritimati", "America/St_Johns", "nowhere"]),
)
outcomes = st.sampled_from(["Verified", "Verified", "Failed", "Unverifiable"])
checks = st.lists(st.tuples(st.integers(0, 24), HOURS, outcomes, st.sampled_from(LEVELS)), max_size=40)
clocks = st.tuples(HOURS, st.one_of(st.none(), st.integers(-2000, 2000)))


@LIMITS
@given(entries, checks, policies, clocks, st.sets(st.integers(0, 24), max_size=4))
def test_what_must_stay_stays(
    sets: list[CatalogueEntry],
    told: list[tuple[int, int, str, VerifyLevel]],
    policy: KeepPolicy,
    clock: tuple[int, int | None],
    pins: set[int],
) -> None:
    now = START + timedelta(hours=clock[0])
    store_now = None if clock[1] is None else now + timedelta(seconds=clock[1])
    by_set: dict[str, list[Verdict]] = {}
    for number, hour, outcome, level in told:
        if number < len(sets):
            raw = {"set_id": sets[number].set_id, "at": START + timedelta(hours=hour), "level": level, "verdict": outcome}
            by_set.setdefault(raw["set_id"], []).append(Verdict.model_validate({**raw, "seconds": 1}))
    verdicts = {set_id: v for set_id, found in by_set.items() if (v := standing(found)) is not None}
    pinned = [sets[n].set_id for n in pins if n < len(sets)]
    policy = policy.model_copy(update={"pinned": pinned})

    plan = decide(sets, verdicts, policy, now, store_now)
    gone = set(plan.deletions)

    good = sorted((e for e in sets if is_good(e, verdicts.get(e.set_id))), key=lambda e: e.set_id)
    assert {d.set_id for d in plan.decisions} == {e.set_id for e in sets}
    assert all(d.reason for d in plan.decisions)
    if good:
        assert good[-1].set_id not in gone
    else:
        assert not gone
    for level in LEVELS:
        verified = [e for e in good if (v := verdicts.get(e.set_id)) and v.verdict == "Verified" and v.level is level]
        assert not verified or verified[-1].set_id not in gone
    assert not gone & set(pinned)
    assert len(gone) <= min(DELETIONS, len(sets) / 2)
    for left in sets:
        if now - left.finished_at < timedelta(seconds=policy.min_age_seconds):
            assert left.set_id not in gone
    if store_now is None or abs(store_now - now) > SKEW:
        assert not gone
    assert {e.set_id for e in good[-policy.last :] if policy.last}.isdisjoint(gone)


@LIMITS
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["Complete", "Complete", "Suspicious"]), outcomes), max_size=60),
    policies,
)
def test_over_time_there_is_always_a_good_set_and_a_verified_one(
    story: list[tuple[int, str, str]], policy: KeepPolicy
) -> None:
    """Sets come, some are checked, and retention runs after each."""
    now, kept, verdicts = START, list[CatalogueEntry](), dict[str, Verdict]()
    seen_good = seen_verified = False
    for hours, state, outcome in story:
        now += timedelta(hours=hours)
        made = entry(int((now - START).total_seconds() // 3600), state, 0)
        kept.append(made)
        raw = {"set_id": made.set_id, "at": now, "level": "Checksum", "verdict": outcome, "seconds": 1}
        verdicts[made.set_id] = Verdict.model_validate(raw)
        later = now + timedelta(minutes=30)
        gone = set(decide(kept, verdicts, policy, later, later).deletions)
        kept = [e for e in kept if e.set_id not in gone]
        good = [e for e in kept if is_good(e, verdicts[e.set_id])]
        seen_good |= is_good(made, verdicts[made.set_id])
        seen_verified |= made.state == "Complete" and outcome == "Verified"
        assert bool(good) == seen_good
        assert any(verdicts[e.set_id].verdict == "Verified" for e in good) == seen_verified
