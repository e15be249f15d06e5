"""Mirroring to Statuspage.io: its wire format, its limits, and nothing doubled whatever dies between two calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docuquery_operator.domain.public.page import Page
from docuquery_operator.web.mirror import statuspageio
from docuquery_operator.web.mirror.plan import plan
from docuquery_operator.web.mirror.statuspageio import MirrorProblem, StatuspageIo
from tests.page import world
from tests.page.sink import KEY, PAGE, Sink, no_pause, running_sink
from tests.page.world import NOW

pytestmark = pytest.mark.services
MAPPED = {"database": "c-db", "api": "c-api"}
HOUR = timedelta(hours=1)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with running_sink() as found:
        yield found


def mirror(sink: Sink, key: str = KEY) -> StatuspageIo:
    """A process's; it remembers nothing of an earlier one."""
    return StatuspageIo(sink.url, PAGE, lambda: key, MAPPED, pause=no_pause)


def story() -> list[Page]:
    """What is shown from hour to hour: an incident with all its phases and a message, one that is deleted, windows."""
    opened = NOW - HOUR
    first = [world.incident(1, "Investigating", opened=opened)]
    message = [
        world.incident(1, "Identified", "We found it.", opened=opened),
        world.incident(2, "Identified", opened=opened),
    ]
    watched = [
        world.incident(1, "Monitoring", "We found it.", opened=opened),
        world.incident(2, "Identified", opened=opened),
    ]
    over = [world.incident(1, "Resolved", "We found it.", opened=opened)]
    begin = NOW + HOUR
    planned, off = [world.window(1, begin, message="Indexes"), world.window(2, begin + HOUR)], [world.window(1, begin)]
    down = world.stack({"pg-main": "MajorOutage", "api-7f": "Unknown"})
    return [
        world.page([down], first, []),
        world.page([down], message, planned),
        world.page([world.stack()], watched, off),
        world.page([world.stack()], over, [world.window(1, begin, now=begin)], now=begin, looked=begin),
    ]


async def test_a_story_is_told_once(sink: Sink) -> None:
    pages = story()
    for page in pages:
        await mirror(sink).sync(page)
        assert await mirror(sink).sync(page) == 0
    assert sink.wrong == []
    ours = {i["metadata"]["docuquery"]["id"]: i for i in sink.incidents.values()}
    first = ours[pages[0].incidents[0].id]
    assert [u["status"] for u in sink.updates[first["id"]]] == ["investigating", "identified", "monitoring", "resolved"]
    assert first["component_ids"] == ["c-db"]
    assert first["impact_override"] == "major"
    other = next(i for i in ours.values() if i["status"] == "resolved" and i["id"] != first["id"])
    assert other["body"].startswith("The problem is resolved")
    windows = [i for i in sink.incidents.values() if "scheduled_for" in i]
    assert [(w["status"], w["scheduled_until"]) for w in windows] == [("in_progress", "2026-11-29T17:00:00Z")]
    assert sum(call.startswith("DELETE") for call in sink.calls) == 1
    assert sink.components == {"c-db": "under_maintenance", "c-api": "under_maintenance"}
    assert not any("pg-main" in str(i) or "10.61.0.9" in str(i) for i in sink.incidents.values())


async def test_states_of_components_are_told_when_they_change(sink: Sink) -> None:
    for state, told in (
        ("MajorOutage", "major_outage"),
        ("Degraded", "degraded_performance"),
        ("Operational", "operational"),
    ):
        await mirror(sink).sync(world.page([world.stack({"pg-main": state})], [], []))
        assert sink.components["c-db"] == told
    assert sum(call.startswith("PATCH components") for call in sink.calls) == 3


async def test_what_is_not_known_is_not_told(sink: Sink) -> None:
    await mirror(sink).sync(world.page([world.stack({"pg-main": "MajorOutage"})], [], []))
    await mirror(sink).sync(world.page([world.stack({"pg-main": "Unknown"})], [], []))
    assert sink.components["c-db"] == "major_outage"


async def test_old_data_and_old_incidents_are_no_news(sink: Sink) -> None:
    stacks, incidents, windows = world.usual()
    assert await mirror(sink).sync(world.page(stacks, incidents, windows, looked=NOW - HOUR)) == 0
    await mirror(sink).sync(world.page(stacks, incidents, windows))
    # Of nine that were over long before, none; the two that are open, and the two windows that are not over.
    assert len(sink.incidents) == 4


async def test_what_others_wrote_there_is_left_alone(sink: Sink) -> None:
    sink.incidents["other"] = {"id": "other", "name": "by hand", "status": "investigating", "metadata": {}}
    sink.incidents["odd"] = {"id": "odd", "name": "odd", "status": "scheduled", "metadata": {"docuquery": "text"}}
    assert await mirror(sink).sync(world.page([world.stack()], [], [])) == 0
    assert set(sink.incidents) == {"other", "odd"}


