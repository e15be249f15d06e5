"""An api that answers nobody: one Incident of its own, healed, and none where something that it rests on is the cause."""

from __future__ import annotations

from typing import Any

import pytest

from docuquery_operator.ports import DEPLOYMENT, HttpAnswer
from tests.controllers.test_detector import NAME as DATABASE_DOWN
from tests.controllers.test_detector import Watch
from tests.fakes.rig import NAMESPACE, VERIFY, Rig, condition, steps

pytestmark = pytest.mark.timeout(240)
NAME = "docuquery-api-unavailable-1"


def begun(**rig: Any) -> Watch:
    """A world where the api's answer depends on its process."""
    world = Rig(**rig)
    world.put_runbook("ApiUnavailable", "own-api", verify=VERIFY)
    world.network.http = lambda host, _path: (
        world._api() if world.simulator.serving(host) == "ok" else HttpAnswer(0, problem="no answer within 1 s")
    )
    return Watch(world)


def freeze(watch: Watch) -> None:
    """All processes of the api hang."""
    for pod in watch.rig.simulator.pods("api"):
        watch.rig.freeze(pod["metadata"]["name"])


def restarts(watch: Watch) -> int:
    return sum(name.startswith("api-") for name, _ in watch.rig.simulator.created)


async def test_a_hanging_api_is_restarted_once_and_proved() -> None:
    watch = begun()
    await watch.live(60)
    assert watch.names() == []
    freeze(watch)
    await watch.live(300, lambda: watch.over(NAME))
    assert watch.names() == [NAME]
    status = watch.status(NAME)
    assert (status["severity"], status["cause"]["name"]) == ("P0", "ProcessDown")
    assert (condition(status, "Resolved"), steps(status), restarts(watch)) == ("Healed", [("restartWorkload", "Healed")], 1)
    await watch.live(120)
    assert watch.names() == [NAME]


async def test_a_restart_that_does_not_help_is_not_called_a_heal() -> None:
    watch = begun()
    watch.rig.simulator.new_pods_are_broken = True
    freeze(watch)
    await watch.live(400, lambda: bool(condition(watch.status(NAME), "NeedsHuman")))
    status = watch.status(NAME)
    assert status["phase"] != "Resolved"
    assert restarts(watch) >= 1


async def test_an_api_that_says_that_its_database_is_down_has_no_incident_of_its_own() -> None:
    watch = begun()
    watch.rig.freeze()
    await watch.live(300, lambda: watch.over(DATABASE_DOWN))
    assert watch.names() == [DATABASE_DOWN]


async def test_nobody_restarts_what_somebody_has_scaled_to_zero() -> None:
    watch = begun()
    await watch.live(20)
    watch.rig.server.edit(DEPLOYMENT, NAMESPACE, "api", lambda d: d["spec"].update(replicas=0))
    for pod in watch.rig.simulator.pods("api"):
        watch.rig.simulator._end(pod["metadata"]["name"])
    await watch.live(120, lambda: bool(condition(watch.status(NAME), "NeedsHuman")))
    assert watch.status(NAME)["cause"]["name"] == "ScaledToZero"
    assert restarts(watch) == 0
