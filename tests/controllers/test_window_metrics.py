"""Metrics of windows and tasks, from the controller's passes: each end counted once, gauges right again after a restart."""

from __future__ import annotations

import pytest

from docuquery_operator.domain.maintenance.window_figures import TaskFigures
from docuquery_operator.ports import MAINTENANCE_WINDOW
from tests.controllers.test_tasks import KEY, Story
from tests.fakes.rig import NAMESPACE

pytestmark = pytest.mark.timeout(120)
W = (NAMESPACE, "w")


def figures(story: Story) -> tuple[bool, bool, dict[str, TaskFigures]]:
    found = story.rig.life.metrics.windows[W]
    return found.open, found.overrun is not None, dict(found.tasks)


async def test_each_end_is_counted_once_and_the_gauges_go_with_the_window() -> None:
    story = Story()
    story.put("HealthCheck", "VacuumDatabase", "CapacityPlan")
    await story.lived(3)
    assert figures(story) == (False, False, {t: TaskFigures() for t in ("HealthCheck", "VacuumDatabase", "CapacityPlan")})
    await story.lived(120)
    ends = [(e.type, e.outcome, e.seconds is not None) for e in story.rig.life.metrics.tasks]
    assert ends == [
        ("HealthCheck", "Succeeded", True),
        ("VacuumDatabase", "Succeeded", True),
        ("CapacityPlan", "Skipped", False),
    ]
    assert 15 <= (story.rig.life.metrics.tasks[1].seconds or 0) <= 40
    is_open, overrun, tasks = figures(story)
    assert (is_open, overrun, tasks["CapacityPlan"]) == (True, False, TaskFigures())
    succeeded = tasks["VacuumDatabase"].succeeded
    assert succeeded is not None
    story.start()
    await story.lived(5)
    assert figures(story)[2] == tasks, "after a restart"
    assert story.rig.life.metrics.tasks == []
    story.rig.server.remove(MAINTENANCE_WINDOW, NAMESPACE, "w")
    await story.controller.reconcile(KEY)
    assert story.rig.life.metrics.windows == {}


async def test_failures_add_up_over_openings_until_it_succeeds() -> None:
    story = Story()
    story.jobs.outcome = story.jobs.outcome.model_copy(update={"state": "Failed", "summary": "no"})
    story.put("VacuumDatabase", schedule={"cron": "* * * * *"}, duration="50s")
    await story.lived(170)
    counted = figures(story)[2]["VacuumDatabase"]
    assert counted.failures >= 2
    assert counted.succeeded is None
    story.jobs.outcome = story.jobs.outcome.model_copy(update={"state": "Succeeded"})
    await story.lived(130)
    assert figures(story)[2]["VacuumDatabase"].failures == 0
    told = [e.outcome for e in story.rig.life.metrics.tasks]
    assert told[:2] == ["Failed", "Failed"]
    assert "failures" not in story.status["tasks"][0]


async def test_a_task_that_is_at_work_after_the_end_is_an_overrun() -> None:
    story = Story(takes=180)
    story.put("VacuumDatabase", duration="2m")
    await story.lived(100)
    assert figures(story)[:2] == (True, False)
    await story.lived(50)
    assert figures(story)[:2] == (False, True)
    await story.lived(120)
    assert figures(story)[:2] == (False, False)
