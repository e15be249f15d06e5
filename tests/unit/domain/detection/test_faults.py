"""What opens an incident by itself, and above all what does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docuquery_operator.api.common import ObjectMeta, Severity
from docuquery_operator.api.stack import ComponentState, ComponentStatus, Stack, StackSpec
from docuquery_operator.catalogue.runbooks import shipped
from docuquery_operator.domain.conditions import set_condition
from docuquery_operator.domain.detection.components import component_statuses
from docuquery_operator.domain.detection.faults import (
    KnownIncident,
    Opening,
    Suspicion,
    dependencies,
    incident_name,
    number_of,
    openings,
    raisings,
    roots,
    storm,
    storm_brake,
)
from docuquery_operator.domain.diagnosis.causes import Diagnosis, Verdict
from docuquery_operator.domain.world import Neighbour, Streak

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TYPE = "DatabaseConnectionFailure"
WORKLOADS = {
    "api": "Deployment",
    "worker": "Deployment",
    "postgres": "StatefulSet",
    "redis": "StatefulSet",
    "qdrant": "StatefulSet",
}
TYPES = {"api": "Api", "worker": "CeleryWorker", "postgres": "PostgreSQL", "redis": "Redis", "qdrant": "Qdrant"}
RESTS = {"api": ["postgres", "redis", "qdrant"], "worker": ["redis", "postgres"]}


def component(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": TYPES[name], "workload": {"kind": WORKLOADS[name], "name": name}}
    return found | {"dependsOn": RESTS.get(name, [])}


STACK = Stack(
    metadata=ObjectMeta(name="docuquery", namespace="n"),
    spec=StackSpec.model_validate({"components": {name: component(name) for name in TYPES}}),
)


def suspicion(
    symptom: bool | None = True,
    rounds: int = 3,
    cause: str = "ProcessDown",
    since: timedelta = MINUTE / 4,
    agree: int | None = None,
) -> Suspicion:
    spec = next(c for c in shipped()[TYPE].causes if c.name == cause)
    diagnosis = Diagnosis(spec.name, spec.message, (), "High", spec) if symptom else None
    return Suspicion(
        TYPE, "postgres", Streak(Verdict(symptom, diagnosis), rounds, rounds if agree is None else agree, NOW - since)
    )


def known(number: int = 1, ended: float | None = None, **more: Any) -> KnownIncident:
    """Ended so many minutes ago; None: it is open."""
    name = incident_name("docuquery", TYPE, number) if number else "opened-by-a-person"
    return KnownIncident(name, TYPE, "postgres", number, None if ended is None else NOW - ended * MINUTE, **more)


def opened(
    *suspicions: Suspicion, sick: Sequence[str] = (), rolling: Sequence[str] = (), exist: Sequence[KnownIncident] = ()
) -> list[Opening]:
    return openings(STACK, suspicions, sick, rolling, exist, NOW)


def test_a_fault_opens_one_incident_that_names_cause_and_symptoms() -> None:
    (found,) = opened(suspicion(), sick=["api", "postgres", "worker"])
    assert (found.name, found.component, found.again) == ("docuquery-database-connection-failure-1", "postgres", False)
    assert "ProcessDown" in found.description
    assert "Only its symptoms: api, worker." in found.description


@pytest.mark.parametrize(
    ("why", "seen", "rolling", "exist"),
    [
        ("no symptom", suspicion(symptom=False), [], []),
        ("no data is not a fault", suspicion(symptom=None), [], []),
        ("one lost probe", suspicion(rounds=1), [], []),
        ("a cause that changes from round to round", suspicion(rounds=11, agree=2), [], []),
        ("a pod that starts", suspicion(cause="Starting"), [], []),
        ("a server that replays its log", suspicion(cause="Recovering", since=2.9 * MINUTE), [], []),
        ("a rollout of somebody else", suspicion(since=2.9 * MINUTE), ["postgres"], []),
        ("it is open", suspicion(), [], [known()]),
        ("a person has opened one", suspicion(), [], [known(0)]),
        ("an old one is open beside ended ones", suspicion(), [], [known(1), known(2, ended=3)]),
        ("a person has just closed it", suspicion(), [], [known(1, ended=3, by_hand=True)]),
    ],
)
def test_nothing_is_opened(why: str, seen: Suspicion, rolling: list[str], exist: list[KnownIncident]) -> None:
    assert opened(seen, rolling=rolling, exist=exist) == [], why


@pytest.mark.parametrize(
    ("seen", "rolling", "exist", "name", "again"),
    [
        (suspicion(cause="Starting", since=3 * MINUTE), [], [], "docuquery-database-connection-failure-1", False),
        (suspicion(since=3 * MINUTE), ["postgres"], [], "docuquery-database-connection-failure-1", False),
        (suspicion(), ["api"], [], "docuquery-database-connection-failure-1", False),
        (suspicion(rounds=12, agree=1), [], [], "docuquery-database-connection-failure-1", False),
        (suspicion(), [], [known(1, ended=29)], "docuquery-database-connection-failure-1", True),
        (suspicion(), [], [known(1, ended=31)], "docuquery-database-connection-failure-2", False),
        (suspicion(), [], [known(4, ended=200), known(9, ended=90)], "docuquery-database-connection-failure-10", False),
        (suspicion(), [], [known(0, ended=3)], "docuquery-database-connection-failure-1", False),
        (suspicion(), [], [known(1, ended=40, by_hand=True)], "docuquery-database-connection-failure-2", False),
    ],
)
def test_something_is_opened(
    seen: Suspicion, rolling: list[str], exist: list[KnownIncident], name: str, again: bool
) -> None:
    assert [(o.name, o.again) for o in opened(seen, rolling=rolling, exist=exist)] == [(name, again)]


def test_what_the_remedy_of_another_incident_feels_like_is_no_fault() -> None:
    other = KnownIncident("docuquery-rate-limit-spike-1", "RateLimitSpike", "postgres", 1)
    for since, restarted, exist, count in (
        (MINUTE / 4, ["postgres"], [other], 0),
        # It lasts longer than a restart may; nothing was restarted; the other incident is over, or another component's.
        (3 * MINUTE, ["postgres"], [other], 1),
        (MINUTE / 4, [], [other], 1),
        (MINUTE / 4, ["postgres"], [replace(other, ended=NOW - MINUTE)], 1),
        (MINUTE / 4, ["api", "postgres"], [replace(other, component="api")], 1),
        (MINUTE / 4, ["postgres"], [known(1, ended=5)], 1),
    ):
        found = openings(STACK, [suspicion(since=since)], [], [], exist, NOW, restarted)
        assert len(found) == count, (since, restarted, exist)


def test_who_rests_on_what_has_just_come_back_gets_time_to_find_it() -> None:
    worker = Suspicion("BackgroundTaskFailure", "worker", suspicion(since=MINUTE / 4).streak)
    long = Suspicion("BackgroundTaskFailure", "worker", suspicion(since=3 * MINUTE).streak)
    for seen, redis, count in (
        (worker, KnownIncident("r-1", "RedisConnection", "redis", 1), 0),
        (worker, KnownIncident("r-1", "RedisConnection", "redis", 1, NOW - MINUTE / 2), 0),
        (worker, KnownIncident("r-1", "RedisConnection", "redis", 1, NOW - 2 * MINUTE), 1),
        (worker, KnownIncident("a-1", "RateLimitSpike", "api", 1), 1),
        (long, KnownIncident("r-1", "RedisConnection", "redis", 1), 1),
    ):
        assert len(opened(seen, exist=[redis])) == count, redis


@pytest.mark.parametrize(
    ("api_rounds", "redis_rounds", "opens"),
    [(3, 1, []), (5, 2, []), (4, 3, ["redis"]), (6, 1, ["api"]), (3, 0, ["api"])],
)
def test_who_rests_on_what_begins_to_fail_waits_one_quorum_for_it(
    api_rounds: int, redis_rounds: int, opens: list[str]
) -> None:
    """Seen on a busy cluster: the api had its quorum a round before the store that it waited for."""
    found = [replace(suspicion(rounds=api_rounds), component="api")]
    found.append(replace(suspicion(symptom=redis_rounds > 0, rounds=redis_rounds), component="redis"))
    assert [o.component for o in openings(STACK, found, [], [], [], NOW)] == opens


def test_a_symptom_is_folded_into_its_cause() -> None:
    assert roots(STACK, ["api", "worker", "redis"]) == {"redis": ["api", "worker"]}
    assert roots(STACK, ["api"]) == {"api": []}
    assert roots(STACK, ["postgres", "redis", "worker"]) == {"postgres": ["worker"], "redis": ["worker"]}
    assert roots(STACK, []) == {}
    api = Suspicion("ApiSlow", "api", suspicion().streak)
    assert [o.component for o in opened(suspicion(), api)] == ["postgres"]
    assert opened(api, sick=["redis"]) == []


def test_dependencies_in_a_circle_come_to_an_end() -> None:
    components = {name: STACK.spec.components[name].model_copy(update={"depends_on": rest}) for name, rest in
                  {"api": ["worker"], "worker": ["redis"], "redis": ["api"]}.items()}  # fmt: skip
    assert dependencies(components, "api") == {"worker", "redis"}
    assert dependencies(components, "unknown") == set()
    circle = STACK.model_copy(update={"spec": STACK.spec.model_copy(update={"components": components})})
    assert set(roots(circle, ["api", "redis"])) == {"api", "redis"}, "a circle silenced a fault"


@pytest.mark.parametrize(
    ("lag", "ended", "opens"),
    [(6, None, False), (6, 5, False), (6, 7, True), (0, 5, True)],
    ids=["open", "still in the window", "left the window", "no figures of a window"],
)
def test_figures_that_a_fault_below_explains_open_nothing(lag: float, ended: float | None, opens: bool) -> None:
    api = Suspicion("ApiSlow", "api", suspicion().streak, lag * MINUTE)
    assert bool(opened(api, exist=[known(1, ended=ended)])) is opens
    worker = Suspicion("Slow", "worker", suspicion().streak, lag * MINUTE)
    redis = KnownIncident("redis-1", "RedisConnection", "qdrant", 1)
    assert opened(worker, exist=[redis]) != [], "an incident of something else explains nothing"


@pytest.mark.parametrize(
    ("wanted", "exist", "raised"),
    [
        ("P1", known(1, severity=Severity.P2), "P1"),
        ("P2", known(1, severity=Severity.P2), None),
        ("P3", known(1, severity=Severity.P2), None),
        (None, known(1, severity=Severity.P2), None),
        ("P1", known(1), None),
        ("P1", known(0, severity=Severity.P2), None),
        ("P1", known(1, ended=2, severity=Severity.P2), None),
    ],
)
def test_only_what_we_opened_is_raised_and_nothing_is_lowered(
    wanted: str | None, exist: KnownIncident, raised: str | None
) -> None:
    seen = suspicion()
    verdict = dataclasses.replace(seen.streak.verdict, severity=Severity(wanted) if wanted else None)
    worse = dataclasses.replace(seen, streak=dataclasses.replace(seen.streak, verdict=verdict))
    found = raisings(STACK, [worse], [], [exist], NOW)
    assert [r.severity for r in found] == ([raised] if raised else [])
    if wanted and exist.ended is not None:
        (again,) = opened(worse, exist=[exist])
        assert (again.again, again.severity) == (True, wanted)


def test_a_storm_is_two_stores_at_once() -> None:
    assert storm(STACK, ["postgres", "api"]) == ""
    assert "postgres, redis failed at once" in storm(STACK, ["redis", "postgres"])


DOWN, WELL = ComponentState.MAJOR_OUTAGE, ComponentState.OPERATIONAL


def seen(name: str, state: ComponentState, minutes_ago: float, was_well: bool = True) -> ComponentStatus:
    since = NOW - minutes_ago * MINUTE
    return ComponentStatus(name=name, state=state, since=since, operational_until=since if was_well else None)


def braked(*states: ComponentStatus, before: str = "") -> str:
    """The condition's status, '' when there is none."""
    conditions = set_condition([], "StormBrake", before == "True", "Before", "before", NOW - MINUTE) if before else []
    found = storm_brake(STACK, states, conditions, NOW)
    return next((c.status for c in found if c.type == "StormBrake"), "")


