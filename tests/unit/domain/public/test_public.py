"""The public's view: only what is meant for it, in the order in which it happened, and never better than it is."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest

from docuquery_operator.api.incident import Phase
from docuquery_operator.api.stack import ComponentType
from docuquery_operator.domain.public.incidents import incident_facts
from docuquery_operator.domain.public.page import Page
from docuquery_operator.domain.public.words import PHASES, TITLES, Indicator, WindowState, clean
from tests.page import world
from tests.page.world import NOW

HOUR = timedelta(hours=1)


def told(page: Page) -> str:
    return json.dumps(dataclasses.asdict(page), default=str)


def test_nothing_internal_is_in_the_view() -> None:
    """The fields that hold it are not copied at all, so that no template can show them."""
    text = told(world.page(*world.usual()))
    assert "Log-ins failed for some users" in text
    assert [s for s in world.SECRETS if s in text] == []


def test_titles_are_neutral_and_told_apart() -> None:
    stack = world.stack(types={"a": "PostgreSQL", "b": "PostgreSQL", "c": "Api", "d": "Api"})
    stack["spec"]["components"]["d"]["publicTitle"] = "  Upload   portal "
    components = world.page([stack], [], []).components
    assert [(c.title, c.id) for c in components] == [
        ("Database", "database"),
        ("Database 2", "database-2"),
        ("API", "api"),
        ("Upload portal", "upload-portal"),
    ]
    assert set(TITLES) == set(ComponentType)


def test_titles_without_latin_letters_have_addresses_of_their_own() -> None:
    stack = world.stack(types={"a": "Api", "b": "Redis", "c": "Redis", "d": "Redis"})
    for name, title in (("a", "検索"), ("b", "../../etc"), ("c", "service"), ("d", "検索")):
        stack["spec"]["components"][name]["publicTitle"] = title
    components = world.page([stack], [], []).components
    assert [c.id for c in components] == ["service", "etc", "service-2", "2"]
    assert [c.title for c in components] == ["検索", "../../etc", "service", "検索 2"]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"severity": "P0"}, True),
        ({"severity": "P2"}, True),
        ({"severity": "P3"}, False),
        ({"severity": "P3", "message": "Read this"}, True),
        ({"type": "ChannelFailure"}, False),
        ({"type": "ChannelFailure", "message": "  "}, False),
    ],
)
def test_which_incidents_are_shown(changes: dict[str, Any], shown: bool) -> None:
    assert (incident_facts(world.incident(1, **changes)) is not None) is shown


def test_an_incident_that_was_not_opened_yet_is_not_shown() -> None:
    fresh = world.incident(1)
    del fresh["status"]
    assert incident_facts(fresh) is None
    assert incident_facts(fresh | {"status": {"phase": "Investigating"}}) is None


def test_incidents_of_other_stacks_are_not_shown() -> None:
    stacks, incidents, windows = world.usual()
    incidents.append(world.incident(99, stackRef={"name": "other"}))
    windows.append(world.window(99, NOW + HOUR, stackRef={"name": "other"}))
    page = world.page(stacks, incidents, windows)
    assert len(page.incidents) == len(incidents) - 1
    assert len(page.windows) == len(windows) - 1


def test_updates_are_phases_in_fixed_words_and_the_message_where_it_was_written() -> None:
    opened = NOW - HOUR
    page = world.page([world.stack()], [world.incident(1, "Resolved", "We are sorry.", opened=opened)], [])
    updates = page.incidents[0].updates
    assert [(u.phase, u.body) for u in updates] == [
        (Phase.RESOLVED, PHASES[Phase.RESOLVED]),
        (Phase.MONITORING, PHASES[Phase.MONITORING]),
        (Phase.IDENTIFIED, "We are sorry."),
        (Phase.IDENTIFIED, PHASES[Phase.IDENTIFIED]),
        (Phase.INVESTIGATING, PHASES[Phase.INVESTIGATING]),
    ]
    assert [u.at - opened for u in reversed(updates)] == [timedelta(minutes=m) for m in (0, 9, 12, 18, 27)]


def test_a_message_from_the_beginning_takes_the_place_of_the_fixed_words() -> None:
    opened = NOW - HOUR
    found = incident_facts(world.incident(1, "Investigating", "Search is slow.", opened=opened, written=opened - HOUR))
    assert found is not None
    assert [u.body for u in found.updates] == ["Search is slow."]


def test_a_message_that_is_changed_moves_the_time_of_the_last_update() -> None:
    """Readers of feeds learn of it only so."""
    opened = NOW - 3 * HOUR
    before = incident_facts(world.incident(1, "Identified", "One", opened=opened))
    after = incident_facts(world.incident(1, "Identified", "Two", opened=opened, written=NOW - HOUR))
    assert before is not None
    assert after is not None
    assert (before.updated_at, after.updated_at) == (opened + timedelta(minutes=12), NOW - HOUR)
    assert before.id == after.id


def test_an_incident_that_was_reopened_tells_both_rounds() -> None:
    again = world.incident(1, "Investigating", opened=NOW - HOUR)
    first = world.incident(1, "Resolved", opened=NOW - 5 * HOUR)["status"]["timeline"]
    again["status"]["timeline"] = [*first, {"at": again["status"]["times"]["openedAt"], "event": "Reopened", "message": "x"}]
    facts = incident_facts(again)
    assert facts is not None
    assert [u.phase for u in facts.updates] == [*Phase, Phase.INVESTIGATING]
    assert (facts.opened_at, facts.resolved_at) == (NOW - 5 * HOUR, None)


def test_a_symptom_that_came_back_is_told() -> None:
    obj = world.incident(1, "Identified", opened=NOW - HOUR)
    for minutes, event in ((20, "Mitigated"), (25, "SymptomBack")):
        at = (NOW - HOUR + timedelta(minutes=minutes)).isoformat()
        obj["status"]["timeline"].append({"at": at, "event": event, "message": "x"})
    facts = incident_facts(obj)
    assert facts is not None
    assert [u.phase for u in facts.updates] == [
        *(Phase.INVESTIGATING, Phase.IDENTIFIED, Phase.MONITORING, Phase.IDENTIFIED),
    ]


@pytest.mark.parametrize(("minutes", "overdue"), [(30, False), (90, True)])
def test_the_next_update_is_due_by_the_stacks_cadence(minutes: int, overdue: bool) -> None:
    page = world.page([world.stack()], [world.incident(1, "Investigating", opened=NOW - timedelta(minutes=minutes))], [])
    found = page.incidents[0]
    assert found.next_update == NOW - timedelta(minutes=minutes) + HOUR
    assert found.overdue(NOW) is overdue
    over = world.page([world.stack()], [world.incident(1)], []).incidents[0]
    assert over.next_update is None


@pytest.mark.parametrize(
    ("states", "indicator", "headline"),
    [
        ({}, Indicator.NONE, "All systems operational"),
        ({"pg-main": "Degraded"}, Indicator.MINOR, "Some services are impaired"),
        ({"pg-main": "Degraded", "redis-0": "MajorOutage"}, Indicator.MAJOR, "Some services are down"),
        (dict.fromkeys(world.TYPES, "MajorOutage"), Indicator.CRITICAL, "All services are down"),
        ({"pg-main": "Unknown"}, Indicator.MINOR, "The state of some services is not known"),
        ({"pg-main": "UnderMaintenance"}, Indicator.MAINTENANCE, "Maintenance in progress"),
    ],
)
def test_the_headline_is_that_of_the_worst(states: dict[str, str], indicator: Indicator, headline: str) -> None:
    page = world.page([world.stack(states)], [], [])
    assert (page.indicator, page.headline) == (indicator, headline)


def test_an_open_incident_is_never_called_operational() -> None:
    page = world.page([world.stack()], [world.incident(1, "Monitoring", opened=NOW - HOUR)], [])
    assert page.indicator is Indicator.MINOR


@pytest.mark.parametrize("looked", [None, NOW - timedelta(seconds=121)])
def test_old_data_are_never_called_good(looked: Any) -> None:
    page = world.page([world.stack()], [], [], looked=looked)
    assert (page.stale, page.headline) == (True, "No current data")
    assert not world.page([world.stack()], [], [], looked=NOW - timedelta(seconds=119)).stale


def test_nothing_to_show_is_no_good_news() -> None:
    assert world.page([], [], []).headline == "No current data"


def test_a_window_puts_its_components_under_maintenance_whatever_their_state() -> None:
    stacks, windows = [world.stack({"redis-0": "MajorOutage"})], [world.window(1, NOW - HOUR, components=["redis-0"])]
    page = world.page(stacks, [], windows)
    assert {c.title: c.word for c in page.components if c.word != "Operational"} == {"Cache": "Under maintenance"}
    hidden = [world.window(1, NOW - HOUR, components=["redis-0"], effects={"statusPage": False})]
    assert "Major outage" in {c.word for c in world.page(stacks, [], hidden).components}
    assert world.page(stacks, [], hidden).windows == ()


def test_windows_in_their_states() -> None:
    windows = [world.window(1, NOW + HOUR), world.window(2, NOW - HOUR), world.window(3, NOW - 9 * HOUR)]
    page = world.page([world.stack()], [], windows)
    assert [w.state for w in page.windows] == [WindowState.IN_PROGRESS, WindowState.SCHEDULED, WindowState.COMPLETED]
    assert all(w.components == () for w in page.windows)
    assert len({w.id for w in page.windows}) == 3


def test_a_window_keeps_its_identity_while_it_goes_from_planned_to_over() -> None:
    begin = NOW + HOUR
    ids = {
        world.page([world.stack()], [], [world.window(1, begin, now=at)], now=at).windows[0].id
        for at in (NOW, begin + HOUR, begin + 5 * HOUR)
    }
    assert len(ids) == 1


def test_a_window_that_was_missed_was_no_maintenance() -> None:
    missed = world.window(1, NOW - 9 * HOUR)
    missed["status"]["history"][0]["outcome"] = "Missed"
    assert world.page([world.stack()], [], [missed]).windows == ()


def test_history_is_bounded() -> None:
    old = world.incident(1, opened=NOW - timedelta(days=91))
    many = [world.incident(n, opened=NOW - n * HOUR) for n in range(2, 100)]
    page = world.page([world.stack()], [old, *many, world.incident(200, "Identified", opened=NOW - timedelta(days=80))], [])
    assert len(page.incidents) == 50
    assert len(page.open_incidents) == 1


def test_what_no_format_can_hold_is_left_out() -> None:
    assert clean("a\x00b\x1bc\ufffed\ud800e\r\nf\x85g") == "abcde\nfg"
    assert clean(None) == ""
    assert clean(" 日本\U0001f600 ") == "日本\U0001f600"
