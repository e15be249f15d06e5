"""Where an alert goes: each rule of docs/alerts.md by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.common import format_time
from docuquery_operator.ports import INCIDENT, JSON
from tests.fakes.alerting import MINUTE, NAMESPACE, Place, alert, message, outcomes, place
from tests.fakes.clock import START

DATABASE = {"docuquery_type": "DatabaseConnectionFailure", "docuquery_component": "postgres"}
REDIS = {"docuquery_type": "RedisConnection", "docuquery_component": "redis"}
API = {"docuquery_type": "ServiceLevelBreach", "docuquery_component": "api"}
NAME = "docuquery-database-connection-failure-1"


def put(at: Place, name: str = "by-hand", **spec: Any) -> None:
    """An incident that somebody else has opened."""
    body: JSON = {"stackRef": {"name": "docuquery"}, "type": "DatabaseConnectionFailure", "component": "postgres", **spec}
    at.server.put(INCIDENT, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": body})


def names(at: Place) -> list[str]:
    return [i["metadata"]["name"] for i in at.incidents()]


async def fire(at: Place, labels: JSON = DATABASE, name: str = "Down", **more: Any) -> None:
    await at.send(message([alert(name, at.clock.now(), labels=labels, **more)]))


async def test_it_joins_whoever_opened_the_same_fault() -> None:
    at = place()
    put(at)
    await fire(at)
    assert names(at) == ["by-hand"]
    assert at.incidents()[0]["spec"]["alerts"][0]["name"] == "Down"


@pytest.mark.parametrize("labels", [API, {"docuquery_component": "api"}, DATABASE | {"docuquery_type": "Unheard"}], ids=str)
async def test_a_symptom_joins_its_cause(labels: JSON) -> None:
    """Also one that could open nothing."""
    at = place()
    put(at)
    await fire(at, labels)
    assert names(at) == ["by-hand"]
    assert at.incidents()[0]["spec"]["alerts"][0].get("component") == (
        "api" if labels != DATABASE | {"docuquery_type": "Unheard"} else None
    )


async def test_a_cause_does_not_join_its_symptom_and_strangers_stay_apart() -> None:
    at = place()
    put(at, "slow", type="ServiceLevelBreach", component="api")
    await fire(at)
    await fire(at, REDIS)
    assert names(at) == [NAME, "docuquery-redis-connection-1", "slow"]


async def test_of_one_message_the_cause_comes_first() -> None:
    at = place()
    now = at.clock.now()
    await at.send(message([alert("Slow", now, labels=API), alert("Down", now, labels=DATABASE)]))
    assert names(at) == [NAME]
    assert len(at.held()) == 2


async def test_another_stacks_incident_is_none_of_its_business() -> None:
    at = place()
    put(at, NAME, stackRef={"name": "other"})
    await fire(at)
    assert names(at) == [NAME, "docuquery-database-connection-failure-2"]


async def test_an_incident_that_cannot_be_read_only_keeps_its_name() -> None:
    at = place()
    put(at, NAME, component=["not", "a", "name"])
    await fire(at)
    assert names(at) == [NAME, "docuquery-database-connection-failure-2"]


@pytest.mark.parametrize(
    ("minutes", "reason", "fresh"), [(29, "Healed", False), (31, "Healed", True), (5, "ResolvedByHand", True)]
)
async def test_what_ended_lately_is_opened_again_unless_by_hand(minutes: int, reason: str, fresh: bool) -> None:
    at = place()
    put(at)
    at.close("by-hand", reason)
    at.clock.jump(minutes * 60)
    await fire(at)
    spec = at.server.find(INCIDENT, NAMESPACE, "by-hand")["spec"]  # type: ignore[index]
    assert ("refiredAt" in spec) is not fresh
    assert names(at) == (["by-hand", NAME] if fresh else ["by-hand"])
    assert outcomes(at.metrics) == {"opened" if fresh else "reopened": 1}
    # Sent again before the operator has seen it: nothing more.
    again = at.incidents()
    await at.send(message([alert("Down", at.clock.now(), labels=DATABASE)]))
    assert [i["spec"].get("refiredAt") for i in at.incidents()] == [i["spec"].get("refiredAt") for i in again]


@pytest.mark.parametrize(("minutes", "fires"), [(4, False), (6, True)])
async def test_fired_on_long_after_its_end_is_fired_again(minutes: int, fires: bool) -> None:
    at = place()
    began = at.clock.now()
    await at.send(message([alert("Down", began, labels=DATABASE)]))
    at.clock.jump(60)
    await at.send(message([alert("Down", began, at.clock.now(), labels=DATABASE)]))
    at.clock.jump(minutes * 60)
    await at.send(message([alert("Down", began, labels=DATABASE)]))
    (held,) = at.held().values()
    assert ("endsAt" not in held) is fires


async def test_an_end_of_what_was_never_known_opens_nothing() -> None:
    at = place()
    await at.send(message([alert("Down", START, START + MINUTE, labels=DATABASE)]))
    assert (names(at), outcomes(at.metrics)) == ([], {"unknown_end": 1})


async def test_an_older_episode_changes_nothing() -> None:
    at = place()
    old = at.clock.now() - timedelta(hours=1)
    await fire(at)
    for late in (alert("Down", old, labels=DATABASE), alert("Down", old, old + MINUTE, labels=DATABASE)):
        await at.send(message([late]))
    (held,) = at.held().values()
    assert (held["startsAt"], "endsAt" in held) == (format_time(at.clock.now()), False)


async def test_more_than_there_is_room_for_is_said() -> None:
    at = place()
    now = at.clock.now()
    many = [alert(f"a{n}", now, labels=DATABASE | {"n": str(n)}) for n in range(40)]
    for _ in range(2):
        await at.send(message(many))
    spec = at.incidents()[0]["spec"]
    assert (len(at.incidents()), len(spec["alerts"]), spec["alertsLeftOut"]) == (1, 32, 1)
    ended = [
        dict(a, status="resolved", endsAt=format_time(now + MINUTE)) for a in many[:40] if a["fingerprint"] in at.held()
    ]
    await at.send(message(ended))
    await at.send(message(many[-8:]))
    # Those that have ended make room.
    assert {a["fingerprint"] for a in many[-8:]} <= set(at.held())


@pytest.mark.parametrize(
    ("label", "before", "after"),
    [("critical", "P2", "P0"), ("warning", "P0", "P0"), ("P1", "P2", "P1"), ("nonsense", "P2", "P2"), ("", "P2", "P2")],
)
async def test_a_worse_severity_raises_and_none_lowers(label: str, before: str, after: str) -> None:
    at = place()
    put(at, severity=before)
    await fire(at, DATABASE | {"severity": label})
    assert at.incidents()[0]["spec"]["severity"] == after


async def test_a_symptom_does_not_raise_its_cause() -> None:
    at = place()
    put(at, severity="P2")
    await fire(at, API | {"severity": "critical"})
    assert at.incidents()[0]["spec"]["severity"] == "P2"


async def test_a_component_that_the_stack_does_not_have_is_told_by_the_incident() -> None:
    at = place()
    await fire(at, DATABASE | {"docuquery_component": "postgres-2"})
    assert at.incidents()[0]["spec"]["component"] == "postgres-2"


async def test_text_from_outside_is_one_short_line_without_secrets() -> None:
    at = place()
    await fire(at, annotations={"summary": f"password=hunter2hunter2\n\x1b[31m{'x' * 5000}"}, name="N" * 500)
    spec = at.incidents()[0]["spec"]
    (held,) = spec["alerts"]
    assert (len(held["name"]), len(held["summary"]) <= 256, "hunter2" in str(spec), "\n" in held["summary"]) == (
        128,
        True,
        False,
        False,
    )
