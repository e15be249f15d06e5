"""The operator dies at all that it tells in the course of a window, once before and once after: the end must be the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.e2e.receivers import alertmanager, hook
from tests.harness import cluster
from tests.harness.release import IMAGES
from tests.kill.windows import TASKS, End, Outcome, Worker, brief
from tests.kill.writes import Point, points

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1500)]
FIGURES = cluster.CHECKOUT / "build" / "kill-windows.json"
# What the first run has missed, as two facts came in one write or not at all, is met in a later one.
TRIES = 3
# Killed at each write of a healing are the runs of test_kill.py; how often a Stack says something new depends on the clock.
ELSEWHERE = ("incidents/running/", "stacks/")
Value = TypeVar("Value")


@contextmanager
def workers(folder: Path) -> Iterator[tuple[Worker, Worker]]:
    """Two, each with a stack of its own."""
    cluster.ensure_up(IMAGES)
    cluster.install_crds()
    with alertmanager() as server, ExitStack() as open_:
        made = [Worker(f"kill-window-{side}", folder, open_.enter_context(hook()), server) for side in ("a", "b")]
        with ThreadPoolExecutor(2) as pool:
            try:
                list(pool.map(Worker.open, made))
                yield made[0], made[1]
            finally:
                list(pool.map(Worker.close, made))


def test_every_fact_of_a_window(tmp_path: Path) -> None:
    with workers(tmp_path) as both:
        references = together(both, lambda worker: worker.run(()))
        for reference in references:
            check_reference(reference.end)
        told = {fact for fact in references[0].told & references[1].told if not any(part in fact for part in ELSEWHERE)}
        todo = points(told, "before", "after")
        # One of the workers begins with the one side, and one with the other.
        halves: Sequence[set[Point]] = (points(told, "before"), points(told, "after"))
        outcomes: list[Outcome] = []
        for _ in range(TRIES):
            wanted = dict(zip(both, halves, strict=True))
            done = together(both, lambda worker, wanted=wanted: worker.run(wanted[worker]))
            outcomes += done
            for outcome in done:
                todo -= outcome.met
            halves = [{p for p in todo if p[1] == side} for side in ("after", "before")]
            if not todo:
                break
        figures(told, references, outcomes, todo)
        different = {i: brief(o, references[0].end) for i, o in enumerate(outcomes) if o.end != references[0].end}
        assert not different, different
        assert not todo, f"the operator was not killed at {sorted(todo)}"
        assert all(o.starts == o.kills for o in outcomes), "it was not started again exactly once for each kill"
        for log in together(both, Worker.log):
            assert b"".join(log.files.values()) == log.expected(), "a line of the log is lost or doubled"


def together(both: Sequence[Worker], work: Callable[[Worker], Value]) -> list[Value]:
    """At the same time."""
    with ThreadPoolExecutor(len(both)) as pool:
        return list(pool.map(work, both))


def check_reference(end: End) -> None:
    """A window without a kill does all that the runs with kills are held to."""
    assert end.window == ("Completed", "Completed")
    assert end.tasks == tuple((str(t["type"]), "Succeeded") for t in TASKS)
    assert end.jobs == (("rotatelogs", 1), ("vacuumdatabase", 1), ("verify", 1))
    assert (end.verdicts, end.dead_rows, end.archives) == (1, 0, 1)
    assert end.incidents == (
        ("Resolved", "Healed", "ProcessDown", "restartWorkload Healed", "PagingMuted", "StepFinishes"),
        ("Resolved", "Healed", "ProcessDown", "restartWorkload Healed", "PagingMuted", "MaintenanceWindow"),
    )
    assert set(end.pages) >= {("running", "Step"), ("muted", "Step")}
    assert (end.silences, end.repeated, end.early, end.restarts, end.left, end.healthy) == (0, 0, 0, 2, (), True)


def figures(told: set[str], references: Sequence[Outcome], outcomes: Sequence[Outcome], missed: set[Point]) -> None:
    """For people, and build/kill-windows.json."""
    same = sum(o.end == references[0].end for o in outcomes)
    kills = sum(o.kills for o in outcomes)
    line = (
        f"windows: {len(told)} facts x 2 = {len(told) * 2} points, {len(missed)} not met, {kills} kills in {len(outcomes)} runs, "
        f"{same} same end; {', '.join(f'{o.seconds:.0f} s' for o in (*references, *outcomes))}"
    )
    print(line)
    FIGURES.parent.mkdir(exist_ok=True)
    found = {
        "summary": line,
        "facts": sorted(told),
        "only one run told": sorted(references[0].told ^ references[1].told),
        "missed": sorted(map(list, missed)),
        "runs": [{"kills": o.kills, "starts": o.starts, "met": sorted(map(list, o.met))} for o in outcomes],
    }
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
