"""Which sets retention lets go, and that it says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.domain.backups.layout import due_of
from docuquery_operator.domain.backups.manifest import CatalogueEntry, Source, Verdict, VerifyLevel
from docuquery_operator.domain.backups.request import KeepPolicy
from docuquery_operator.domain.backups.retention import DELETIONS, Plan, decide, same_source, standing

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SOURCE = Source(namespace="default", stack="demo", backup_job="nightly")


def entry(days: float, state: Any = "Complete", attempt: int = 1) -> CatalogueEntry:
    """A set of so many days ago."""
    due = NOW - timedelta(days=days)
    run = f"{due:%Y%m%dT%H%M%SZ}-1a2b3c4d"
    return CatalogueEntry(
        set_id=f"{run}.{attempt}",
        run=run,
        source=SOURCE,
        state=state,
        started_at=due,
        finished_at=due + timedelta(minutes=5),
        manifest_sha256="00",
        stored_bytes=100,
        plain_bytes=300,
        parts=["postgres"],
    )


def verdict(
    of: CatalogueEntry, result: Any = "Verified", level: VerifyLevel = VerifyLevel.CHECKSUM, at: datetime = NOW
) -> Verdict:
    return Verdict(set_id=of.set_id, at=at, level=level, verdict=result, seconds=1)


def planned(entries: list[CatalogueEntry], verdicts: list[Verdict] | None = None, **policy: Any) -> Plan:
    known = {v.set_id: v for v in verdicts or []}
    return decide(entries, known, KeepPolicy(**{"min_age_seconds": 0, **policy}), NOW, NOW)


def reasons(plan: Plan) -> list[str]:
    return [d.reason for d in plan.decisions]


def test_without_numbers_everything_is_kept() -> None:
    plan = planned([entry(d) for d in range(400)])
    assert (plan.deletions, set(reasons(plan))) == ([], {"retention keeps everything"})


def test_keep_last_and_the_reasons() -> None:
    sets = [entry(d) for d in (4, 3, 2, 1)]
    plan = planned(sets, last=2)
    assert plan.deletions == [sets[0].set_id, sets[1].set_id]
    assert reasons(plan) == ["no rule of retention keeps it"] * 2 + ["keepLast: 2 of 2", "the last good set"]


def test_days_weeks_and_months_count_only_those_that_have_a_set() -> None:
    sets = [entry(d) for d in (90, 60, 31, 14, 7, 2, 1)]
    plan = planned(sets, daily=2, weekly=2, monthly=3)
    kept = {round((NOW - due_of(d.set_id)).total_seconds() / 86400) for d in plan.decisions if d.keep}
    assert kept == {1, 2, 7, 31, 60}
    assert [r.partition(":")[0] for r in reasons(plan)][2:] == [
        "keepMonthly", "no rule of retention keeps it", "keepWeekly", "keepDaily", "the last good set",
    ]  # fmt: skip


def test_a_day_is_a_day_in_the_time_zone_of_the_schedule() -> None:
    late, early = entry(2.56), entry(2.44)  # 22:33 and 01:26 UTC, the same day in Berlin only after midnight
    berlin = planned([entry(5), late, early, entry(1)], daily=3, time_zone="Europe/Berlin")
    utc = planned([entry(5), late, early, entry(1)], daily=3)
    assert (late.set_id in berlin.deletions, late.set_id in utc.deletions) == (False, False)
    assert planned([entry(5), entry(4), early, late, entry(1)], daily=3, time_zone="No/Where").refused == ""


def test_only_good_sets_count() -> None:
    sets = [entry(5), entry(4), entry(3), entry(2, "Suspicious"), entry(1)]
    plan = planned(sets, [verdict(sets[4], "Failed")], last=2)
    kept = {d.set_id: d.reason for d in plan.decisions if d.keep}
    assert kept[sets[2].set_id] == "the last good set"
    assert kept[sets[1].set_id] == "keepLast: 2 of 2"
    assert kept[sets[3].set_id] == kept[sets[4].set_id] == "it is not good, and no newer set is"
    assert plan.deletions == [sets[0].set_id]


def test_a_bad_set_goes_when_a_newer_one_is_good_and_no_rule_would_choose_it() -> None:
    sets = [entry(6, "Suspicious"), entry(5), entry(4, "Suspicious"), entry(3), entry(2), entry(1)]
    plan = planned(sets, last=3)
    assert plan.deletions == [sets[0].set_id, sets[1].set_id, sets[2].set_id]
    assert reasons(plan)[0] == "it is not good, and a newer set is"


def test_the_last_verified_set_of_the_deepest_level_stays() -> None:
    sets = [entry(d) for d in (9, 8, 7, 6, 3, 2, 1)]
    verdicts = [verdict(sets[0], level=VerifyLevel.RESTORE), verdict(sets[1], level=VerifyLevel.RESTORE), verdict(sets[2])]
    plan = planned(sets, verdicts, last=3)
    assert plan.deletions == [sets[0].set_id, sets[3].set_id]
    assert reasons(plan)[1:3] == ["the last set that was verified, Restore", "the last set that was verified, Checksum"]


def test_pinned_used_and_young_sets_stay() -> None:
    sets = [entry(5), entry(4), entry(0.6), entry(0.5), entry(0.4), entry(0.1)]
    plan = planned(sets, last=1, min_age_seconds=86400, pinned=[sets[0].run])
    assert plan.deletions == [sets[1].set_id]
    assert reasons(plan)[0] == "pinned, or in use by a restore"
    assert reasons(plan)[2] == "younger than minAge"


def test_nothing_goes_when_no_set_is_good() -> None:
    sets = [entry(d, "Suspicious") for d in (5, 4, 3, 2, 1)]
    assert planned(sets, last=1).deletions == []


def test_more_than_half_is_refused() -> None:
    plan = planned([entry(d) for d in range(1, 11)], last=3)
    assert plan.deletions == []
    assert plan.refused == "7 of 10 sets would go, more than half; if that is meant, lower retention in steps"


def test_no_more_than_a_few_a_run_and_the_oldest_first() -> None:
    sets = [entry(d) for d in range(50, 0, -1)]
    assert planned(sets, last=30).deletions == [e.set_id for e in sets[:DELETIONS]]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, "does not tell its time"),
        (timedelta(minutes=6), "differs by 360 s"),
        (timedelta(hours=-9), "differs by -32400 s"),
    ],
)
def test_clocks_that_disagree_stop_it(there: timedelta | None, said: str) -> None:
    policy = KeepPolicy(last=2, min_age_seconds=0)
    plan = decide([entry(d) for d in (3, 2, 1)], {}, policy, NOW, None if there is None else NOW + there)
    assert plan.deletions == []
    assert said in plan.refused


def test_a_set_from_the_future_stops_it() -> None:
    plan = planned([entry(d) for d in (3, 2, 1, -1)], last=2)
    assert "is from the future" in plan.refused


def test_sets_of_others_are_not_ours() -> None:
    assert same_source(SOURCE, SOURCE.model_copy(update={"backup_job_uid": "another, after the loss of the cluster"}))
    for change in ({"namespace": "x"}, {"stack": "x"}, {"backup_job": "x"}):
        assert not same_source(SOURCE, SOURCE.model_copy(update=change))


def test_a_failure_stands_until_a_check_as_deep_succeeds() -> None:
    def story(*steps: tuple[Any, VerifyLevel]) -> tuple[Any, Any] | None:
        found = standing([verdict(entry(1), r, level, NOW + timedelta(hours=n)) for n, (r, level) in enumerate(steps)])
        return found and (found.verdict, found.level)

    deep, flat = VerifyLevel.RESTORE, VerifyLevel.CHECKSUM
    assert story() is None
    assert story(("Verified", deep), ("Verified", flat)) == ("Verified", deep)
    assert story(("Verified", deep), ("Failed", flat)) == ("Failed", flat)
    assert story(("Failed", deep), ("Verified", flat)) == ("Failed", deep)
    assert story(("Failed", flat), ("Verified", deep)) == ("Verified", deep)
    assert story(("Verified", flat), ("Unverifiable", deep)) == ("Verified", flat)
    assert story(("Failed", flat), ("Unverifiable", deep)) == ("Failed", flat)
    assert story(("Unverifiable", deep), ("Verified", flat)) == ("Verified", flat)
