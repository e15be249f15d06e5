"""/livez and /readyz: each tells the truth, and an API server that is away never makes the process dead."""

from __future__ import annotations

import asyncio

import pytest

from docuquery_operator.runtime import health as module
from docuquery_operator.runtime.health import BEAT_LIMIT, CANARY_LIMIT, Health, _answer
from docuquery_operator.runtime.metrics import OperatorMetrics
from tests.fakes.clock import ManualClock
from tests.unit.runtime.virtual import now, run

RENEWAL = 2.0


class Clock:
    """The process's monotonic clock, set by the test."""

    def __init__(self) -> None:
        self.now = 500.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def live(health: Health, clock: Clock, seconds: float, *, renewed: bool = True, watched: bool = True) -> list[str]:
    """Time in which the loop turns; what /livez says at each step."""
    said = []
    for _ in range(int(seconds / RENEWAL)):
        clock.now += RENEWAL
        health._beat = clock.now
        if renewed:
            health.canary_sent()
        if watched:
            health.canary_seen()
        said.append(health.alive())
    return said


def test_a_process_whose_loop_turns_and_whose_watch_speaks_is_alive(clock: Clock) -> None:
    assert set(live(Health(OperatorMetrics(ManualClock())), clock, 3600.0)) == {""}


def test_a_loop_that_has_stopped_is_dead_and_says_so(clock: Clock) -> None:
    health = Health(OperatorMetrics(ManualClock()))
    clock.now += BEAT_LIMIT - 0.1
    assert health.alive() == ""
    clock.now += 0.2
    assert "event loop" in health.alive()


def test_the_beat_keeps_it_alive_and_measures_the_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the loop's own clock: two hours of beats, then somebody blocks the loop for three seconds."""

    async def story() -> None:
        clock = Clock()
        monkeypatch.setattr(module, "time", clock)
        metrics = OperatorMetrics(ManualClock())
        blocked = 0.0
        clock.monotonic = lambda: now() + blocked  # type: ignore[method-assign]
        health = Health(metrics)
        beating = asyncio.create_task(health.beat())
        await asyncio.sleep(7200.5)
        assert health.alive() == ""
        assert metrics.loop_lag._value.get() == pytest.approx(0.0)
        blocked = 3.0
        await asyncio.sleep(1.0)
        assert metrics.loop_lag._value.get() == pytest.approx(3.0)
        beating.cancel()
        await asyncio.sleep(BEAT_LIMIT + 1)
        assert health.alive()

    run(story())


def test_a_silent_watch_while_renewals_get_through_is_dead(clock: Clock) -> None:
    """A process whose watcher has died looks healthy in every other way."""
    health = Health(OperatorMetrics(ManualClock()))
    live(health, clock, 60.0)
    said = live(health, clock, CANARY_LIMIT + 4, watched=False)
    assert said[: int(CANARY_LIMIT / RENEWAL) - 1] == [""] * (int(CANARY_LIMIT / RENEWAL) - 1)
    assert "watch" in said[-1]
    health.canary_seen()
    assert health.alive() == ""


def test_a_watch_that_never_spoke_at_all_is_dead_too(clock: Clock) -> None:
    said = live(Health(OperatorMetrics(ManualClock())), clock, CANARY_LIMIT + 6, watched=False)
    assert "watch" in said[-1]


def test_an_api_server_that_is_away_never_makes_it_dead(clock: Clock) -> None:
    health = Health(OperatorMetrics(ManualClock()))
    live(health, clock, 60.0)
    assert set(live(health, clock, 7200.0, renewed=False, watched=False)) == {""}


@pytest.mark.parametrize("away", [40.0, 89.0, 91.0, 1000.0])
def test_the_watch_has_its_time_anew_when_the_api_server_is_back(clock: Clock, away: float) -> None:
    """The first renewal gets through before the watch is there again: that alone is no reason to die."""
    health = Health(OperatorMetrics(ManualClock()))
    live(health, clock, 60.0)
    live(health, clock, away, renewed=False, watched=False)
    assert set(live(health, clock, 40.0, watched=False)) == {""}
    assert set(live(health, clock, 200.0)) == {""}


def test_a_single_lost_event_is_no_death(clock: Clock) -> None:
    health = Health(OperatorMetrics(ManualClock()))
    for _ in range(20):
        assert set(live(health, clock, 60.0, watched=False)) == {""}
        assert set(live(health, clock, 2.0)) == {""}


def test_who_does_not_lead_needs_no_canary(clock: Clock) -> None:
    assert set(live(Health(OperatorMetrics(ManualClock())), clock, 3600.0, renewed=False, watched=False)) == {""}


def test_readiness_names_everything_that_is_missing() -> None:
    health = Health(OperatorMetrics(ManualClock()))
    state = {"crds": "stacks are missing", "lease": "", "sync": "not yet"}
    health.readiness = {name: lambda name=name: state[name] for name in state}
    assert health.ready() == "crds: stacks are missing; sync: not yet"
    state |= {"crds": "", "sync": ""}
    assert health.ready() == ""


def test_an_unready_process_is_alive(clock: Clock) -> None:
    health = Health(OperatorMetrics(ManualClock()))
    health.readiness = {"lease": lambda: "the Lease was not reached yet"}
    assert health.ready()
    assert health.alive() == ""


@pytest.mark.parametrize(("why", "status", "text"), [("", 200, "ok"), ("it hangs", 503, "it hangs")])
def test_the_answer_has_a_status_that_a_probe_understands(why: str, status: int, text: str) -> None:
    answer = asyncio.run(_response(why))
    assert (answer.status, answer.text) == (status, text)


async def _response(why: str):  # type: ignore[no-untyped-def]
    return await _answer(lambda: why)(None)  # type: ignore[arg-type]