async def test_a_message_that_is_changed_is_told_anew_and_what_people_do_there_stays(sink: Sink) -> None:
    def page(message: str, minutes: int) -> Page:
        written = NOW - timedelta(minutes=minutes)
        incident = world.incident(1, "Identified", message, opened=NOW - HOUR, written=written)
        return world.page([world.stack()], [incident], [])

    await mirror(sink).sync(page("One", 20))
    await mirror(sink).sync(page("Two", 10))
    assert [u["body"] for u in sink.updates["i1"]] == ["One", "Two"]
    sink.incidents["i1"]["status"] = "resolved"
    assert await mirror(sink).sync(page("Two", 10)) == 0


async def test_planned_work_never_goes_back(sink: Sink) -> None:
    """It begins there by itself, maybe before we say so."""
    soon = world.page([world.stack()], [], [world.window(1, NOW + HOUR)])
    await mirror(sink).sync(soon)
    for state in ("in_progress", "verifying", "completed"):
        sink.incidents["i1"]["status"] = state
        assert await mirror(sink).sync(soon) == 0
    sink.incidents["i1"]["status"] = "scheduled"
    moved = world.page([world.stack()], [], [world.window(1, NOW + HOUR, hours=3)])
    assert await mirror(sink).sync(moved) == 1
    assert sink.incidents["i1"]["scheduled_until"] == "2026-11-29T18:00:00Z"


async def test_more_than_fit_are_no_proof_that_one_is_gone(sink: Sink) -> None:
    old = world.incident(99, "Identified", opened=NOW - 9 * HOUR)
    await mirror(sink).sync(world.page([world.stack()], [old], []))
    many = [world.incident(n, "Identified", opened=NOW - HOUR) for n in range(60)]
    page = world.page([world.stack()], [old, *many], [])
    assert len(page.open_incidents) == 50
    await mirror(sink).sync(page)
    assert {i["status"] for i in sink.incidents.values()} == {"identified"}


async def test_more_incidents_than_one_page_of_a_list(sink: Sink) -> None:
    page = story()[0]
    await mirror(sink).sync(page)
    for n in range(250):
        sink.incidents[f"x{n}"] = {"id": f"x{n}", "status": "resolved", "metadata": {}}
    assert await mirror(sink).sync(page) == 0


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["before", "after", "420", "429", "503", "kill"])), max_size=8)
)
def test_nothing_is_doubled_or_lost(faults: list[tuple[int, str]]) -> None:
    """Lines cut before and after the effect, busy answers, processes killed in the middle of a call; then all is well."""

    async def run() -> None:
        async with running_sink() as sink:
            for page in story():
                for at, fault in faults:
                    done = len(sink.calls)
                    sink.fault = lambda n, at=at, fault=fault, done=done: fault if n == done + at and fault != "kill" else ""  # type: ignore[misc]
                    syncing = asyncio.create_task(mirror(sink).sync(page))
                    if fault == "kill":
                        while len(sink.calls) < done + at and not syncing.done():
                            await asyncio.sleep(0)
                        syncing.cancel()
                    await asyncio.gather(syncing, return_exceptions=True)
                    # A request that the dead process had sent still arrives; a new one begins later than that.
                    await asyncio.sleep(0.01)
                sink.fault = lambda _: ""
                await mirror(sink).sync(page)
                assert await mirror(sink).sync(page) == 0
            assert sink.wrong == []
            assert set(sink.by_ours().values()) == {1}
            told = sink.told()
            assert len(told) == len(set(told))
            assert {i["status"] for i in sink.incidents.values()} == {"resolved", "in_progress"}

    asyncio.run(run())


async def test_requests_keep_their_distance(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuspageio, "PACE_SECONDS", 0.1)
    await StatuspageIo(sink.url, PAGE, lambda: KEY, MAPPED).sync(story()[1])
    gaps = [b - a for a, b in zip(sink.times, sink.times[1:], strict=False)]
    assert len(gaps) >= 5
    assert min(gaps) > 0.09
    monkeypatch.undo()
    assert statuspageio.PACE_SECONDS > 1.0


@pytest.mark.parametrize(("fault", "after"), [("420", 3.0), ("429", 3.0), ("503", 45.0), ("before", 45.0), ("after", 45.0)])
async def test_what_was_refused_is_tried_later(sink: Sink, fault: str, after: float) -> None:
    """After a lost answer so late that the request has arrived or never will."""
    sink.fault = lambda n: fault if n == 4 else ""
    with pytest.raises(MirrorProblem) as found:
        await mirror(sink).sync(story()[0])
    assert found.value.after == after
    assert len(sink.calls) == 4


async def test_a_wrong_key_is_said_and_never_shown(sink: Sink) -> None:
    with pytest.raises(MirrorProblem, match="401") as found:
        await mirror(sink, "wrong-key-marker").sync(story()[0])
    assert "marker" not in str(found.value)


def test_long_texts_are_cut_to_what_is_taken() -> None:
    stack = world.stack()
    page = world.page([stack], [world.incident(1, "Identified", "m" * 1024, opened=NOW - HOUR)], [])
    long = plan(page, [], [], {}, True)
    assert all(len(r.body["incident"]["name"]) <= 255 for r in long if r.body)