@pytest.mark.parametrize(
    ("states", "before", "after"),
    [
        ([seen("postgres", DOWN, 1), seen("redis", DOWN, 0)], "", "True"),
        ([seen("postgres", DOWN, 1), seen("api", DOWN, 1), seen("redis", WELL, 9)], "", ""),
        ([seen("postgres", DOWN, 0, was_well=False), seen("redis", DOWN, 0, was_well=False)], "", ""),
        ([seen("postgres", DOWN, 0), seen("redis", DOWN, 0, was_well=False)], "", ""),
        ([seen("postgres", DOWN, 9), seen("redis", WELL, 9)], "True", "True"),
        ([seen("postgres", WELL, 4.9), seen("redis", WELL, 9)], "True", "True"),
        ([seen("postgres", WELL, 5), seen("redis", WELL, 9)], "True", "False"),
        ([seen("postgres", WELL, 5), seen("api", DOWN, 1)], "False", "False"),
    ],
)
def test_the_brake_goes_on_in_a_storm_and_off_when_it_is_calm(
    states: list[ComponentStatus], before: str, after: str
) -> None:
    assert braked(*states, before=before) == after


def test_a_component_remembers_when_it_was_last_well() -> None:
    def later(status: ComponentStatus | None, healthy: bool | None, minutes: float) -> ComponentStatus:
        looks = {"postgres": Neighbour(healthy, 3)}
        before = [status] if status else []
        states = component_statuses(STACK, looks, before, NOW + minutes * MINUTE)
        return next(s for s in states if s.name == "postgres")

    new = later(None, False, 0)
    assert (new.state, new.operational_until) == (DOWN, None)
    well = later(new, True, 1)
    unknown = later(well, None, 2)
    down = later(unknown, False, 3)
    assert (down.state, down.operational_until) == (DOWN, NOW + 2 * MINUTE)


@given(st.integers(1, 10**6), st.sampled_from([TYPE, "RedisConnection", "ApiWedged", "X"]))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_a_name_tells_its_number(number: int, incident_type: str) -> None:
    assert number_of(incident_name("docu-query", incident_type, number), "docu-query", incident_type) == number


@pytest.mark.parametrize("name", ["db-down", "docuquery-database-connection-failure", "docuquery-database-connection-failure-x",
                                  "docuquery-redis-connection-1", "-1", "1", ""])  # fmt: skip
def test_other_names_have_none(name: str) -> None:
    assert number_of(name, "docuquery", TYPE) == 0


def test_what_was_opened_is_not_opened_again() -> None:
    (first,) = opened(suspicion())
    exist = [KnownIncident(first.name, TYPE, "postgres", number_of(first.name, "docuquery", TYPE))]
    assert opened(suspicion(), exist=exist) == []
