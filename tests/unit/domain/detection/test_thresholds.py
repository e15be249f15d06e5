"""Which figures break which threshold, what is too little to say anything, and how long a level lasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import ObjectMeta
from docuquery_operator.api.detection import Thresholds
from docuquery_operator.api.stack import ComponentState, Stack, StackSpec
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.domain.detection.components import component_statuses, service_level_condition, stack_conditions
from docuquery_operator.domain.detection.thresholds import Held, Judged, Level, Reading, held, judge, words
from docuquery_operator.domain.diagnosis.causes import judge as judge_findings
from docuquery_operator.domain.traffic.counters import quantile
from docuquery_operator.domain.traffic.http_metrics import Figures
from docuquery_operator.domain.world import Neighbour

NOW = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
DEFAULTS = Thresholds()
BOUNDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
RUNBOOK = shipped()["ServiceLevelBreach"]


def figures(
    times: Mapping[float, int], failed: float | None = 0.0, limited: int = 0, bounds: tuple[float, ...] = BOUNDS
) -> Figures:
    """So many requests of each time."""
    total = sum(times.values())
    buckets = {b: float(sum(n for t, n in times.items() if t <= b)) for b in (*bounds, math.inf)} if times else {}
    quantiles = [quantile(q, buckets) for q in (0.5, 0.95, 0.99)]
    return Figures(float(total), failed, float(limited), {}, *quantiles, per_second=total / 300, buckets=buckets)


def level(found: Figures | None, least: int = 20) -> Level | None:
    return judge(DEFAULTS, Reading(found, "metrics of 2 pods", "", least)).level


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (figures({0.05: 100}), Level.NONE),
        (figures({0.05: 94, 7.0: 6}), Level.CRITICAL),
        (figures({0.05: 94, 3.0: 6}), Level.WARNING),
        (figures({0.05: 94, 1.5: 6}), Level.INFO),
        (figures({0.05: 96, 7.0: 4}), Level.NONE),
        (figures({0.05: 94, 30.0: 6}), Level.CRITICAL),
        (figures({0.05: 100}, failed=11), Level.CRITICAL),
        (figures({0.05: 100}, failed=10), Level.WARNING),
        (figures({0.05: 100}, failed=5), Level.INFO),
        (figures({0.05: 1000}, failed=10), Level.NONE),
        (figures({0.05: 1000}, failed=11), Level.INFO),
        (figures({0.05: 94, 3.0: 6}, failed=11), Level.CRITICAL),
        # 429 are not failures: the limit works.
        (figures({0.05: 100}, limited=90), Level.NONE),
    ],
)
def test_the_figures_of_the_source(found: Figures, expected: Level) -> None:
    assert level(found) is expected


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("no data", None),
        ("nobody asked", figures({})),
        ("one of two is no fact", figures({0.05: 1, 9.0: 1}, failed=1)),
        ("19 slow ones where 20 are needed", figures({9.0: 19}, failed=19)),
        ("the histogram ends below the threshold", figures({0.05: 50, 9.0: 50}, bounds=(0.1, 0.5))),
        ("neither times nor statuses", Figures(100, None, None, {}, None, None, None, 1.0)),
    ],
)
def test_no_data_is_neither_good_nor_bad(why: str, found: Figures | None) -> None:
    assert level(found) is None, why


def test_two_failures_are_events_and_three_a_share() -> None:
    assert level(figures({0.05: 20}, failed=2)) is Level.NONE
    assert level(figures({0.05: 20}, failed=3)) is Level.CRITICAL
    assert level(figures({0.05: 20, 9.0: 2})) is Level.NONE


def test_what_surely_holds_is_said_though_the_histogram_ends_there() -> None:
    """p95 is at least 2 s; whether it is above 5 s cannot be known."""
    found = figures({0.05: 50, 9.0: 50}, bounds=(0.5, 2.0))
    assert level(found) is Level.WARNING
    judged = judge(DEFAULTS, Reading(found, "s", "", 20))
    assert judged.reasons == ("p95 at least 2 s > 2s",)


def test_a_figure_that_there_is_not_does_not_hide_the_other() -> None:
    assert level(figures({0.05: 50, 9.0: 50}, failed=None)) is Level.CRITICAL
    assert level(figures({0.05: 100}, failed=None)) is Level.NONE
    assert level(Figures(100, 50, None, {}, None, None, None, 1.0)) is Level.CRITICAL
    # Times that are measured, but do not reach as far, make good figures of failures no good news.
    assert level(figures({0.05: 50, 9.0: 50}, failed=0, bounds=(0.1, 0.5))) is None


def held_after(*levels: Level | None) -> Held:
    now, state = NOW, Held()
    for number, seen in enumerate(levels):
        state = held(state, seen, now + timedelta(seconds=15 * number))
    return state


N, INFO, W, C = Level.NONE, Level.INFO, Level.WARNING, Level.CRITICAL


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], None),
        ([N], N),
        ([C], None),
        ([C, C], C),
        ([C, W], W),
        ([N, C], N),
        ([N, C, N, C, N], N),
        ([N, C, C], C),
        ([N, W, C], W),
        ([C, C, N, N], C),
        ([C, C, N, N, N], N),
        ([C, C, N, W, N], W),
        ([C, C, N, N, C, N, N], C),
        ([C, C, None], None),
        ([C, C, None, C], C),
        ([N, None, None], None),
        ([C, None, C], C),
        ([C, C, None, N, None, N, None], None),
        ([C, C, None, N, None, N, None, N], N),
    ],
)
def test_a_level_has_its_own_quorum(levels: list[Level | None], expected: Level | None) -> None:
    assert held_after(*levels).now is expected


@given(st.lists(st.sampled_from([N, INFO, W, C, None]), max_size=30))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_a_level_is_never_better_than_the_last_three_readings_nor_worse_than_all(levels: list[Level | None]) -> None:
    state, known = held_after(*levels), [s for s in levels if s is not None]
    if not levels or levels[-1] is None:
        assert state.now is None
    elif state.now is not None:
        assert state.now.rank <= max(s.rank for s in known)
        assert state.now.rank >= min(s.rank for s in known[-3:])
        assert state.since is not None


def test_words_for_people() -> None:
    found = figures({0.05: 420, 7.0: 60}, failed=60)
    reading = Reading(found, "metrics of 2 pods", "", 20)
    judged = judge(DEFAULTS, reading)
    text = words(DEFAULTS, reading, judged, Level.CRITICAL)
    assert text == ("critical: p95 8 s > 5s, 12.5 % of 480 requests failed > 10%; 480 requests in 5m (metrics of 2 pods)")
    assert words(DEFAULTS, Reading(None, problem="no metrics lately"), Judged(None), None) == "not known: no metrics lately"
    few = Reading(figures({0.05: 3}), "metrics of 1 pod", "", 20)
    assert words(DEFAULTS, few, Judged(None), None) == "not known: 3 requests in 5m, 20 are needed (metrics of 1 pod)"


STACK = Stack(
    metadata=ObjectMeta(name="docuquery", namespace="n"),
    spec=StackSpec.model_validate(
        {
            "components": {
                "api": {
                    "type": "Api",
                    "workload": {"kind": "Deployment", "name": "api"},
                    "endpoint": {"service": "api", "port": 1},
                }
            }
        }
    ),
)


def test_a_service_that_breaks_its_thresholds_is_degraded_until_figures_say_otherwise() -> None:
    def later(before: list[Any], minutes: int, **seen: Any) -> list[Any]:
        return component_statuses(
            STACK,
            {"api": Neighbour(**{"healthy": True, "rounds": 3, "summary": "2 of 2"} | seen)},
            before,
            NOW + timedelta(minutes=minutes),
        )

    well = later([], 0)
    assert well[0].state is ComponentState.OPERATIONAL
    assert later(well, 1, level=INFO, level_words="info: x")[0].state is ComponentState.OPERATIONAL
    slow = later(well, 1, level=W, level_words="warning: p95 3 s")
    assert (slow[0].state, slow[0].summary, slow[0].since) == (
        ComponentState.DEGRADED,
        "warning: p95 3 s",
        NOW + timedelta(minutes=1),
    )
    assert slow[0].operational_until == NOW + timedelta(minutes=1)
    assert later(slow, 2, level=W, level_words="warning: p95 3.1 s") == slow, "figures that move are no news"
    worse = later(slow, 2, level=C, level_words="critical: p95 9 s")
    assert (worse[0].summary, worse[0].since) == ("critical: p95 9 s", slow[0].since)
    assert later(worse, 3) == worse, "no data is not good"
    assert later(worse, 3, healthy=False, summary="timeout")[0].state is ComponentState.MAJOR_OUTAGE
    assert later(worse, 3, level=N)[0].state is ComponentState.OPERATIONAL
    ready = next(c for c in stack_conditions(STACK, worse, [], NOW) if c.type == "Ready")
    assert (ready.status, ready.reason) == ("True", "Degraded")


def test_the_condition_says_which_level_and_no_data_is_unknown() -> None:
    def said(level: Level | None, words: str = "", before: Any = ()) -> Any:
        found = service_level_condition(STACK, {"api": Neighbour(True, 3, "", level, words)}, before, NOW)
        return next(c for c in found if c.type == "ServiceLevelMet")

    assert (said(None).status, said(None).reason) == ("Unknown", "NoData")
    assert (said(N).status, said(N).reason) == ("True", "WithinThresholds")
    first = said(C, "critical: p95 9 s")
    assert (first.status, first.reason, first.message) == ("False", "CriticalThresholdBreached", "api: critical: p95 9 s")
    assert said(C, "critical: p95 10 s", [first]).message == first.message
    assert said(W, "warning: p95 3 s", [first]).message == "api: warning: p95 3 s"


FINE: dict[str, dict[str, Any]] = {
    "service": {
        "level": "critical",
        "slow": True,
        "failing": False,
        "paths": 3,
        "slowPathPercent": 40,
        "slowPath": "/query",
    },
    "api": {"reachable": True, "status": 200, "database": "up", "redis": "up"},
    "workload": {"exists": True, "oomKilled": False, "crashLoop": False},
    "rollout": {"found": False},
    "database": {"ok": True},
    "connections": {"exhausted": False},
    "locks": {"storm": False},
    "redis": {"ok": True},
}


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("Unknown", {}),
        ("DependencyDown", {"database": {"ok": False}}),
        ("DependencyDown", {"redis": {"ok": False}}),
        ("DependencyDown", {"api": {"qdrant": "down"}, "rollout": {"found": True, "ageSeconds": 5}}),
        ("DependencySlow", {"locks": {"storm": True}}),
        ("OOMKilled", {"workload": {"oomKilled": True}}),
        ("CrashLoop", {"workload": {"crashLoop": True}}),
        ("NewRollout", {"rollout": {"found": True, "ageSeconds": 600}, "service": {"cpuPercent": 99}}),
        ("Unknown", {"rollout": {"found": True, "ageSeconds": 7200}}),
        ("Saturated", {"service": {"cpuPercent": 95}}),
        ("Saturated", {"service": {"inProgress": 40}}),
        ("ErrorsOfOnePath", {"service": {"failing": True, "slow": False, "failingPathPercent": 90}}),
        ("Unknown", {"service": {"failing": True, "failingPathPercent": 90, "paths": 1}}),
        ("SlownessOfOnePath", {"service": {"slowPathPercent": 90}}),
    ],
)
def test_causes(cause: str, changes: dict[str, dict[str, Any]]) -> None:
    found = {name: finding | changes.get(name, {}) for name, finding in FINE.items()}
    verdict = judge_findings(RUNBOOK, found, {"busyRequests": 40, "rolloutSeconds": 3600})
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.name == cause


def test_more_pods_only_where_the_api_itself_is_short_of_them() -> None:
    assert [c.name for c in RUNBOOK.causes if c.remediate and c.remediate[0].action == "scaleWorkload"] == ["Saturated"]
    assert {"DependencyDown", "DependencySlow"} <= {c.name for c in RUNBOOK.causes if "scaleWorkload" in c.forbid}


@pytest.mark.parametrize(
    ("level", "symptom", "severity"),
    [("critical", True, "P1"), ("warning", True, "P2"), ("info", True, None), ("none", False, None), (None, None, None)],
)
def test_the_severity_is_that_of_the_level(level: str | None, symptom: bool | None, severity: str | None) -> None:
    service = {"requests": 3} | ({"level": level} if level else {})
    verdict = judge_findings(RUNBOOK, FINE | {"service": service}, {"busyRequests": 40, "rolloutSeconds": 3600})
    assert (verdict.symptom, verdict.severity) == (symptom, severity)
    assert RUNBOOK.severity == "P3"


def test_a_stack_without_stores_is_still_told_a_cause() -> None:
    found = {k: v for k, v in FINE.items() if k not in ("database", "connections", "locks", "redis")}
    verdict = judge_findings(RUNBOOK, found, {"busyRequests": 40, "rolloutSeconds": 3600})
    assert verdict.diagnosis is not None
    assert (verdict.diagnosis.name, verdict.diagnosis.open) == ("Unknown", ())
