"""All kill points of the scenario, spread over workers, and the table of what came out."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from tests.harness.proxy import KillPoint
from tests.kill.run import End, Outcome, Worker

TRIES = 3
SIDES: tuple[Literal["before", "after"], ...] = ("before", "after")


@dataclass(frozen=True)
class Campaign:
    """Everything that was run."""

    references: tuple[Outcome, ...]
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def reference(self) -> End:
        """The end without a kill."""
        return self.references[0].end

    @property
    def writes(self) -> list[str]:
        """Writes that every run without a kill makes, in the order in which they come."""
        return common_writes(self.references)

    @property
    def points(self) -> list[KillPoint]:
        """Before and after each of those writes."""
        return [KillPoint(write, side) for write in self.writes for side in SIDES]

    @property
    def same(self) -> list[Outcome]:
        """Runs that ended as the reference did."""
        return [o for o in self.outcomes if not o.problem and o.end == self.reference]

    @property
    def different(self) -> list[Outcome]:
        """Runs that did not."""
        return [o for o in self.outcomes if o.problem or o.end != self.reference]

    @property
    def missed(self) -> list[KillPoint]:
        """Points that no run came to."""
        return [p for p in self.points if not any(o.point == p for o in self.outcomes)]

    def summary(self) -> str:
        """The line for people."""
        restarts = max((o.end.restarts_ordered for o in self.outcomes), default=0)
        pods = max((o.end.new_pods for o in self.outcomes), default=0)
        return (
            f"kill points: {len(self.writes)} writes x 2 = {len(self.points)} runs, {len(self.same)} same end state, "
            f"{len(self.different)} different, {len(self.missed)} points not reached; restarts per run max {restarts}, "
            f"new database pods per run max {pods}; {self.seconds:.0f} s"
        )


def run(open_worker: Callable[[int], Worker], workers: int, references: int = 1) -> Campaign:
    """Reference runs first, one or more a worker; then every write that all of them made, before and after."""
    began = time.monotonic()
    made = _parallel(workers, open_worker)
    try:
        seen = [o for found in _parallel(workers, lambda i: [made[i].run(None) for _ in range(references)]) for o in found]
        planned = Campaign(tuple(seen), (), 0.0)
        outcomes, unkilled = _all_points(made, planned.points)
        return Campaign((*seen, *unkilled), outcomes, time.monotonic() - began)
    finally:
        _parallel(workers, lambda i: made[i].close())


def common_writes(references: Sequence[Outcome]) -> list[str]:
    """Writes that every run makes: how often the Stack's status changes meanwhile depends on the clock."""
    others = [set(o.writes) for o in references[1:]]
    return [w for w in references[0].writes if all(w in other for other in others)]


def _all_points(workers: Sequence[Worker], points: Sequence[KillPoint]) -> tuple[tuple[Outcome, ...], tuple[Outcome, ...]]:
    """The runs with a kill, and those that did not come to their point: they are runs without one, and tried again."""
    todo: queue.Queue[tuple[KillPoint, int]] = queue.Queue()
    for point in points:
        todo.put((point, 1))
    done: list[Outcome] = []
    unkilled: list[Outcome] = []

    def work(index: int) -> None:
        while True:
            try:
                point, attempt = todo.get_nowait()
            except queue.Empty:
                return
            outcome = workers[index].run(point)
            if outcome.reached or outcome.problem:
                done.append(outcome)
                print(row(outcome), flush=True)
                continue
            unkilled.append(outcome)
            if attempt < TRIES:
                todo.put((point, attempt + 1))

    _parallel(len(workers), work)
    return tuple(done), tuple(unkilled)


def _parallel(count: int, work: Callable[[int], Any]) -> list[Any]:
    """One thread for each; the first failure is raised when all have ended."""
    results: list[Any] = [None] * count
    failures: list[BaseException] = []

    def one(index: int) -> None:
        try:
            results[index] = work(index)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def row(outcome: Outcome) -> str:
    """One line of the table."""
    end = outcome.end
    steps = ",".join(f"{name}={state}" for name, state in end.steps)
    problem = f"  PROBLEM {outcome.problem.splitlines()[0]}" if outcome.problem else ""
    return (
        f"{outcome.point!s:62} {end.phase:9} {end.cause:12} {steps:24} restarts {end.restarts_ordered} pods {end.new_pods} "
        f"ledger {','.join(end.ledger):8} starts {outcome.starts} {outcome.seconds:5.1f} s{problem}"
    )


def differences(campaign: Campaign) -> list[str]:
    """What differs, point by point: this and the seedless point reproduce it."""
    found = []
    for outcome in campaign.different:
        wrong = {
            f.name: (getattr(campaign.reference, f.name), getattr(outcome.end, f.name))
            for f in fields(End)
            if getattr(campaign.reference, f.name) != getattr(outcome.end, f.name)
        }
        found.append(f"{outcome.point}: {wrong} {outcome.problem}")
    return found


def write(campaigns: dict[str, Campaign], path: Path) -> None:
    """build/kill.json."""
    path.parent.mkdir(exist_ok=True)
    figures = {name: _figures(c) for name, c in campaigns.items()}
    path.write_text(json.dumps(figures, indent=1, default=str) + "\n")


def _figures(campaign: Campaign) -> dict[str, Any]:
    return {
        "summary": campaign.summary(),
        "writes": len(campaign.writes),
        "points": len(campaign.points),
        "runs": len(campaign.outcomes),
        "same": len(campaign.same),
        "different": len(campaign.different),
        "notReached": [str(p) for p in campaign.missed],
        "restartsPerRunMax": max((o.end.restarts_ordered for o in campaign.outcomes), default=0),
        "newPodsPerRunMax": max((o.end.new_pods for o in campaign.outcomes), default=0),
        "seconds": round(campaign.seconds, 1),
        "reference": asdict(campaign.reference),
        "differences": differences(campaign),
        "table": [
            {"point": str(o.point), "same": o in campaign.same, "seconds": round(o.seconds, 1), "writes": len(o.writes)}
            for o in campaign.outcomes
        ],
    }
