"""The campaign itself: it asks for every write that all runs make, and does not pass by not looking."""

from __future__ import annotations

import pytest

from tests.harness.proxy import KillPoint
from tests.kill import campaign
from tests.kill.run import End, Outcome

ALWAYS = ("PATCH incidents/killed/status #1", "POST leases #1")
BY_THE_CLOCK = "PATCH stacks/docuquery/status #5"


class Scripted:
    """A worker whose runs make the writes that they are told; it comes to a point only when its run makes that write."""

    def __init__(self, *runs: tuple[str, ...]) -> None:
        self.runs = list(runs)

    def run(self, point: KillPoint | None) -> Outcome:
        writes = self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        reached = point is not None and point.write in writes
        return Outcome(point, End(phase="Resolved"), reached, int(reached), 0.0, writes)

    def close(self) -> None:
        """Nothing to close."""


def run(worker: Scripted) -> campaign.Campaign:
    return campaign.run(lambda _: worker, 1)  # type: ignore[arg-type, return-value]


def test_a_write_that_not_every_run_makes_is_no_point() -> None:
    found = run(Scripted((*ALWAYS, BY_THE_CLOCK), ALWAYS))
    assert found.writes == list(ALWAYS)
    assert len(found.points) == 4
    assert not found.missed
    assert len(found.references) > 1, "a run that did not come to its point is one without a kill"


def test_a_write_that_every_run_makes_must_be_killed_at() -> None:
    class Blind(Scripted):
        def run(self, point: KillPoint | None) -> Outcome:
            outcome = super().run(point)
            return Outcome(point, outcome.end, False, 0, 0.0, outcome.writes)

    found = run(Blind(ALWAYS))
    assert len(found.missed) == 4


@pytest.mark.parametrize("problem", ["", "the operator ended by itself"])
def test_a_run_that_ends_otherwise_is_seen(problem: str) -> None:
    class Lossy(Scripted):
        def run(self, point: KillPoint | None) -> Outcome:
            outcome = super().run(point)
            end = outcome.end if point is None or problem else End(phase="Identified")
            return Outcome(point, end, outcome.reached, outcome.starts, 0.0, outcome.writes, problem if point else "")

    assert len(run(Lossy(ALWAYS)).different) == 4
