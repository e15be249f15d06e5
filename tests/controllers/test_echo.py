"""Where a pass says that its write needs no look of its own, a pass on that very write does nothing: in whole stories, each time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from docuquery_operator.ports import INCIDENT, Key
from tests.controllers import test_courier, test_flows, test_muted, test_notifications, test_reopened, test_review
from tests.controllers.test_notifications import resolve, rig, run_for
from tests.controllers.test_review import write_review
from tests.fakes.rig import Rig

# Whole stories in a simulated world; two seconds are for units.
pytestmark = pytest.mark.timeout(120)
MODULES = (test_flows, test_notifications, test_review, test_muted, test_reopened, test_courier)


def _stories() -> Iterator[Any]:
    """All stories of these files that need nothing but themselves."""
    for module in MODULES:
        for name, story in vars(module).items():
            plain = inspect.iscoroutinefunction(story) and not inspect.signature(story).parameters
            # Where the process is killed in the second look, there is nothing to compare.
            if name.startswith("test_") and plain and "killed" not in name:
                yield pytest.param(story, id=f"{module.__name__.rpartition('.')[2]}-{name}"[:100])


class Echo:
    """Puts a pass on the echo behind each pass that has called it needless."""

    def __init__(self) -> None:
        self.once = Rig.once
        self.checked = 0

    async def __call__(self, made: Rig, key: Key) -> float | None:
        made.decided.clear()
        after = await self.once(made, key)
        versions = [version for of, version in made.decided if of == key]
        # Where a message was sent meanwhile, its receipt is a fact that has asked for a pass of its own.
        if not versions or key in made.nudged:
            return after
        found = made.server.find(INCIDENT, key.namespace, key.name)
        assert found is not None
        assert versions == [found["metadata"]["resourceVersion"]]
        before = _effects(made)
        again = await self.once(made, key)
        assert _effects(made) == before
        assert after is None or again is None or again >= min(after, 15.0) - 0.05, (
            "the echo would have been looked at sooner"
        )
        assert (after is None) <= (again is None)
        self.checked += 1
        return after


def _effects(made: Rig) -> tuple[Any, ...]:
    return len(made.server.writes), len(made.channels.tries), made.all_events(), len(made.simulator.created)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    made = Echo()

    async def once(self: Rig, key: Key) -> float | None:
        return await made(self, key)

    monkeypatch.setattr(Rig, "once", once)
    return made


@pytest.mark.parametrize("story", list(_stories()))
async def test_the_echo_would_have_done_nothing(story: Callable[[], Any], echo: Echo) -> None:
    await story()


async def test_most_writes_of_a_paging_incident_need_no_second_look(echo: Echo) -> None:
    made = rig("slack", "pagerduty", "phone")
    key = made.incident(severity="P0")
    await run_for(made, key, 300)
    resolve(made, key)
    await run_for(made, key, 60)
    written = [w for w in made.server.writes if w.plural == INCIDENT.plural]
    assert echo.checked >= len(written) / 3


async def test_follow_ups_of_an_incident_are_known_without_a_second_look() -> None:
    """What lives in memory alone is noted from what was written, not only from what was read."""
    made = Rig(mode="Observe")
    first = made.incident("first", severity="P0")
    made.freeze()
    await made.run(first, 120, until=lambda s: bool(s.get("cause")))
    write_review(made, first)
    resolve(made, first)
    await made.once(first)
    assert made.status(first)["phase"] == "Resolved"
    second = made.incident("second", severity="P0")
    status = await made.run(second, 120, until=lambda s: bool(s.get("cause")))
    assert status["openFollowUps"] == ["first: Add an alarm (owner ana, due 2026-04-10)"]


@pytest.mark.parametrize(("took", "sooner"), [(3.0, 3.0), (-3600.0, 0.0)])
async def test_what_a_pass_has_taken_does_not_put_off_the_next_look(took: float, sooner: float) -> None:
    """No second look hides it any more that a write took seconds; a clock that was set back must not put it off for an hour."""
    made = rig("slack")
    key = made.incident(severity="P0")
    cluster, patch = made.life.ports.cluster, made.life.ports.cluster.patch

    async def slow(*arguments: Any) -> Any:
        written = await patch(*arguments)
        made.clock.jump(took)
        return written

    object.__setattr__(cluster, "patch", slow)
    before = made.clock.now()
    look = await made.life.controller.reconcile(key)
    assert (made.clock.now() - before).total_seconds() == took
    assert look == pytest.approx(15.0 - sooner)
